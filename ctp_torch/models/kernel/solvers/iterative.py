"""Exact kernel ridge by preconditioned conjugate gradients: float32 products, float64 residuals, a few refinements."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from ctp_torch.errors import ConvergenceWarning, NumericalError
from ctp_torch.models.kernel.solvers.basis import Basis
from ctp_torch.models.kernel.solvers.low_rank import spanning
from ctp_torch.models.kernel.solvers.normal_equations import add_gram, mirrored, n_grams
from ctp_torch.models.kernel.solvers.solution import Solution
from ctp_torch.ops.compute.ranks import mean_over_ranks, n_ranks, own_rank, sum_over_ranks
from ctp_torch.ops.compute.threads import in_threads
from ctp_torch.ops.kernel.conjugate_gradients import conjugate_gradients
from ctp_torch.ops.kernel.gaussian import gaussian_gram_matmul
from ctp_torch.ops.kernel.symmetric_gram import SymmetricGram

__all__ = ["exact_product", "nystrom_preconditioner", "preconditioner_rank", "refined", "solve"]

_ROUND = 1e-3  # residual to which one round in float32 goes: rounding takes over a little below it
_ROUNDS = 8
_ROWS = 2048  # samples whose features are made at a time
_ROUNDING = torch.finfo(torch.float32).eps / 2.0
_LEADING = 8  # directions that the preconditioner treats apart


def solve(X: Tensor, Y: Tensor, *, alphas: Tensor, gamma: float, tolerance: float, stored: bool, seed: int) -> Solution:
    """The exact weights of all alphas and targets: every one is a column that shares the products with K.

    Parameters
    ----------
    X
        (samples, features), float32 or float64
    Y
        (samples, targets), float64, about their intercept
    alphas
        (alphas,), float64, positive
    gamma
        inverse squared width of the kernel
    tolerance
        relative residual, evaluated in float64
    stored
        whether half of K (this rank's tiles of it) is kept, in float32, or made anew block by block for each product
    seed
        chooses the centres of the preconditioner
    """
    bulk = X.float()
    if stored:
        K = SymmetricGram(bulk, gamma=gamma, share=own_rank(), n_shares=n_ranks())

        def product(P: Tensor) -> Tensor:
            return _summed(K @ P)
    else:

        def product(P: Tensor) -> Tensor:
            return _summed(gaussian_gram_matmul(bulk, P, gamma=gamma, share=own_rank(), n_shares=n_ranks()))

    precondition = nystrom_preconditioner(X, alphas=alphas, gamma=gamma, n_targets=Y.shape[1], seed=seed)
    shift = alphas.repeat_interleave(Y.shape[1])
    B = Y.repeat(1, len(alphas))  # (samples, alphas * targets)

    def inner(R: Tensor, goal: float) -> tuple[Tensor, int]:
        return conjugate_gradients(product, R, shift=shift, precondition=precondition, tolerance=goal)

    W, residual, n_iter = refined(inner, exact_product(X, gamma=gamma), B, shift=shift, tolerance=tolerance)
    weights = W.reshape(len(X), len(alphas), Y.shape[1]).movedim(1, 0)  # (alphas, samples, targets)
    return Solution(X, weights, residual, n_iter)


def refined(
    inner: Callable[[Tensor, float], tuple[Tensor, int]],
    product: Callable[[Tensor], Tensor],
    B: Tensor,
    *,
    shift: Tensor,
    tolerance: float,
) -> tuple[Tensor, float, int]:
    """W of ``(K + shift) W = B``, its largest relative residual in float64, and the iterations of all rounds.

    Parameters
    ----------
    inner
        solves for a float32 right-hand side to a relative residual
    product
        K times float64 (n, columns)
    B
        (n, columns), float64
    shift
        (columns,), float64
    tolerance
        relative residual at which to stop

    References
    ----------
    Higham: Iterative refinement for linear systems. doi:10.1093/imanum/17.4.495.
    """
    scale = B.norm(dim=0)
    scale = torch.where(scale > 0, scale, 1.0)
    W, R, residual, n_iter = torch.zeros_like(B), B, 1.0, 0
    for _ in range(_ROUNDS):
        norms = R.norm(dim=0)
        norms = torch.where(norms > 0, norms, 1.0)
        step, taken = inner((R / norms).float(), max(_ROUND, 0.5 * tolerance / residual))
        W, n_iter = W + step.double() * norms, n_iter + taken
        R = B - product(W) - shift * W
        previous, residual = residual, mean_over_ranks(float((R.norm(dim=0) / scale).max()))
        if residual != residual:
            raise NumericalError("kernel ridge ran into NaN while solving: use a larger alpha or solver='cholesky'")
        if residual <= tolerance or residual > 0.5 * previous:
            break
    if residual > tolerance:
        warnings.warn(
            f"kernel ridge stopped at a relative residual of {residual:.1e}, above the tolerance {tolerance:.1e}, "
            f"after {n_iter} iterations: use a larger alpha or solver='cholesky'",
            ConvergenceWarning,
            stacklevel=2,
        )
    return W, residual, n_iter


def exact_product(X: Tensor, *, gamma: float) -> Callable[[Tensor], Tensor]:
    """K times (samples, columns) in float64, block by block, shared among the ranks."""
    exact = X.double()
    return lambda W: _summed(gaussian_gram_matmul(exact, W, gamma=gamma, share=own_rank(), n_shares=n_ranks()))


def preconditioner_rank(n: int) -> int:
    """Centres of the preconditioner for n samples: the price of a few products with K."""
    return min(n, max(256, min(n // 20, 4000)))


def nystrom_preconditioner(
    X: Tensor, *, alphas: Tensor, gamma: float, n_targets: int, seed: int
) -> Callable[[Tensor], Tensor]:
    """The inverse of ``K(X, C) K(C, C)^-1 K(C, X) + alpha I`` for random centres C, applied to (samples, columns).

    A smooth kernel has few large eigenvalues, all of which the centres see; the others lie below or near alpha. So the
    product with this inverse has its eigenvalues close together, and conjugate gradients need few iterations.

    References
    ----------
    Frangella, Tropp, Udell: Randomized Nystrom preconditioning. doi:10.1137/21M1466244.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(X), generator=generator)[: preconditioner_rank(len(X))].sort().values
    short = len(X) * _ROUNDING < 0.1 * float(alphas.min())  # what float32 loses must be little beside alpha
    centers, triangle = spanning(X[chosen.to(X.device)].double(), gamma=gamma)
    for white in (False, True):
        basis = Basis(centers, triangle, gamma=gamma, single=short, white=white)
        features, gram = _features_and_gram(X, basis)
        # Woodbury: (phi S^-1 phi' + alpha I)^-1 = (I - phi (phi' phi + alpha S)^-1 phi') / alpha, with features phi of
        # all samples and the penalty S: a new alpha costs a small factor, and no pass over the samples
        factors, failed = torch.linalg.cholesky_ex(gram + alphas[:, None, None] * basis.penalty)  # (alphas, rank, rank)
        if not bool(failed.any()):  # else the first centres see too little, and float32 loses the small penalty
            break
    rank, n_blocks = len(basis), len(features)
    # inverted: substitution with a few columns takes ten times as long as products
    identity = torch.eye(rank, dtype=torch.float64, device=X.device)
    inverted = torch.linalg.solve_triangular(factors, identity.expand_as(factors), upper=False)

    top, directions = _leading(gram, basis.root)
    flat = features.flatten(0, 1)[: len(X)]
    leading = torch.linalg.qr((flat @ (directions / top.sqrt()).float()).double()).Q.float()  # (samples, leading)
    shift = alphas.repeat_interleave(n_targets)
    lifted = 1.0 / (top[:, None] + shift).float()  # (leading, columns)

    def apply(R: Tensor) -> Tensor:
        part = leading.mT @ R
        rest = R - leading @ part
        in_blocks = pad(rest.mT, (0, n_blocks * _ROWS - len(X))).view(-1, n_blocks, _ROWS).movedim(1, 0)
        inside = torch.bmm(in_blocks, features).sum(0).double()  # (columns, rank); every thread has blocks of its own
        inside = inside.view(len(alphas), n_targets, -1) @ inverted.mT @ inverted  # (alphas, targets, rank)
        rest = (rest - flat @ inside.flatten(0, 1).to(R).mT) / shift.to(R)
        whole: Tensor = rest + leading @ (lifted * part - leading.mT @ rest)
        return whole

    return apply


