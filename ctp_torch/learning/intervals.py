"""Scores of rows as means over patients, with intervals that patients, not slices, decide."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import torch

__all__ = ["Interval", "bootstrap_mean", "mean_over_patients", "paired_difference", "per_patient", "select"]


class PatientRow(Protocol):
    """Anything scored of one patient."""

    @property
    def patient(self) -> str:
        """The patient's name."""


Row = TypeVar("Row")


class Interval(NamedTuple):
    """A mean over patients and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float
    n: int


def select(rows: Iterable[Row], **fields: Any) -> list[Row]:
    """The rows whose fields have these values."""
    return [row for row in rows if all(getattr(row, name) == value for name, value in fields.items())]


def per_patient(rows: Iterable[PatientRow], score: str) -> dict[str, float]:
    """Mean of a score over the rows of each patient, undefined ones left out."""
    values: dict[str, list[float]] = {}
    for row in rows:
        value = float(getattr(row, score))
        if math.isfinite(value):
            values.setdefault(row.patient, []).append(value)
    return {name: sum(numbers) / len(numbers) for name, numbers in values.items()}


def mean_over_patients(rows: Iterable[PatientRow], score: str) -> Interval:
    """Mean over patients of the means of their rows."""
    return bootstrap_mean(list(per_patient(rows, score).values()))


def bootstrap_mean(values: Sequence[float], *, seed: int = 0, n_resamples: int = 4000) -> Interval:
    """The mean of one value per patient, with its 95 % percentile interval over resampled patients."""
    finite = torch.tensor([v for v in values if math.isfinite(v)], dtype=torch.float64)
    if not len(finite):
        return Interval(math.nan, math.nan, math.nan, 0)
    generator = torch.Generator().manual_seed(seed)
    picks = torch.randint(len(finite), (n_resamples, len(finite)), generator=generator)
    ends = finite[picks].mean(dim=1).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    return Interval(float(finite.mean()), float(ends[0]), float(ends[1]), len(finite))


def paired_difference(first: Mapping[str, float], second: Mapping[str, float], *, seed: int = 0) -> Interval:
    """Mean of first - second over the patients both hold, with its interval."""
    return bootstrap_mean([first[name] - second[name] for name in first if name in second], seed=seed)
