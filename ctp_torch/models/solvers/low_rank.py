"""Low-rank kernel ridge: the model is spanned by a few centres, the samples only stream past.

With L L' the kernel matrix of the centres, a sample x becomes the row ``phi = k(x, centres) L^-T``; the model is ridge
regression on these rows, ``(sum phi' phi + alpha I) v = sum phi' y``, and its weights are ``w = L^-T v``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.errors import NumericalError
from ctp_torch.models.solvers.solution import Solution
from ctp_torch.ops.kernels import gaussian_kernel, gaussian_kernel_matmul
from ctp_torch.ops.pivoted_cholesky import pivoted_cholesky
from ctp_torch.ops.ranks import mean_over_ranks, row_share, sum_over_ranks

__all__ = [
    "NormalEquations",
    "add_gram",
    "drawn",
    "grown",
    "likely_rank",
    "mirrored",
    "normal_equations",
    "pivots",
    "random_centers",
    "row_blocks",
    "sampled_residual",
    "solve",
    "spanning",
    "weights",
]

_ROWS = 8192  # samples per block: with 2,000 centres 131 MB in float64
_PANEL = 256  # columns of the Gram matrix made at a time; only panels on and above the diagonal
_WELL_CONDITIONED = 1e-4  # residual diagonal of the centres from which on L^-1 may be applied after summing
_PIVOT_ROWS = 8192  # samples among which pivots are chosen, or eight times their number
_PROBED = 2000  # samples that tell whether a kernel is smooth
_CHECKED = 512  # samples at which the residual is evaluated


class NormalEquations(NamedTuple):
    """Sums over all samples of all ranks, in float64."""

    gram: Tensor
    """(rank, rank), sum of phi' phi."""
    moment: Tensor
    """(rank, targets), sum of phi' y."""
    feature_sum: Tensor
    """(rank,), sum of phi."""
    target_sum: Tensor
    """(targets,), sum of y."""
    square_sum: Tensor
    """(targets,), sum of y squared."""
    n_samples: Tensor
    """(), samples."""

    def centred(self, intercept: Tensor) -> Tensor:
        """(rank, targets), sum of phi' (y - intercept)."""
        return self.moment - self.feature_sum[:, None] * intercept


