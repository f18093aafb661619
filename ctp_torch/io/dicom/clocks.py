"""One clock of a stack of images: its times with days and zones made whole, and how finely it tells them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from ctp_torch.io.dicom.image import ImageHeader

__all__ = ["SAME_TIME_S", "Reading", "agree", "read_clock"]

SAME_TIME_S = 0.01
"""Images of one slice closer than this were taken at one time: no gantry turns faster."""
_DAY_S, _HOUR_S = 86_400.0, 3600.0
_SHORTER_S = 600.0
"""By which another reading of days and zones must make the scan shorter to be taken: zones differ by 15 min."""


@dataclass(frozen=True)
class Reading:
    """The times that one source tells."""

    source: str
    values: Mapping[int, float]
    """Seconds of every image, by its ``id``."""
    resolution: float
    """The step [s] that all times are whole multiples of, 0.001 at the finest."""
    notes: tuple[str, ...] = ()
    """What had to be put right."""

    def of(self, image: ImageHeader) -> float:
        """The time of an image [s]."""
        return self.values[id(image)]


def read_clock(source: str, images: Sequence[ImageHeader]) -> Reading:
    """The times of images that all have this source.

    A date that is missing or wrong in some images, a midnight that passed, an offset from UTC in some files only: of
    the times as told, with zones left off, with days left off, and with both, the shortest scan is the right one; the
    times as told where another is not shorter by 10 minutes.
    """
    told = [image.moments[source] for image in images]
    notes: list[str] = []
    if source.startswith("GE"):
        told, unit = _private_seconds(told)
        notes.append(f"{source} is private; read as {unit}")
    elif max(told) - min(told) > _SHORTER_S:
        told, notes = _mended(source, images, told)
    return Reading(source, dict(zip(map(id, images), told, strict=True)), _resolution(told), tuple(notes))


def agree(a: Reading, b: Reading, images: Sequence[ImageHeader]) -> bool:
    """Whether two clocks differ by one lag throughout, within what each resolves."""
    lags = [a.of(image) - b.of(image) for image in images]
    return max(lags) - min(lags) <= a.resolution + b.resolution


def _mended(source: str, images: Sequence[ImageHeader], told: list[float]) -> tuple[list[float], list[str]]:
    """The times of the shortest reading of days and zones, and what it took."""
    zones = [image.zones.get(source) for image in images]
    local = [value + (zone or 0.0) for value, zone in zip(told, zones, strict=True)]
    days, clock_days = _without_days(told), _without_days(local)
    spans = [max(values) - min(values) for values in (told, local, days, clock_days)]
    best = min(range(4), key=lambda k: (round(spans[k] / _SHORTER_S), k))
    if spans[0] - spans[best] < _SHORTER_S:
        return _hours_mended(source, told, [])
    notes = []
    if best in (1, 3):
        n = sum(zone is not None for zone in zones)
        notes.append(
            f"{source} tells an offset from UTC in {n} of {len(images)} images that makes a scan of"
            f" {spans[0] / 60:,.0f} min: read as the scanner's own time of day"
        )
    if best in (2, 3):
        notes.append(_days_note(source, told if best == 2 else local, days if best == 2 else clock_days))
    return _hours_mended(source, (local, days, clock_days)[best - 1], notes)


def _hours_mended(source: str, told: list[float], notes: list[str]) -> tuple[list[float], list[str]]:
    """The times without the hours by which some are off, where all follow each other as usual then; and the notes.

    Summer time that ends, a clock of twelve hours, another zone in one frame: a second injection doesn't begin whole
    hours and one step after the last image of the first.
    """
    times = _within(told, _HOUR_S)
    gaps, mended = (sorted(b - a for a, b in pairwise(sorted(set(values)))) for values in (told, times))
    usual = max((gap for gap in gaps if gap < _SHORTER_S), default=0.0)
    if not usual or gaps[-1] < _SHORTER_S or len(mended) < len(gaps) or mended[-1] > 1.2 * usual:
        return told, notes
    hours = [round((a - b) / _HOUR_S) for a, b in zip(told, times, strict=True)]
    usual_hours, n = Counter(hours).most_common(1)[0]
    off = sorted({abs(h - usual_hours) for h in hours} - {0})
    words = f"{source} is {' and '.join(map(str, off))} h off in {len(told) - n} of {len(told)} images"
    return times, [*notes, f"{words}: without, they follow the others at the usual step"]


def _without_days(values: list[float]) -> list[float]:
    """Times of day, those after midnight made later than those before it: the widest gap lies before the first."""
    return _within(values, _DAY_S)


def _within(values: list[float], period: float) -> list[float]:
    """Times without whole periods [s], counted from the end of the widest gap."""
    times = [value % period for value in values]
    order = sorted(set(times))
    gaps = [(b - a, b) for a, b in pairwise(order)]
    first = max([*gaps, (period - order[-1] + order[0], order[0])])[1]
    return [time if time >= first else time + period for time in times]


def _days_note(source: str, told: list[float], times: list[float]) -> str:
    """Why days were left off: midnight passed, or dates are missing or wrong in some images."""
    shifts = [round((a - b) / _DAY_S) for a, b in zip(told, times, strict=True)]  # days between both
    usual, _ = Counter(shifts).most_common(1)[0]
    crossed = max(times) >= _DAY_S
    same_day = len({value // _DAY_S for value in told}) == 1
    if crossed and same_day:
        return "the scan ran past midnight"
    start = min(times)
    odd = sorted({round(t - start, 2) for t, shift in zip(times, shifts, strict=True) if shift != usual})
    n = sum(shift != usual for shift in shifts)
    named = ", ".join(f"{t:.2f}" for t in odd[:6]) + (" ..." if len(odd) > 6 else "")
    return (
        f"the date of {n} of {len(told)} images is missing or days off the others' (those {named} s after the first):"
        f" {source} was read as a time of day"
    )


def _private_seconds(told: list[float]) -> tuple[list[float], str]:
    """GE's private times, which some scanners write in seconds and others in milliseconds."""
    gaps = [b - a for a, b in pairwise(sorted(set(told))) if b - a > SAME_TIME_S]
    milliseconds = bool(gaps) and median(gaps) > 60.0  # no perfusion scan waits a minute between images
    return ([value * 1e-3 for value in told], "milliseconds") if milliseconds else (told, "seconds")


def _resolution(values: list[float]) -> float:
    """The coarsest of 1, 0.1, 0.01 and 0.001 s that all times are multiples of."""
    distinct = set(values)
    for per_second in (1, 10, 100):
        if all(abs(value * per_second - round(value * per_second)) < 1e-3 for value in distinct):
            return 1 / per_second
    return 0.001
