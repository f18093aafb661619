"""What tells the time of the images of a stack: the finest clock that tells them apart and that others bear out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from ctp_torch.errors import IncompleteSeriesError
from ctp_torch.io.dicom.clocks import SAME_TIME_S, Reading, agree, read_clock
from ctp_torch.io.dicom.cut_seconds import even_step, even_times, uneven_share
from ctp_torch.io.dicom.image import ImageHeader
from ctp_torch.io.dicom.moments import ORDER_SOURCES, TIME_SOURCES

__all__ = ["PAUSE_S", "Clock", "choose_clock"]

PAUSE_S = 180.0
"""A wait between two images of a slice that no single injection needs."""
_LATE = ("ContentTime", "SeriesTime")
"""Moments of making, not of taking: they count only where no acquisition time varies."""
_LONGEST_STEP_S = 120.0
_FEW_HOLES = 0.15
"""Share of longer steps up to which a scan in true whole seconds may as well lack some frames."""

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
    evidence: tuple[str, ...] = ()
    """The sources that bear it out, each with what it resolves."""


def choose_clock(slices: _Slices, *, order_only: bool = False) -> Clock:
    """The best clock of a stack of slices.

    A source counts when every image has it and it varies within the slices. Of those that tell all images of a slice
    apart the best known one is taken, or a finer one that agrees with it within what both resolve; failing that, the
    first that tells some apart (its doubled cells are reported later).

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
    whole, partial, refused = _readings(slices, images)
    if whole:
        return _best(whole, slices, images, refused)
    for source in ORDER_SOURCES if order_only else ():
        if all(source in image.orders for image in images):
            read = _order(source)
            if not _apart(slices, read)[0] or len({len(one) for one in slices}) > 1:
                continue
            if _runs_in_order(slices, read):
                return Clock(source, False, read, (f"the order of the images is that of {source}",))
            refused.append(f"{source} runs neither slice by slice nor volume by volume, so that it orders nothing")
    if partial is not None:
        return _as_clock(partial, slices, images, refused)
    raise IncompleteSeriesError(
        "no acquisition times: the headers tell none that differ between the images of a slice"
        + (f" ({'; '.join(refused)})" if refused else "")
        + ("; export the series again with its times" if order_only
           else "; give them with --times FILE (seconds, one a frame), or their spacing with --dt S")
    )  # fmt: skip


def _readings(slices: _Slices, images: list[ImageHeader]) -> tuple[list[Reading], Reading | None, list[str]]:
    """The clocks that tell all images of a slice apart, the first that tells some, and why others don't count."""
    whole: list[Reading] = []
    partial: Reading | None = None
    refused: list[str] = []
    counts = Counter(source for image in images for source in image.moments)
    unreadable = [image.unreadable for image in images if image.unreadable]
    for source in TIME_SOURCES:
        having = counts[source]
        shown = [texts[source] for texts in unreadable if source in texts]
        if shown:
            refused.append(f"{source} can't be read in {len(shown)} of {len(images)} images ('{shown[0]}')")
        elif 0 < having < len(images):
            refused.append(f"{source} is missing in {len(images) - having} of {len(images)} images")
        if having < len(images):
            continue
        reading = read_clock(source, images)
        apart, varying = _apart(slices, reading.of)
        if source in _LATE and varying and not _runs_with_numbers(slices, reading.of):
            refused.append(f"{source} runs against the numbers of the images")
        elif apart and not (source in _LATE and partial is not None and not whole):
            whole.append(reading)
        elif varying:
            partial = partial or reading
        else:
            refused.append(f"{source} is constant")
    return whole, partial, refused


def _best(whole: list[Reading], slices: _Slices, images: list[ImageHeader], refused: list[str]) -> Clock:
    """The best known clock that has no impossible gap, or a finer one that agrees with it."""
    taken = [reading for reading in whole if reading.source not in _LATE] or whole
    first = next((r for r in taken if _longest_wait(slices, r) <= PAUSE_S), taken[0])
    notes = []
    if first is not taken[0]:
        wait = _longest_wait(slices, taken[0])
        notes.append(f"{taken[0].source} jumps by {wait:,.0f} s where {first.source} runs on: the latter was taken")
    finer = [r for r in taken if r.resolution < first.resolution and agree(r, first, images)]
    chosen = min(finer, key=lambda r: r.resolution, default=first)
    chosen = _in_seconds(chosen, [r for r in whole if r is not chosen], slices, images)
    if chosen.resolution >= 1:
        chosen = _evened(chosen, slices)
    witnesses = [r for r in whole if r is not chosen and r.source != chosen.source and agree(r, chosen, images)]
    refused = [reason for reason in refused if _rank(reason) < _rank(first.source)]
    clock = _as_clock(replace(chosen, notes=(*notes, *chosen.notes)), slices, images, refused)
    words = tuple(f"{r.source} (to {r.resolution:g} s)" for r in (chosen, *witnesses))
    return replace(clock, evidence=words)


def _rank(text: str) -> int:
    """Where a source, or a reason that begins with one, stands among the sources."""
    return next((k for k, source in enumerate(TIME_SOURCES) if text.startswith(source)), len(TIME_SOURCES))


