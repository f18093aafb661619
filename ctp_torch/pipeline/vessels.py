"""The artery and the vein of a scan, and all its large vessels, found automatically."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from torch import Tensor

from ctp_torch import ops
from ctp_torch.data.slabs import Slabs
from ctp_torch.errors import QualityError

if TYPE_CHECKING:
    from ctp_torch.data.series import CTPSeries
    from ctp_torch.ops import LargeVessels, VesselCurve

__all__ = ["Vessels", "find_large", "find_vein", "find_vessels"]

_Vessel = TypeVar("_Vessel", "VesselCurve", "VesselCurve | None")
"""An artery is found or refused, a vein may be missing."""


class Vessels(NamedTuple):
    """What was found without being told."""

    aif: VesselCurve | None
    """The arterial input."""
    vof: VesselCurve | None
    """The venous outflow."""
    refusal: QualityError | None
    """Why there is no artery."""


def find_vessels(enhancement: Tensor, brain: Tensor, series: CTPSeries) -> Vessels:
    """Arterial input and venous outflow of ``enhancement (time, z, y, x)``, in thin slices on their slabs."""
    try:
        aif = _on_slabs(ops.select_aif, enhancement, brain, series)
    except QualityError as error:
        return Vessels(None, None, error)
    return Vessels(aif, find_vein(enhancement, brain, series, aif), None)


def find_vein(enhancement: Tensor, brain: Tensor, series: CTPSeries, aif: VesselCurve) -> VesselCurve | None:
    """The venous outflow that goes with an arterial input."""
    return _on_slabs(partial(ops.select_vof, aif=aif.curve), enhancement, brain, series)


def find_large(enhancement: Tensor, mask: Tensor, series: CTPSeries) -> LargeVessels:
    """All large vessels of a mask; in thin slices those of their slabs, because noise would hide them."""
    thick, depth = Slabs.of(series.geometry), series.geometry.shape[0]
    if thick.n == 1:
        return ops.find_large_vessels(enhancement, mask, series.geometry.spacing)
    spacing = thick.geometry(series.geometry).spacing
    found = ops.find_large_vessels(thick.average(enhancement), thick.mask(mask), spacing)
    return ops.LargeVessels(*(thick.spread(part, depth) & mask for part in found))


def _on_slabs(select: Callable[..., _Vessel], enhancement: Tensor, brain: Tensor, series: CTPSeries) -> _Vessel:
    """The vessel that ``select`` finds; in thin slices on their slabs: of many noisy voxels, the largest are noise."""
    thick, depth = Slabs.of(series.geometry), series.geometry.shape[0]
    if thick.n == 1:
        return select(enhancement, brain, series.dt, spacing=series.geometry.spacing)
    spacing = thick.geometry(series.geometry).spacing
    vessel = select(thick.average(enhancement), thick.mask(brain), series.dt, spacing=spacing)
    return vessel if vessel is None else vessel._replace(mask=thick.spread(vessel.mask, depth))
