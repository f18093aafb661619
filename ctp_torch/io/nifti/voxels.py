"""The voxels of a NIfTI series on a straight grid: whole, cropped to the head, or left on disk where they are many."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ctp_torch.data.geometry import Geometry
from ctp_torch.errors import UnreadableFileError
from ctp_torch.io import coarse
from ctp_torch.io.dicom.straight import AIR_HU, straighten
from ctp_torch.io.frame_order import repeated_images, swapped_frames
from ctp_torch.io.hu_scale import check_scale
from ctp_torch.io.nifti.lost_values import fill_lost
from ctp_torch.io.nifti.nifti_file import Box, NiftiFile, nifti_shape, nifti_volumes, read_nifti_file
from ctp_torch.io.nifti.nifti_grid import NiftiGrid
from ctp_torch.io.odd_images import odd_images

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Voxels", "read_voxels"]

_MARGIN_MM = (10.0, 15.0, 15.0)
"""z, y, x: kept around the head of the first frame, which moves."""
_FEWEST_MEANT_SIGNED = 0.05

_Vector = tuple[float, float, float]


class Voxels(NamedTuple):
    """What was read of a file, and what was concluded on the way."""

    image: NiftiFile
    """The facts of the file; of one that stays on disk with its first volume alone."""
    sample: Tensor
    """``(time, z, y, x)`` [HU]: the series on its grid; of one that stays on disk every so many rows and columns."""
    times: Tensor
    """``(time, z)`` [s]."""
    geometry: Geometry
    """The grid of one volume."""
    values: list[str]
    """What the values were taken for, where the header doesn't tell."""
    scale: list[str]
    """Doubts that they are Hounsfield units."""
    odd: list[str]
    """What is odd about frames and images."""
    crop: list[str]
    """What was kept of each volume, if not all."""
    moved: list[str]
    """What was done to get onto the grid."""
    stored: tuple[coarse.Kept, Callable[[], Iterator[Tensor]]] | None = None
    """What was kept of a series that stays on disk, and what reads it frame by frame, ``(z, y, x)`` [HU]."""


class _LostInSomeError(Exception):
    """Values that are no numbers in some frames only must be interpolated from other frames: they are read whole."""


def read_voxels(path: Path, times: Tensor, *, max_unpacked: float | None = None, slab_mm: float = 0.0) -> Voxels:
    """The voxels of a 4-D file with times ``(time, z)`` [s] of its slices; a large series is cropped to the head.

    Parameters
    ----------
    path
        the file
    times
        ``(time, z)`` [s]
    max_unpacked
        largest size it may unpack to [GB]
    slab_mm
        thickness to which thin slices are averaged later [mm]: many of them stay on disk; 0 reads them all
    """
    import torch

    box, n = None, len(times)
    if 4 * math.prod(nifti_shape(path, max_unpacked=max_unpacked)) > coarse.LARGE_BYTES:
        first = read_nifti_file(path, max_unpacked=max_unpacked, floating=True, first_only=True)
        box = _head_box(torch.from_numpy(first.values)[0], first.grid)
        shape = first.values.shape[1:] if box is None else first.values[0][box].shape
        if coarse.stays_on_disk((n, *shape), first.grid.geometry.spacing[0], slab_mm):
            try:
                return _left_on_disk(path, times, first, box, max_unpacked)
            except _LostInSomeError:
                pass
    image = read_nifti_file(path, max_unpacked=max_unpacked, floating=True, box=box)
    hu, values = _meant(torch.from_numpy(image.values).reshape(n, -1, *image.values.shape[-2:]), image, path)
    geometry, times, crop = _part_of(image.grid, times, box)
    scale = check_scale(hu, path)
    odd = [*odd_images(hu), *repeated_images(hu), *swapped_frames(hu, times)]
    hu, times, geometry, moved = _laid_straight(hu, times, geometry, image.grid)
    return Voxels(image, hu, times, geometry, values, scale, odd, crop, moved)


def _left_on_disk(path: Path, times: Tensor, first: NiftiFile, box: Box | None, max_unpacked: float | None) -> Voxels:
    """What is kept of a series whose frames are read when they are asked for."""
    import torch

    whole = slice(None), slice(None), slice(None)
    start = torch.from_numpy(first.values)[:, *(box or whole)].clone()
    first = first._replace(values=None)
    lost = ~start[0].isfinite()
    wrapped = bool(_wrapped(start, first))
    start, values = _meant(start, first, path)
    part, part_times, crop = _part_of(first.grid, times, box)
    _, laid_times, geometry, moved = _laid_straight(start[:1], part_times, part, first.grid)

    def frames() -> Iterator[Tensor]:
        for t, volume in enumerate(nifti_volumes(path, box, max_unpacked=max_unpacked)):
            frame = torch.from_numpy(volume)
            if wrapped:
                _unwrap(frame)
            if first.scaled and not torch.equal(~frame.isfinite(), lost):
                raise _LostInSomeError
            frame[lost] = AIR_HU
            yield _laid_straight(frame[None], part_times[t : t + 1], part, first.grid)[0][0]

    kept = coarse.keep(frames(), laid_times, geometry)
    scale = check_scale(kept.scattered, path)
    odd = [*odd_images(kept.scattered), *repeated_images(kept.scattered), *swapped_frames(kept.scattered, laid_times)]
    return Voxels(first, kept.scattered, laid_times, geometry, values, scale, odd, crop, moved, (kept, frames))


