"""How well two measurements of the same things agree: differences, correlation, and one number for both."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Agreement", "agreement_of", "intraclass_correlation"]

_LIMITS = 1.96


class Agreement(NamedTuple):
    """Second minus first, over so many pairs; NaN where it isn't defined."""

    n: int
    first: float
    """Mean of the first."""
    second: float
    """Mean of the second."""
    bias: float
    """Mean difference."""
    sd: float
    """Standard deviation of the differences (n - 1)."""
    low: float
    """Lower limit of agreement: bias - 1.96 sd."""
    high: float
    """Upper limit of agreement: bias + 1.96 sd."""
    mae: float
    """Mean absolute difference."""
    r: float
    """Pearson correlation."""
    icc: float
    """Intraclass correlation, absolute agreement, single measurement."""


def agreement_of(first: Tensor, second: Tensor) -> Agreement:
    """The agreement of pairs; those of which either isn't finite are left out.

    Parameters
    ----------
    first, second
        ``(pairs,)``

    References
    ----------
    Bland and Altman, Lancet 327:307 (1986), doi:10.1016/S0140-6736(86)90837-8.
    """
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"pairs must be (pairs,) twice, got {tuple(first.shape)} and {tuple(second.shape)}")
    known = first.isfinite() & second.isfinite()
    a, b = first[known].double(), second[known].double()
    n = len(a)
    if n == 0:
        return Agreement(0, *[math.nan] * 9)
    difference = b - a
    bias = float(difference.mean())
    sd = float(difference.std()) if n > 1 else math.nan
    means = float(a.mean()), float(b.mean())
    ends = bias - _LIMITS * sd, bias + _LIMITS * sd
    icc = intraclass_correlation(torch.stack([a, b], dim=1))
    return Agreement(n, *means, bias, sd, *ends, float(difference.abs().mean()), _pearson(a, b), icc)


def intraclass_correlation(ratings: Tensor) -> float:
    """ICC(2,1): ``(MSR - MSE) / (MSR + (k - 1) MSE + k (MSC - MSE) / n)``, from the mean squares of rows and columns.

    Parameters
    ----------
    ratings
        ``(subjects, raters)``

    Returns
    -------
        1 where all raters say the same of subjects that differ; NaN for fewer than two subjects or raters

    References
    ----------
    Shrout and Fleiss, Psychological Bulletin 86:420 (1979), doi:10.1037/0033-2909.86.2.420.
    """
    n, k = ratings.shape
    if n < 2 or k < 2:
        return math.nan
    x = ratings.double()
    rows, columns, grand = x.mean(dim=1), x.mean(dim=0), x.mean()
    between = float(k * (rows - grand).square().sum() / (n - 1))
    raters = float(n * (columns - grand).square().sum() / (k - 1))
    error = float((x - rows[:, None] - columns + grand).square().sum() / ((n - 1) * (k - 1)))
    total = between + (k - 1) * error + k * (raters - error) / n
    return (between - error) / total if total > 0 else math.nan


def _pearson(a: Tensor, b: Tensor) -> float:
    """Pearson correlation; NaN where either is constant."""
    x, y = a - a.mean(), b - b.mean()
    scale = float((x.square().sum() * y.square().sum()).sqrt())
    return float((x * y).sum()) / scale if scale > 0 else math.nan
