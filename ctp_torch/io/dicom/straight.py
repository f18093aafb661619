"""Volumes of tilted or unevenly spaced slices laid onto a straight, even grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

from ctp_torch.data.geometry import Geometry

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["AIR_HU", "shifted", "straighten"]

AIR_HU = -1000.0
"""What lies beyond the images."""
_SHEAR_MM = 0.05
"""In-plane slip between the first and the last slice below which a stack is straight."""
_UNEVEN = 0.02
"""Largest deviation of a step from the usual one, as a part of it, that still counts as even."""

_Vector = tuple[float, float, float]


def straighten(
    volumes: Tensor,
    times: Tensor,
    positions: Sequence[_Vector],
    orientation: Sequence[float],
    spacing: tuple[float, float],
    *,
    thickness: float | None = None,
) -> tuple[Tensor, Tensor, Geometry, list[str]]:
    """The volumes on a grid whose slices lie square above each other at even steps.

    A gantry tilt shears the stack: each slice is shifted in its plane (linear interpolation) until all of them lie on
    the normal through the middle slice. Uneven slices are interpolated linearly, with their times, to the usual step.

    Parameters
    ----------
    volumes
        ``(time, z, y, x)``, slices ascending along the normal
    times
        ``(time, z)`` [s]
    positions
        LPS position of the first pixel of each slice [mm]
    orientation
        row and column direction cosines
    spacing
        between rows and between columns [mm]
    thickness
        step of a single slice [mm]

    Returns
    -------
    volumes, times, geometry, notes
        the straight series, and what was done to it
    """
    row, column = _unit(orientation[:3]), _unit(orientation[3:])
    column = _unit(_minus(column, tuple(_dot(row, column) * r for r in row)))  # decimal strings are rounded
    normal = _cross(row, column)
    along = [_dot(p, normal) for p in positions]
    notes: list[str] = []
    middle = positions[len(positions) // 2]
    slip = [(_dot(_minus(p, middle), column), _dot(_minus(p, middle), row)) for p in positions]  # (y, x) [mm]
    if max(math.hypot(*s) for s in slip) > _SHEAR_MM:
        volumes = _sheared_back(volumes, [(y / spacing[0], x / spacing[1]) for y, x in slip])
        rise = along[-1] - along[0]
        lean = math.hypot(slip[-1][0] - slip[0][0], slip[-1][1] - slip[0][1])
        angle = math.degrees(math.atan2(lean, rise)) if rise else 0.0
        notes.append(f"the stack leans by {angle:.1f} degrees (gantry tilt); resampled to a straight grid")
    steps = [b - a for a, b in pairwise(along)]
    step = median(steps) if steps else (thickness or 1.0)
    if steps and max(abs(s - step) for s in steps) > _UNEVEN * step:
        volumes, times, step = _even(volumes, times, along, step)
        notes.append(f"slices lie {min(steps):.2f} to {max(steps):.2f} mm apart; interpolated to {step:.3f} mm")
    elif steps:
        step = (along[-1] - along[0]) / len(steps)
    back = along[0] - _dot(middle, normal)
    geometry = Geometry(
        (int(volumes.shape[1]), int(volumes.shape[2]), int(volumes.shape[3])),
        (step, *spacing),
        (middle[0] + back * normal[0], middle[1] + back * normal[1], middle[2] + back * normal[2]),
        (row[0], column[0], normal[0], row[1], column[1], normal[1], row[2], column[2], normal[2]),
    )
    return volumes, times, geometry, notes


def _sheared_back(volumes: Tensor, slip: Sequence[tuple[float, float]]) -> Tensor:
    """Slice z moved by its slip (rows, columns), in pixels; what comes from outside is air."""
    straight = volumes.new_empty(volumes.shape)
    for z, (down, right) in enumerate(slip):
        straight[:, z] = shifted(shifted(volumes[:, z], down, -2), right, -1)
    return straight


def shifted(images: Tensor, pixels: float, dim: int) -> Tensor:
    """Images whose content moves by so many pixels towards higher indices, linearly interpolated."""
    import torch

    if abs(pixels) < 1e-6:
        return images
    n = images.shape[dim]
    source = torch.arange(n, dtype=torch.float64, device=images.device) - pixels
    low = source.floor()
    weight = (source - low).to(images.dtype)
    shape = [1] * images.ndim
    shape[dim] = n
    weight = weight.reshape(shape)

    def sampled(index: torch.Tensor) -> Tensor:
        inside = ((index >= 0) & (index < n)).reshape(shape)
        values = images.index_select(dim, index.clamp(0, n - 1).long())
        return values.where(inside, values.new_tensor(AIR_HU))

    mixed: Tensor = sampled(low) * (1 - weight) + sampled(low + 1) * weight
    return mixed


def _even(volumes: Tensor, times: Tensor, along: Sequence[float], step: float) -> tuple[Tensor, Tensor, float]:
    """Slices and their times at even steps from the first to the last position, linearly interpolated."""
    import torch

    reach = along[-1] - along[0]
    n = max(1, round(reach / step))
    there = torch.tensor(along, dtype=torch.float64) - along[0]
    targets = torch.linspace(0, reach, n + 1, dtype=torch.float64)
    above = torch.searchsorted(there, targets).clamp(1, len(along) - 1)
    weight = ((targets - there[above - 1]) / (there[above] - there[above - 1])).clamp(0, 1)
    w = weight.to(volumes.dtype)[:, None, None]
    even = volumes[:, above - 1] * (1 - w) + volumes[:, above] * w
    return even, times[:, above - 1] * (1 - weight) + times[:, above] * weight, reach / n


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    """Scalar product."""
    return sum(x * y for x, y in zip(a, b, strict=True))


def _minus(a: Sequence[float], b: Sequence[float]) -> _Vector:
    """Difference."""
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def _cross(a: Sequence[float], b: Sequence[float]) -> _Vector:
    """Vector product."""
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _unit(a: Sequence[float]) -> _Vector:
    """The direction of length 1; decimal strings are rounded."""
    length = math.sqrt(_dot(a, a))
    return a[0] / length, a[1] / length, a[2] / length