def _longest_wait(slices: _Slices, reading: Reading) -> float:
    """The longest time between two images of a slice that follow each other [s]."""
    waits = [b - a for one in slices for a, b in pairwise(sorted(map(reading.of, one)))]
    return max(waits, default=0.0)


def _in_seconds(reading: Reading, others: list[Reading], slices: _Slices, images: list[ImageHeader]) -> Reading:
    """The clock divided by 1,000 where its steps are impossible and another proves that it counts milliseconds."""
    steps = [b - a for one in slices for a, b in pairwise(sorted(map(reading.of, one)))]
    if not steps or median(steps) <= _LONGEST_STEP_S:
        return reading
    values = {key: value * 1e-3 for key, value in reading.values.items()}
    scaled = replace(reading, values=values, resolution=reading.resolution * 1e-3)
    proof = next((other for other in others if agree(scaled, other, images)), None)
    if proof is None:
        return reading
    return replace(scaled, notes=(*reading.notes, f"{reading.source} counts milliseconds, as {proof.source} proves"))


def _evened(reading: Reading, slices: _Slices) -> Reading:
    """A clock cut to whole seconds, at the even steps that its uneven ones must come from; else told as it is."""
    rows = [sorted(one, key=reading.of) for one in slices]
    times = [[reading.of(image) for image in row] for row in rows]
    unit = reading.resolution
    unevenness = max(map(uneven_share, times))
    if not unevenness:
        return reading
    step = even_step(times, resolution=unit) if unevenness > _FEW_HOLES else None
    if step is None:
        note = f"{reading.source} tells whole seconds alone and its steps are uneven: times may be up to {unit:g} s off"
        return replace(reading, notes=(*reading.notes, note))
    values = {
        id(image): time
        for row, own in zip(rows, times, strict=True)
        for image, time in zip(row, even_times(own, step, resolution=unit), strict=True)
    }
    note = f"{reading.source} is cut to whole seconds; read as the even steps of {step:g} s that it must come from"
    return replace(reading, values=values, notes=(*reading.notes, note))


def _still(images: list[ImageHeader]) -> Clock:
    """The clock of a single time point: any time will do."""
    for source in TIME_SOURCES:
        if all(source in image.moments for image in images):
            return Clock(source, True, read_clock(source, images).of)
    return Clock("none", True, lambda _: 0.0)


def _order(source: str) -> Callable[[ImageHeader], float]:
    """A function that reads a number of an image."""
    return lambda image: image.orders[source]


def _apart(slices: _Slices, read: Callable[[ImageHeader], float]) -> tuple[bool, bool]:
    """Whether a clock tells all images of every slice apart, and whether it varies at all in most slices."""
    several = [sorted(map(read, images)) for images in slices if len(images) > 1]
    distinct = [1 + sum(b - a > SAME_TIME_S for a, b in pairwise(t)) for t in several]
    varying = sum(d > 1 for d in distinct)
    return all(d == len(t) for d, t in zip(distinct, several, strict=True)), 2 * varying > len(several)


def _runs_in_order(slices: _Slices, read: Callable[[ImageHeader], float]) -> bool:
    """Whether numbers run volume by volume (each frame's lie below the next one's), or slice by slice."""
    rows = [sorted(map(read, one)) for one in slices]
    frames = list(zip(*rows, strict=True))
    by_volume = all(max(a) < min(b) for a, b in pairwise(frames))
    ranges = sorted((row[0], row[-1]) for row in rows)
    return by_volume or all(a[1] < b[0] for a, b in pairwise(ranges))


def _runs_with_numbers(slices: _Slices, read: Callable[[ImageHeader], float]) -> bool:
    """Whether times rise with Acquisition Number or Instance Number within every slice, where those are told."""
    for number in ("AcquisitionNumber", "InstanceNumber"):
        if all(number in image.orders for one in slices for image in one):
            runs = [[read(i) for i in sorted(one, key=lambda i: i.orders[number])] for one in slices]
            return all(run == sorted(run) for run in runs)
    return True


def _as_clock(reading: Reading, slices: _Slices, images: Sequence[ImageHeader], refused: list[str]) -> Clock:
    """The clock with what has to be said about it."""
    warnings = [*reading.notes, *refused]
    if reading.source in _LATE:
        warnings.append(f"{reading.source} tells when images were made, not taken: check the times")
    clock = Clock(reading.source, True, reading.of, tuple(warnings))
    return replace(clock, warnings=(*warnings, *_cross_check(clock, slices, images)))


def _cross_check(clock: Clock, slices: _Slices, images: Sequence[ImageHeader]) -> list[str]:
    """What private clocks and counters of the vendor say against the chosen one."""
    warnings = []
    if clock.source != "GE MidScanTime" and all("GE MidScanTime" in image.moments for image in images):
        private = read_clock("GE MidScanTime", images)
        for one in slices:
            pairs = sorted((clock.read(i), private.of(i)) for i in one)
            drift = [(b - pairs[0][1]) - (a - pairs[0][0]) for a, b in pairs]
            if _apart([one], private.of)[0] and max(map(abs, drift)) > 0.5:
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
