"""The scanner: its slices, the thin rows each is averaged from, and one frame of a moving, enhancing head."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ctp_torch.data.geometry import Geometry
from ctp_torch.phantom.bank import CurveBank, CurveRows, look_up
from ctp_torch.phantom.deformation import rotation_matrix

__all__ = ["AIR_HU", "Enhancement", "Protocol", "Slab", "enhance", "expose", "geometry_of", "thin_rows"]

AIR_HU = -1000.0


class Protocol(NamedTuple):
    """What is set at the console."""

    size: int = 512
    slices: int = 6
    frames: int = 60
    dt: float = 1.0
    thickness_mm: float = 5.0
    spacing_mm: float = 8.0
    fov_mm: float = 230.0

    @property
    def n_thin(self) -> int:
        """Thin rows averaged into one slice: 5 for thick slices, rows of about 0.5 mm for thin ones."""
        return 5 if self.thickness_mm >= 2.5 else max(1, round(self.thickness_mm / 0.5))


class Slab(NamedTuple):
    """The head at rest on a grid of thin rows, cropped to the head in plane."""

    hu: Tensor
    """``(rows, y, x)`` without contrast [HU]."""
    first: tuple[float, float, float]
    """Position x, y, z of its first voxel [mm]."""
    pixel: float
    """In-plane spacing [mm]."""
    step: float
    """Row spacing [mm]."""
    crop: tuple[int, int, int, int]
    """First row, rows, first column, columns of the crop in the image."""


class Enhancement(NamedTuple):
    """Curves of the enhancing voxels of a slab: index into its flattened volume and the parameters of each curve."""

    voxel: Tensor
    """``(voxels,)`` int64, place in the flattened slab, without repeats."""
    slice_index: Tensor
    """``(voxels,)`` int64, slice whose moment the voxel follows."""
    bank: CurveBank
    curves: CurveRows
    """``(voxels,)``, curve in the bank."""
    scale: Tensor
    """``(voxels,)``, flow f [1/s] for tissue, blood fraction for vessels."""
    delay: Tensor
    """``(voxels,)`` [s]"""


def geometry_of(protocol: Protocol) -> Geometry:
    """The grid of the delivered volume, centred on the scanner's isocentre.

    Parameters
    ----------
    protocol
        what is set at the console
    """
    pixel = protocol.fov_mm / protocol.size
    edge = -(protocol.size - 1) / 2 * pixel
    bottom = -(protocol.slices - 1) / 2 * protocol.spacing_mm
    return Geometry(
        (protocol.slices, protocol.size, protocol.size), (protocol.spacing_mm, pixel, pixel), (edge, edge, bottom)
    )


def thin_rows(protocol: Protocol, margin_mm: float) -> tuple[Tensor, float]:
    """Heights ``(rows,)`` [mm] of thin rows over the slices and a margin, in phase with the first slice; their step."""
    geometry = geometry_of(protocol)
    step = protocol.thickness_mm / protocol.n_thin
    extra = math.ceil(margin_mm / step)
    bottom = geometry.origin[2] - protocol.thickness_mm / 2 + step / 2 - extra * step
    length = (protocol.slices - 1) * protocol.spacing_mm + protocol.thickness_mm + 2 * extra * step
    return bottom + step * torch.arange(math.ceil(length / step - 1e-6), dtype=torch.float64), step


def enhance(volume: Tensor, part: Enhancement, times: Tensor) -> None:
    """Add the enhancement at the slices' ``times (z,)`` [s] to a slab's ``volume (rows, y, x)``, in place."""
    elapsed = times.to(part.delay.dtype)[part.slice_index] - part.delay
    volume.view(-1)[part.voxel] += part.scale * look_up(part.bank, part.curves, elapsed)


def expose(volume: Tensor, slab: Slab, protocol: Protocol, motion: Tensor) -> Tensor:
    """Slices ``(z, size, size)`` [HU] of a slab's ``volume`` after ``motion (6,)``: thin rows averaged, air around.

    x_frame = R (x_ref - c) + c + t: the value at x_frame is read at c + R' (x_frame - c - t).
    """
    geometry = geometry_of(protocol)
    rotation = rotation_matrix(motion[:3])
    centre = torch.tensor(geometry.position(*[(n - 1) / 2 for n in geometry.shape]), dtype=torch.float64)
    shift = centre - rotation.T @ (centre + motion[3:])
    out = volume.new_full(geometry.shape, AIR_HU)
    y0, ny, x0, nx = slab.crop
    y = slab.first[1] + slab.pixel * torch.arange(ny, dtype=torch.float64)
    x = slab.first[0] + slab.pixel * torch.arange(nx, dtype=torch.float64)
    thin = protocol.thickness_mm * ((torch.arange(protocol.n_thin, dtype=torch.float64) + 0.5) / protocol.n_thin - 0.5)
    for k in range(protocol.slices):
        z = geometry.origin[2] + k * protocol.spacing_mm + thin
        grid = _normalised_grid(rotation, shift, (z, y, x), slab).to(volume.dtype)
        sampled = F.grid_sample(
            volume[None, None], grid[None], mode="bilinear", padding_mode="border", align_corners=True
        )
        out[k, y0 : y0 + ny, x0 : x0 + nx] = sampled[0, 0].mean(0)
    return out


def _normalised_grid(rotation: Tensor, shift: Tensor, axes: tuple[Tensor, Tensor, Tensor], slab: Slab) -> Tensor:
    """Reading positions ``(thin, y, x, 3)`` in the slab's -1..1 coordinates."""
    z, y, x = axes
    n = slab.hu.shape
    spacing = (slab.pixel, slab.pixel, slab.step)
    parts = []
    for i in range(3):
        size = n[2 - i] - 1
        scale = 2.0 / (spacing[i] * size) if size else 0.0
        row = rotation.T[i] * scale
        offset = (shift[i] - slab.first[i]) * scale - 1.0
        flat = ((row[1] * y)[:, None] + row[0] * x).float()
        parts.append((row[2] * z + offset).float()[:, None, None] + flat)
    return torch.stack(parts, -1)
