"""Images sorted into (slice, time): every cell holds one, or the error names the cells that don't."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Literal

from ctp_torch.errors import IncompleteSeriesError
from ctp_torch.io.dicom.clocks import SAME_TIME_S
from ctp_torch.io.dicom.image import ImageHeader, LeftOut
from ctp_torch.io.dicom.select import along_normal
from ctp_torch.io.dicom.times import Clock

__all__ = ["INCOMPLETE", "Grid", "arrange"]

INCOMPLETE = "its time point lacks a slice"
"""Why images of dropped time points are left out."""

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
    n_incomplete: int
    """Time points dropped because they lack a slice."""


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
                doubled.append(
                    f"  {_place(slices, z)}, time {_time_text(cell[0], slices, clock)}: {len(cell)} ({names})"
                )
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
            left_out += [LeftOut(i.path, INCOMPLETE) for i in partial if None in row]
    return Grid(whole, [[clock.read(image) for image in cells] for cells in whole], left_out, n_frames - len(whole))


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

    Slices that keep step (a constant lag between them) count through. Others, of a shuttle or with images missing, are
    taken together in the order of time: a new frame begins where a slice comes again, or after a pause. The pause that
    leaves the fewest empty cells and the shortest frames is the right one.
    """
    times = [[clock.read(image) for image in images] for images in rows]
    if not clock.seconds or _keep_step(times):
        return [list(range(len(own))) for own in times]
    events = sorted((t, z) for z, own in enumerate(times) for t in own)
    gaps = sorted({round(b[0] - a[0], 3) for a, b in pairwise(events)} - {0.0})
    pauses = [*gaps[:: 1 + len(gaps) // 40], math.inf]
    best = min((_frames(events, pause) for pause in pauses), key=lambda frames: _cost(frames, times))
    placed: list[list[int]] = [[] for _ in rows]
    for k, frame in enumerate(best):
        for z in frame:
            placed[z].append(k)
    return placed


def _keep_step(times: list[list[float]]) -> bool:
    """Whether all slices have equally many images, each at a constant lag behind the first slice."""
    first = times[0]
    if any(len(own) != len(first) for own in times):
        return False
    for own in times:
        lag = [a - b for a, b in zip(own, first, strict=True)]
        if max(lag) - min(lag) > 0.25 * _interval(times):
            return False
    return True


def _frames(events: list[tuple[float, int]], pause: float) -> list[dict[int, float]]:
    """The images in the order of time cut into frames, each slice to time."""
    frames: list[dict[int, float]] = [{}]
    last = events[0][0]
    for t, z in events:
        if z in frames[-1] or t - last >= pause - SAME_TIME_S / 10:
            frames.append({})
        frames[-1][z] = t
        last = t
    return frames


def _cost(frames: list[dict[int, float]], times: list[list[float]]) -> float:
    """Empty cells, and twice the length of the frames in frame intervals: a frame is shorter than that."""
    empty = len(frames) * len(times) - sum(map(len, frames))
    length = sum(max(frame.values()) - min(frame.values()) for frame in frames)
    return empty + 2 * length / _interval(times)


def _interval(times: list[list[float]]) -> float:
    """The usual time between two images of a slice."""
    means = [(own[-1] - own[0]) / (len(own) - 1) for own in times if len(own) > 1]
    return median(means) if means else math.inf


def _place(slices: _Slices, z: int) -> str:
    """A slice in words."""
    return f"slice {z} (at {along_normal(slices[z][0]):.1f} mm)"


def _time_text(image: ImageHeader, slices: _Slices, clock: Clock) -> str:
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
            moment = f" ({_time_text(there, slices, clock)})" if there else ""
            places = ", ".join(_place(slices, z) for z in lacking)
            lines.append(f"  time point {frame}{moment} lacks {places}")
    total = len(table) * len(slices)
    return (
        f"{empty} of {total} (slice, time) cells are missing:\n"
        + "\n".join(lines)
        + "\nexport them again, or leave out these time points with --drop-incomplete"
    )
