"""What tells the time of the images of a stack: the best source that all have and that tells them apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from ctp_torch.errors import IncompleteSeriesError
from ctp_torch.io.dicom.index import ImageHeader
from ctp_torch.io.dicom.moments import ORDER_SOURCES, TIME_SOURCES

__all__ = ["SAME_TIME_S", "Clock", "choose_clock"]

SAME_TIME_S = 0.01
"""Images of one slice closer than this were taken at one time: no gantry turns faster."""
_LATE = ("ContentTime", "SeriesTime")
"""Moments of making, not of taking: they count only where no acquisition time varies."""
_HALF_DAY_S, _DAY_S = 43_200.0, 86_400.0

_Slices = list[list[ImageHeader]]


@dataclass(frozen=True)
class Clock:
    """Where the times come from, and the time of an image."""

    source: str
    """Name of the source."""
    seconds: bool
    """False when the source only puts the images in order."""
    read: Callable[[ImageHeader], float]
    """The time of an image [s], or its place in the order."""
    warnings: tuple[str, ...] = ()


def choose_clock(slices: _Slices, *, order_only: bool = False) -> Clock:
    """The best clock of a stack of slices.

    A source counts when every image has it and it varies within the slices. The first one that tells all images of a
    slice apart wins; failing that, the first that tells some apart (its doubled cells are reported later).

    Parameters
    ----------
    slices
        the images of each slice
    order_only
        the times will come from the user: numbers that only sort will do

    Raises
    ------
    IncompleteSeriesError
        when nothing in the headers tells the time
    """
    images = [image for one in slices for image in one]
    if all(len(one) == 1 for one in slices):
        return _still(images)
    partial: Clock | None = None
    refused: list[str] = []
    for source in TIME_SOURCES:
        having = sum(source in image.moments for image in images)
        if 0 < having < len(images):
            refused.append(f"{source} is missing in {len(images) - having} of {len(images)} images")
        if having < len(images) or (source in _LATE and partial is not None):
            continue
        clock = _clock(source, images)
        apart, varying = _apart(slices, clock.read)
        if source in _LATE and varying and not _runs_with_numbers(slices, clock.read):
            refused.append(f"{source} runs against the numbers of the images")
        elif apart:
            return _with_warnings(clock, slices, refused)
        elif varying:
            partial = partial or clock
        else:
            refused.append(f"{source} is constant")
    for source in ORDER_SOURCES if order_only else ():
        if all(source in image.orders for image in images):
            read = _reader(source, orders=True)
            if _apart(slices, read)[0] and len({len(one) for one in slices}) == 1:
                return Clock(source, False, read, (f"the order of the images is that of {source}",))
    if partial is not None:
        return _with_warnings(partial, slices, refused)
    raise IncompleteSeriesError(
        "no acquisition times: the headers tell none that differ between the images of a slice"
        + (f" ({'; '.join(refused)})" if refused else "")
        + ("" if order_only else "; give them with --times FILE (seconds, one a frame), or their spacing with --dt S")
    )


def _still(images: list[ImageHeader]) -> Clock:
    """The clock of a single time point: any time will do."""
    for source in TIME_SOURCES:
        if all(source in image.moments for image in images):
            return _clock(source, images)
    return Clock("none", True, lambda _: 0.0)


def _reader(source: str, *, orders: bool = False) -> Callable[[ImageHeader], float]:
    """A function that reads the source of an image."""
    return (lambda image: image.orders[source]) if orders else (lambda image: image.moments[source])


def _clock(source: str, images: list[ImageHeader]) -> Clock:
    """The clock of a source: past midnight made later than before it, private units made seconds."""
    values = [image.moments[source] for image in images]
    latest = max(values)
    if latest - min(values) > _HALF_DAY_S and not source.startswith("GE"):

        def past_midnight(image: ImageHeader) -> float:
            value = image.moments[source]
            return value + _DAY_S if latest - value > _HALF_DAY_S else value

        return Clock(source, True, past_midnight, ("the scan ran past midnight",))
    if source.startswith("GE"):
        return _private_clock(source, images)
    return Clock(source, True, _reader(source))


def _private_clock(source: str, images: list[ImageHeader]) -> Clock:
    """GE's private times, which some scanners write in seconds and others in milliseconds."""
    values = sorted({image.moments[source] for image in images})
    gaps = [b - a for a, b in pairwise(values) if b - a > SAME_TIME_S]
    milliseconds = bool(gaps) and median(gaps) > 60.0  # no perfusion scan waits a minute between images
    unit, scale = ("milliseconds", 1e-3) if milliseconds else ("seconds", 1.0)
    return Clock(source, True, lambda image: image.moments[source] * scale, (f"{source} is private; read as {unit}",))


def _apart(slices: _Slices, read: Callable[[ImageHeader], float]) -> tuple[bool, bool]:
    """Whether a clock tells all images of every slice apart, and whether it varies at all in most slices."""
    several = [sorted(map(read, images)) for images in slices if len(images) > 1]
    distinct = [1 + sum(b - a > SAME_TIME_S for a, b in pairwise(t)) for t in several]
    varying = sum(d > 1 for d in distinct)
    return all(d == len(t) for d, t in zip(distinct, several, strict=True)), 2 * varying > len(several)


def _runs_with_numbers(slices: _Slices, read: Callable[[ImageHeader], float]) -> bool:
    """Whether times rise with Acquisition Number or Instance Number within every slice, where those are told."""
    for number in ("AcquisitionNumber", "InstanceNumber"):
        if all(number in image.orders for one in slices for image in one):
            runs = [[read(i) for i in sorted(one, key=lambda i: i.orders[number])] for one in slices]
            return all(run == sorted(run) for run in runs)
    return True


def _with_warnings(clock: Clock, slices: _Slices, refused: list[str]) -> Clock:
    """The clock with what has to be said about it."""
    warnings = [*clock.warnings, *refused]
    if clock.source in _LATE:
        warnings.append(f"{clock.source} tells when images were made, not taken: check the times")
    warnings += _cross_check(clock, slices)
    return Clock(clock.source, clock.seconds, clock.read, tuple(warnings))


def _cross_check(clock: Clock, slices: _Slices) -> list[str]:
    """What private clocks and counters of the vendor say against the chosen one."""
    warnings = []
    images = [image for one in slices for image in one]
    if clock.source != "GE MidScanTime" and all("GE MidScanTime" in image.moments for image in images):
        private = _private_clock("GE MidScanTime", images)
        for one in slices:
            pairs = sorted((clock.read(i), private.read(i)) for i in one)
            drift = [(b - pairs[0][1]) - (a - pairs[0][0]) for a, b in pairs]
            if _apart([one], private.read)[0] and max(map(abs, drift)) > 0.5:
                warnings.append(f"GE MidScanTime differs from {clock.source} by up to {max(map(abs, drift)):.2f} s")
                break
    counter = "Canon VolumeNumber"
    if all(counter in image.orders for image in images):
        for one in slices:
            counts = [image.orders[counter] for image in sorted(one, key=clock.read)]
            if len(set(counts)) > 1 and counts != sorted(counts):
                warnings.append(f"{counter} runs against {clock.source}")
                break
    return warnings
