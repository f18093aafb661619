"""Gaussian kernels between sets of curves, and products with them that never hold more than a block."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["gaussian_kernel", "gaussian_kernel_matmul"]

_ROWS, _COLUMNS = 2048, 1024  # 8 MB in float32: one gemm, one exp and one sum without leaving the cache


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
    shift = Z.mean(-2, keepdim=True)
    return _kernel_block(*augmented(X, Z, shift, gamma))


def gaussian_kernel_matmul(X: Tensor, Z: Tensor, W: Tensor, *, gamma: float) -> Tensor:
    """The product ``K(X, Z) W``, of shape (n, columns), with K in cache-sized blocks that are never kept.

    Parameters
    ----------
    X
        (n, features)
    Z
        (m, features), in the dtype of X
    W
        (m, columns), in the dtype of X
    gamma
        inverse squared width
    """
    left, right = augmented(X, Z, Z.mean(-2, keepdim=True), gamma)
    product = X.new_zeros(len(X), W.shape[1])
    buffer = X.new_empty(_ROWS * _COLUMNS)
    for row in range(0, len(X), _ROWS):
        rows = left[row : row + _ROWS]
        for column in range(0, len(Z), _COLUMNS):
            columns = right[column : column + _COLUMNS]
            block = buffer[: len(rows) * len(columns)].view(len(rows), len(columns))
            torch.mm(rows, columns.mT, out=block)
            product[row : row + _ROWS].addmm_(block.clamp_max_(0.0).exp_(), W[column : column + _COLUMNS])
    return product


def augmented(X: Tensor, Z: Tensor, shift: Tensor, gamma: float | Tensor) -> tuple[Tensor, Tensor]:
    """X and Z with two more columns each, so that their inner product is ``-gamma |x - z|^2``."""
    if isinstance(gamma, Tensor):
        gamma = gamma.to(X)[..., None, None]
    x, z = X - shift, Z - shift
    x_norm, z_norm = x.square().sum(-1, keepdim=True), z.square().sum(-1, keepdim=True)
    left = torch.cat([2.0 * gamma * x, -gamma * x_norm, torch.ones_like(x_norm)], dim=-1)
    right = torch.cat([z, torch.ones_like(z_norm), -gamma * z_norm], dim=-1)
    return left, right


def _kernel_block(left: Tensor, right: Tensor) -> Tensor:
    """``exp`` of the inner products of augmented samples; rounding must not lift an entry above 1."""
    return torch.matmul(left, right.mT).clamp_max_(0.0).exp_()
