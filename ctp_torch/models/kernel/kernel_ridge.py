"""Gaussian kernel ridge regression, the paper's best model, at any number of samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor

from ctp_torch.models.base import Regressor, check_finite, working_dtype
from ctp_torch.models.file_checks import check_kernel
from ctp_torch.models.kernel.solvers import askotch, direct, iterative, low_rank
from ctp_torch.models.kernel.solvers.effective_dof import effective_dof
from ctp_torch.models.kernel.solvers.plan import DEFAULT_CENTERS, Plan, Solver, check_solver, planned
from ctp_torch.models.kernel.solvers.solution import Solution
from ctp_torch.ops.compute.memory import free_bytes, in_row_blocks
from ctp_torch.ops.compute.ranks import min_over_ranks, n_ranks, own_rank
from ctp_torch.ops.kernel.gaussian import gaussian_kernel_matmul

__all__ = ["KernelRidge"]

_PILOT_RANK = 768  # pivots beyond which auto takes a kernel for too rough to be solved by them
_GROWN_RANK = 4096
_ROUNDING_OF_SUMS, _ROUNDING_OF_KERNELS = 1e-4, 2e-4  # of the targets' spread: above it, float64


class KernelRidge(Regressor):
    """Kernel ridge regression ``f(x) = sum_i w_i exp(-gamma |x - x_i|^2) + b`` with ``(K + alpha I) w = y - b``.

    All targets share one factorisation. b is the mean of y (``center=True``) or 0.

    Sequences of ``alpha`` and ``gamma``, and leading dimensions of X and Y, broadcast against each other as in torch,
    and make one model each: predictions then have these leading dimensions.

    Parameters
    ----------
    alpha
        the penalty on the diagonal of K; absolute, not per sample (as in scikit-learn)
    gamma
        inverse squared width of the kernel, in the inverse squared unit of the features; ``1 / (2 sigma^2)``
    solver
        ``cholesky``: one factor. ``cg``: conjugate gradients, K stored in float32, residuals in float64.
        ``blocked_cg``: the same with K never stored. ``askotch``: sketch and project, O(samples) memory.
        ``nystrom``: spanned by ``n_centers`` random samples (an approximation unless the kernel is smooth).
        ``pivoted``: spanned by ``n_centers`` samples, an eighth of them pivots and the rest drawn by what these leave;
        or by as many pivots as the tolerance takes. ``auto``: the fastest that fits; ``plan_`` says which and why.
    n_centers
        centres of a low-rank model; asks ``auto`` for a pivoted one
    tolerance
        relative residual ``|y - b - (K + alpha I) w| / |y - b|`` at which iterations stop
    center
        whether b is the mean of y; False is scikit-learn's model
    seed
        chooses centres and blocks

    References
    ----------
    Saunders, Gammerman, Vovk: Ridge regression learning algorithm in dual variables. ICML 1998.
    Rudi, Carratino, Rosasco: FALKON: an optimal large scale kernel method. arXiv:1705.10958.

    Examples
    --------
    >>> X = torch.linspace(0, 1, 50)[:, None]
    >>> KernelRidge(alpha=1e-3).fit(X, (6 * X).sin()).predict(torch.tensor([[0.5]]))
    tensor([[0.1411]])
    """

    _batched: ClassVar[bool] = True
    _streams: ClassVar[bool] = True

    centers_: Tensor
    """(..., centers, features): the training samples, or those that span a low-rank model."""
    dual_coef_: Tensor
    """(..., centers, targets): w, float64."""
    intercept_: Tensor
    """(..., targets): b, float64."""
    plan_: Plan
    """The solver, why, its predicted bytes, and whether the model is an approximation."""
    residual_: float | None
    """Largest relative residual over the targets; None where a direct solver left nothing to iterate."""
    n_iter_: int
    """Products with K, or passes over the samples, that an iteration took."""

    def __init__(
        self,
        alpha: float | Sequence[float] = 0.1,
        gamma: float | Sequence[float] = 8.0,
        *,
        solver: Solver = "auto",
        n_centers: int | None = None,
        tolerance: float = 2e-6,
        center: bool = True,
        seed: int = 0,
    ) -> None:
        self.alpha = alpha
        self.gamma = gamma
        self.solver = solver
        self.n_centers = n_centers
        self.tolerance = tolerance
        self.center = center
        self.seed = seed

    def fit_blocks(self, blocks: Iterable[tuple[Tensor, Tensor]]) -> Self:
        """The low-rank model of samples in blocks, walked two or three times: memory doesn't grow with their number.

        Parameters
        ----------
        blocks
            pairs of X (rows, features) and Y (rows, targets); a list, or anything that can be iterated again

        Raises
        ------
        ValueError
            if the blocks can be walked only once, don't fit each other, or ``solver`` or ``gamma`` rule it out
        """
        self._forget()
        self._check_parameters()
        if iter(blocks) is blocks:
            raise ValueError("blocks are walked more than once: give a list, or an object whose __iter__ starts again")
        if self.solver not in ("auto", "nystrom"):
            raise ValueError(f"blocks of samples need solver='auto' or 'nystrom', not {self.solver!r}")
        centers = low_rank.drawn(_checked(blocks), self.n_centers or DEFAULT_CENTERS, seed=self.seed)
        alpha, gamma = self._broadcast(torch.Size(), centers.device)
        reason = "the samples come in blocks: a low-rank model on random centres"
        self.plan_ = self._planned("nystrom", len(centers), alpha=alpha, gamma=gamma, reason=reason)

        def shared() -> Iterator[tuple[Tensor, Tensor]]:
            return (block for i, block in enumerate(blocks) if i % n_ranks() == own_rank())

        self._keep_low_rank(shared, centers, alpha, gamma, working_dtype(centers))
        self._seal(centers.shape[-1], single_target=False)
        return self

    def _fit(self, X: Tensor, Y: Tensor) -> None:
        """Plan, solve, and keep what predictions need."""
        self._check_parameters()
        alpha, gamma = self._broadcast(X.shape[:-2], X.device)
        self.plan_ = self._planned(self.solver, X.shape[-2], alpha=alpha, gamma=gamma, batched=X.ndim > 2)
        solver, n_centers = self.plan_["solver"], self.plan_["n_centers"]
        if solver == "nystrom" or (solver == "pivoted" and self.n_centers is not None):
            choose = low_rank.random_centers if solver == "nystrom" else low_rank.pivots
            centers = choose(X, n_centers, gamma=float(gamma.flatten()[0]), seed=self.seed)
            self._keep_low_rank(lambda: low_rank.row_blocks(X, Y), centers, alpha, gamma, working_dtype(X))
            return
        targets = Y.double()
        intercept = targets.mean(-2) if self.center else torch.zeros_like(targets[..., 0, :])
        targets = targets - intercept.unsqueeze(-2)
        samples = X.to(torch.promote_types(working_dtype(X), Y.dtype)).clone()
        if X.ndim > 2 or _differ(gamma):
            weights = _fitted_batch(samples, targets, alpha, gamma)
            solution = Solution(samples, weights, math.nan)
        else:
            solution = self._solved(samples, targets, alpha.flatten(), float(gamma.flatten()[0]))
        self._keep(solution, alpha, intercept, targets.square().mean(-2).sqrt())

    def _solved(self, X: Tensor, Y: Tensor, alphas: Tensor, gamma: float) -> Solution:
        """The weights by the planned solver; ``auto`` first tries whether the kernel is smooth."""
        solver, tolerance, seed = self.plan_["solver"], self.tolerance, self.seed
        may_be_smooth = self.solver == "auto" and solver not in ("cholesky", "pivoted")
        max_rank, first = _GROWN_RANK, 128
        if may_be_smooth:
            max_rank = _PILOT_RANK
            alpha = float(alphas.min())
            rank = low_rank.likely_rank(X, alpha=alpha, gamma=gamma, tolerance=tolerance, max_rank=max_rank, seed=seed)
            may_be_smooth, first = rank is not None, rank or 0
        if solver == "pivoted" or may_be_smooth:
            result = low_rank.grown(
                X, Y, alphas=alphas, gamma=gamma, tolerance=tolerance, max_rank=max_rank, seed=seed, first=first
            )
            smooth = result.residual <= tolerance
            if smooth and solver != "pivoted":
                rank, residual = len(result.centers), result.residual
                self.plan_["reason"] = f"the kernel is smooth: {rank} pivots solve it to a residual of {residual:.0e}"
                self.plan_["solver"] = "pivoted"
            if smooth or solver == "pivoted":
                self.plan_["approximate"] = not smooth
                return result._replace(centers=result.centers.to(X.dtype))  # they are samples
        if solver == "cholesky":
            return direct.solve(X, Y, alphas=alphas, gamma=gamma, tolerance=tolerance)
        if float(alphas.min()) == 0.0:
            raise ValueError(f"solver={solver!r} needs alpha > 0: use solver='cholesky' or 'pivoted'")
        if solver == "askotch":
            runs = [
                askotch.solve(X, Y, alpha=float(alpha), gamma=gamma, tolerance=tolerance, seed=seed) for alpha in alphas
            ]
            weights = torch.cat([run.weights for run in runs])
            return Solution(X, weights, max(run.residual for run in runs), sum(run.n_iter for run in runs))
        stored = solver == "cg"
        return iterative.solve(X, Y, alphas=alphas, gamma=gamma, tolerance=tolerance, stored=stored, seed=seed)

    def _keep_low_rank(
        self,
        blocks: Callable[[], Iterable[tuple[Tensor, Tensor]]],
        centers: Tensor,
        alpha: Tensor,
        gamma: Tensor,
        dtype: torch.dtype,
    ) -> None:
        """Solve on given centres and keep the model."""
        if _differ(gamma):
            raise ValueError("several gammas need solver='cholesky'")
        width = float(gamma.flatten()[0])
        solution, intercept, spread = low_rank.solve(
            blocks, centers, alphas=alpha.flatten(), gamma=width, center=self.center, single=dtype == torch.float32
        )
        self._keep(solution._replace(centers=solution.centers.to(dtype)), alpha, intercept, spread)

    def _keep(self, solution: Solution, alpha: Tensor, intercept: Tensor, spread: Tensor) -> None:
        """Store the model, in dtypes whose rounding doesn't show: large weights of both signs cancel in predictions."""
        weights = solution.weights.reshape(*alpha.shape, *solution.weights.shape[-2:])
        size = weights.norm(dim=-2) / torch.where(spread > 0, spread, 1.0)  # (..., targets)
        rounding = float(size.max()) * torch.finfo(torch.float32).eps / 2
        rounding_of_kernels = rounding * self._largest_growth(solution.centers)
        # measured on time curves: the largest error is 15 times this for float32 sums, twice this for float32 kernels;
        # an approximation differs from the exact model by a hundred times more than float32 sums cost it
        allowed = _ROUNDING_OF_SUMS * (10.0 if self.plan_["approximate"] else 1.0)
        short = 15.0 * rounding < allowed and solution.centers.dtype == torch.float32
        self.dual_coef_ = weights.to(torch.float32 if short else torch.float64).contiguous()
        precise = 2.0 * rounding_of_kernels < _ROUNDING_OF_KERNELS
        self.centers_ = solution.centers if precise else solution.centers.double()
        self.intercept_ = intercept.expand(*alpha.shape, intercept.shape[-1]).contiguous()
        self.residual_ = solution.residual if math.isfinite(solution.residual) else None
        self.n_iter_ = solution.n_iter
        self.plan_["n_centers"] = solution.centers.shape[-2]
        if solution.dof is not None:
            self.low_rank_dof_ = solution.dof.reshape(alpha.shape)

    def _largest_growth(self, centers: Tensor) -> float:
        """The scale at which kernels are rounded: 1, or the largest exponent among the centres where that is small."""
        if centers.ndim > 2:
            return 1.0
        width = torch.as_tensor(self.gamma, dtype=torch.float64).max()
        longest = (centers - centers.mean(0)).square().sum(1).max()
        return min(1.0, 2.0 * float(width) * float(longest))

    def _predict(self, X: Tensor) -> Tensor:
        """``K(X, centers) w + b``, block by block; models on the same centres share the kernel."""
        dtype = torch.promote_types(working_dtype(X), self.centers_.dtype)
        samples, centers = X.to(dtype), self.centers_.to(dtype)
        weights = self.dual_coef_.to(torch.promote_types(dtype, self.dual_coef_.dtype))
        models, (n_centers, n_targets) = weights.shape[:-2], weights.shape[-2:]
        _, gamma = self._broadcast(models, "cpu")
        flat = weights.reshape(-1, n_centers, n_targets)
        if centers.ndim == 2 and X.ndim == 2 and not _differ(gamma):
            columns = flat.movedim(0, 1).reshape(n_centers, -1)  # (centers, models * targets)
            values = gaussian_kernel_matmul(samples, centers, columns, gamma=float(gamma.flatten()[0]))
            predictions = values.reshape(len(X), len(flat), n_targets).movedim(1, 0)  # (models, samples, targets)
        else:
            samples = samples.expand(*models, *X.shape[-2:]).reshape(-1, *X.shape[-2:])
            centers = centers.expand(*models, *centers.shape[-2:]).reshape(-1, *centers.shape[-2:])
            widths = gamma.flatten().tolist()
            each = zip(samples, centers, flat, widths, strict=True)
            predictions = torch.stack([gaussian_kernel_matmul(x, z, w, gamma=g) for x, z, w, g in each])
        return predictions.reshape(*models, X.shape[-2], n_targets) + self.intercept_.unsqueeze(-2)

    def _check_fit(self) -> int:
        """Parameters that can be meant, and a weight of every centre for every target."""
        self._check_parameters()
        return check_kernel(vars(self), self._broadcast(torch.Size(), "cpu")[0].shape)

    @property
    def effective_dof_(self) -> Tensor:
        """Effective degrees of freedom ``tr(K (K + alpha I)^-1)`` of each model, a scalar for one.

        Computed when asked for: exact for low-rank models and up to 2,000 samples; above, a stochastic estimate about
        1 % off that costs some forty products with K.
        """
        self._check_fitted()
        if "low_rank_dof_" in vars(self):
            return self.low_rank_dof_
        models = self.dual_coef_.shape[:-2]
        alpha, gamma = self._broadcast(models, "cpu")
        centers = self.centers_.expand(*models, *self.centers_.shape[-2:]).reshape(-1, *self.centers_.shape[-2:])
        each = zip(centers, alpha.flatten().tolist(), gamma.flatten().tolist(), strict=True)
        return torch.stack([effective_dof(x, alpha=a, gamma=g) for x, a, g in each]).reshape(models)

    def _planned(
        self, solver: Solver, n: int, *, alpha: Tensor, gamma: Tensor, batched: bool = False, reason: str | None = None
    ) -> Plan:
        """The plan for n samples a model."""
        n_models = alpha.numel() if batched or _differ(gamma) else 1
        if n_models > 1 and solver not in ("auto", "cholesky"):
            raise ValueError(f"several samples sets or gammas need solver='cholesky', not {solver!r}")
        plan = planned(
            "cholesky" if batched else solver,
            n,
            n_models=n_models,
            n_centers=self.n_centers,
            n_preconditioner=iterative.preconditioner_rank(n),
            free=min_over_ranks(free_bytes(alpha.device)),
            penalised=float(alpha.min()) > 0.0,
        )
        return plan if reason is None else Plan(**{**plan, "reason": reason})

    def _broadcast(self, models: torch.Size, device: torch.device | str) -> tuple[Tensor, Tensor]:
        """Alpha and gamma of every model."""
        alpha = torch.as_tensor(self.alpha, dtype=torch.float64, device=device)
        gamma = torch.as_tensor(self.gamma, dtype=torch.float64, device=device)
        shape = (alpha + gamma + alpha.new_zeros(models)).shape
        return alpha.expand(shape), gamma.expand(shape)

    def _check_parameters(self) -> None:
        """Refuse what can't be meant."""
        check_solver(self.solver)
        for name, values in (("alpha", self.alpha), ("gamma", self.gamma)):
            tensor = torch.as_tensor(values, dtype=torch.float64)
            if not bool((torch.isfinite(tensor) & (tensor >= 0.0)).all()) or tensor.numel() == 0:
                raise ValueError(f"KernelRidge.{name} must be finite and not negative, got {values}")
        if self.n_centers is not None and self.n_centers < 1:
            raise ValueError(f"KernelRidge.n_centers must be positive, got {self.n_centers}")
        if not self.tolerance > 0.0:
            raise ValueError(f"KernelRidge.tolerance must be positive, got {self.tolerance}")


