"""What every solver hands back."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

__all__ = ["Solution"]


class Solution(NamedTuple):
    """Weights w of the model ``f(x) = sum_i w_i k(x, c_i)``, for every alpha."""

    centers: Tensor
    """(centers, features)."""
    weights: Tensor
    """(alphas, centers, targets), float64."""
    residual: float
    """Largest ``|y - (K + alpha I) w| / |y|`` over alphas and targets; NaN where it wasn't computed."""
    n_iter: int = 0
    """Products with K (or passes over the samples) that an iteration took."""
    dof: Tensor | None = None
    """(alphas,), effective degrees of freedom of a low-rank model."""
