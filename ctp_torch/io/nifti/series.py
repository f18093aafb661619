"""A 4-D NIfTI as a series: times, grid and values each held against every source that tells of them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctp_torch.data.provenance import Inference, Provenance
from ctp_torch.data.series import CTPSeries
from ctp_torch.errors import IncompleteSeriesError, UnreadableFileError
from ctp_torch.io.dicom.straight import straighten
from ctp_torch.io.frame_order import repeated_images, swapped_frames
from ctp_torch.io.hu_scale import check_scale
from ctp_torch.io.nifti.frame_times import check_times, spread
from ctp_torch.io.nifti.lost_values import fill_lost
from ctp_torch.io.nifti.nifti import sidecar
from ctp_torch.io.nifti.nifti_file import Box, NiftiFile, nifti_shape, nifti_step, read_nifti_file
from ctp_torch.io.nifti.nifti_grid import NiftiGrid
from ctp_torch.io.nifti.sidecar_times import file_times, read_sidecar
from ctp_torch.io.odd_images import odd_images
from ctp_torch.io.plausible import doubts_of, measure

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.data.geometry import Geometry

__all__ = ["read_nifti_series"]

_CROP_BYTES = 2 << 30
"""Series that take more in float32 are cropped to the head while they are read."""
_MARGIN_MM = (10.0, 15.0, 15.0)
"""z, y, x: kept around the head of the first frame, which moves."""
_FEWEST_MEANT_SIGNED = 0.05

_Vector = tuple[float, float, float]


def read_nifti_series(
    path: Path, *, times: Tensor | None = None, dt: float | None = None, max_unpacked: float | None = None
) -> CTPSeries:
    """A 4-D NIfTI as a series, slices turned to ascend along their normal; the options are those of ``read_series``.

    Without ``times`` and ``dt`` they come from the JSON of the same name beside it (``SliceTimes``, ``FrameTimes``,
    ``VolumeTiming``, ``FrameTimesStart``, ``RepetitionTime``), or from the fourth spacing in the header. A series above
    2 GiB is cropped to the head as it is read, frame by frame; the warnings say so.
    """
    import torch

    shape = nifti_shape(path, max_unpacked=max_unpacked)
    beside = sidecar(path)
    content = None if times is not None or dt is not None else read_sidecar(beside)
    if len(shape) == 3 and (times is not None or (content and file_times(content, None, (1, shape[0]), path))):
        shape = (1, *shape)  # a series of one frame loses its fourth dimension on disk
    if len(shape) != 4:
        raise IncompleteSeriesError(f"{path} is one volume; a perfusion series is 4-D, time last")
    n, depth = shape[:2]
    warnings: list[str] = []
    if times is not None:
        slice_times, source = spread(times, (n, depth)), "given"
    elif dt is not None:
        slice_times, source = spread(torch.arange(n, dtype=torch.float64) * dt, (n, depth)), "given dt"
    else:
        told = file_times(content, nifti_step(path), (n, depth), path)
        if told is None:
            raise IncompleteSeriesError(
                f"{path} tells no times: give them with --times FILE or --dt S, or put FrameTimes into {beside.name}"
            )
        slice_times, source, warnings = told
    check_times(slice_times, path)
    image = read_nifti_file(path, max_unpacked=max_unpacked, floating=True, box=_head_box)
    hu, values = _meant(torch.from_numpy(image.values).reshape(n, -1, *image.values.shape[-2:]), image, path)
    warnings += [*values, *image.grid.notes]
    scale = check_scale(hu, path)
    warnings += [*scale, *odd_images(hu), *repeated_images(hu), *swapped_frames(hu, slice_times)]
    if image.spare >= hu[0, 0].numel():  # less is padding
        warnings.append(f"{image.spare} bytes follow the last voxel: the file may hold more than its header tells")
    crop = []
    geometry = image.grid.geometry
    if image.kept is not None:
        crop = [_cropped(image.kept, geometry)]
        geometry = _part(geometry, image.kept, image.grid)
        slice_times = slice_times[:, image.kept[0]]
    hu, slice_times, geometry, moved = _laid_straight(hu, slice_times, geometry, image.grid)
    seen = measure(hu, slice_times, geometry)
    if not scale:
        warnings += doubts_of(seen)
    places = "; ".join(["the grid of the header", *image.grid.notes, *moved, *crop])
    scaled = "; ".join([f"{image.kind} on disk, float32 in memory", *values])
    provenance = Provenance(
        format="NIfTI",
        time_source=source,
        warnings=(*warnings, *crop, *moved),
        plausibility=seen,
        inferences=(
            Inference("images", f"{n} volumes of {depth} slices", ("dim",)),
            Inference("slices", places, ("sform", "qform", "pixdim")),
            Inference("times", f"read from {source}", (source,)),
            Inference("values", scaled, ("scl_slope", "scl_inter", "voxels")),
        ),
    )
    return CTPSeries(hu, slice_times - slice_times.min(), geometry, provenance)


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
    if image.kind.kind == "u" and image.kind.itemsize == 2 and image.slope in (0.0, 1.0):
        some = hu[:: max(1, len(hu) // 4), :, ::4, ::4]
        wrapped = (some >= 61_440).float().mean()
        between = ((some > 16_384) & (some < 61_440)).float().mean()
        if float(wrapped) > _FEWEST_MEANT_SIGNED and float(between) < 0.01 * float(wrapped):
            for frame in hu:
                frame[frame > 32_767] -= 65_536
            notes.append(
                f"the header calls its integers unsigned, but {float(wrapped):.0%} of them are air only as signed ones:"
                " they were read as such"
            )
    if image.kind.kind == "f" or image.slope not in (0.0, 1.0):
        hu, lost = fill_lost(hu)
        notes += [lost] if lost else []
    return hu, notes


def _head_box(first: Any, grid: NiftiGrid, n_frames: int) -> Box | None:
    """Slices, rows and columns around the head of the first frame, for a large series; None to keep all."""
    import torch

    from ctp_torch import ops

    if 4 * n_frames * first.size <= _CROP_BYTES:
        return None
    spacing = grid.geometry.spacing
    head = ops.head_mask(torch.from_numpy(first.astype("f4")).nan_to_num(), spacing)
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


def _part(geometry: Geometry, kept: Box, grid: NiftiGrid) -> Geometry:
    """The grid of what was kept."""
    slices, rows, columns = kept
    origin = geometry.position(0 if grid.lean else slices.start, rows.start, columns.start)
    if grid.lean:
        origin = _along(origin, grid.lean, slices.start)
    shape = (slices.stop - slices.start, rows.stop - rows.start, columns.stop - columns.start)
    return replace(geometry, shape=shape, origin=origin)


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
