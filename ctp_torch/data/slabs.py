"""Thin slices to slabs as thick as those of a usual perfusion protocol, and what lies on them back to thin slices."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ctp_torch.data.geometry import Geometry
from ctp_torch.data.provenance import SlabRecord
from ctp_torch.data.series import TO_SERIES, CTPSeries
from ctp_torch.errors import check_type

if TYPE_CHECKING:
    from ctp_torch.data.stored import StoredSeries

__all__ = ["SLAB_MM", "Slabs", "on_slabs", "slabs"]

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
        those of the slices averaged. ``provenance.slabs`` tells how many slices make one; where slices are left over,
        they make a last slab of fewer slices, and a warning says so.

    Examples
    --------
    >>> import torch, ctp_torch
    >>> grid = ctp_torch.Geometry((320, 8, 8), (0.5, 2.0, 2.0))
    >>> thin = ctp_torch.CTPSeries(torch.zeros(4, 320, 8, 8), torch.zeros(4, 320).double(), grid)
    >>> ctp_torch.slabs(thin).geometry.spacing
    (5.0, 2.0, 2.0)
    """
    check_type(series, CTPSeries, "slabs: series", TO_SERIES)
    thick = Slabs.of(series.geometry, mm)
    return series if thick.n == 1 else on_slabs(series, thick, thick.average(series.hu))


def on_slabs(series: CTPSeries | StoredSeries, thick: Slabs, hu: Tensor) -> CTPSeries:
    """The series with the means over its slabs ``(time, slabs, y, x)`` [HU] in place of its slices."""
    depth, origin = series.geometry.shape[0], series.provenance
    warnings = origin.warnings
    if left := depth % thick.n:
        others = f"the others {thick.n}: {depth} slices are no multiple of {thick.n}"
        warnings = (*warnings, f"the last slab averages {left} slices, {others}")
    geometry = thick.geometry(series.geometry)
    provenance = replace(
        origin,
        slabs=SlabRecord(thick.n, series.geometry.spacing[0]),
        slice_thickness_mm=None if origin.slice_thickness_mm is None else geometry.spacing[0],
        warnings=warnings,
    )
    times = thick.average(series.times[:, :, None, None])[:, :, 0, 0]  # (time, slabs)
    return CTPSeries(hu, times, geometry, provenance)


class Slabs(NamedTuple):
    """Neighbouring slices taken together: ``n`` make one slab, the last has what is left over."""

    n: int
    """Slices of one slab; 1 where slices stay as they are."""

    @classmethod
    def of(cls, geometry: Geometry, mm: float = SLAB_MM) -> Slabs:
        """Slabs of about ``mm`` [mm] on a grid of slices: ``n`` is 1 where they are more than half as far apart.

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
            return cls(1)
        usual = min(round(mm / step), depth)
        near = [n for n in range(2, depth + 1) if abs(n * step - mm) <= _TOLERANCE * mm + 1e-6]
        whole = [n for n in near if depth % n == 0]
        return cls(min(whole or [usual], key=lambda n: abs(n * step - mm)))

    def geometry(self, slices: Geometry) -> Geometry:
        """The grid of the slabs, whose centres lie in the middle of their slices."""
        depth, height, width = slices.shape
        return replace(
            slices,
            shape=(-(-depth // self.n), height, width),
            spacing=(self.n * slices.spacing[0], *slices.spacing[1:]),
            origin=slices.position((self.n - 1) / 2, 0, 0),
        )

    def average(self, volumes: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Means over the slices of each slab.

        Parameters
        ----------
        volumes
            ``(..., z, y, x)``
        mask
            ``(z, y, x)`` bool, which voxels count; all when None. Others may be anything

        Returns
        -------
            ``(..., slabs, y, x)``, floating point; 0 where no voxel of the mask lies
        """
        values = volumes if volumes.is_floating_point() else volumes.to(torch.float32)
        if mask is None:
            whole = values.shape[-3] // self.n * self.n
            parts = [values[..., :whole, :, :].unflatten(-3, (-1, self.n)).mean(dim=-3)]
            if whole < values.shape[-3]:
                parts.append(values[..., whole:, :, :].mean(dim=-3, keepdim=True))
            return torch.cat(parts, dim=-3)
        counted = self._sum(mask.to(values.dtype)).clamp_min(1.0)
        return self._sum(torch.where(mask, values, 0.0)) / counted

    def mask(self, mask: Tensor) -> Tensor:
        """Where at least half of a slab lies in a mask ``(z, y, x)``: ``(slabs, y, x)`` bool."""
        return mask if self.n == 1 else self.average(mask) >= 0.5

    def spread(self, volume: Tensor, depth: int) -> Tensor:
        """A volume ``(slabs, y, x)`` on the slices again: ``(depth, y, x)``."""
        return volume if self.n == 1 else volume.repeat_interleave(self.n, dim=0)[:depth]

    def _sum(self, volumes: Tensor) -> Tensor:
        """Sums over the slices of each slab ``(..., slabs, y, x)``."""
        padded = F.pad(volumes, (0, 0, 0, 0, 0, -volumes.shape[-3] % self.n))
        summed: Tensor = padded.unflatten(-3, (-1, self.n)).sum(dim=-3)
        return summed
