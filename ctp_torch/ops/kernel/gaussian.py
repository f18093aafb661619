"""Gaussian kernels between sets of curves, and products with them that never hold more than a block."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor

from ctp_torch.ops.compute.compiled import fused_library
from ctp_torch.ops.compute.gradients import gradient_asked
from ctp_torch.ops.compute.memory import free_bytes, in_row_blocks
from ctp_torch.ops.compute.threads import in_threads, n_groups, n_threads
from ctp_torch.ops.kernel.fused import add_growth_products, add_power_products, working_memory, write_powers

__all__ = ["gaussian_gram_matmul", "gaussian_kernel", "gaussian_kernel_matmul", "gaussian_rows"]

_LOG2_E = 1.4426950408889634
_TILE = 256, 1024  # measured: rows and columns of a kernel matrix that torch makes at a time
_FUSED_ROWS = 2048  # that the compiled loops make at a time, of all columns
_GRAM_SIDE = 512  # measured: blocks that a core's caches hold while torch uses them twice
_FUSED_SIDE = 960  # of the compiled loops, which hold none
_CACHED = 256  # columns of blocks that stay in a core's caches
_MEMORY_SHARED = 4  # blocks that are made in the same memory one after the other
_GPU_SIDE = 16384  # 1 GB in float32: enough work for one launch
_MANY = 64  # samples for each feature, of both sets, from which on turning them costs little beside products
_NO_OVERFLOW = 60.0  # exponent up to which exp is far from overflow in float32, and so is exp of minus it from 0


def gaussian_kernel(X: Tensor, Z: Tensor, *, gamma: float | Tensor, out: Tensor | None = None) -> Tensor:
    """The kernel matrix ``exp(-gamma |x - z|^2)``, of shape (..., n, m).

    The exponent comes out of one matrix product of augmented samples, ``-gamma |x - z|^2 =
    [2 gamma x, -gamma |x|^2, 1] . [z, 1, -gamma |z|^2]``, taken about the mean of Z so that little cancels; it is
    scaled by log2 e, because powers of two are up to three times faster on a CPU than powers of e. Gradients are
    followed where X, Z or gamma asks for them.

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
    if gradient_asked(left, right):
        return torch.matmul(left, right.mT).clamp_max(0.0).exp2()  # in new memory, as gradients need
    if X.ndim > 2 or Z.ndim > 2 or X.device.type != "cpu":
        return torch.matmul(left, right.mT, out=out).clamp_max_(0.0).exp2_()  # rounding must not lift any above 1
    kernel = X.new_empty(len(X), len(Z)) if out is None else out
    fused = fused_library(X.device) is not None
    n_rows, n_columns = (_FUSED_ROWS, max(1, len(Z))) if fused else _TILE

    def fill(rows: slice) -> None:
        for column in range(0, len(Z), n_columns):
            columns = slice(column, column + n_columns)
            write_powers(kernel[rows, columns], left[rows], right[columns])

    in_threads(fill, _row_slices(X, len(Z), size=n_rows), device=X.device)
    return kernel


def gaussian_rows(X: Tensor, *, gamma: float) -> Callable[[Tensor], Tensor]:
    """A function of indices that makes these rows of ``K(X, X)``, (indices, n): what all rows share is made once.

    Parameters
    ----------
    X
        (n, features)
    gamma
        inverse squared width
    """
    centred = X - X.mean(0)
    left, right = _left(centred, gamma), _right(centred, gamma)
    return lambda indices: torch.mm(left[indices], right.mT).clamp_max_(0.0).exp2_()


