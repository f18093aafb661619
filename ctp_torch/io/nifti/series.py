"""A 4-D NIfTI as a series: times, grid and values each held against every source that tells of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from ctp_torch.data.provenance import Inference, Provenance
from ctp_torch.data.series import CTPSeries
from ctp_torch.errors import IncompleteSeriesError
from ctp_torch.io.nifti.frame_times import check_times, spread
from ctp_torch.io.nifti.nifti import sidecar
from ctp_torch.io.nifti.nifti_file import nifti_shape, nifti_step
from ctp_torch.io.nifti.sidecar_times import file_times, read_sidecar
from ctp_torch.io.nifti.voxels import read_voxels
from ctp_torch.io.plausible import doubts_of, measure

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.data.stored import StoredSeries

__all__ = ["read_nifti_series"]


def read_nifti_series(
    path: Path,
    *,
    times: Tensor | None = None,
    dt: float | None = None,
    max_unpacked: float | None = None,
    slab_mm: float = 0.0,
) -> CTPSeries | StoredSeries:
    """A 4-D NIfTI as a series, slices turned to ascend along their normal; the options are those of ``open_series``.

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
    voxels = read_voxels(path, slice_times, max_unpacked=max_unpacked, slab_mm=slab_mm)
    image = voxels.image
    warnings += [*voxels.values, *image.grid.notes, *voxels.scale, *voxels.odd]
    if image.spare >= math.prod(shape[-2:]):  # less is padding
        warnings.append(f"{image.spare} bytes follow the last voxel: the file may hold more than its header tells")
    seen = measure(voxels.sample, voxels.times, voxels.geometry)
    if not voxels.scale:
        warnings += doubts_of(seen)
    places = "; ".join(["the grid of the header", *image.grid.notes, *voxels.moved, *voxels.crop])
    scaled = "; ".join([f"{image.kind} on disk, float32 in memory", *voxels.values])
    provenance = Provenance(
        format="NIfTI",
        time_source=source,
        warnings=(*warnings, *voxels.crop, *voxels.moved),
        plausibility=seen,
        inferences=(
            Inference("images", f"{n} volumes of {depth} slices", ("dim",)),
            Inference("slices", places, ("sform", "qform", "pixdim")),
            Inference("times", f"read from {source}", (source,)),
            Inference("values", scaled, ("scl_slope", "scl_inter", "voxels")),
        ),
    )
    if voxels.stored is not None:
        kept, frames = voxels.stored
        return kept.series(frames, voxels.times, voxels.geometry, provenance)
    return CTPSeries(voxels.sample, voxels.times - voxels.times.min(), voxels.geometry, provenance)
