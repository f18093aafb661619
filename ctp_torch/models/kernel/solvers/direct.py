"""Exact kernel ridge by Cholesky: float64 and batched when small, float32 blocks in place and refined when large."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from ctp_torch.errors import ConvergenceWarning, NumericalError
from ctp_torch.models.kernel.solvers.iterative import exact_product, refined
from ctp_torch.models.kernel.solvers.solution import Solution
from ctp_torch.ops.kernel.blocked_cholesky import blocked_cholesky_, blocked_cholesky_solve
from ctp_torch.ops.kernel.gaussian import gaussian_kernel

__all__ = ["SMALL", "factored", "solve", "solve_batch"]

SMALL = 4000  # samples up to which float64 and one call are as fast as anything


def solve(X: Tensor, Y: Tensor, *, alphas: Tensor, gamma: float, tolerance: float) -> Solution:
    """The exact weights; Y must be float64 and about its intercept. One factor per alpha."""
    if len(X) <= SMALL:
        gammas = torch.full_like(alphas, gamma)
        exact = X.double().expand(len(alphas), *X.shape)
        weights = solve_batch(exact, Y.expand(len(alphas), *Y.shape), alphas=alphas, gammas=gammas)
        return Solution(X, weights, float("nan"))
    solutions, residuals = [], []
    for alpha in alphas:
        factor = factored(X, alpha=float(alpha), gamma=gamma)
        shift = alpha.expand(Y.shape[1])

        def inner(R: Tensor, goal: float, factor: Tensor = factor) -> tuple[Tensor, int]:
            return blocked_cholesky_solve(factor, R), 1

        W, residual, _ = refined(inner, exact_product(X, gamma=gamma), Y, shift=shift, tolerance=tolerance)
        solutions.append(W)
        residuals.append(residual)
    return Solution(X, torch.stack(solutions), max(residuals), 1)


def factored(X: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Lower Cholesky factor of ``K + alpha I``, for refinement; what is above the diagonal is not zeroed.

    In float64 for few samples, in float32 for many.

    Raises
    ------
    NumericalError
        if alpha is too small for that precision
    """
    bulk = X.double() if len(X) <= SMALL else X.float()
    K = bulk.new_empty(len(X), len(X))
    for start in range(0, len(X), 4096):
        stop = min(start + 4096, len(X))
        K[start:stop, :stop] = gaussian_kernel(bulk[start:stop], bulk[:stop], gamma=gamma)
    K.diagonal().add_(alpha)
    if not blocked_cholesky_(K):
        raise NumericalError(
            f"alpha={alpha:.1e} is too small to factor the {len(X)} x {len(X)} kernel matrix in {K.dtype}: use a "
            "larger alpha, or solver='pivoted'"
        )
    return K


def solve_batch(X: Tensor, Y: Tensor, *, alphas: Tensor, gammas: Tensor) -> Tensor:
    """Exact weights (models, samples, targets) of many models by one batched factorisation in float64.

    Parameters
    ----------
    X
        (models, samples, features), float64
    Y
        (models, samples, targets), float64, about the intercepts
    alphas, gammas
        (models,), float64

    Raises
    ------
    NumericalError
        if a kernel matrix can't be factored even with jitter
    """
    K = gaussian_kernel(X, X, gamma=gammas)  # (models, samples, samples)
    diagonal = K.diagonal(dim1=-2, dim2=-1)
    diagonal += alphas[:, None]
    factor, failed = torch.linalg.cholesky_ex(K)
    jitter = 1e-10  # enough that the weights keep six digits
    while bool(failed.any()):
        if jitter > 1e-6:
            raise NumericalError(
                f"the {X.shape[-2]} x {X.shape[-2]} kernel matrix can't be factored: use a larger alpha"
            )
        warnings.warn(
            f"alpha={float(alphas.min()):.1e} leaves the kernel matrix singular in float64 (repeated samples?); added "
            f"{jitter:.1e} to its diagonal",
            ConvergenceWarning,
            stacklevel=2,
        )
        diagonal += jitter
        factor, failed = torch.linalg.cholesky_ex(K)
        jitter *= 100.0
    return torch.cholesky_solve(Y, factor)
