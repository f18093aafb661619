"""The images of a grid to volumes on a straight, even one: all at once, or frame by frame where they are too many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from ctp_torch.data.geometry import Geometry
from ctp_torch.errors import UnreadableFileError
from ctp_torch.io.coarse import Kept, keep, stays_on_disk
from ctp_torch.io.dicom.image import ImageHeader
from ctp_torch.io.dicom.moved import at_home
from ctp_torch.io.dicom.pixels import read_hounsfield, read_what_can_be
from ctp_torch.io.dicom.select import along_normal
from ctp_torch.io.dicom.straight import straighten

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Laid", "are_too_many", "keep_what_can_be", "lay", "layout", "read_frames"]

_Cells = list[list[ImageHeader]]


class Laid(NamedTuple):
    """Volumes whose slices lie square above each other at even steps, those of all frames in the same places."""

    hu: Tensor
    """``(time, z, y, x)`` [HU]."""
    times: Tensor
    """``(time, z)`` [s]."""
    geometry: Geometry
    """The grid of one volume."""
    moved: tuple[str, ...]
    """What was done to get there."""


def lay(hu: Tensor, times: Tensor, cells: Sequence[Sequence[ImageHeader]], *, start: int = 0) -> Laid:
    """Volumes ``(time, z, y, x)``, which may be written to, and their times, laid straight.

    Parameters
    ----------
    hu, times
        of the images ``cells[start:]``, as many as they are
    cells
        the images ``[time][slice]`` of the whole series
    start
        the first frame of ``hu``
    """
    hu, times, kept, moved = at_home(hu, times.clone(), cells, start=start)
    first = cells[0][kept]
    hu, times, geometry, resampled = straighten(
        hu[:, kept],
        times[:, kept],
        [image.position or (0.0, 0.0, 0.0) for image in first],  # type: ignore[misc]
        first[0].orientation or (),
        first[0].spacing or (1.0, 1.0),  # type: ignore[arg-type]
        thickness=first[0].thickness,
    )
    return Laid(hu, times, geometry, (*filter(None, [moved]), *resampled))


def layout(cells: _Cells, times: Tensor) -> Laid:
    """The times, the grid and the notes that `lay` would give, without a voxel read: its ``hu`` is of one pixel."""
    import torch

    laid = lay(torch.zeros(*times.shape, 1, 1), times, cells)
    pixels = cells[0][0].pixels
    geometry = replace(laid.geometry, shape=(laid.geometry.shape[0], pixels.rows, pixels.columns))
    return laid._replace(geometry=geometry)


def read_frames(cells: _Cells, times: Tensor) -> Iterator[Tensor]:
    """The frames ``(z, y, x)`` [HU] of a series, each read and laid straight when its turn comes."""
    for t, row in enumerate(cells):
        yield lay(read_hounsfield([row]), times[t : t + 1], cells, start=t).hu[0]


def are_too_many(cells: _Cells, slab_mm: float) -> bool:
    """Whether the images are averaged to slabs of that thickness frame by frame."""
    places, pixels = [along_normal(image) for image in cells[0]], cells[0][0].pixels
    if len(places) < 2:
        return False
    step = median(b - a for a, b in pairwise(places))
    return stays_on_disk((len(cells), len(places), pixels.rows, pixels.columns), step, slab_mm)


def keep_what_can_be(cells: _Cells, times: Tensor) -> tuple[Kept | None, dict[Path, UnreadableFileError]]:
    """What is kept in memory of frames that stay on disk, or the files that are damaged, with the reason for each."""
    laid = layout(cells, times)
    try:
        return keep(read_frames(cells, times), laid.times, laid.geometry), {}
    except UnreadableFileError:
        failed: dict[Path, UnreadableFileError] = {}
        for row in cells:
            failed |= read_what_can_be([row])[1]
        if not failed:
            raise
        return None, failed
