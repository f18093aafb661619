"""Images sorted into (slice, time): every cell holds one, or the error names the cells that don't."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Literal

from ctp_torch.errors import IncompleteSeriesError
from ctp_torch.io.dicom_index import ImageHeader, LeftOut
from ctp_torch.io.dicom_select import along_normal
from ctp_torch.io.dicom_times import SAME_TIME_S, Clock

__all__ = ["Grid", "arrange"]

_Slices = list[list[ImageHeader]]


@dataclass(frozen=True)
class Grid:
    """Every image in its cell."""

    cells: list[list[ImageHeader]]
    """``[time][slice]``."""
    times: list[list[float]]
    """``[time][slice]``: what the clock says [s]."""
    left_out: list[LeftOut]
    """Images of dropped frames and second images of cells."""


def arrange(
    slices: _Slices,
    clock: Clock,
    *,
    drop_incomplete: bool = False,
    duplicates: Literal["refuse", "first"] = "refuse",
) -> Grid:
    """The images in the order of time within each slice, frames matched across slices.

    Parameters
    ----------
    slices
        ascending along the normal, images in any order
    clock
        tells the time of an image
    drop_incomplete
        leave out the time points that lack a slice, instead of refusing
    duplicates
        "first" keeps the first (by number, then file name) of several images of one slice and time

    Raises
    ------
    IncompleteSeriesError
        naming every missing and every doubled (slice, time) cell
    """
    left_out: list[LeftOut] = []
    rows: list[list[ImageHeader]] = []
    doubled: list[str] = []
    for z, images in enumerate(slices):
        cells = _cells_of_slice(images, clock)
        rows.append([cell[0] for cell in cells])
        for cell in cells:
            if len(cell) > 1:
                names = ", ".join(image.path.name for image in cell)
                doubled.append(f"  {_place(slices, z)}, time {_show(cell[0], slices, clock)}: {len(cell)} ({names})")
                left_out += [LeftOut(image.path, "second image of its slice and time") for image in cell[1:]]
    if doubled and duplicates == "refuse":
        raise IncompleteSeriesError(
            f"{len(doubled)} (slice, time) cells hold more than one image:\n"
            + "\n".join(doubled)
            + "\nkeep the first of each with --duplicates first"
        )
    frames = _match(rows, clock)
    n_frames = max(max(own) for own in frames) + 1
    table: list[list[ImageHeader | None]] = [[None] * len(rows) for _ in range(n_frames)]
    for z, (images, own) in enumerate(zip(rows, frames, strict=True)):
        for image, frame in zip(images, own, strict=True):
            table[frame][z] = image
    full = [[image for image in row if image is not None] for row in table]
    whole = [there for there, row in zip(full, table, strict=True) if None not in row]
    if len(whole) < n_frames:
        if not (drop_incomplete and whole):
            raise IncompleteSeriesError(_missing(table, slices, clock))
        for partial, row in zip(full, table, strict=True):
            left_out += [LeftOut(i.path, "its time point lacks a slice") for i in partial if None in row]
    return Grid(whole, [[clock.read(image) for image in cells] for cells in whole], left_out)


def _cells_of_slice(images: list[ImageHeader], clock: Clock) -> list[list[ImageHeader]]:
    """The images of a slice by time; several in a cell only where two were taken at one time."""
    cells: list[list[ImageHeader]] = []
    for image in sorted(images, key=lambda i: (clock.read(i), i.orders.get("InstanceNumber", 0.0), str(i.path))):
        if cells and clock.seconds and clock.read(image) - clock.read(cells[-1][0]) <= SAME_TIME_S:
            cells[-1].append(image)
        else:
            cells.append([image])
    return [sorted(c, key=lambda i: (i.orders.get("InstanceNumber", 0.0), str(i.path))) for c in cells]


def _match(rows: _Slices, clock: Clock) -> list[list[int]]:
    """The frame of every image of every slice.

    A slice with as many images as the fullest one, keeping step with it, counts through. Any other is laid against the
    fullest slice so that the times agree best, after the shift that a shuttle gives it.
    """
    times = [[clock.read(image) for image in images] for images in rows]
    reference = max(times, key=len)
    if len(reference) == 1:
        return [[0] for _ in rows]
    dt = median(b - a for a, b in pairwise(reference))
    frames: list[list[int]] = []
    extra = 0
    for own in times:
        placed = list(range(len(own))) if _in_step(own, reference, dt) else _lay(own, reference, dt)
        extra = max(extra, -placed[0])
        frames.append(placed)
    return [[frame + extra for frame in placed] for placed in frames]


def _in_step(own: Sequence[float], reference: Sequence[float], dt: float) -> bool:
    """Whether two slices have equally many images whose distance in time stays within three quarters of a frame."""
    if len(own) != len(reference):
        return False
    lag = [a - b for a, b in zip(own, reference, strict=True)]
    return max(abs(one - median(lag)) for one in lag) <= 0.75 * dt


def _lay(own: Sequence[float], reference: Sequence[float], dt: float) -> list[int]:
    """The frames of a slice that lacks some: the shift and the places with the least sum of time differences."""
    near = [a - b for a in (own[0], own[-1], own[len(own) // 2]) for b in reference if abs(a - b) < 0.75 * dt]
    shifts = sorted({0.0, *near}, key=abs)
    best: tuple[float, list[int]] | None = None
    for shift in shifts:
        places = _nearest([t - shift for t in own], reference, dt)
        cost = sum(abs(t - shift - _time_of(p, reference, dt)) for t, p in zip(own, places, strict=True)) + 1e-9 * abs(
            shift
        )
        if len(set(places)) == len(places) and (best is None or cost < best[0]):
            best = (cost, places)
    return best[1] if best else list(range(len(own)))


def _nearest(own: Sequence[float], reference: Sequence[float], dt: float) -> list[int]:
    """The nearest frame of every time; frames before the first and after the last count on in steps of dt."""
    places = []
    for t in own:
        if t < reference[0] - 0.5 * dt:
            places.append(-max(1, round((reference[0] - t) / dt)))
        elif t > reference[-1] + 0.5 * dt:
            places.append(len(reference) - 1 + max(1, round((t - reference[-1]) / dt)))
        else:
            places.append(min(range(len(reference)), key=lambda k: abs(reference[k] - t)))
    return places


def _time_of(place: int, reference: Sequence[float], dt: float) -> float:
    """The time of a frame, also of one before the first or after the last."""
    if place < 0:
        return reference[0] + place * dt
    return reference[place] if place < len(reference) else reference[-1] + (place - len(reference) + 1) * dt


def _place(slices: _Slices, z: int) -> str:
    """A slice in words."""
    return f"slice {z} (at {along_normal(slices[z][0]):.1f} mm)"


def _show(image: ImageHeader, slices: _Slices, clock: Clock) -> str:
    """The time of an image from the first one."""
    start = min(clock.read(i) for images in slices for i in images)
    return f"{clock.read(image) - start:.2f} s" if clock.seconds else f"{clock.read(image):g}"


def _missing(table: list[list[ImageHeader | None]], slices: _Slices, clock: Clock) -> str:
    """Every empty cell, frame by frame."""
    empty = sum(row.count(None) for row in table)
    lines = []
    for frame, row in enumerate(table):
        lacking = [z for z, image in enumerate(row) if image is None]
        if lacking:
            there = next((image for image in row if image is not None), None)
            moment = f" ({_show(there, slices, clock)})" if there else ""
            places = ", ".join(_place(slices, z) for z in lacking)
            lines.append(f"  time point {frame}{moment} lacks {places}")
    total = len(table) * len(slices)
    return (
        f"{empty} of {total} (slice, time) cells are missing:\n"
        + "\n".join(lines)
        + "\nexport them again, or leave out these time points with --drop-incomplete"
    )
