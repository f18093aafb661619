"""Rows that steps leave, with names on their columns, and their means over patients."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from ctp_torch.learning.evaluate import Interval, bootstrap_mean

__all__ = ["CardRow", "LesionRow", "ScoreRow", "StandRow", "named", "over_patients", "per_patient", "short", "to_csv"]


class ScoreRow(NamedTuple):
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


class CardRow(NamedTuple):
    """One region of one map of one patient against teacher or truth."""

    reference: str
    patient: str
    predictor: str
    filter_px: float
    region: str
    map: str
    ssim: float
    mae: float
    r: float


class StandRow(NamedTuple):
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


class LesionRow(NamedTuple):
    """One part of a lesion in one set of maps."""

    patient: str
    predictor: str
    thresholds: str
    part: str
    volume_ml: float
    true_ml: float
    dice_truth: float
    teacher_ml: float
    dice_teacher: float


Row = TypeVar("Row", ScoreRow, CardRow, StandRow, LesionRow)


def named(kind: type[Row], rows: Iterable[Sequence[Any]]) -> list[Row]:
    """Rows of a kind; what JSON couldn't hold is NaN again."""
    make: Callable[..., Row] = kind
    return [make(*(math.nan if value is None else value for value in row)) for row in rows]


def per_patient(rows: Iterable[Row], value: Callable[[Row], float]) -> dict[str, float]:
    """Mean of a value over the rows of each patient, NaN left out."""
    found: dict[str, list[float]] = {}
    for row in rows:
        number = value(row)
        if math.isfinite(number):
            found.setdefault(row.patient, []).append(number)
    return {name: sum(numbers) / len(numbers) for name, numbers in found.items()}


def over_patients(rows: Iterable[Row], value: Callable[[Row], float]) -> Interval:
    """Mean over patients of their means, with its 95 % bootstrap interval over patients."""
    return bootstrap_mean(list(per_patient(rows, value).values()))


def short(found: Interval, *, percent: bool = False, digits: int = 2, ends: bool = True) -> str:
    """Mean and interval as text; a dash where nothing was found."""
    if not found.n:
        return "-"
    if percent:
        text, low, high = (f"{100 * v:.{digits - 1}f}" for v in (found.mean, found.low, found.high))
    else:
        text, low, high = (f"{v:.{digits}f}" for v in (found.mean, found.low, found.high))
    return f"{text} ({low} to {high})" if ends else text


def to_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Lines for a spreadsheet, NaN left empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow(["" if isinstance(v, float) and math.isnan(v) else v for v in row])
    return text.getvalue()
