"""Times cut to whole seconds, and the even steps that they must come from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

__all__ = ["even_step", "even_times", "uneven_share"]

_FEWEST = 5  # frames: fewer fit many an even step
_FEWEST_TURNS = 2
_LONGEST_STEP = 5.0  # units: one more or less matters little to longer steps


def uneven_share(times: Sequence[float], *, resolution: float = 1.0) -> float:
    """The share of steps unlike the usual one, where steps turn longer and shorter again and again, as by cutting.

    0 for a scan that changes its pace once or lacks one frame, and for steps so long that a unit matters little.
    """
    steps = [b - a for a, b in pairwise(times)]
    changes = [b - a for a, b in pairwise(steps) if b != a]
    turns = sum(a * b < 0 for a, b in pairwise(changes))
    if turns < _FEWEST_TURNS:
        return 0.0
    usual = max(set(steps), key=steps.count)
    return sum(step != usual for step in steps) / len(steps) if usual <= _LONGEST_STEP * resolution else 0.0


def even_step(slices: Sequence[Sequence[float]], *, resolution: float = 1.0) -> float | None:
    """The step [s] of an even scan whose times, cut to multiples of the resolution, are these; None where none is.

    Times ``v[k] <= start + k step < v[k] + resolution`` hold for some start if and only if
    ``v[j] - v[i] - resolution < (j - i) step < v[j] - v[i] + resolution`` for all pairs; of the steps that fit all
    slices, the one with fewest decimals nearest the middle is taken.

    Parameters
    ----------
    slices
        the times of each slice, ascending
    resolution
        what they were cut to [s]
    """
    low, high = 0.0, float("inf")
    for times in {tuple(own) for own in slices}:
        if len(times) < _FEWEST:
            return None
        for i in range(len(times)):
            for j in range(i + 1, len(times)):
                low = max(low, (times[j] - times[i] - resolution) / (j - i))
                high = min(high, (times[j] - times[i] + resolution) / (j - i))
        if low >= high:
            return None
    middle = (low + high) / 2
    for decimals in range(5):
        step = round(middle, decimals)
        if low < step < high:
            return step
    return middle


def even_times(times: Sequence[float], step: float, *, resolution: float = 1.0) -> list[float]:
    """Even times of that step which, cut, are the times of one slice."""
    earliest = max(t - k * step for k, t in enumerate(times))
    latest = min(t + resolution - k * step for k, t in enumerate(times))
    start = (earliest + latest) / 2
    return [start + k * step for k in range(len(times))]
