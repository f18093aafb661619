"""Two sets of maps of one patient, quantity by quantity, in the brain, in lesions and in regions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch import ops
from ctp_torch.data.geometry import Geometry
from ctp_torch.data.maps import in_order, named_quantity
from ctp_torch.errors import CTPError
from ctp_torch.io.cohort.target_maps import on_grid
from ctp_torch.learning.agreement import Agreement, agreement_of
from ctp_torch.lesions.overlap import dice

__all__ = ["LesionRow", "MapRow", "MapSet", "compare_lesions", "compare_maps"]

_LEAST_SHARE = 0.05
"""Of the first brain that the second must share, for both to be maps of one head."""


@dataclass(frozen=True)
class MapSet:
    """Maps of a patient, and where to look at them."""

    values: Mapping[str, Tensor]
    """Quantity to ``(z, y, x)``, in the units of `ctp_torch.data.maps.QUANTITIES`."""
    mask: Tensor
    """``(z, y, x)`` bool, where there are maps."""
    geometry: Geometry
    lesions: Mapping[str, Tensor] = field(default_factory=dict)
    """core and hypoperfusion to ``(z, y, x)`` bool, where they were measured."""
    regions: Mapping[str, Tensor] = field(default_factory=dict)
    """Name to ``(z, y, x)`` bool."""

    def on(self, geometry: Geometry) -> MapSet:
        """The same on another grid, by the nearest voxel."""
        if self.geometry.matches(geometry):
            return self

        def moved(volume: Tensor) -> Tensor:
            return on_grid(volume.float(), self.geometry, geometry)

        return MapSet(
            {name: moved(values) for name, values in self.values.items()},
            moved(self.mask) > 0,
            geometry,
            {name: moved(mask) > 0 for name, mask in self.lesions.items()},
            {name: moved(mask) > 0 for name, mask in self.regions.items()},
        )


class MapRow(NamedTuple):
    """One quantity in one place."""

    map: str
    place: str
    """brain, the lesion of the first set, or a region of it."""
    agreement: Agreement
    ssim: float
    """Mean over the brain's slices, within the display range; NaN elsewhere than in the brain."""


class LesionRow(NamedTuple):
    """One lesion as both sets have it."""

    lesion: str
    first_ml: float
    second_ml: float
    dice: float


def compare_maps(first: MapSet, second: MapSet) -> list[MapRow]:
    """What two sets say of a patient, where both have maps, on the grid of the first.

    Parameters
    ----------
    first, second
        of the same scan; their grids may differ

    Raises
    ------
    CTPError
        when they share no quantity, or hardly a voxel
    """
    other = second.on(first.geometry)
    both = first.mask & other.mask
    shared = [name for name in in_order(first.values) if name in other.values]
    if not shared:
        raise CTPError(f"no map in common: {', '.join(first.values)} and {', '.join(other.values)}")
    if int(both.sum()) < max(1, _LEAST_SHARE * int(first.mask.sum())):
        raise CTPError("the two sets of maps hardly overlap: give maps of the same scan, in the same space")
    places = {"brain": both}
    places |= {f"{name} of A": mask & both for name, mask in first.lesions.items()}
    places |= {name: mask & both for name, mask in first.regions.items()}
    rows = []
    for name in shared:
        a, b = first.values[name].float(), other.values[name].float()
        for place, inside in places.items():
            similarity = _similarity(name, a, b, both) if place == "brain" else math.nan
            rows.append(MapRow(name, place, agreement_of(a[inside], b[inside]), similarity))
    return rows


def compare_lesions(first: MapSet, second: MapSet) -> list[LesionRow]:
    """Volumes and overlap of the lesions that both sets have."""
    other = second.on(first.geometry)
    ml = [math.prod(one.geometry.spacing) / 1000.0 for one in (first, second)]
    return [
        LesionRow(
            name, float(mask.sum()) * ml[0], float(second.lesions[name].sum()) * ml[1], dice(mask, other.lesions[name])
        )
        for name, mask in first.lesions.items()
        if name in second.lesions
    ]


def _similarity(name: str, a: Tensor, b: Tensor, inside: Tensor) -> float:
    """Mean structural similarity of the slices that hold brain, as 8-bit pictures over the display range."""
    low, high = named_quantity(name).display
    slices = inside.flatten(1).any(dim=1)
    pictures = [
        torch.where(inside, ((volume.nan_to_num() - low) / (high - low)).clamp(0, 1) * 255, 0.0)[slices]
        for volume in (a, b)
    ]
    if min(a.shape[1:]) < 11:  # no window fits
        return math.nan
    return float(ops.ssim(*pictures, data_range=255.0).mean())
