"""A colour bar: values in physical units to indices 0..255, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ColorScale"]


@dataclass(frozen=True)
class ColorScale:
    """The values at the ends of a colour bar of 256 colours."""

    low: float
    high: float

    def index(self, values: Tensor) -> Tensor:
        """Unrounded indices 0..255 of values in the bar's unit; those beyond an end take its index."""
        return ((values - self.low) / (self.high - self.low)).clamp(0, 1) * 255

    def value(self, index: Tensor) -> Tensor:
        """Values in the bar's unit of indices 0..255."""
        return self.low + index / 255 * (self.high - self.low)
