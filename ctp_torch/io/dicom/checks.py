"""What a series in its grid tells against itself: waits, frames lost from the middle, places of single frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

from ctp_torch.errors import IncompleteSeriesError
from ctp_torch.io.dicom.image import ImageHeader, LeftOut
from ctp_torch.io.dicom.select import along_normal
from ctp_torch.io.dicom.terms import kernel_term
from ctp_torch.io.dicom.times import PAUSE_S, Clock

__all__ = ["ANOTHER", "lost_frames", "waits"]

ANOTHER = "another series"
"""How the reason begins for which images of another series are left out."""

_FEW = 2
"""Frames at either end that a long wait cuts off: their date or time is wrong, or they belong to another scan."""
_NEAR = 1.5
"""Steps before the first or behind the last frame within which an image of the same series counts as lost."""
_NAMED = 6


def waits(times: Sequence[Sequence[float]], place: Path) -> list[str]:
    """Sentences on waits of minutes between frames.

    Parameters
    ----------
    times
        ``[time][slice]`` [s]
    place
        where they come from, for the message

    Raises
    ------
    IncompleteSeriesError
        when one or two frames lie minutes before or after all others
    """
    moments = [median(own) for own in times]
    long = [(t, b - a) for t, (a, b) in enumerate(pairwise(moments)) if b - a > PAUSE_S]
    n = len(moments)
    for t, wait in long:
        alone = list(range(t + 1)) if t < _FEW else list(range(t + 1, n)) if n - 1 - t <= _FEW else []
        if len(long) == 1 and alone and n - len(alone) > _FEW:
            side = "before" if t < _FEW else "after"
            raise IncompleteSeriesError(
                f"{place}: time point {alone[0] if side == 'after' else alone[-1]} lies {wait / 60:,.1f} min {side} the"
                f" others ({n - len(alone)} of {n}, {(moments[-1] - moments[0] - wait) / (n - 1 - len(alone)):.2f} s"
                " apart): its date or time is wrong, or it is no part of the scan; leave its files out, or give the"
                " times with --times FILE or --dt S"
            )
    return [
        f"a pause of {wait / 60:.1f} min after time point {t}: these may be two injections, of which maps make one"
        for t, wait in long
    ]


def lost_frames(
    cells: Sequence[Sequence[ImageHeader]], clock: Clock, others: Iterable[LeftOut]
) -> tuple[int, list[str], dict[str, str]]:
    """Time points that went with images left out: their number, a sentence for each kind, and what each reason costs.

    An image is missed where it was taken between the frames, or just before or behind them in the same series, at a
    time and near a place that no frame shows.

    Parameters
    ----------
    cells
        the images of the series ``[time][slice]``
    clock
        tells their times
    others
        images left out, with their headers
    """
    first = cells[0][0]
    frames = [median(image.moments.get(clock.source, 0.0) for image in row) for row in cells]
    if len(frames) < _FEW or not clock.seconds or clock.source not in first.moments:
        return 0, [], {}
    step = median(b - a for a, b in pairwise(frames))
    low, high = along_normal(cells[0][0]), along_normal(cells[0][-1])
    tolerance = (high - low) / max(1, len(cells[0]) - 1)
    series = {image.series for image in cells[0]}
    missed: dict[str, set[float]] = {}
    reasons: dict[str, set[float]] = {}
    for one in others:
        image = one.image
        if image is None or clock.source not in image.moments or image.patient != first.patient:
            continue
        same = image.series in series
        if not same and not one.reason.startswith(ANOTHER):
            continue
        t = image.moments[clock.source]
        within = frames[0] < t < frames[-1] or (same and frames[0] - _NEAR * step < t < frames[-1] + _NEAR * step)
        if not within or min(abs(t - frame) for frame in frames) <= 0.5 * step:
            continue
        placed = image.position is not None and image.orientation is not None
        if placed and not low - tolerance <= along_normal(image) <= high + tolerance:
            continue
        differs = _difference(image, first)
        words = differs if differs and one.reason.startswith(ANOTHER) else one.reason
        missed.setdefault(words, set()).add(round(t - frames[0], 2))
        reasons.setdefault(one.reason, set()).add(round(t - frames[0], 2))
    lost = _apart(set().union(*missed.values()), 0.5 * step)
    sentences = []
    for words, times in missed.items():
        named = _apart(times, 0.5 * step)
        shown = ", ".join(f"{t:.2f} s" for t in named[:_NAMED]) + (" ..." if len(named) > _NAMED else "")
        sentences.append(
            f"{len(named)} time point{'s' if len(named) > 1 else ''} (at {shown}) left out, for its images differ"
            f" ({words}): the series has a hole there"
        )
    costs = {reason: f"{len(_apart(times, 0.5 * step))} time points of the series" for reason, times in reasons.items()}
    return len(lost), sentences, costs


def _apart(times: Iterable[float], closer: float) -> list[float]:
    """The first of each run of times."""
    kept: list[float] = []
    last = None
    for t in sorted(times):
        if last is None or t - last > closer:
            kept.append(t)
        last = t
    return kept


def _difference(image: ImageHeader, first: ImageHeader) -> str:
    """What sets an image apart from those of the series, in words that name nobody."""
    a, b = image.pixels, first.pixels
    pairs = (
        ("matrix", f"{a.columns} x {a.rows}", f"{b.columns} x {b.rows}"),
        ("tube voltage", _number(image.kvp, "kV"), _number(first.kvp, "kV")),
        ("kernel", kernel_term(image.kernel), kernel_term(first.kernel)),
        ("thickness", _number(image.thickness, "mm"), _number(first.thickness, "mm")),
        ("pixel spacing", _numbers(image.spacing), _numbers(first.spacing)),
        ("orientation", _numbers(image.orientation), _numbers(first.orientation)),
    )
    return ", ".join(f"{name} {x or 'none'} for {y or 'none'}" for name, x, y in pairs if x != y)


def _number(value: float | None, unit: str) -> str:
    """A number with its unit; empty for none."""
    return f"{value:g} {unit}" if value else ""


def _numbers(values: Sequence[float] | None) -> str:
    """Some numbers; empty for none."""
    return "\\".join(f"{value:g}" for value in values or ())