def _features_and_gram(X: Tensor, basis: Basis) -> tuple[Tensor, Tensor]:
    """Features ``(blocks, rows, rank)`` of the samples in float32, rows beyond the last 0; and their Gram matrix."""
    rank, n_blocks = len(basis), -(-len(X) // _ROWS)
    features = X.new_empty(n_blocks, _ROWS, rank, dtype=torch.float32)
    features.flatten(0, 1)[len(X) :] = 0.0

    def made(blocks: range) -> Tensor:
        gram = torch.zeros(rank, rank, dtype=torch.float64, device=X.device)
        for k in blocks:
            samples = X[k * _ROWS : (k + 1) * _ROWS]
            kept = features[k, : len(samples)]
            rows = basis.rows(samples, kept if basis.dtype == kept.dtype else None)
            kept.copy_(rows)  # nothing where they are made in place
            if k % n_ranks() == own_rank():
                add_gram(gram, rows)
        return gram

    n = n_grams(X, rank=rank)
    first, *others = in_threads(made, [range(k, n_blocks, n) for k in range(min(n, n_blocks))], device=X.device)
    gram = mirrored(sum(others, first))
    sum_over_ranks(gram)
    return features, gram


def _leading(gram: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
    """The largest eigenvalues of ``phi (root root')^-1 phi'``, and directions that phi takes to their vectors.

    What ``K(X, C) K(C, C)^-1 K(C, X) + alpha I`` shrinks most, by up to the number of samples over alpha, is the
    difference of two nearly equal vectors in float32: the preconditioner treats these few directions apart.
    """
    n = min(_LEADING, len(gram))

    def product(some: Tensor) -> Tensor:
        inside = torch.linalg.solve_triangular(root.mT, some, upper=True)
        outside: Tensor = torch.linalg.solve_triangular(root, gram @ inside, upper=False)
        return outside

    basis = torch.linalg.qr(gram[:, : 2 * n]).Q
    for _ in range(8):  # subspace iteration: the leading eigenvalues of kernel matrices lie far apart
        basis = torch.linalg.qr(product(basis)).Q
    values, vectors = torch.linalg.eigh(basis.mT @ product(basis))
    directions = torch.linalg.solve_triangular(root.mT, basis @ vectors, upper=True)
    return values[-n:].clamp_min(torch.finfo(values.dtype).tiny), directions[:, -n:]


def _summed(part: Tensor) -> Tensor:
    """A product from the parts that the ranks made of it."""
    sum_over_ranks(part)
    return part
