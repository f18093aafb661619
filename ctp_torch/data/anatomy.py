"""Where the head and the brain of a scan are."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

__all__ = ["Anatomy"]


class Anatomy(NamedTuple):
    """Where the head and the brain are, and how long the contrast is still away."""

    baseline: Tensor
    """``(z, y, x)`` mean of the pre-contrast frames [HU]."""
    head: Tensor
    """``(z, y, x)`` bool."""
    brain: Tensor
    """``(z, y, x)`` bool: inside the skull, out of reach of its partial volume."""
    n_baseline: int
    """Pre-contrast frames."""
