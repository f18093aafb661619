"""Rigid motion of the head over time: what it is, how far it moves, and how a series is put back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "RigidMotion",
    "apply_motion",
    "correctable",
    "euler_angles",
    "mean_displacement",
    "patient_axes",
    "recentred",
    "rotation_matrix",
]

_SPHERE_POINTS = 512
_MOST_SLICES = 4  # beyond, sampling in three dimensions is cheaper than mixing slices

_RADIUS_MM = 65.0
"""About a brain's."""


class RigidMotion(NamedTuple):
    """Where the head is in every frame: x_frame = R (x_ref - c) + c + t, R = Rz Ry Rx, c the centre of the volume.

    The axes x, y, z are those of columns, rows and slices, which are the patient's left, posterior and superior (LPS)
    in an axial series; `patient_axes` turns the motion of any other series into LPS.
    """

    rotation: Tensor
    """``(time, 3)`` float64: angles about x, y, z [degrees]."""
    translation: Tensor
    """``(time, 3)`` float64: shifts along x, y, z [mm]."""
    estimated: Tensor
    """``(6,)`` bool: which of rotation x, y, z and translation x, y, z the slices determine; others are rough or 0."""


def rotation_matrix(rotation: Tensor) -> Tensor:
    """R = Rz Ry Rx of angles about x, y, z.

    Parameters
    ----------
    rotation
        ``(..., 3)``: angles about x, y, z [degrees]

    Returns
    -------
    ``(..., 3, 3)``, acting on columns (x, y, z)
    """
    angles = torch.deg2rad(rotation)
    (sx, sy, sz), (cx, cy, cz) = angles.sin().unbind(-1), angles.cos().unbind(-1)
    rows = [
        torch.stack([cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx], dim=-1),
        torch.stack([sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx], dim=-1),
        torch.stack([-sy, cy * sx, cy * cx], dim=-1),
    ]
    return torch.stack(rows, dim=-2)


def euler_angles(matrix: Tensor) -> Tensor:
    """Angles about x, y, z [degrees] ``(..., 3)``: the inverse of `rotation_matrix`, for angles about y below 90.

    Parameters
    ----------
    matrix
        ``(..., 3, 3)``, orthogonal with determinant 1
    """
    about_x = torch.atan2(matrix[..., 2, 1], matrix[..., 2, 2])
    about_y = torch.asin((-matrix[..., 2, 0]).clamp(-1.0, 1.0))
    about_z = torch.atan2(matrix[..., 1, 0], matrix[..., 0, 0])
    return torch.rad2deg(torch.stack([about_x, about_y, about_z], dim=-1))


def patient_axes(motion: RigidMotion, direction: tuple[float, ...]) -> RigidMotion:
    """The same motion about the patient's axes (LPS) instead of the grid's: R becomes D R D^T and t becomes D t.

    Parameters
    ----------
    motion
        as estimated, about the axes of columns, rows and slices
    direction
        9 row-major cosines D; its columns are the unit vectors of the x, y and z index axes in LPS
    """
    axes = motion.rotation.new_tensor(direction).reshape(3, 3)
    matrix = axes @ rotation_matrix(motion.rotation) @ axes.T
    return motion._replace(rotation=euler_angles(matrix), translation=motion.translation @ axes.T)


def recentred(motion: RigidMotion, away_mm: Sequence[float]) -> RigidMotion:
    """The same motion about another centre c + d: R stays, and t becomes t + (R - 1) d.

    Parameters
    ----------
    motion
        about the centre c
    away_mm
        d along x, y, z [mm]
    """
    away = motion.translation.new_tensor(away_mm)
    return motion._replace(translation=motion.translation + rotation_matrix(motion.rotation) @ away - away)


def mean_displacement(motion: RigidMotion, *, radius_mm: float = _RADIUS_MM) -> Tensor:
    """Mean distance that the points of a sphere about the centre of the volume move, frame by frame.

    Parameters
    ----------
    motion
        of ``time`` frames
    radius_mm
        of the sphere; 65 mm is about a brain's

    Returns
    -------
    ``(time,)`` [mm]
    """
    turn = math.pi * (3.0 - math.sqrt(5.0))  # golden angle: points spread evenly over the sphere
    i = torch.arange(_SPHERE_POINTS, dtype=motion.rotation.dtype, device=motion.rotation.device)
    z = 1.0 - (2.0 * i + 1.0) / _SPHERE_POINTS
    ring = (1.0 - z * z).sqrt()
    points = radius_mm * torch.stack([ring * (turn * i).cos(), ring * (turn * i).sin(), z], dim=-1)  # (points, 3)
    moved = points @ rotation_matrix(motion.rotation).mT + motion.translation[:, None]  # (time, points, 3)
    distance: Tensor = torch.linalg.vector_norm(moved - points, dim=-1)  # (time, points)
    return distance.mean(dim=-1)