def _meant(hu: Tensor, image: NiftiFile, path: Path) -> tuple[Tensor, list[str]]:
    """The values as they were meant, and what was concluded of them; changed in place."""
    notes = []
    if not math.isfinite(image.slope):
        notes.append(f"the header's slope is {image.slope}: stored values were taken as HU")
    elif image.slope < 0:
        raise UnreadableFileError(
            f"{path} tells a slope of {image.slope:g}, which would turn bone dark and air bright: mend scl_slope in its"
            " header, or convert the series again"
        )
    if wrapped := _wrapped(hu, image):
        for frame in hu:
            _unwrap(frame)
        notes.append(
            f"the header calls its integers unsigned, but {wrapped:.0%} of them are air only as signed ones: they were"
            " read as such"
        )
    if image.scaled:
        hu, lost = fill_lost(hu)
        notes += [lost] if lost else []
    return hu, notes


def _wrapped(hu: Tensor, image: NiftiFile) -> float:
    """The share of unsigned values that are air only as signed ones; 0 where they were meant unsigned."""
    if image.kind.kind != "u" or image.kind.itemsize != 2 or image.scaled:
        return 0.0
    some = hu[:: max(1, len(hu) // 4), :, ::4, ::4]
    wrapped = float((some >= 61_440).float().mean())
    between = float(((some > 16_384) & (some < 61_440)).float().mean())
    return wrapped if wrapped > _FEWEST_MEANT_SIGNED and between < 0.01 * wrapped else 0.0


def _unwrap(values: Tensor) -> None:
    """Unsigned integers as the signed ones of the same bits, in place."""
    values[values > 32_767] -= 65_536


def _head_box(first: Tensor, grid: NiftiGrid) -> Box | None:
    """Slices, rows and columns around the head of the first frame ``(z, y, x)`` [HU]; None to keep all."""
    from ctp_torch import ops

    spacing = grid.geometry.spacing
    head = ops.head_mask(first.nan_to_num(), spacing)
    if not bool(head.any()):
        return None
    box = []
    for axis, (mm, margin) in enumerate(zip(spacing, _MARGIN_MM, strict=True)):
        inside = head.transpose(0, axis).flatten(1).any(dim=1).nonzero()[:, 0]
        rim = math.ceil(margin / mm)
        box.append(slice(max(0, int(inside.min()) - rim), min(head.shape[axis], int(inside.max()) + 1 + rim)))
    kept = math.prod(part.stop - part.start for part in box)
    return (box[0], box[1], box[2]) if kept < 0.95 * head.numel() else None


def _cropped(kept: Box, geometry: Geometry) -> str:
    """A sentence on what was kept."""
    parts = [
        f"{name} {part.start} to {part.stop - 1} of {n}"
        for name, part, n in zip(("slices", "rows", "columns"), kept, geometry.shape, strict=True)
        if part.stop - part.start < n
    ]
    return (
        f"the series was cropped to the head as it was read, to save memory: {', '.join(parts)} (counted as in the"
        f" file, {_MARGIN_MM[1]:g} mm around the head of the first frame), in float32; maps lie on that part of the"
        " grid"
    )


def _part_of(grid: NiftiGrid, times: Tensor, kept: Box | None) -> tuple[Geometry, Tensor, list[str]]:
    """The grid and the times of what was kept, and a sentence on it."""
    geometry = grid.geometry
    if kept is None:
        return geometry, times, []
    slices, rows, columns = kept
    origin = geometry.position(0 if grid.lean else slices.start, rows.start, columns.start)
    if grid.lean:
        origin = _along(origin, grid.lean, slices.start)
    shape = (slices.stop - slices.start, rows.stop - rows.start, columns.stop - columns.start)
    part = replace(geometry, shape=shape, origin=origin)
    return part, times[:, slices], [_cropped(kept, geometry)]


def _laid_straight(
    hu: Tensor, times: Tensor, geometry: Geometry, grid: NiftiGrid
) -> tuple[Tensor, Tensor, Geometry, list[str]]:
    """Slices ascending along their normal (turned in place), those of a leaning stack moved onto a straight grid."""
    d = geometry.direction
    normal = (d[3] * d[7] - d[6] * d[4], d[6] * d[1] - d[0] * d[7], d[0] * d[4] - d[3] * d[1])
    rise = geometry.spacing[0]
    step = grid.lean or (rise * d[2], rise * d[5], rise * d[8])
    depth = geometry.shape[0]
    first = geometry.origin
    if sum(a * b for a, b in zip(step, normal, strict=True)) < 0:
        for frame in hu:
            frame.copy_(frame.flip(0))
        times = times.flip(1)
        first, step = _along(first, step, depth - 1), (-step[0], -step[1], -step[2])
        turned = (d[0], d[1], -d[2], d[3], d[4], -d[5], d[6], d[7], -d[8])
        geometry = replace(geometry, origin=first, direction=turned)
    if grid.lean is None:
        return hu, times, geometry, []
    positions = [_along(first, step, z) for z in range(depth)]
    orientation = (d[0], d[3], d[6], d[1], d[4], d[7])
    return straighten(hu, times, positions, orientation, geometry.spacing[1:], thickness=rise)


def _along(origin: _Vector, step: _Vector, n: int) -> _Vector:
    """The place n steps on."""
    return origin[0] + n * step[0], origin[1] + n * step[1], origin[2] + n * step[2]