def _differ(values: Tensor) -> bool:
    """Whether not all are the same."""
    return bool((values != values.flatten()[0]).any())


def _fitted_batch(X: Tensor, Y: Tensor, alpha: Tensor, gamma: Tensor) -> Tensor:
    """Weights (models, samples, targets) of all models, as many at a time as fit in memory."""
    shape, n = alpha.shape, X.shape[-2]
    samples = X.double().expand(*shape, *X.shape[-2:]).reshape(-1, *X.shape[-2:])
    targets = Y.expand(*shape, *Y.shape[-2:]).reshape(-1, *Y.shape[-2:])
    alphas, gammas = alpha.reshape(-1), gamma.reshape(-1)

    def some(start: int, stop: int) -> Tensor:
        part = slice(start, stop)
        return direct.solve_batch(samples[part], targets[part], alphas=alphas[part], gammas=gammas[part])

    at_once = max(1, free_bytes(X.device) // (48 * n * n))
    return torch.cat(in_row_blocks(some, len(samples), block=at_once))


def _checked(blocks: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """The blocks, each finite and of fitting shapes."""
    features = None
    for i, (X, Y) in enumerate(blocks):
        if X.ndim != 2 or Y.ndim != 2 or len(X) != len(Y) or X.shape[1] != (features or X.shape[1]):
            raise ValueError(
                f"block {i} must be X (rows, {features or 'features'}) and Y (rows, targets), "
                f"got {tuple(X.shape)} and {tuple(Y.shape)}"
            )
        features = X.shape[1]
        check_finite(X, f"X of block {i}")
        check_finite(Y, f"Y of block {i}")
        yield X, Y