def row_blocks(X: Tensor, Y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The samples that are this rank's, block by block; a memory-mapped X is read as it is needed."""
    share = row_share(len(X))
    for start in range(share.start, share.stop, _ROWS):
        stop = min(start + _ROWS, share.stop)
        yield X[start:stop], Y[start:stop]


def spanning(centers: Tensor, *, gamma: float) -> tuple[Tensor, Tensor]:
    """The centres that are independent of each other up to rounding, and the factor L of their kernel matrix."""
    factor, failed = torch.linalg.cholesky_ex(gaussian_kernel(centers, centers, gamma=gamma))
    if not int(failed) and float(factor.diagonal().min()) > 1e-5:
        return centers, factor
    chosen = pivoted_cholesky(centers, gamma=gamma, rank=len(centers), generator=torch.Generator().manual_seed(0))
    return centers[chosen.pivots], chosen.factor[chosen.pivots].tril()


def normal_equations(
    blocks: Iterable[tuple[Tensor, Tensor]], centers: Tensor, triangle: Tensor, *, gamma: float
) -> NormalEquations:
    """The normal equations of all blocks; memory depends on the centres and one block, not on the samples.

    Parameters
    ----------
    blocks
        pairs of X (rows, features) and Y (rows, targets), any dtype
    centers
        (rank, features), float64
    triangle
        (rank, rank), Cholesky factor L of their kernel matrix
    gamma
        inverse squared width of the kernel
    """
    rank = len(centers)
    # L^-1 on either side of the finished sum costs nothing per sample, but loses the digits that L's condition takes
    late = float(triangle.diagonal().min()) ** 2 > _WELL_CONDITIONED
    gram = centers.new_zeros(rank, rank)
    sums: Tensor | None = None  # (targets + 1, rank): of phi' y, and of phi
    memory, count, target_sum, square_sum = centers.new_empty(0), centers.new_zeros(()), *[centers.new_zeros(0)] * 2
    for X, Y in blocks:
        y = torch.cat([Y.to(centers), centers.new_ones(len(Y), 1)], 1).mT.contiguous()  # (targets + 1, block)
        if memory.shape[:1] != (len(X),):
            memory = centers.new_empty(len(X), rank)  # kept from block to block: new pages cost as much as the kernel
        rows = gaussian_kernel(X.to(centers), centers, gamma=gamma, out=memory)  # (block, rank)
        if not late:
            rows = torch.linalg.solve_triangular(triangle.mT, rows, upper=True, left=False)
        add_gram(gram, rows)
        if sums is None:
            sums = y.new_zeros(len(y), rank)
            target_sum, square_sum = y.new_zeros(len(y) - 1), y.new_zeros(len(y) - 1)
        sums.addmm_(y, rows)
        target_sum += y[:-1].sum(1)
        square_sum += y[:-1].square().sum(1)
        count += len(X)
    if sums is None:
        raise ValueError("nothing to fit: the blocks hold no sample")
    gram = mirrored(gram)
    sum_over_ranks(gram, sums, target_sum, square_sum, count)
    if late:
        half = torch.linalg.solve_triangular(triangle, gram, upper=False)
        gram = torch.linalg.solve_triangular(triangle, half.mT, upper=False)
        gram = (gram + gram.mT) / 2.0
        sums = torch.linalg.solve_triangular(triangle, sums.mT, upper=False).mT
    return NormalEquations(gram, sums[:-1].mT, sums[-1], target_sum, square_sum, count)


def add_gram(gram: Tensor, rows: Tensor) -> None:
    """Add ``rows' rows`` to a Gram matrix (rank, rank) in float64, in panels on and above its diagonal alone."""
    for start in range(0, len(gram), _PANEL):
        panel, left, right = gram[start : start + _PANEL, start:], rows[:, start : start + _PANEL].mT, rows[:, start:]
        if rows.dtype == gram.dtype:
            panel.addmm_(left, right)
        else:
            panel += left @ right


def mirrored(gram: Tensor) -> Tensor:
    """The symmetric matrix of what :func:`add_gram` made."""
    return gram.triu() + gram.triu(1).mT


def weights(gram: Tensor, moment: Tensor, triangle: Tensor, *, alphas: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (alphas, rank, targets) and effective degrees of freedom (alphas,), from one set of normal equations."""
    rank = len(gram)
    identity = torch.eye(rank, dtype=gram.dtype, device=gram.device)
    factors, failed = torch.linalg.cholesky_ex(gram + alphas[:, None, None] * identity)  # (alphas, rank, rank)
    if not bool(failed.any()):
        solved = torch.cholesky_solve(moment.expand(len(alphas), *moment.shape), factors)
        inverse = torch.linalg.solve_triangular(factors, identity.expand_as(factors), upper=False)
        dof = rank - alphas * inverse.square().sum((-2, -1))
    else:  # no penalty to speak of: directions at the level of rounding get no weight
        eigenvalues, vectors = torch.linalg.eigh(gram)
        cutoff = rank * torch.finfo(gram.dtype).eps * eigenvalues[-1]
        gain = torch.where(eigenvalues > cutoff, 1.0 / (eigenvalues + alphas[:, None]), 0.0)  # (alphas, rank)
        solved = vectors @ (gain[:, :, None] * (vectors.mT @ moment))
        dof = (gain * eigenvalues).sum(-1)
    solution = torch.linalg.solve_triangular(triangle.mT, solved, upper=True)
    if not bool(torch.isfinite(solution).all()):
        raise NumericalError(f"kernel ridge on {rank} centres ran into NaN: use a larger alpha or fewer centres")
    return solution, dof


def solve(
    blocks: Iterable[tuple[Tensor, Tensor]], centers: Tensor, *, alphas: Tensor, gamma: float, center: bool
) -> tuple[Solution, Tensor, Tensor]:
    """The model on given centres, its intercept (targets,) and the spread (targets,) of the targets about it."""
    centers, triangle = spanning(centers.double(), gamma=gamma)
    equations = normal_equations(blocks, centers, triangle, gamma=gamma)
    mean = equations.target_sum / equations.n_samples
    intercept = mean if center else torch.zeros_like(mean)
    found, dof = weights(equations.gram, equations.centred(intercept), triangle, alphas=alphas)
    spread = (equations.square_sum / equations.n_samples - mean.square()).clamp_min(0.0).sqrt()
    return Solution(centers, found, float("nan"), dof=dof), intercept, spread


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

    Y must be centred already. The residual is evaluated at 512 random samples.
    """
    rank = min(first, max_rank)
    while True:
        centers, triangle = _pivoted(X, rank, gamma=gamma, pool=max(_PIVOT_ROWS, 8 * rank), seed=seed)
        equations = normal_equations(row_blocks(X, Y), centers, triangle, gamma=gamma)
        found, dof = weights(equations.gram, equations.moment, triangle, alphas=alphas)
        residual = sampled_residual(X, Y, centers, found, alphas=alphas, gamma=gamma, seed=seed)
        residual = mean_over_ranks(residual)
        if residual <= tolerance or rank >= max_rank or len(centers) < rank:
            return Solution(centers, found, residual, dof=dof)
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
    return min(max_rank, 64 * math.ceil(rank / 64))


def random_centers(X: Tensor, n_centers: int, *, gamma: float, seed: int) -> Tensor:
    """Samples (n_centers, features) drawn with equal chance, whatever gamma."""
    generator = torch.Generator().manual_seed(seed)
    return X[torch.randperm(len(X), generator=generator)[:n_centers].sort().values.to(X.device)]


def pivots(X: Tensor, n_centers: int, *, gamma: float, seed: int) -> Tensor:
    """Samples (n_centers, features) that span the kernel of three times as many random ones."""
    return _pivoted(X, n_centers, gamma=gamma, pool=3 * n_centers, seed=seed)[0]


def _pivoted(X: Tensor, rank: int, *, gamma: float, pool: int, seed: int) -> tuple[Tensor, Tensor]:
    """Pivots (rank, features) among a random pool of samples, and the factor L of their kernel matrix, in float64."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(len(X), generator=generator)[:pool].sort().values.to(X.device)
    candidates = X[drawn].double()
    chosen = pivoted_cholesky(candidates, gamma=gamma, rank=rank, generator=generator)
    return candidates[chosen.pivots], chosen.factor[chosen.pivots].tril()


def sampled_residual(
    X: Tensor, Y: Tensor, centers: Tensor, found: Tensor, *, alphas: Tensor, gamma: float, seed: int
) -> float:
    """Relative residual of the full problem, estimated at random samples, for the w = (y - f) / alpha of a model f."""
    if float(alphas.min()) == 0.0:
        return float("nan")
    columns = found.movedim(0, 1).flatten(1)  # (rank, alphas * targets)
    y = Y.double().repeat(1, len(alphas))  # (samples, alphas * targets)
    shift = alphas.repeat_interleave(Y.shape[1])
    samples = X.double()
    w = (y - gaussian_kernel_matmul(samples, centers, columns, gamma=gamma)) / shift
    some = torch.randperm(len(X), generator=torch.Generator().manual_seed(seed + 1))[:_CHECKED].to(X.device)
    residual = y[some] - gaussian_kernel_matmul(samples[some], samples, w, gamma=gamma) - shift * w[some]
    scale = y.square().mean(0).sqrt()
    return float((residual.square().mean(0).sqrt() / torch.where(scale > 0, scale, 1.0)).max())
