"""Low-rank kernel ridge: the model is spanned by a few centres, the samples only stream past."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from ctp_torch.models.kernel.solvers.basis import Basis
from ctp_torch.models.kernel.solvers.normal_equations import PIECE, equations_of_rows, normal_equations, weights
from ctp_torch.models.kernel.solvers.solution import Solution
from ctp_torch.ops.compute.ranks import mean_over_ranks, n_ranks, row_share
from ctp_torch.ops.kernel.gaussian import gaussian_kernel, gaussian_kernel_matmul
from ctp_torch.ops.kernel.pivoted_cholesky import pivoted_cholesky

__all__ = [
    "drawn",
    "grown",
    "likely_rank",
    "pivots",
    "random_centers",
    "row_blocks",
    "solve",
    "spanning",
]

_PIECES = 8  # in a block of samples, or two for each thread
_MANY_CENTERS = 512  # from which on float32 saves a second or more
_LARGE = 1000.0  # weights, over the spread of the targets, whose rounding in float32 shows (a thousandth of it)
_POOL = 8  # samples for each centre among which centres are chosen, and centres for each of them that is a pivot
_PIVOT_ROWS = 32768  # samples among which pivots are chosen, or eight times their number
_PROBED = 2000  # samples that tell whether a kernel is smooth
_CHECKED = 256  # samples at which the residual is evaluated


def row_blocks(X: Tensor, Y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The samples that are this rank's, block by block; a memory-mapped X is read as it is needed.

    Where there are enough, whole pieces are shared out, the same for any number of ranks: what float32 rounds in one is
    rounded alike.
    """
    piece = PIECE if len(X) >= PIECE * n_ranks() else 1
    share = row_share(-(-len(X) // piece))
    stop = min(share.stop * piece, len(X))
    size = PIECE * max(_PIECES, 2 * torch.get_num_threads())
    for start in range(share.start * piece, stop, size):
        end = min(start + size, stop)
        yield X[start:end], Y[start:end]


def spanning(centers: Tensor, *, gamma: float) -> tuple[Tensor, Tensor]:
    """The centres that are independent of each other up to rounding, and the factor L of their kernel matrix."""
    factor, failed = torch.linalg.cholesky_ex(gaussian_kernel(centers, centers, gamma=gamma))
    if not int(failed) and float(factor.diagonal().min()) > 1e-5:
        return centers, factor
    chosen = pivoted_cholesky(centers, gamma=gamma, rank=len(centers), generator=torch.Generator().manual_seed(0))
    return centers[chosen.pivots], chosen.factor[chosen.pivots].tril()


def solve(
    blocks: Callable[[], Iterable[tuple[Tensor, Tensor]]],
    centers: Tensor,
    *,
    alphas: Tensor,
    gamma: float,
    center: bool,
    single: bool,
) -> tuple[Solution, Tensor, Tensor]:
    """The model on given centres, its intercept (targets,) and the spread (targets,) of the targets about it.

    Samples known to float32 only pass in float32 where centres are many; where the weights turn out so large that its
    rounding would show, they pass once more in float64.
    """
    centers, triangle = spanning(centers.double(), gamma=gamma)
    for quick in (True, False) if single and len(centers) >= _MANY_CENTERS else (False,):
        basis = Basis(centers, triangle, gamma=gamma, single=quick)
        equations = normal_equations(blocks(), basis)
        mean = equations.target_sum / equations.n_samples
        intercept = mean if center else torch.zeros_like(mean)
        coefficients, dof = weights(equations, equations.centred(intercept), alphas=alphas)
        spread = (equations.square_sum / equations.n_samples - mean.square()).clamp_min(0.0).sqrt()
        largest = float((coefficients.norm(dim=-2) / torch.where(spread > 0.0, spread, 1.0)).max())
        if basis.dtype == torch.float64 or largest < _LARGE:
            break
    return Solution(centers, coefficients, float("nan"), dof=dof), intercept, spread


def drawn(blocks: Iterable[tuple[Tensor, Tensor]], n_centers: int, *, seed: int) -> Tensor:
    """Centres (n_centers, features) drawn from all blocks with equal chance: those with the smallest random keys."""
    generator = torch.Generator().manual_seed(seed)
    kept, keys = None, torch.zeros(0)
    for X, _ in blocks:
        keys = torch.cat([keys, torch.rand(len(X), generator=generator)])
        kept = X if kept is None else torch.cat([kept, X])
        smallest = keys.topk(min(n_centers, len(keys)), largest=False).indices.sort().values
        kept, keys = kept[smallest.to(X.device)], keys[smallest]
    if kept is None:
        raise ValueError("nothing to fit: the blocks hold no sample")
    return kept


def grown(
    X: Tensor,
    Y: Tensor,
    *,
    alphas: Tensor,
    gamma: float,
    tolerance: float,
    max_rank: int,
    seed: int,
    first: int = 128,
) -> Solution:
    """The model on ``first`` pivots, then half as many again, until it solves the full problem to the tolerance.

    Y must be centred already. The residual is evaluated at 256 random samples.
    """
    rank = min(first, max_rank)
    while True:
        drawn = _drawn(X, max(_PIVOT_ROWS, 8 * rank), seed=seed)
        chosen = pivoted_cholesky(drawn, gamma=gamma, rank=rank, generator=torch.Generator().manual_seed(seed))
        centers, triangle = drawn[chosen.pivots], chosen.factor[chosen.pivots].tril()
        whole = len(drawn) == len(X)  # then the factor holds the rows of all samples
        basis = Basis(centers, triangle, gamma=gamma, single=False, white=whole)
        if whole:
            equations = equations_of_rows(row_blocks(chosen.factor, Y), basis)
        else:
            equations = normal_equations(row_blocks(X, Y), basis)
        coefficients, dof = weights(equations, equations.moment, alphas=alphas)
        columns = coefficients.movedim(0, 1).flatten(1)  # (rank, alphas * targets)
        if whole:
            fitted = chosen.factor @ (triangle.mT @ columns)
        else:
            fitted = gaussian_kernel_matmul(X.double(), centers, columns, gamma=gamma)
        residual = mean_over_ranks(_sampled_residual(X, Y, fitted, alphas=alphas, gamma=gamma, seed=seed))
        if residual <= tolerance or rank >= max_rank or len(centers) < rank:
            return Solution(centers, coefficients, residual, dof=dof)
        rank = min(max(rank + 128, 3 * rank // 2), max_rank)


def likely_rank(X: Tensor, *, alpha: float, gamma: float, tolerance: float, max_rank: int, seed: int) -> int | None:
    """Pivots that probably solve the full problem to the tolerance; None if ``max_rank`` of them are far from it.

    What the pivots of 2,000 random samples leave of the kernel's diagonal, over alpha, is about a fortieth of the
    relative residual (measured on time curves, three widths, two noise levels).
    """
    generator = torch.Generator().manual_seed(seed)
    some = X[torch.randperm(len(X), generator=generator)[:_PROBED].to(X.device)]
    factor = pivoted_cholesky(some, gamma=gamma, rank=max_rank, generator=generator).factor
    left = (1.0 - factor.square().cumsum(1).mean(0)) / alpha  # (rank,)
    if float(left[-1]) > tolerance:
        return None
    reached = (left <= tolerance / 40.0).nonzero()
    rank = int(reached[0]) + 1 if len(reached) else max_rank
    return min(max_rank, 32 * math.ceil(rank / 32))


def random_centers(X: Tensor, n_centers: int, *, gamma: float, seed: int) -> Tensor:
    """Samples (n_centers, features) drawn with equal chance, whatever gamma."""
    generator = torch.Generator().manual_seed(seed)
    return X[torch.randperm(len(X), generator=generator)[:n_centers].sort().values.to(X.device)]


def pivots(X: Tensor, n_centers: int, *, gamma: float, seed: int) -> Tensor:
    """Samples (n_centers, features) that span the kernel of eight times as many random ones.

    An eighth of them are random pivots, which find what is rare; the others are drawn at once, with probability
    proportional to the diagonal that the pivots leave of the kernel matrix. On time curves this is as good as pivots
    alone among as many samples, at a tenth of their price.
    """
    candidates, generator = _drawn(X, _POOL * n_centers, seed=seed), torch.Generator().manual_seed(seed)
    chosen = pivoted_cholesky(candidates, gamma=gamma, rank=-(-n_centers // _POOL), generator=generator)
    left = chosen.residual.cpu()
    n_others = min(n_centers - len(chosen.pivots), int((left > 0.0).sum()))
    others = torch.multinomial(left, n_others, generator=generator) if n_others else left.new_zeros(0, dtype=torch.long)
    return candidates[torch.cat([chosen.pivots, others.to(X.device)])]


def _drawn(X: Tensor, n: int, *, seed: int) -> Tensor:
    """At most n random samples, in the order of X and in float64."""
    if len(X) > n:
        generator = torch.Generator().manual_seed(seed)
        X = X[torch.randperm(len(X), generator=generator)[:n].sort().values.to(X.device)]
    return X.double()


def _sampled_residual(X: Tensor, Y: Tensor, fitted: Tensor, *, alphas: Tensor, gamma: float, seed: int) -> float:
    """Relative residual of the full problem, estimated at random samples, for the ``w = (y - f) / alpha`` of a model f.

    The fitted values f are (samples, alphas * targets).
    """
    if float(alphas.min()) == 0.0:
        return float("nan")
    y = Y.double().repeat(1, len(alphas))  # (samples, alphas * targets)
    shift = alphas.repeat_interleave(Y.shape[1])
    w = (y - fitted) / shift
    some = torch.randperm(len(X), generator=torch.Generator().manual_seed(seed + 1))[:_CHECKED].to(X.device)
    residual = fitted[some] - gaussian_kernel_matmul(X[some].double(), X.double(), w, gamma=gamma)  # y - shift w is f
    scale = y.square().mean(0).sqrt()
    return float((residual.square().mean(0).sqrt() / torch.where(scale > 0, scale, 1.0)).max())