def correctable(motion: RigidMotion, spacing: tuple[float, float, float]) -> RigidMotion:
    """The part of a motion that is worth undoing: all of it, or for thick slices what happens in the plane.

    Slices that don't determine the motion through the plane lie so far apart that sampling between them mixes in other
    tissue. Where nine frames of ten move through the plane by less than a third of the slice distance, that does more
    harm than the motion: rotations about x and y and shifts along z are left alone then.

    Parameters
    ----------
    motion
        as estimated
    spacing
        z, y, x [mm]

    Returns
    -------
    ``motion`` itself where all of it is worth undoing, another without what isn't
    """
    if bool(motion.estimated[5]):
        return motion
    tilt = torch.deg2rad(motion.rotation[:, :2]).norm(dim=1)
    through = motion.translation[:, 2].abs() + _RADIUS_MM * tilt  # (time,) [mm], at most, in a head
    if float(through.quantile(0.9)) >= spacing[0] / 3.0:
        return motion
    turn, shift = motion.rotation.clone(), motion.translation.clone()
    turn[:, :2], shift[:, 2] = 0.0, 0.0
    return motion._replace(rotation=turn, translation=shift)


def apply_motion(
    volumes: Tensor, motion: RigidMotion, spacing: tuple[float, float, float], *, tolerance_mm: float = 0.1
) -> Tensor:
    """The series with the head held still: every moved frame sampled once, linearly, at x_frame of every x_ref.

    Beyond the edge of a volume the edge goes on. Frames that moved less than ``tolerance_mm`` are copied unchanged,
    because interpolation would smooth their noise for nothing.

    Parameters
    ----------
    volumes
        ``(time, z, y, x)`` floating point [HU]
    motion
        of the same ``time`` frames
    spacing
        z, y, x [mm]
    tolerance_mm
        mean displacement of a 65 mm sphere up to which a frame counts as still

    Returns
    -------
    ``(time, z, y, x)``, type and device of ``volumes``, never the same memory

    Raises
    ------
    ValueError
        if ``motion`` has another number of frames
    """
    if volumes.ndim != 4 or motion.rotation.shape[0] != volumes.shape[0]:
        raise ValueError(
            f"volumes must be (time, z, y, x) with the {motion.rotation.shape[0]} frames of the motion, "
            f"got {tuple(volumes.shape)}"
        )
    still = torch.empty_like(volumes, memory_format=torch.contiguous_format)
    moved: list[bool] = (mean_displacement(motion) > tolerance_mm).tolist()
    matrices = rotation_matrix(motion.rotation)
    for frame, volume in enumerate(volumes):
        if moved[frame]:
            _sample(volume, matrices[frame], motion.translation[frame], spacing, still[frame])
        else:
            still[frame] = volume
    return still


def _sample(volume: Tensor, matrix: Tensor, shift: Tensor, spacing: tuple[float, float, float], still: Tensor) -> None:
    """``volume (z, y, x)`` at the moved positions, slice by slice into ``still``.

    Where a slice moves by little, sampling its neighbours in two dimensions and mixing them linearly is the trilinear
    value at a fraction of the cost; where it reaches across many slices it is sampled in three dimensions.
    """
    n_slices = volume.shape[0]
    z, y, x = (_centred(n, step, volume) for n, step in zip(volume.shape, spacing, strict=True))
    rows: list[list[float]] = matrix.tolist()
    for k in range(n_slices):
        moved = [
            (row[0] * x + (row[2] * float(z[k]) + float(shift[i]))) + row[1] * y[:, None] for i, row in enumerate(rows)
        ]  # three times (y, x) [mm]
        height = (moved[2] / spacing[0] + (n_slices - 1) / 2).clamp(0, n_slices - 1)  # in slices
        lowest, highest = math.floor(float(height.min())), math.ceil(float(height.max()))
        grid = [_normalised(moved[i], volume.shape[2 - i], spacing[2 - i]) for i in range(2)]
        if highest - lowest < _MOST_SLICES:
            near = volume[lowest : highest + 1]
            planes = _interpolated(near, torch.stack(grid, dim=-1))  # (slices, y, x)
            mixed = planes[0] * (1 - (height - lowest).abs()).clamp(min=0)
            for j in range(1, highest - lowest + 1):
                mixed += planes[j] * (1 - (height - (lowest + j)).abs()).clamp(min=0)
            still[k] = mixed
        else:
            across = height * (2.0 / (n_slices - 1)) - 1.0
            still[k] = _interpolated(volume[None], torch.stack([*grid, across], dim=-1)[None])[0, 0]


def _interpolated(images: Tensor, grid: Tensor) -> Tensor:
    """Linear interpolation of ``images (channel, ...)`` at positions ``grid (..., dimension)``, edges going on."""
    return F.grid_sample(images[None], grid[None], mode="bilinear", padding_mode="border", align_corners=True)[0]


def _centred(n: int, step: float, like: Tensor) -> Tensor:
    """Positions of ``n`` voxels about the centre of the volume [mm]."""
    return (torch.arange(n, dtype=like.dtype, device=like.device) - (n - 1) / 2) * step


def _normalised(position: Tensor, n: int, step: float) -> Tensor:
    """Positions about the centre [mm] in the units of ``grid_sample``: the outer voxel centres at -1 and 1."""
    return position * (2.0 / (max(n - 1, 1) * step))
