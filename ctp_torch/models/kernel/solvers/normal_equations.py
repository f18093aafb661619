"""Low-rank kernel ridge: sums over the samples, and the weights of the model that they give.

A sample x becomes a row phi of features (see :class:`Basis`), whose weights solve ``(sum phi' phi + alpha R R') v =
sum phi' y`` with R the root of the penalty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.errors import NumericalError
from ctp_torch.models.kernel.solvers.basis import Basis
from ctp_torch.ops.compute.ranks import sum_over_ranks
from ctp_torch.ops.compute.threads import in_threads, n_threads

__all__ = [
    "PIECE",
    "NormalEquations",
    "add_gram",
    "equations_of_rows",
    "mirrored",
    "n_grams",
    "normal_equations",
    "weights",
]

PIECE = 1024
"""Samples whose features are made at a time."""

_PANEL = 192  # columns of the Gram matrix made at a time; only panels on and above the diagonal
_MANY = 2**27  # values of all threads' Gram matrices: 1 GB


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
    basis: Basis
    """What phi is."""

    def centred(self, intercept: Tensor) -> Tensor:
        """(rank, targets), sum of phi' (y - intercept)."""
        return self.moment - self.feature_sum[:, None] * intercept


def normal_equations(blocks: Iterable[tuple[Tensor, Tensor]], basis: Basis) -> NormalEquations:
    """The normal equations of all blocks; memory depends on the centres and one block, not on the samples.

    Parameters
    ----------
    blocks
        pairs of X (rows, features) and Y (rows, targets), any dtype
    basis
        features of the samples
    """
    return _equations(blocks, basis.rows, basis)


def equations_of_rows(blocks: Iterable[tuple[Tensor, Tensor]], basis: Basis) -> NormalEquations:
    """The normal equations of samples whose features are there already.

    Parameters
    ----------
    blocks
        pairs of phi (rows, rank), float64, and Y (rows, targets)
    basis
        what phi is
    """
    return _equations(blocks, lambda rows, _: rows, basis)


def _equations(
    blocks: Iterable[tuple[Tensor, Tensor]],
    features: Callable[[Tensor, Tensor], Tensor],
    basis: Basis,
) -> NormalEquations:
    """The sums over all blocks: every thread takes its part of each."""
    parts: list[_Sums] = []
    n_samples = 0
    for X, Y in blocks:
        while len(parts) < n_grams(X, rank=len(basis)):
            parts.append(_Sums(features, basis, X.device))
        pieces = list(zip(X.split(PIECE), Y.split(PIECE), strict=True))
        in_threads(lambda share: share[0].add(share[1]), list(_dealt(parts, pieces)), device=X.device)
        n_samples += len(X)
    if not parts:
        raise ValueError("nothing to fit: the blocks hold no sample")
    first, *others = parts
    for other in others:
        first.gram += other.gram
        first.moments += other.moments
        first.targets += other.targets
    gram, moments, targets = mirrored(first.gram), first.moments, first.targets
    count = gram.new_tensor(n_samples)
    sum_over_ranks(gram, moments, targets, count)
    return NormalEquations(gram, moments[:-1].mT, moments[-1], targets[0], targets[1], count, basis)


class _Sums:
    """What one thread adds up of the samples that pass it."""

    def __init__(self, features: Callable[[Tensor, Tensor], Tensor], basis: Basis, device: torch.device) -> None:
        self._features = features
        self._memory = torch.empty(0, len(basis), dtype=basis.dtype, device=device)
        self.gram = torch.zeros(len(basis), len(basis), dtype=torch.float64, device=device)
        self.moments = self.gram.new_zeros(())  # (targets + 1, rank): of phi' y, and of phi
        self.targets = self.gram.new_zeros(())  # (2, targets): of y, and of y squared

    def add(self, pieces: list[tuple[Tensor, Tensor]]) -> None:
        """Samples (rows, features) and their targets (rows, targets), any dtype."""
        for X, Y in pieces:
            if not len(X):
                continue
            if len(self._memory) != len(X):  # kept from piece to piece: new pages cost as much as the kernel
                self._memory = self._memory.new_empty(len(X), len(self.gram))
            y = Y.mT.to(self.gram)  # (targets, rows)
            rows = self._features(X, self._memory)  # (rows, rank)
            add_gram(self.gram, rows)
            mean = y.mean(1, keepdim=True)  # apart, lest float32 lose what lies far from 0
            moments = (torch.cat([y - mean, y.new_ones(1, len(X))]).to(rows) @ rows).double()
            moments[:-1] += mean * moments[-1]
            self.moments = self.moments + moments
            self.targets = self.targets + torch.stack([y.sum(1), y.square().sum(1)])


