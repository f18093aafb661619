"""Preconditioned conjugate gradients for many right-hand sides, each with a diagonal shift of its own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ctp_torch.ops.compute.ranks import mean_over_ranks

__all__ = ["conjugate_gradients"]


def conjugate_gradients(
    product: Callable[[Tensor], Tensor],
    B: Tensor,
    *,
    shift: Tensor,
    precondition: Callable[[Tensor], Tensor],
    tolerance: float,
    max_iter: int = 200,
) -> tuple[Tensor, int]:
    """W with ``(K + shift_c I) w_c = b_c`` for every column c, and the number of products with K it took.

    A column stops moving once its residual is below ``tolerance |b_c|``; the iteration ends when all have stopped.

    Parameters
    ----------
    product
        K times (n, columns); K symmetric and positive semi-definite
    B
        (n, columns) right-hand sides
    shift
        (columns,) added to the diagonal of K
    precondition
        an approximate inverse of ``K + shift I`` times (n, columns); symmetric and positive definite
    tolerance
        residual norm over the norm of b
    max_iter
        products with K at most; the caller judges the residual it is left with

    References
    ----------
    Hestenes, Stiefel: Methods of conjugate gradients for solving linear systems. 1952. doi:10.6028/jres.049.044.
    """
    # columns are rows in here: inner products run along memory, and (n, columns) goes out column-major
    R = B.mT.clone(memory_format=torch.contiguous_format)  # (columns, n)
    W = torch.zeros_like(R)
    goal = tolerance * _norm(R)
    Z = precondition(R.mT).mT
    P, rho = Z.clone(memory_format=torch.contiguous_format), _inner(R, Z)
    shift = shift.to(R)[:, None]
    for iteration in range(max_iter):
        active = _norm(R) > goal  # (columns,)
        if mean_over_ranks(float(active.any())) == 0.0:
            return W.mT, iteration
        KP = product(P.mT).mT + shift * P  # the product, nearly all of the cost, serves every column whatever its shift
        curvature = _inner(P, KP)
        moving = active & (curvature > 0.0)  # not positive: rounding has won, and a step would go anywhere
        step = torch.where(moving, rho / torch.where(moving, curvature, 1.0), 0.0).to(R)[:, None]
        W += step * P
        R -= step * KP  # by recurrence, which drifts from B - (K + shift) W: who needs the true one evaluates it
        Z = precondition(R.mT).mT
        rho_next = _inner(R, Z)
        # Fletcher-Reeves' ratio; a column that has stopped keeps its direction at zero step
        ratio = torch.where(moving & (rho > 0.0), rho_next / torch.where(rho > 0.0, rho, 1.0), 0.0).to(R)[:, None]
        P = Z + ratio * P
        rho = rho_next
    return W.mT, max_iter


def _inner(A: Tensor, B: Tensor) -> Tensor:
    """Inner products of the rows, summed in float64: directions stay conjugate by their quotients."""
    return (A * B).sum(-1, dtype=torch.float64)


def _norm(A: Tensor) -> Tensor:
    """Norms of the rows, summed in float64."""
    return A.square().sum(-1, dtype=torch.float64).sqrt()
