"""Frames that come one at a time to what is kept of them: block means that tell motion, and scattered voxels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from ctp_torch.data.geometry import Geometry
from ctp_torch.data.provenance import Inference, Provenance
from ctp_torch.data.series import CTPSeries
from ctp_torch.data.slabs import Slabs
from ctp_torch.data.stored import StoredSeries

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LARGE_BYTES", "Kept", "keep", "stays_on_disk"]

LARGE_BYTES = 2 << 30
"""Series that take more in float32 are not read whole: cropped to the head, or frame by frame."""
_ACROSS_MM, _IN_PLANE_MM = 1.0, 1.2
"""Blocks are at most this large along z, and at least this large along y and x: with pixels of 0.7 mm
motion is found on them as well as on all voxels, to 0.1 mm; on blocks of 2 mm tilt was missed by 1 mm."""
_SCATTERED = 64  # rows and columns


class Kept(NamedTuple):
    """What stays in memory of all frames."""

    coarse: Tensor
    """``(time, blocks, blocks, blocks)`` means over blocks [HU]; what doesn't fill a block is left out."""
    times: Tensor
    """``(time, blocks)`` [s]."""
    geometry: Geometry
    """The grid of the blocks."""
    scattered: Tensor
    """``(time, z, rows, columns)``: every so many rows and columns, as they are."""

    def series(
        self, frames: Callable[[], Iterator[Tensor]], times: Tensor, geometry: Geometry, provenance: Provenance
    ) -> StoredSeries:
        """The series whose frames ``(z, y, x)`` with times ``(time, z)`` [s] on that grid this was kept of."""
        (z, y, x), (dz, dy, _) = geometry.shape, self.geometry.spacing
        said = Inference(
            "slices",
            f"read frame by frame, because {len(times)} frames of {z} thin slices of {y} x {x} voxels take"
            f" {4e-9 * len(times) * z * y * x:.1f} GB in float32: motion is estimated on means over {dz:.2g} x {dy:.2g}"
            f" x {dy:.2g} mm, and each frame is moved and averaged to slabs as it comes",
            ("number and size of the images",),
        )
        start = times.min()
        provenance = replace(provenance, inferences=(*provenance.inferences, said))
        return StoredSeries(
            frames, times - start, geometry, CTPSeries(self.coarse, self.times - start, self.geometry, provenance)
        )


def stays_on_disk(shape: tuple[int, ...], step_mm: float, slab_mm: float) -> bool:
    """Whether frames ``(time, z, y, x)`` are so many and so thin that they are averaged as they come."""
    whole = Geometry((shape[1], shape[2], shape[3]), (step_mm, 1.0, 1.0))
    return 4 * math.prod(shape) > LARGE_BYTES and Slabs.of(whole, slab_mm).n > 1


def keep(frames: Iterable[Tensor], times: Tensor, geometry: Geometry) -> Kept:
    """The block means and the scattered voxels of frames ``(z, y, x)``.

    Parameters
    ----------
    frames
        as many as there are times
    times
        ``(time, z)`` [s]
    geometry
        the grid of one frame
    """
    import torch
    from torch.nn.functional import avg_pool3d

    (depth, height, width), (dz, dy, dx) = geometry.shape, geometry.spacing
    across, block = max(1, int(_ACROSS_MM / dz + 1e-6)), math.ceil(_IN_PLANE_MM / max(dy, dx) - 1e-6)
    shape = (depth // across, height // block, width // block)
    rows, columns = max(1, height // _SCATTERED), max(1, width // _SCATTERED)
    coarse = torch.empty(len(times), *shape)
    scattered = torch.empty(len(times), depth, -(-height // rows), -(-width // columns))
    for t, frame in enumerate(frames):
        coarse[t] = avg_pool3d(frame[None], (across, block, block))[0]
        scattered[t] = frame[:, ::rows, ::columns]
    first = geometry.position((across - 1) / 2, (block - 1) / 2, (block - 1) / 2)
    grid = Geometry(shape, (across * dz, block * dy, block * dx), first, geometry.direction)
    return Kept(coarse, times[:, : across * shape[0]].unflatten(1, (-1, across)).mean(dim=2), grid, scattered)
