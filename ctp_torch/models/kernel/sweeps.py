"""Sweeps of kernel ridge for the price of one fit: all training sizes, all penalties, all left-out samples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ctp_torch.models.base import working_dtype
from ctp_torch.models.kernel.kernel_ridge import KernelRidge
from ctp_torch.models.kernel.solvers import direct, iterative
from ctp_torch.models.kernel.solvers.plan import Plan
from ctp_torch.models.kernel.solvers.solution import Solution
from ctp_torch.ops.kernel.blocked_cholesky import blocked_cholesky_solve
from ctp_torch.ops.kernel.gaussian import gaussian_kernel

__all__ = ["learning_curve", "leave_one_out"]


def learning_curve(
    X: Tensor,
    Y: Tensor,
    sizes: Sequence[int],
    *,
    alpha: float = 0.1,
    gamma: float = 8.0,
    tolerance: float = 1e-5,
    center: bool = True,
) -> KernelRidge:
    """The models fitted to the first ``sizes[0]``, ``sizes[1]``, ... samples, as one model with a leading dimension.

    The leading blocks of a Cholesky factor are the factors of the leading samples: all sizes cost one factorisation,
    two triangular solves each, and a refinement that they share. ``predict`` gives (sizes, samples, targets), and makes
    the kernel once for all sizes.

    Parameters
    ----------
    X
        (samples, features)
    Y
        (samples, targets) or (samples,)
    sizes
        training sizes; each a number of leading samples
    alpha, gamma, tolerance, center
        as in ``KernelRidge``

    Raises
    ------
    ValueError
        if a size is below 1 or above the number of samples
    """
    if not sizes or min(sizes) < 1 or max(sizes) > len(X):
        raise ValueError(f"sizes must be between 1 and the {len(X)} samples, got {list(sizes)}")
    n = max(sizes)
    model = KernelRidge(alpha, gamma, solver="cholesky", tolerance=tolerance, center=center)
    targets = model._prepared(X[:n], Y[:n]).double()
    samples = X[:n].to(working_dtype(X)).clone()
    solution, intercepts, spreads = _nested(
        samples, targets, sizes, alpha=alpha, gamma=gamma, tolerance=tolerance, center=center
    )
    reason = f"{len(sizes)} training sizes share one Cholesky factor"
    models = torch.full((len(sizes),), alpha, dtype=torch.float64, device=X.device)
    model.plan_ = Plan(solver="cholesky", reason=reason, bytes=4 * n * n, approximate=False, n_centers=n)
    model._keep(solution, models, intercepts, spreads)
    model._seal(X.shape[1], single_target=Y.ndim == 1)
    return model


def _nested(
    X: Tensor, Y: Tensor, sizes: Sequence[int], *, alpha: float, gamma: float, tolerance: float, center: bool
) -> tuple[Solution, Tensor, Tensor]:
    """Zero-padded weights of every size, intercepts (sizes, targets) and spreads (sizes, targets)."""
    n, n_targets = Y.shape
    inside = torch.zeros(n, len(sizes), 1, dtype=torch.float64, device=X.device)  # whether a sample belongs to a size
    B = Y.new_zeros(n, len(sizes), n_targets)
    intercepts = Y.new_zeros(len(sizes), n_targets)
    for i, size in enumerate(sizes):
        inside[:size, i] = 1.0
        if center:
            intercepts[i] = Y[:size].mean(0)
        B[:size, i] = Y[:size] - intercepts[i]
    factor = direct.factored(X, alpha=alpha, gamma=gamma)

    def inner(R: Tensor, goal: float) -> tuple[Tensor, int]:
        W = torch.zeros_like(R)
        for i, size in enumerate(sizes):
            columns = slice(i * n_targets, (i + 1) * n_targets)
            W[:size, columns] = blocked_cholesky_solve(factor, R[:size, columns].to(factor.dtype)).to(R.dtype)
        return W, 1

    exact = iterative.exact_product(X, gamma=gamma)
    mask = inside.expand(-1, -1, n_targets).flatten(1)  # (samples, sizes * targets)
    shift = mask.new_full((mask.shape[1],), alpha)
    W, residual, n_iter = iterative.refined(
        inner, lambda W: exact(W) * mask, B.flatten(1), shift=shift, tolerance=tolerance
    )
    weights = W.reshape(n, len(sizes), n_targets).movedim(1, 0)  # (sizes, samples, targets)
    spreads = B.square().sum(0).div(inside.sum(0)).sqrt()  # (sizes, targets)
    return Solution(X, weights, residual, n_iter), intercepts, spreads


def leave_one_out(
    X: Tensor,
    Y: Tensor,
    *,
    alphas: Sequence[float],
    gamma: float = 8.0,
    center: bool = True,
    groups: Tensor | None = None,
) -> Tensor:
    """What every sample is missed by when it, or its whole group, is left out of the fit: (alphas, samples, targets).

    ``y_G - f_without_G(x_G) = [(K + alpha I)^-1]_GG^-1 w_G``: all samples and all alphas from one eigenvalue
    decomposition, without a single refit. The intercept (the mean of all y) is held.

    Parameters
    ----------
    X
        (samples, features); the decomposition takes 24 bytes and some 10 operations per samples^2 and samples^3
    Y
        (samples, targets)
    alphas
        penalties, positive
    gamma
        inverse squared width of the kernel
    center
        whether the mean of y is the intercept
    groups
        (samples,) integers, such as the patient of each sample: samples of one group are left out together

    Raises
    ------
    ValueError
        if an alpha isn't positive, or the shapes don't fit

    References
    ----------
    Rasmussen, Williams: Gaussian Processes for Machine Learning, section 5.4.2, equation 5.12.
    """
    if not alphas or min(alphas) <= 0.0:
        raise ValueError(f"alphas must be positive, got {list(alphas)}")
    if X.ndim != 2 or Y.ndim != 2 or len(X) != len(Y) or (groups is not None and groups.shape != X.shape[:1]):
        raise ValueError(
            f"X must be (samples, features) and Y (samples, targets), got {tuple(X.shape)}, {tuple(Y.shape)}"
        )
    samples, targets = X.double(), Y.double()
    if center:
        targets = targets - targets.mean(0)
    eigenvalues, Q = torch.linalg.eigh(gaussian_kernel(samples, samples, gamma=gamma))
    projected = Q.mT @ targets  # (samples, targets)
    missed = []
    for alpha in alphas:
        gain = 1.0 / (eigenvalues.clamp_min(0.0) + alpha)
        weights = Q @ (gain[:, None] * projected)  # (samples, targets)
        if groups is None:
            missed.append(weights / (Q.square() @ gain)[:, None])
            continue
        residual = torch.empty_like(weights)
        for group in torch.unique(groups).tolist():
            rows = (groups == group).nonzero().squeeze(1)
            block = (Q[rows] * gain) @ Q[rows].mT  # [(K + alpha I)^-1] of the group
            residual[rows] = torch.linalg.solve(block, weights[rows])
        missed.append(residual)
    return torch.stack(missed)
