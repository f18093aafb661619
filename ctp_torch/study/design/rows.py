"""What steps find out, a frozen dataclass a kind: its fields are the columns of its CSV, in this order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

__all__ = ["DegradedRow", "LesionRow", "ReferenceRow", "Row", "ScoreRow", "six_digits"]


class Row:
    """A line of results; in a step's file it lies as a list, since there are thousands of one kind."""

    @property
    def cells(self) -> list[Any]:
        """The values in order."""
        return list(vars(self).values())

    @classmethod
    def read(cls, cells: Sequence[Any]) -> Self:
        """A row back from JSON; what that can't hold is NaN again."""
        make: Callable[..., Self] = cls
        return make(*(math.nan if value is None else value for value in cells))


@dataclass(frozen=True)
class ScoreRow(Row):
    """One slice of one map against the teacher."""

    patient: str
    split: str
    slice: int
    map: str
    model: str
    seed: int
    size: int
    filter_px: float
    ssim_frame: float
    ssim_brain: float
    mae: float
    r: float


@dataclass(frozen=True)
class ReferenceRow(Row):
    """One map in one region against the teacher or the truth; the error is in the unit of the map."""

    reference: str
    patient: str
    predictor: str
    filter_px: float
    region: str
    map: str
    ssim: float
    mae: float
    r: float


@dataclass(frozen=True)
class DegradedRow(Row):
    """The same of a degraded scan, against the truth."""

    variant: str
    patient: str
    predictor: str
    filter_px: float
    region: str
    map: str
    ssim: float
    mae: float
    r: float


@dataclass(frozen=True)
class LesionRow(Row):
    """One part of a lesion in one set of maps: core, penumbra or hypoperfusion (both together)."""

    patient: str
    predictor: str
    thresholds: str
    part: str
    volume_ml: float
    true_ml: float
    dice_truth: float
    teacher_ml: float
    dice_teacher: float

    @property
    def error_ml(self) -> float:
        """How far the volume is from the true one."""
        return abs(self.volume_ml - self.true_ml)

    @property
    def teacher_error_ml(self) -> float:
        """How far the volume is from the teacher's."""
        return abs(self.volume_ml - self.teacher_ml)


def six_digits(value: float) -> float:
    """Rounded to six significant digits."""
    return float(f"{value:.6g}")
