"""Gaussian kernels between sets of curves, and products with them that never hold more than a block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import torch
from torch import Tensor

from ctp_torch.ops.chunks import free_bytes, in_row_blocks
from ctp_torch.ops.huge_pages import empty_matrix

__all__ = ["gaussian_gram_matmul", "gaussian_kernel", "gaussian_kernel_matmul"]

_LOG2_E = 1.4426950408889634
_CACHE_ROWS, _CACHE_COLUMNS = 2048, 256  # 2 MB in float32: product, power and sum without leaving the caches
_GRAM_SIDES = {
    4: 512,
    8: 768,
}  # by bytes a value, measured: blocks that the shared cache holds while they are used twice
_GPU_SIDE = 16384  # 1 GB in float32: enough work for one launch
_NO_OVERFLOW = 60.0  # exponent up to which exp is far from overflow in float32, and so is exp of minus it from 0


def gaussian_kernel(X: Tensor, Z: Tensor, *, gamma: float | Tensor, out: Tensor | None = None) -> Tensor:
    """The kernel matrix ``exp(-gamma |x - z|^2)``, of shape (..., n, m).

    The exponent comes out of one matrix product of augmented samples, ``-gamma |x - z|^2 =
    [2 gamma x, -gamma |x|^2, 1] . [z, 1, -gamma |z|^2]``, taken about the mean of Z so that little cancels; it is
    scaled by log2 e, because powers of two are up to three times faster on a CPU than powers of e.

    Parameters
    ----------
    X
        (..., n, features)
    Z
        (..., m, features), in the dtype of X
    gamma
        inverse squared width; a number or a tensor that broadcasts over the leading dimensions
    out
        where to write it; new memory when None
    """
    if isinstance(gamma, Tensor):
        gamma = gamma.to(X)[..., None, None]
    shift = Z.mean(-2, keepdim=True)
    left, right = _left(X - shift, gamma), _right(Z - shift, gamma)
    if X.ndim > 2 or Z.ndim > 2 or X.device.type != "cpu":
        return torch.matmul(left, right.mT, out=out).clamp_max_(0.0).exp2_()  # rounding must not lift any above 1
    kernel = empty_matrix(X, len(X), len(Z)) if out is None else out
    for block, columns in _tiles(kernel, _CACHE_ROWS, _CACHE_COLUMNS):
        tile = kernel[block, columns]
        torch.mm(left[block], right[columns].mT, out=tile)
        tile.clamp_max_(0.0).exp2_()
    return kernel


def gaussian_kernel_matmul(X: Tensor, Z: Tensor, W: Tensor, *, gamma: float) -> Tensor:
    """The product ``K(X, Z) W``, of shape (n, columns), with K in blocks that are never kept.

    A block stays in the cache on a CPU, and in a quarter of the free memory on a GPU; if memory runs out all the same,
    blocks are halved.

    Parameters
    ----------
    X
        (n, features)
    Z
        (m, features), in the dtype of X
    W
        (m, columns); with W in float64 and X in float32 the kernel is made in float32, and what large weights of both
        signs cancel is summed in float64
    gamma
        inverse squared width
    """
    shift = Z.mean(0)
    z, n_columns = Z - shift, min(len(Z), _CACHE_COLUMNS if X.device.type == "cpu" else _GPU_SIDE)
    longest = _longest(z)

    @cache  # each is made when the first rows need it
    def part(near: bool) -> Callable[[Tensor], Tensor]:
        return (_growth_part if near else _kernel_part)(z, W, gamma=gamma, n_columns=n_columns)

    def rows(start: int, stop: int) -> Tensor:
        x = X[start:stop] - shift
        return part(X.dtype == torch.float32 and 2.0 * gamma * longest * _longest(x) < _NO_OVERFLOW)(x)

    return torch.cat([W.new_empty(0, W.shape[1]), *in_row_blocks(rows, len(X), block=_block_rows(X, n_columns))])


def _kernel_part(z: Tensor, W: Tensor, *, gamma: float, n_columns: int) -> Callable[[Tensor], Tensor]:
    """Makes ``K(x, z) W`` of some rows x, from exponents that hold the whole distance: they are never above 0."""
    right, W = _right(z, gamma), _column_major(W)

    def product(x: Tensor) -> Tensor:
        left = _left(x, gamma)
        total, buffer = W.new_zeros(len(x), W.shape[1]), x.new_empty(len(x) * n_columns)
        longer = buffer if W.dtype == x.dtype else W.new_empty(len(buffer))
        for column in range(0, len(z), n_columns):
            block = _exp_block(left, right[column : column + n_columns], buffer)
            if longer is not buffer:
                block = longer[: block.numel()].view(block.shape).copy_(block)
            total += block @ W[column : column + n_columns]
        return total

    return product


def _growth_part(z: Tensor, W: Tensor, *, gamma: float, n_columns: int) -> Callable[[Tensor], Tensor]:
    """Makes ``K(x, z) W`` of some rows x as ``a(x) sum_j [(exp(2 gamma x.z_j) - 1) + 1] b_j w_j``.

    With a and b the exponentials of ``-gamma |x|^2`` and ``-gamma |z|^2``. Where samples are close to their mean by the
    width of the kernel, all kernel values are nearly equal and large weights of both signs cancel; here the equal part
    is summed in float64 and only the small rest in float32, at half the price of summing all in float64.
    """
    binary = gamma * _LOG2_E
    heavy = W * _fall(z, binary)  # b_j w_j, float64
    equal, light, scaled = heavy.sum(0), _column_major(heavy.to(z.dtype)), 2.0 * binary * z

    def product(x: Tensor) -> Tensor:
        total, buffer = heavy.new_zeros(len(x), heavy.shape[1]), x.new_empty(len(x) * n_columns)
        for column in range(0, len(z), n_columns):
            rows = scaled[column : column + n_columns]
            block = buffer[: len(x) * len(rows)].view(len(x), len(rows))
            torch.mm(x, rows.mT, out=block).exp2_().sub_(1.0)
            total += block @ light[column : column + n_columns]
        return ((total + equal) * _fall(x, binary)).to(W.dtype)

    return product


def gaussian_gram_matmul(X: Tensor, W: Tensor, *, gamma: float, share: int = 0, n_shares: int = 1) -> Tensor:
    """The product ``K(X, X) W``, of shape (n, columns): each block of the symmetric K is made once and used twice.

    Parameters
    ----------
    X
        (n, features)
    W
        (n, columns), in the dtype of X
    gamma
        inverse squared width
    share, n_shares
        makes only every ``n_shares``-th block, from block ``share`` on; all shares add up to the product
    """
    centred = X - X.mean(0)
    left, right = _left(centred, gamma), _right(centred, gamma)
    W = _column_major(W)
    product = X.new_zeros(W.shape[1], len(X)).mT  # column-major like W
    side = min(len(X), _gram_side(X))
    buffer = X.new_empty(side * side)
    turn = 0
    for i in range(0, len(X), side):
        for j in range(0, i + 1, side):
            turn += 1
            if (turn - 1) % n_shares != share:
                continue
            block = _exp_block(left[i : i + side], right[j : j + side], buffer)
            product[i : i + side] += block @ W[j : j + side]
            if i != j:
                product[j : j + side] += (W[i : i + side].mT @ block).mT
    return product


def _longest(x: Tensor) -> float:
    """The largest norm of a row."""
    return float(x.norm(dim=1).max())


def _fall(x: Tensor, binary: float) -> Tensor:
    """``exp(-gamma |x|^2)``, of shape (n, 1), float64."""
    return (-binary * x.double().square().sum(1, keepdim=True)).exp2()


def _column_major(W: Tensor) -> Tensor:
    """The same matrix, laid out by columns: a product with few of them is several times faster so."""
    return W.mT.contiguous().mT


def _left(x: Tensor, gamma: float | Tensor) -> Tensor:
    """``[2 c x, -c |x|^2, 1]`` with ``c = gamma log2 e``, of shape (..., n, features + 2)."""
    binary = gamma * _LOG2_E
    norm = x.square().sum(-1, keepdim=True)
    return torch.cat([2.0 * binary * x, -binary * norm, torch.ones_like(norm)], dim=-1)


def _right(z: Tensor, gamma: float | Tensor) -> Tensor:
    """``[z, 1, -c |z|^2]`` with ``c = gamma log2 e``, of shape (..., m, features + 2)."""
    norm = z.square().sum(-1, keepdim=True)
    return torch.cat([z, torch.ones_like(norm), -gamma * _LOG2_E * norm], dim=-1)


def _exp_block(left: Tensor, right: Tensor, buffer: Tensor) -> Tensor:
    """The kernel block of augmented samples, in a buffer that is used again and again."""
    block = buffer[: len(left) * len(right)].view(len(left), len(right))
    return torch.mm(left, right.mT, out=block).clamp_max_(0.0).exp2_()


def _tiles(matrix: Tensor, n_rows: int, n_columns: int) -> Iterator[tuple[slice, slice]]:
    """Row and column slices that cover a matrix piece by piece."""
    for i in range(0, matrix.shape[0], n_rows):
        for j in range(0, matrix.shape[1], n_columns):
            yield slice(i, i + n_rows), slice(j, j + n_columns)


def _gram_side(X: Tensor) -> int:
    """Side of the square blocks of which each is used twice."""
    if X.device.type != "cpu":
        return _GPU_SIDE
    return _GRAM_SIDES[X.element_size()]


def _block_rows(X: Tensor, n_columns: int) -> int:
    """Rows of a block: what the cache holds on a CPU, a quarter of the free memory elsewhere."""
    if X.device.type == "cpu":
        return _CACHE_ROWS * _CACHE_COLUMNS // min(n_columns, _CACHE_COLUMNS)
    return max(1, min(65536, free_bytes(X.device) // (4 * X.element_size() * n_columns)))
