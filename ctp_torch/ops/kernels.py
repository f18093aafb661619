"""Gaussian kernels between sets of curves, and products with them that never hold more than a block."""

from __future__ import annotations

import torch
from torch import Tensor

from ctp_torch.ops.chunks import free_bytes, in_row_blocks

__all__ = ["gaussian_gram_matmul", "gaussian_kernel", "gaussian_kernel_matmul"]

_CACHE_SIDE = 512  # 1 MB in float32: product, exp and sum without leaving the cache of a core
_GPU_SIDE = 16384  # 1 GB in float32: enough work for one launch


def gaussian_kernel(X: Tensor, Z: Tensor, *, gamma: float | Tensor) -> Tensor:
    """The kernel matrix ``exp(-gamma |x - z|^2)``, of shape (..., n, m).

    The squared distance comes out of one matrix product of augmented samples, ``-gamma |x - z|^2 =
    [2 gamma x, -gamma |x|^2, 1] . [z, 1, -gamma |z|^2]``, taken about the mean of Z so that little cancels.

    Parameters
    ----------
    X
        (..., n, features)
    Z
        (..., m, features), in the dtype of X
    gamma
        inverse squared width; a number or a tensor that broadcasts over the leading dimensions
    """
    if isinstance(gamma, Tensor):
        gamma = gamma.to(X)[..., None, None]
    shift = Z.mean(-2, keepdim=True)
    left, right = _left(X - shift, gamma), _right(Z - shift, gamma)
    return torch.matmul(left, right.mT).clamp_max_(0.0).exp_()  # rounding must not lift an entry above 1


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
        (m, columns); with W in float64 and X in float32 the kernel is made in float32 and summed in float64, which is
        where the digits go when large weights of both signs cancel
    gamma
        inverse squared width
    """
    shift = Z.mean(0)
    right = _right(Z - shift, gamma)
    W = W.mT.contiguous().mT  # column-major: a product with few columns is several times faster so
    n_columns = min(len(Z), _CACHE_SIDE if X.device.type == "cpu" else _GPU_SIDE)

    def rows(start: int, stop: int) -> Tensor:
        left = _left(X[start:stop] - shift, gamma)
        product, buffer = W.new_zeros(stop - start, W.shape[1]), X.new_empty((stop - start) * n_columns)
        longer = buffer if W.dtype == X.dtype else W.new_empty(len(buffer))
        for column in range(0, len(Z), n_columns):
            block = _exp_block(left, right[column : column + n_columns], buffer)
            if longer is not buffer:
                block = longer[: block.numel()].view(block.shape).copy_(block)
            product += block @ W[column : column + n_columns]
        return product

    return torch.cat([W.new_empty(0, W.shape[1]), *in_row_blocks(rows, len(X), block=_block_rows(X, n_columns))])


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
    W = W.mT.contiguous().mT
    product = X.new_zeros(W.shape[1], len(X)).mT  # column-major like W
    side = min(len(X), 8 * _CACHE_SIDE // X.element_size() if X.device.type == "cpu" else _GPU_SIDE)
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


def _left(x: Tensor, gamma: float | Tensor) -> Tensor:
    """``[2 gamma x, -gamma |x|^2, 1]``, of shape (..., n, features + 2)."""
    norm = x.square().sum(-1, keepdim=True)
    return torch.cat([2.0 * gamma * x, -gamma * norm, torch.ones_like(norm)], dim=-1)


def _right(z: Tensor, gamma: float | Tensor) -> Tensor:
    """``[z, 1, -gamma |z|^2]``, of shape (..., m, features + 2)."""
    norm = z.square().sum(-1, keepdim=True)
    return torch.cat([z, torch.ones_like(norm), -gamma * norm], dim=-1)


def _exp_block(left: Tensor, right: Tensor, buffer: Tensor) -> Tensor:
    """The kernel block of augmented samples, in a buffer that is used again and again."""
    block = buffer[: len(left) * len(right)].view(len(left), len(right))
    return torch.mm(left, right.mT, out=block).clamp_max_(0.0).exp_()


def _block_rows(X: Tensor, n_columns: int) -> int:
    """Rows of a block: what the cache holds on a CPU, a quarter of the free memory elsewhere."""
    if X.device.type == "cpu":
        return _CACHE_SIDE * _CACHE_SIDE // min(n_columns, _CACHE_SIDE)
    return max(1, min(65536, free_bytes(X.device) // (4 * X.element_size() * n_columns)))
