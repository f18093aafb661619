"""Exact kernel ridge in O(samples) memory: accelerated sketch and project over random blocks of samples."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from ctp_torch.errors import ConvergenceWarning, NumericalError
from ctp_torch.models.kernel.solvers.iterative import exact_product
from ctp_torch.models.kernel.solvers.solution import Solution
from ctp_torch.ops.compute.ranks import mean_over_ranks, row_share, sum_over_ranks
from ctp_torch.ops.kernel.gaussian import gaussian_kernel, gaussian_kernel_matmul

__all__ = ["solve"]

_RANK = 200  # of the preconditioner of a block
_POWER_STEPS = 10
_CHECKED = 512  # samples at which the residual is estimated after each pass


def solve(
    X: Tensor, Y: Tensor, *, alpha: float, gamma: float, tolerance: float, seed: int, max_passes: int = 200
) -> Solution:
    """The exact weights, by steps that touch one block B of samples and cost one product of (block, samples).

    A step moves w_B against its residual, ``w_B -= (K^ + rho I)^-1 (K_B w + alpha w_B - y_B) / L`` with K^ a Nystrom
    approximation of K_BB, rho its damping and L the largest eigenvalue of the preconditioned block; Nesterov's
    acceleration carries momentum from block to block.

    Parameters
    ----------
    X
        (samples, features)
    Y
        (samples, targets), float64, about their intercept
    alpha
        positive penalty
    gamma
        inverse squared width of the kernel
    tolerance
        relative residual
    seed
        draws the blocks
    max_passes
        times that every sample is visited, on average, at most

    References
    ----------
    Rathore, Frangella, Yang, Derezinski, Udell: Have ASkotch: a neat solution for large-scale kernel ridge regression.
    arXiv:2407.10070.
    """
    n, bulk, targets = len(X), X.float(), Y.float()
    generator = torch.Generator().manual_seed(seed)
    size = min(n, max(1000, n // 100))
    nu = n / size
    mu = min(alpha, 1.0 / nu)
    keep, stride = 1.0 - math.sqrt(mu / nu), 1.0 / math.sqrt(mu * nu)
    mix = 1.0 / (1.0 + stride * nu)
    w = torch.zeros_like(targets)
    v, z = w.clone(), w.clone()
    checked = torch.randperm(n, generator=generator)[:_CHECKED].to(X.device)
    scale = Y.norm(dim=0)
    scale = torch.where(scale > 0, scale, 1.0)
    passes, residual = 0, 1.0
    while passes < max_passes and residual > 0.7 * tolerance:
        passes += 1
        for _ in range(math.ceil(n / size)):
            block = torch.randperm(n, generator=generator)[:size].to(X.device)
            gradient = _rows_product(bulk, block, z, gamma=gamma) + alpha * z[block] - targets[block]
            step = _projected(bulk[block], gradient, alpha=alpha, gamma=gamma, generator=generator)
            w = z.index_add(0, block, step, alpha=-1.0)
            v = (keep * v + (1.0 - keep) * z).index_add_(0, block, step, alpha=-stride)
            z = mix * v + (1.0 - mix) * w
        estimate = _rows_product(bulk, checked, w, gamma=gamma) + alpha * w[checked] - targets[checked]
        residual = float((estimate.double().norm(dim=0) / scale).max()) * math.sqrt(n / len(checked))
        residual = mean_over_ranks(residual)
        if not math.isfinite(residual):
            raise NumericalError("ASkotch ran into NaN: use a larger alpha, or solver='blocked_cg'")
    weights = w.double()
    left = Y - exact_product(X, gamma=gamma)(weights) - alpha * weights
    residual = float((left.norm(dim=0) / scale).max())
    if residual > tolerance:
        warnings.warn(
            f"ASkotch stopped at a relative residual of {residual:.1e}, above the tolerance {tolerance:.1e}, after "
            f"{passes} passes: use a larger tolerance or alpha, or solver='blocked_cg'",
            ConvergenceWarning,
            stacklevel=2,
        )
    return Solution(X, weights[None], residual, passes)


def _rows_product(X: Tensor, rows: Tensor, W: Tensor, *, gamma: float) -> Tensor:
    """K(X[rows], X) W, the columns of K dealt out to the ranks."""
    share = row_share(len(X))
    product = gaussian_kernel_matmul(X[rows], X[share], W[share], gamma=gamma)
    sum_over_ranks(product)
    return product


def _projected(X: Tensor, gradient: Tensor, *, alpha: float, gamma: float, generator: torch.Generator) -> Tensor:
    """``(K^ + rho I)^-1 gradient / L`` for the samples X of one block."""
    K = gaussian_kernel(X, X, gamma=gamma).double()
    rank = min(len(X), _RANK)
    sketch = torch.linalg.qr(torch.randn(len(X), rank, generator=generator, dtype=torch.float64).to(X.device)).Q
    # 1. Nystrom factor F F' of the block, damped by its smallest eigenvalue
    image = K @ sketch
    jitter = len(X) * torch.finfo(torch.float32).eps
    inside = torch.linalg.cholesky(sketch.mT @ image + jitter * torch.eye(rank, dtype=K.dtype, device=K.device))
    F = torch.linalg.solve_triangular(inside.mT, image, upper=True, left=False)
    gram = F.mT @ F
    rho = alpha + float(torch.linalg.eigvalsh(gram)[0].clamp_min(0.0))
    factor = torch.linalg.cholesky(gram + rho * torch.eye(rank, dtype=K.dtype, device=K.device))

    def inverse(R: Tensor) -> Tensor:
        inside: Tensor = torch.cholesky_solve(F.mT @ R, factor)  # (rank, columns)
        left: Tensor = (R - F @ inside) / rho
        return left

    # 2. the largest eigenvalue of the preconditioned block, by power iteration
    largest = _largest(lambda u: inverse(K @ u + alpha * u), sketch[:, :1])
    step = inverse(gradient.double())
    return step.div_(max(1.0, largest)).float()


def _largest(apply: Callable[[Tensor], Tensor], start: Tensor) -> float:
    """The largest eigenvalue of a positive operator, from below, by power iteration."""
    u, eigenvalue = start, 1.0
    for _ in range(_POWER_STEPS):
        u = apply(u)
        eigenvalue = float(u.norm())
        u = u / eigenvalue
    return eigenvalue
