"""A Cholesky factor in place, by matrix products, and triangular solves with its leading blocks."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["blocked_cholesky_", "blocked_cholesky_solve"]

_BLOCK = 1024


def blocked_cholesky_(A: Tensor, *, block: int = _BLOCK) -> bool:
    """Overwrite the lower triangle of A by its Cholesky factor L; whether A was positive definite.

    Left-looking: each block column is updated once, by one product with all that stand left of it, so that nearly all
    of the work is matrix products and no memory beyond one block column is needed. Diagonal blocks are factored in
    float64. What is above the diagonal is left as it was.

    Parameters
    ----------
    A
        (n, n), symmetric; only the lower triangle is read
    block
        columns of a block

    References
    ----------
    Golub, Van Loan: Matrix Computations, 4th ed., section 4.2.6.
    """
    n = len(A)
    for start in range(0, n, block):
        stop = min(start + block, n)
        panel = A[start:, start:stop]  # (n - start, block)
        if start:
            panel.addmm_(A[start:, :start], A[start:stop, :start].mT, alpha=-1.0)
        diagonal, failed = torch.linalg.cholesky_ex(panel[: stop - start].double())
        if int(failed):
            return False
        panel[: stop - start] = diagonal.to(A.dtype)
        if stop < n:
            below = panel[stop - start :]
            below.copy_(torch.linalg.solve_triangular(diagonal.to(A.dtype).mT, below, upper=True, left=False))
    return True


def blocked_cholesky_solve(L: Tensor, B: Tensor, *, block: int = _BLOCK) -> Tensor:
    """W of ``L L' W = B``; only the lower triangle of L is read.

    Parameters
    ----------
    L
        (n, n), or larger: its leading n x n block is the factor of the leading n samples
    B
        (n, columns)
    block
        rows of a block
    """
    n = len(B)
    W = B.clone()
    starts = range(0, n, block)
    for start in starts:  # L v = b
        stop = min(start + block, n)
        W[start:stop] -= L[start:stop, :start] @ W[:start]
        W[start:stop] = torch.linalg.solve_triangular(L[start:stop, start:stop], W[start:stop], upper=False)
    for start in reversed(starts):  # L' w = v
        stop = min(start + block, n)
        W[start:stop] -= L[stop:n, start:stop].mT @ W[stop:]
        W[start:stop] = torch.linalg.solve_triangular(L[start:stop, start:stop].mT, W[start:stop], upper=True)
    return W