def _dealt(
    parts: list[_Sums], pieces: list[tuple[Tensor, Tensor]]
) -> Iterator[tuple[_Sums, list[tuple[Tensor, Tensor]]]]:
    """The pieces of a block for each part: the same pieces for any number of them, rounded alike."""
    for k, part in enumerate(parts):
        if pieces[k :: len(parts)]:
            yield part, pieces[k :: len(parts)]


def n_grams(X: Tensor, *, rank: int) -> int:
    """Gram matrices that threads add up beside each other: one for each, or one where so many would fill the memory."""
    n = n_threads(X.device, work=len(X) * rank)
    return 1 if n * rank**2 > _MANY else n


def add_gram(gram: Tensor, rows: Tensor) -> None:
    """Add ``rows' rows`` to a Gram matrix (rank, rank) in float64, in panels on and above its diagonal alone."""
    for start in range(0, len(gram), _PANEL):
        panel, left, right = gram[start : start + _PANEL, start:], rows[:, start : start + _PANEL].mT, rows[:, start:]
        if rows.dtype == gram.dtype:
            panel.addmm_(left, right)
        else:
            panel += left @ right


def mirrored(gram: Tensor) -> Tensor:
    """The symmetric matrix of what :func:`add_gram` made, in its place."""
    for start in range(0, len(gram), _PANEL):
        stop = start + _PANEL
        panel = gram[start:stop]
        square = panel[:, start:stop]
        square.copy_(square.triu() + square.triu(1).mT)
        gram[stop:, start:stop] = panel[:, stop:].mT
    return gram


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
    gram, root, penalty = equations.gram, equations.basis.root, equations.basis.penalty
    rank = len(gram)
    factors, failed = torch.linalg.cholesky_ex(gram + alphas[:, None, None] * penalty)  # (alphas, rank, rank)
    if not bool(failed.any()):
        solution = torch.cholesky_solve(moment.expand(len(alphas), *moment.shape), factors)
        inside = torch.linalg.solve_triangular(factors, root.expand_as(factors), upper=False)
        dof = rank - alphas * inside.square().sum((-2, -1))
    else:  # no penalty to speak of: directions at the level of rounding get no weight
        half = torch.linalg.solve_triangular(root, gram, upper=False)
        gram = torch.linalg.solve_triangular(root, half.mT, upper=False)
        moment = torch.linalg.solve_triangular(root, moment, upper=False)
        eigenvalues, vectors = torch.linalg.eigh((gram + gram.mT) / 2.0)
        cutoff = rank * torch.finfo(gram.dtype).eps * eigenvalues[-1]
        gain = torch.where(eigenvalues > cutoff, 1.0 / (eigenvalues + alphas[:, None]), 0.0)  # (alphas, rank)
        solution = vectors @ (gain[:, :, None] * (vectors.mT @ moment))
        solution = torch.linalg.solve_triangular(root.mT, solution, upper=True)
        dof = (gain * eigenvalues).sum(-1)
    solution = equations.basis.of_centers(solution)
    if not bool(torch.isfinite(solution).all()):
        raise NumericalError(f"kernel ridge on {rank} centres ran into NaN: use a larger alpha or fewer centres")
    return solution, dof
