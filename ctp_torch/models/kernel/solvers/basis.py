"""What a sample becomes in the equations of a low-rank model, and what its weights there mean for the centres."""

from __future__ import annotations

import torch
from torch import Tensor

from ctp_torch.ops.kernel.gaussian import gaussian_kernel

__all__ = ["Basis"]

_WELL_CONDITIONED = 1e-4  # residual diagonal of the centres from which on they needn't all be whitened
_SHARE = 8  # centres for each that is whitened


class Basis:
    """Features of samples, with the kernel's large and even part apart from what is left.

    With ``L = [[L11, 0], [L21, L22]]`` the Cholesky factor of the centres' kernel matrix, the first centres are
    whitened and their part taken out of the others::

        phi = [b, k(x, C2) - b L21'],   b = k(x, C1) L11^-T

    What is left of the others is small, so that Gram matrices of phi lose little to rounding at the scale of 1. The
    penalty ``alpha w' K w`` becomes ``alpha |root' v|^2`` with ``root = [[I, 0], [0, L22]]``. An eighth of the centres
    come first; where the centres are nearly dependent all do, and their rows are white.

    Parameters
    ----------
    centers
        (rank, features), float64
    triangle
        (rank, rank), Cholesky factor L of their kernel matrix
    gamma
        inverse squared width of the kernel
    single
        whether rows are made in float32 if the centres allow it
    white
        whether all centres come first, however independent they are
    """

    def __init__(self, centers: Tensor, triangle: Tensor, *, gamma: float, single: bool, white: bool = False) -> None:
        self._gamma, self._triangle, self._exact_centers = gamma, triangle, centers
        left = float(triangle.diagonal().min()) ** 2
        rank = len(triangle)
        self._first = first = rank if white or left < _WELL_CONDITIONED else rank // _SHARE
        self._rest = triangle[first:, first:]  # L22
        self.dtype = torch.float32 if single and first < rank else torch.float64
        """In which rows are made."""
        self._centers, self._factor = centers.to(self.dtype), triangle[:, :first].to(self.dtype)

    def __len__(self) -> int:
        """Features."""
        return len(self._triangle)

    def rows(self, X: Tensor, memory: Tensor | None) -> Tensor:
        """The features (rows, rank) of samples (rows, features), in memory of that shape and dtype or new one."""
        first = self._first
        phi = gaussian_kernel(X.to(self._centers), self._centers, gamma=self._gamma, out=memory)
        white: Tensor = torch.linalg.solve_triangular(self._factor[:first].mT, phi[:, :first], upper=True, left=False)
        if first == len(self):
            return white
        phi[:, :first] = white
        phi[:, first:].addmm_(white, self._factor[first:].mT, alpha=-1.0)
        return phi

    @property
    def penalty(self) -> Tensor:
        """(rank, rank) in float64, the product of the root with its transpose."""
        penalty = torch.eye(len(self), dtype=torch.float64, device=self._triangle.device)
        others, below = self._exact_centers[self._first :], self._triangle[self._first :, : self._first]
        if len(others):
            kernel = gaussian_kernel(others, others, gamma=self._gamma)
            penalty[self._first :, self._first :] = kernel.addmm_(below, below.mT, alpha=-1.0)
        return penalty

    @property
    def root(self) -> Tensor:
        """(rank, rank) in float64, lower triangular: its product with its transpose is the penalty's matrix."""
        root = torch.eye(len(self), dtype=torch.float64, device=self._triangle.device)
        root[self._first :, self._first :] = self._rest
        return root

    def of_centers(self, solution: Tensor) -> Tensor:
        """The weights (..., rank, targets) of the centres' kernels from those of the features, in float64."""
        first, triangle = self._first, self._triangle
        head = solution[..., :first, :] - triangle[first:, :first].mT @ solution[..., first:, :]
        head = torch.linalg.solve_triangular(triangle[:first, :first].mT, head, upper=True)
        return torch.cat([head, solution[..., first:, :]], dim=-2)
