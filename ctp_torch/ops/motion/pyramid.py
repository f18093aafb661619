"""A series to its coarser copies, and a reference to the points of it that tell motion best."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ctp_torch.ops.head.masks import head_mask
from ctp_torch.ops.image.morphology import dilate

__all__ = ["Landmarks", "Level", "build_pyramid", "find_head", "pick_landmarks"]

Spacing = tuple[float, float, float]

FINEST_MM, COARSEST_MM = 1.0, 3.0
"""Pixels of the finest level are at most this large (or the series' own), those of the coarsest at least this."""
_SMALLEST = 24
"""Pixels a level keeps along y and x."""
_SKIN_MM = 6.0
_NOISE_HU = 3.0
_EDGE_ERROR = 0.3
"""Interpolation error as a share of the change from one voxel to the next."""


class Level(NamedTuple):
    """All frames at one resolution; positions are x, y, z about the centre of the full volume [mm]."""

    frames: Tensor
    """``(time, z, y, x)`` float32, smoothed over 3 x 3 pixels, so that linear interpolation does little harm."""
    step: Tensor
    """``(3,)`` voxel size along x, y, z [mm]."""
    first: Tensor
    """``(3,)`` position of voxel (0, 0, 0) [mm]."""

    def grid(self, positions: Tensor) -> Tensor:
        """Positions ``(..., 3)`` in the units of ``grid_sample``: outer voxel centres at -1 and 1."""
        last = (positions.new_tensor(self.frames.shape[:0:-1]) - 1.0).clamp(min=1.0)
        return (positions - self.first) * (2.0 / (last * self.step)) - 1.0


class Landmarks(NamedTuple):
    """Points of a reference, each divided by the error to expect there."""

    points: Tensor
    """``(points, 3)`` positions [mm]."""
    values: Tensor
    """``(points,)`` of the reference [HU]."""
    weight: Tensor
    """``(points,)`` 1 / expected error [1/HU]: noise, and interpolation where the image is steep."""
    jacobian: Tensor
    """``(points, 6)`` weighted change with rotation about x, y, z [1/radian] and shift along them [1/mm]."""


def build_pyramid(volumes: Tensor, spacing: Spacing) -> list[Level]:
    """The series at in-plane pixels of about 1, 2 and 4 mm, coarse to fine.

    Voxels are averaged in blocks: powers of two in the plane, and across slices where slices are thinner than that.

    Parameters
    ----------
    volumes
        ``(time, z, y, x)`` [HU]
    spacing
        z, y, x [mm]
    """
    in_plane, pixel = 1, max(spacing[1:])
    while pixel * in_plane * 2 <= FINEST_MM:
        in_plane *= 2
    levels: list[Level] = []
    frames, factors = volumes, (1, 1)
    while True:
        across = 1
        while spacing[0] * across * 2 <= pixel * in_plane and volumes.shape[1] >= across * 2 * _SMALLEST:
            across *= 2
        frames = _block_mean(frames, across // factors[0], in_plane // factors[1])
        factors = (across, in_plane)
        levels.insert(0, level_of(frames, volumes.shape[1:], spacing, factors))
        in_plane *= 2
        if pixel * factors[1] >= COARSEST_MM or min(volumes.shape[2:]) // in_plane < _SMALLEST:
            return levels


def level_of(frames: Tensor, shape: tuple[int, ...], spacing: Spacing, factors: tuple[int, int]) -> Level:
    """The level of block means ``frames``, of a volume of that shape, with blocks of (across, in_plane) voxels."""
    blocks = (factors[1], factors[1], factors[0])  # x, y, z
    step = [s * block for s, block in zip(spacing[::-1], blocks, strict=True)]
    first = [((block - 1) - (n - 1)) / 2 * s for n, s, block in zip(shape[::-1], spacing[::-1], blocks, strict=True)]
    smooth = F.avg_pool2d(frames.float(), 3, stride=1, padding=1, count_include_pad=False)
    return Level(smooth, smooth.new_tensor(step), smooth.new_tensor(first))


def pick_landmarks(reference: Tensor, level: Level, head: Tensor, n_points: int) -> Landmarks:
    """The steepest points of every slice of a reference, within the head.

    Parameters
    ----------
    reference
        ``(z, y, x)`` on the level's grid [HU]
    level
        where the voxels are
    head
        ``(z, y, x)`` bool on any grid over the same volume
    n_points
        how many, shared evenly among the slices
    """
    step: list[float] = level.step.tolist()
    slope_y, slope_x = torch.gradient(reference, spacing=(step[1], step[0]), dim=(1, 2))
    slope_z = torch.zeros_like(reference)
    if reference.shape[0] > 2:
        (slope_z,) = torch.gradient(reference, spacing=(step[2],), dim=(0,))
    slope = torch.stack([slope_x, slope_y, slope_z], dim=-1)  # (z, y, x, 3) HU/mm
    steep = slope.square().sum(dim=-1)
    inside = F.interpolate(head[None, None].float(), reference.shape)[0, 0] > 0.5
    steep[~inside] = 0.0
    steep[:, [0, -1]] = steep[:, :, [0, -1]] = 0.0
    per_slice = min(max(1, n_points // reference.shape[0]), steep[0].numel())
    best = steep.flatten(1).topk(per_slice, dim=1)  # (z, per slice)
    index = (best.indices + torch.arange(len(steep), device=steep.device)[:, None] * steep[0].numel())[best.values > 0]
    n_y, n_x = reference.shape[1:]
    points = (
        torch.stack([index % n_x, index // n_x % n_y, index // (n_x * n_y)], dim=-1) * level.step + level.first
    )  # (points, 3)
    slope = slope.flatten(0, 2)[index]
    weight = ((_EDGE_ERROR * slope * level.step).square().sum(dim=-1) + _NOISE_HU**2).rsqrt()
    jacobian = torch.cat([torch.linalg.cross(points, slope), slope], dim=-1) * weight[:, None]
    return Landmarks(points, reference.flatten()[index], weight, jacobian)


def find_head(reference: Tensor, level: Level) -> Tensor:
    """Head with skin ``(z, y, x)``, without table and head rest, which stay; everything where no head is found."""
    x, y, z = level.step.tolist()
    head = head_mask(reference, (z, y, x))
    return dilate(head, _SKIN_MM, (z, y, x)) if head.any() else torch.ones_like(head)


def _block_mean(frames: Tensor, across: int, in_plane: int) -> Tensor:
    """Means over blocks of (across, in_plane, in_plane) voxels; what doesn't fill a block is left out."""
    if across > 1:
        return F.avg_pool3d(frames, (across, in_plane, in_plane))
    return F.avg_pool2d(frames, in_plane) if in_plane > 1 else frames
