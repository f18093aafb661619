"""The few samples that span a kernel matrix: pivoted Cholesky in blocks, by random pivots."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.ops.kernel.gaussian import gaussian_kernel, gaussian_rows

__all__ = ["PivotedCholesky", "pivoted_cholesky"]


class PivotedCholesky(NamedTuple):
    """A low-rank factor ``K ~ F F'`` with ``F[pivots]`` lower triangular."""

    pivots: Tensor
    """(rank,), indices of the chosen samples in the order of choice."""
    factor: Tensor
    """F, (samples, rank), float64."""
    residual: Tensor
    """(samples,), what is left of the diagonal of K."""


def pivoted_cholesky(
    X: Tensor, *, gamma: float, rank: int, tolerance: float = 1e-14, generator: torch.Generator
) -> PivotedCholesky:
    """A Cholesky factor of the Gaussian kernel matrix of X whose pivots follow the residual diagonal.

    Each round draws a block of candidates with probability proportional to the residual diagonal and keeps a candidate
    with the probability that its residual has left after those kept before it; so the pivots have exactly the law of
    random pivoting one at a time, at the speed of matrix products.

    Parameters
    ----------
    X
        (samples, features)
    gamma
        inverse squared width of the kernel
    rank
        number of pivots at most
    tolerance
        stops when the mean residual diagonal falls below this (the diagonal of K is 1)
    generator
        draws the candidates; a CPU generator

    References
    ----------
    Epperly, Tropp, Webber: Embrace rejection: kernel matrix approximation by accelerated randomly pivoted Cholesky.
    arXiv:2410.03969.
    """
    X = X.double()
    n, rank = len(X), min(rank, len(X))
    residual, factor = X.new_ones(n), X.new_empty(rank, n)  # transposed: what is read again and again is contiguous
    kernel_rows = gaussian_rows(X, gamma=gamma)
    pivots: list[Tensor] = []
    k, size = 0, min(256, max(32, rank // 8))
    while k < rank and float(residual.mean()) > tolerance:
        # 1. Candidates by the residual diagonal: where it is largest, the factor explains least. The generator is
        #    a processor's: every device gets the same draws.
        cumulated = residual.cumsum(0).cpu()
        draws = torch.rand(size, generator=generator, dtype=torch.float64) * cumulated[-1]
        candidates = torch.searchsorted(cumulated, draws).clamp_max(n - 1).to(X.device)  # (block,)

        # 2. Keep or reject them one after the other: drawn together, two neighbours may both have come, of which the
        #    second is explained by the first. What a candidate has left is its entry of the Schur complement.
        rows = factor[:k, candidates]
        schur = gaussian_kernel(X[candidates], X[candidates], gamma=gamma) - rows.mT @ rows
        kept = _accepted(schur.cpu(), residual[candidates].cpu(), generator)[: rank - k]
        chosen = candidates[kept.to(X.device)]

        # 3. Their columns of the factor: the small triangle is inverted, as substitution in n columns is slower than
        #    a product.
        triangle, failed = torch.linalg.cholesky_ex(schur[kept][:, kept])
        if int(failed) or not len(kept):
            residual[candidates] = 0.0  # nothing but rounding left in these
            continue
        inverse = torch.linalg.solve_triangular(triangle, torch.eye(len(triangle)).to(triangle), upper=False)
        left = kernel_rows(chosen).addmm_(factor[:k, chosen].mT, factor[:k], alpha=-1.0)  # (kept, samples)
        columns = torch.mm(inverse, left, out=factor[k : k + len(kept)])
        residual = (residual - torch.einsum("ij,ij->j", columns, columns)).clamp_min(0.0)
        residual[chosen] = 0.0
        residual[residual < _ROUNDING] = 0.0  # differences of ones: drawn again, rounding would become pivots
        pivots.append(chosen)
        k += len(kept)
    order = torch.cat(pivots) if pivots else torch.zeros(0, dtype=torch.long, device=X.device)
    return PivotedCholesky(order, factor[:k].mT, residual)


_ROUNDING = 1e-13  # of a diagonal of 1, in float64


def _accepted(schur: Tensor, residual: Tensor, generator: torch.Generator) -> Tensor:
    """Positions of the candidates that survive, given their Schur complement and their residuals before the round."""
    kept: list[int] = []
    thresholds = (torch.rand(len(residual), generator=generator, dtype=torch.float64) * residual).tolist()
    columns = schur.new_zeros(len(residual), len(residual))  # row k: the Cholesky column of the k-th that was kept
    diagonal = schur.diagonal().clone()
    for i, threshold in enumerate(thresholds):
        left = float(diagonal[i])
        if left > max(threshold, _ROUNDING):
            k = len(kept)
            columns[k, i:] = (schur[i, i:] - columns[:k, i] @ columns[:k, i:]) / left**0.5
            diagonal[i:] -= columns[k, i:].square()
            kept.append(i)
    return torch.tensor(kept, dtype=torch.long)