def gaussian_kernel_matmul(X: Tensor, Z: Tensor, W: Tensor, *, gamma: float) -> Tensor:
    """The product ``K(X, Z) W``, of shape (n, columns), with K in blocks that are never kept.

    On a CPU every core makes blocks of its own that stay in its cache; on a GPU a block takes a quarter of the free
    memory, and is halved if memory runs out all the same. Where a gradient is asked for, K is kept whole.

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
    if gradient_asked(X, Z, W):
        return gaussian_kernel(X, Z, gamma=gamma).to(W.dtype) @ W
    shift = Z.mean(0)
    z, (n_rows, n_columns) = Z - shift, _product_block(X, len(Z))
    longest = float(_squares(z).max()) ** 0.5

    @cache  # each is made when the first rows need it
    def part(near: bool) -> _Product:
        axes = _principal_axes(z) if near and min(len(X), len(Z)) >= _MANY * X.shape[1] else None
        make = partial(_growth_part, axes=axes) if near else _kernel_part
        return make(z, W, gamma=gamma, n_columns=n_columns)

    def of_rows(rows: slice, memory: Tensor) -> Tensor:
        x = X[rows] - shift
        squares = _squares(x)
        largest = 2.0 * gamma * longest * float(squares.max()) ** 0.5  # exponent of the growth
        product = part(X.dtype == torch.float32 and largest < _NO_OVERFLOW)
        return product(x, squares, largest, memory)

    def on_device(start: int, stop: int) -> Tensor:
        return of_rows(slice(start, stop), _memory(X, 2 * (stop - start), n_columns, W))

    def on_core(blocks: list[slice]) -> Tensor:
        memory = _memory(X, 2 * (blocks[0].stop - blocks[0].start), n_columns, W)
        return torch.cat([of_rows(rows, memory) for rows in blocks])

    if X.device.type == "cpu":
        blocks = _row_slices(X, len(Z), size=n_rows)
        size = max(1, min(_MEMORY_SHARED, -(-len(blocks) // n_groups(X.device, work=len(X) * len(Z)))))
        products = in_threads(on_core, [blocks[k : k + size] for k in range(0, len(blocks), size)], device=X.device)
    else:
        products = in_row_blocks(on_device, len(X), block=n_rows)
    return torch.cat([W.new_empty(0, W.shape[1]), *products])


_Product = Callable[[Tensor, Tensor, float, Tensor], Tensor]
"""K w of rows x (rows, features); with their squared norms, the largest exponent, and memory to work in."""


def _kernel_part(z: Tensor, W: Tensor, *, gamma: float, n_columns: int) -> _Product:
    """Makes ``K(x, z) W`` of some rows x, from exponents that hold the whole distance: they are never above 0."""
    if W.dtype != z.dtype and z.device.type == "cpu":
        n_columns = min(n_columns, _CACHED)  # blocks are written down, in both dtypes
    pieces = list(zip(_right(z, gamma).split(n_columns), W.mT.contiguous().split(n_columns, 1), strict=True))

    def product(x: Tensor, _norms: Tensor, _largest: float, memory: Tensor) -> Tensor:
        left, total = _left(x, gamma), W.new_zeros(W.shape[1], len(x))
        for right, some in pieces:
            if W.dtype == x.dtype:
                add_power_products(total, left, right, some, memory=memory)
            else:
                block = write_powers(x.new_empty(len(left), len(right)), left, right)
                total += some @ block.to(W.dtype).mT
        return total.mT

    return product


def _growth_part(z: Tensor, W: Tensor, *, gamma: float, n_columns: int, axes: Tensor | None) -> _Product:
    """Makes ``K(x, z) W`` of some rows x as ``a(x) sum_j [(exp(2 gamma x.z_j) - 1) + 1] b_j w_j``.

    With a and b the exponentials of ``-gamma |x|^2`` and ``-gamma |z|^2``. Where samples are close to their mean by the
    width of the kernel, all kernel values are nearly equal and large weights of both signs cancel; here the equal part
    is summed in float64 and only the small rest in float32, at half the price of summing all in float64.

    All samples are turned to the axes (features, features), where these are given.
    """
    binary = gamma * _LOG2_E
    heavy = W.mT * (-binary * _squares(z)).exp2().mT  # b_j w_j, (columns, m) in float64
    equal, light = heavy.sum(1, keepdim=True), heavy.to(z.dtype).contiguous()
    pieces = list(zip(_turned(z, axes).split(n_columns), light.split(n_columns, 1), strict=True))

    def product(x: Tensor, squares: Tensor, largest: float, memory: Tensor) -> Tensor:
        total = heavy.new_zeros(len(heavy), len(x))
        scaled = _turned(x, axes, scale=2.0 * binary)
        for some_z, some in pieces:
            add_growth_products(total, scaled, some_z, some, largest=_LOG2_E * largest, memory=memory)
        return ((total + equal).mT * (-binary * squares).exp2()).to(W.dtype)

    return product


def _principal_axes(z: Tensor) -> Tensor:
    """The principal axes of centred samples as columns (features, features), in float64, the least first.

    Along these, the sums of a dot product stay small until its last terms, and so does what float32 rounds off them.
    """
    exact = z.double()
    axes: Tensor = torch.linalg.eigh(exact.mT @ exact).eigenvectors
    return axes


def _turned(x: Tensor, axes: Tensor | None, *, scale: float = 1.0) -> Tensor:
    """Samples (rows, features) in the coordinates of axes (features, features), scaled; rounded once."""
    return scale * x if axes is None else (scale * (x.double() @ axes)).to(x.dtype)


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
    columns = W.mT.contiguous()  # (columns, n)
    side = _GPU_SIDE if X.device.type != "cpu" else _GRAM_SIDE if fused_library(X.device) is None else _FUSED_SIDE
    corners = [(i, j) for i in range(0, len(X), side) for j in range(0, i + 1, side)][share::n_shares]

    def summed(some: list[tuple[int, int]]) -> Tensor:
        product, spare = torch.zeros_like(columns), torch.zeros_like(columns)
        memory = _memory(X, min(side, len(X)), min(side, len(X)), W)
        for i, j in some:
            rows, others = slice(i, i + side), slice(j, j + side)
            add_power_products(
                product[:, rows],
                left[rows],
                right[others],
                columns[:, others],
                memory=memory,
                down=(product if i != j else spare)[:, others],  # the diagonal is its own mirror image
                Q=columns[:, rows],
            )
        return product

    step = n_groups(X.device, work=len(X) ** 2)
    groups = [corners[k::step] for k in range(min(step, len(corners)))]
    product: Tensor = sum(in_threads(summed, groups, device=X.device), torch.zeros_like(columns))
    return product.mT


def _squares(x: Tensor) -> Tensor:
    """The squared norms of the rows, (n, 1) in float64."""
    return x.square().sum(1, keepdim=True, dtype=torch.float64)


def _left(x: Tensor, gamma: float | Tensor) -> Tensor:
    """``[2 c x, -c |x|^2, 1]`` with ``c = gamma log2 e``, of shape (..., n, features + 2)."""
    binary = gamma * _LOG2_E
    norm = x.square().sum(-1, keepdim=True)
    return torch.cat([2.0 * binary * x, -binary * norm, torch.ones_like(norm)], dim=-1)


def _right(z: Tensor, gamma: float | Tensor) -> Tensor:
    """``[z, 1, -c |z|^2]`` with ``c = gamma log2 e``, of shape (..., m, features + 2)."""
    norm = z.square().sum(-1, keepdim=True)
    return torch.cat([z, torch.ones_like(norm), -gamma * _LOG2_E * norm], dim=-1)


def _memory(X: Tensor, n_rows: int, n_columns: int, W: Tensor) -> Tensor:
    """What the products of blocks with W (m, columns) are made in."""
    return working_memory(X, n_rows, n_columns, features=X.shape[1] + 2, columns=W.shape[1])


def _row_slices(X: Tensor, n_columns: int, *, size: int) -> list[slice]:
    """Blocks of at most ``size`` rows, at least one for each thread where there is enough to do."""
    n = len(X)
    size = max(1, min(size, -(-n // n_threads(X.device, work=n * n_columns))))
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def _product_block(X: Tensor, m: int) -> tuple[int, int]:
    """Rows and columns, measured on processors, of the blocks that are made of a product with (m, columns)."""
    if X.device.type != "cpu":
        n_columns = min(m, _GPU_SIDE)
        return max(1, min(65536, free_bytes(X.device) // (4 * X.element_size() * n_columns))), n_columns
    if fused_library(X.device) is not None:
        return _FUSED_ROWS, m
    # what stays in a core's caches; few columns, after which sums in float32 go over to float64
    rows, n_columns = (2048, _CACHED) if X.dtype == torch.float64 else (4096, _CACHED // 2)
    return rows, min(m, n_columns)
