"""Low-rank kernel ridge: sums over the samples, and the weights of the model that they give.

A sample x becomes the row ``phi = k(x, centres)``, and the weights of the model solve ``(sum phi' phi + alpha K) w =
sum phi' y`` with K the kernel matrix of the centres. Where K is too close to singular for that, its factor L L' whitens
the rows first, ``phi = k(x, centres) L^-T``: then ``(sum phi' phi + alpha I) v = sum phi' y`` and ``w = L^-T v``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.errors import NumericalError
from ctp_torch.ops.kernels import gaussian_kernel
from ctp_torch.ops.ranks import sum_over_ranks
from ctp_torch.ops.threads import in_threads, n_threads

__all__ = ["NormalEquations", "add_gram", "mirrored", "normal_equations", "weights", "whitened_equations"]

_PANEL = 256  # columns of the Gram matrix made at a time; only panels on and above the diagonal
_MANY = 2**27  # values of all threads' Gram matrices: 1 GB
_WELL_CONDITIONED = 1e-4  # residual diagonal of the centres from which on their rows needn't be whitened


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
    triangle: Tensor
    """(rank, rank), Cholesky factor L of the centres' kernel matrix K."""
    kernel: Tensor | None
    """(rank, rank), K; None where phi holds L^-T."""

    def centred(self, intercept: Tensor) -> Tensor:
        """(rank, targets), sum of phi' (y - intercept)."""
        return self.moment - self.feature_sum[:, None] * intercept


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
    whiten = float(triangle.diagonal().min()) ** 2 < _WELL_CONDITIONED

    def features(X: Tensor, memory: Tensor) -> Tensor:
        rows = gaussian_kernel(X.to(centers), centers, gamma=gamma, out=memory)
        return torch.linalg.solve_triangular(triangle.mT, rows, upper=True, left=False) if whiten else rows

    kernel = None if whiten else gaussian_kernel(centers, centers, gamma=gamma)
    return _equations(blocks, features, triangle, kernel)


def whitened_equations(blocks: Iterable[tuple[Tensor, Tensor]], triangle: Tensor) -> NormalEquations:
    """The normal equations of samples whose rows ``k(x, centres) L^-T`` are there already.

    Parameters
    ----------
    blocks
        pairs of these rows (rows, rank), float64, and Y (rows, targets)
    triangle
        (rank, rank), Cholesky factor L of the centres' kernel matrix
    """
    return _equations(blocks, lambda rows, _: rows, triangle, None)


def _equations(
    blocks: Iterable[tuple[Tensor, Tensor]],
    features: Callable[[Tensor, Tensor], Tensor],
    triangle: Tensor,
    kernel: Tensor | None,
) -> NormalEquations:
    """The sums over all blocks: every thread takes its part of each."""
    parts: list[_Sums] = []
    n_samples = 0
    for X, Y in blocks:
        n_parts = n_threads(X.device, work=len(X) * len(triangle))
        if n_parts * triangle.numel() > _MANY:  # too many Gram matrices: torch's own threads share one
            n_parts = 1
        while len(parts) < n_parts:
            parts.append(_Sums(features, triangle))
        shares = zip(parts, X.tensor_split(len(parts)), Y.tensor_split(len(parts)), strict=True)
        in_threads(lambda share: share[0].add(*share[1:]), list(shares), device=X.device)
        n_samples += len(X)
    if not parts:
        raise ValueError("nothing to fit: the blocks hold no sample")
    first, *others = parts
    for other in others:
        first.gram += other.gram
        first.moments += other.moments
        first.targets += other.targets
    gram, moments, targets, count = mirrored(first.gram), first.moments, first.targets, triangle.new_tensor(n_samples)
    sum_over_ranks(gram, moments, targets, count)
    return NormalEquations(gram, moments[:-1].mT, moments[-1], targets[0], targets[1], count, triangle, kernel)


class _Sums:
    """What one thread adds up of the samples that pass it."""

    def __init__(self, features: Callable[[Tensor, Tensor], Tensor], like: Tensor) -> None:
        self._features, self._like = features, like
        self._memory = like.new_empty(0)
        self.gram = torch.zeros_like(like)
        self.moments = like.new_zeros(())  # (targets + 1, rank): of phi' y, and of phi
        self.targets = like.new_zeros(())  # (2, targets): of y, and of y squared

    def add(self, X: Tensor, Y: Tensor) -> None:
        """Samples (rows, features) and their targets (rows, targets), any dtype."""
        if not len(X):
            return
        y = torch.cat([Y.to(self._like), self._like.new_ones(len(Y), 1)], 1).mT.contiguous()  # (targets + 1, rows)
        if self._memory.shape[:1] != (len(X),):  # kept from block to block: new pages cost as much as the kernel
            self._memory = self._like.new_empty(len(X), len(self._like))
        rows = self._features(X, self._memory)  # (rows, rank)
        add_gram(self.gram, rows)
        self.moments = self.moments + y @ rows
        self.targets = self.targets + torch.stack([y[:-1].sum(1), y[:-1].square().sum(1)])


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


def weights(equations: NormalEquations, moment: Tensor, *, alphas: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (alphas, rank, targets) and effective degrees of freedom (alphas,), from one set of normal equations.

    Parameters
    ----------
    equations
        of the samples
    moment
        (rank, targets), sum of phi' (y - intercept)
    alphas
        (alphas,)
    """
    gram, triangle = equations.gram, equations.triangle
    rank = len(gram)
    identity = torch.eye(rank, dtype=gram.dtype, device=gram.device)
    penalty, root = (identity, identity) if equations.kernel is None else (equations.kernel, triangle)
    factors, failed = torch.linalg.cholesky_ex(gram + alphas[:, None, None] * penalty)  # (alphas, rank, rank)
    if not bool(failed.any()):
        solution = torch.cholesky_solve(moment.expand(len(alphas), *moment.shape), factors)
        inside = torch.linalg.solve_triangular(factors, root.expand_as(factors), upper=False)
        dof = rank - alphas * inside.square().sum((-2, -1))
        whitened = equations.kernel is None
    else:  # no penalty to speak of: directions at the level of rounding get no weight
        whitened = True
        if equations.kernel is not None:
            half = torch.linalg.solve_triangular(triangle, gram, upper=False)
            gram = torch.linalg.solve_triangular(triangle, half.mT, upper=False)
            moment = torch.linalg.solve_triangular(triangle, moment, upper=False)
        eigenvalues, vectors = torch.linalg.eigh((gram + gram.mT) / 2.0)
        cutoff = rank * torch.finfo(gram.dtype).eps * eigenvalues[-1]
        gain = torch.where(eigenvalues > cutoff, 1.0 / (eigenvalues + alphas[:, None]), 0.0)  # (alphas, rank)
        solution = vectors @ (gain[:, :, None] * (vectors.mT @ moment))
        dof = (gain * eigenvalues).sum(-1)
    if whitened:
        solution = torch.linalg.solve_triangular(triangle.mT, solution, upper=True)
    if not bool(torch.isfinite(solution).all()):
        raise NumericalError(f"kernel ridge on {rank} centres ran into NaN: use a larger alpha or fewer centres")
    return solution, dof
