"""Thin slices to slabs as thick as those of a usual perfusion protocol, and what lies on them back to thin slices."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ctp_torch.data.geometry import Geometry

if TYPE_CHECKING:
    from ctp_torch.data.series import CTPSeries

__all__ = ["SLAB_MM", "average_slices", "slab_geometry", "slab_mask", "slabs", "slices_per_slab", "spread_slices"]

SLAB_MM = 5.0
"""Slices at most half as far apart as this are averaged [mm]."""
_TOLERANCE = 0.2
"""A slab may be thinner or thicker than asked by this share where no slice is left over then."""


def slabs(series: CTPSeries, mm: float = SLAB_MM) -> CTPSeries:
    """The series with neighbouring thin slices averaged, or as it is where its slices are thick.

    Slices of 0.5 mm are three times as noisy as slices of 5 mm, and full of vessels and furrows that thicker ones
    average away: arteries, masks and thresholds of thick slices don't hold for them. Average *after* motion has been
    undone.

    Parameters
    ----------
    series
        best aligned, HU
    mm
        thickness wanted [mm]; slices more than half as far apart, and all slices where it is 0, stay as they are

    Returns
    -------
        the series on slabs that touch. Its geometry has the spacing and the first centre of the slabs, its times are
        those of the slices averaged. ``notes["slabs"]`` tells how many slices make one; where slices are left over,
        they make a last slab of fewer slices, and ``notes["warnings"]`` says so.

    Examples
    --------
    >>> import torch, ctp_torch
    >>> grid = ctp_torch.Geometry((320, 8, 8), (0.5, 2.0, 2.0))
    >>> thin = ctp_torch.CTPSeries(torch.zeros(4, 320, 8, 8), torch.zeros(4, 320).double(), grid)
    >>> ctp_torch.slabs(thin).geometry.spacing
    (5.0, 2.0, 2.0)
    """
    n = slices_per_slab(series.geometry, mm)
    if n == 1:
        return series
    geometry, depth = slab_geometry(series.geometry, n), series.geometry.shape[0]
    notes = {**series.notes, "slabs": {"slices": n, "slice_mm": series.geometry.spacing[0]}}
    if "slice_thickness_mm" in notes:
        notes["slice_thickness_mm"] = geometry.spacing[0]
    if left := depth % n:
        told = notes.get("warnings")
        said = f"the last slab averages {left} slices, the others {n}: {depth} slices are no multiple of {n}"
        notes["warnings"] = [*(told if isinstance(told, list | tuple) else ()), said]
    times = average_slices(series.times[:, :, None, None], n)[:, :, 0, 0]  # (time, slabs)
    return replace(series, hu=average_slices(series.hu, n), times=times, geometry=geometry, notes=notes)


def slices_per_slab(geometry: Geometry, mm: float = SLAB_MM) -> int:
    """How many slices make a slab of about ``mm`` [mm]: 1 where they are more than half as far apart.

    Of the numbers that come within a fifth of ``mm``, the nearest that leaves no slice over; if none, the nearest.

    Raises
    ------
    ValueError
        ``mm`` is negative
    """
    if mm < 0:
        raise ValueError(f"the thickness of a slab is 0 (none) or more millimetres, got {mm}")
    depth, step = geometry.shape[0], geometry.spacing[0]
    if depth < 2 or step > mm / 2 + 1e-6:
        return 1
    usual = min(round(mm / step), depth)
    near = [n for n in range(2, depth + 1) if abs(n * step - mm) <= _TOLERANCE * mm + 1e-6]
    whole = [n for n in near if depth % n == 0]
    return min(whole or [usual], key=lambda n: abs(n * step - mm))


def slab_geometry(geometry: Geometry, n: int) -> Geometry:
    """The grid of slabs of ``n`` slices each, whose centres lie in the middle of their slices."""
    depth, height, width = geometry.shape
    return replace(
        geometry,
        shape=(-(-depth // n), height, width),
        spacing=(n * geometry.spacing[0], *geometry.spacing[1:]),
        origin=geometry.position((n - 1) / 2, 0, 0),
    )


def average_slices(volumes: Tensor, n: int, *, mask: Tensor | None = None) -> Tensor:
    """Means of ``n`` neighbouring slices.

    Parameters
    ----------
    volumes
        ``(..., z, y, x)``
    n
        slices of one slab; the last has what is left over
    mask
        ``(z, y, x)`` bool, which voxels count; all when None. Others may be anything

    Returns
    -------
        ``(..., slabs, y, x)``, floating point; 0 where no voxel of the mask lies
    """
    values = volumes if volumes.is_floating_point() else volumes.to(torch.float32)
    if mask is None:
        whole = values.shape[-3] // n * n
        parts = [values[..., :whole, :, :].unflatten(-3, (-1, n)).mean(dim=-3)]
        if whole < values.shape[-3]:
            parts.append(values[..., whole:, :, :].mean(dim=-3, keepdim=True))
        return torch.cat(parts, dim=-3)
    counted = _sums(mask.to(values.dtype), n).clamp_min(1.0)
    return _sums(torch.where(mask, values, 0.0), n) / counted


def slab_mask(mask: Tensor, n: int) -> Tensor:
    """Where at least half of a slab of ``n`` slices lies in a mask ``(z, y, x)``: ``(slabs, y, x)`` bool."""
    return average_slices(mask, n) >= 0.5


def spread_slices(volume: Tensor, n: int, depth: int) -> Tensor:
    """A volume ``(slabs, y, x)`` of slabs of ``n`` slices on those slices again ``(depth, y, x)``."""
    return volume.repeat_interleave(n, dim=0)[:depth]


def _sums(volumes: Tensor, n: int) -> Tensor:
    """Sums of ``n`` neighbouring slices ``(..., slabs, y, x)``."""
    padded = F.pad(volumes, (0, 0, 0, 0, 0, -volumes.shape[-3] % n))
    summed: Tensor = padded.unflatten(-3, (-1, n)).sum(dim=-3)
    return summed
