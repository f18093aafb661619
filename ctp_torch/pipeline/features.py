"""What a model sees of a scan: the one place where curves become features, for training as for prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ctp_torch import ops
from ctp_torch.data.curves import TissueCurves
from ctp_torch.data.provenance import MapsProvenance
from ctp_torch.errors import QualityError
from ctp_torch.pipeline.deconvolve import NO_VEIN, choose_vessels, smooth_enhancement

if TYPE_CHECKING:
    from ctp_torch.ops import VesselCurve
    from ctp_torch.pipeline.recipe import View
    from ctp_torch.pipeline.scan import Scan

__all__ = ["Seen", "features_of"]

_TISSUE_HU = (0.0, 100.0)
"""What is denser or less dense is no tissue, and counts as these [HU]."""
_BASELINE_MM = 2.0
"""Gaussian on the CT before contrast [mm]."""


class Seen(NamedTuple):
    """The features of a scan's voxels, and what they rest on."""

    tissue: TissueCurves
    """``(voxels, features)`` in place of times, inside the mask."""
    provenance: MapsProvenance
    """Which artery, unless the curves are raw."""
    facts: Mapping[str, float]
    """What a recipe bounds: ``reach_s``, ``bolus_s``, ``dt_s``; empty for raw curves."""
    bolus: Tensor | None = None
    """Shape of artery and vein (`ctp_torch.ops.bolus_shape`); None for raw curves and where no vein was found."""


def features_of(
    scan: Scan,
    view: View,
    *,
    aif: VesselCurve | None = None,
    vof: VesselCurve | None = None,
    mask: Tensor | None = None,
    scale_by_vof: bool = True,
) -> Seen:
    """The features of a scan as a model sees them.

    Raw curves are HU, clipped to the window. All others know the artery: enhancement over the pre-contrast mean,
    median filtered, smoothed in the plane at each width, then timed from the onset of the arterial input and divided by
    its area (`ctp_torch.ops.arterial_curves`), or deconvolved by it (`ctp_torch.ops.residue_features`).

    Parameters
    ----------
    scan
        prepared as the view's ``prepared_median`` says
    view
        of the model's recipe
    aif, vof
        curves on the frames of the scan; chosen automatically when None
    mask
        ``(z, y, x)`` bool; the brain when None
    scale_by_vof
        whether the arterial input is scaled to the area of the venous outflow

    Raises
    ------
    QualityError
        if features need an artery and none stands out of the noise, or it is no bolus
    """
    series = scan.series
    inside = scan.anatomy.brain if mask is None else mask.to(series.hu.device)
    if view.features == "raw":
        hu = ops.window(series.hu, *view.window)
        return Seen(TissueCurves.gather(hu, inside, series.geometry, dt=series.dt), MapsProvenance(), {})
    aif, vof = choose_vessels(scan, aif, vof, scale_by_vof=scale_by_vof)
    arterial, ratio = (aif.curve, 1.0) if vof is None else ops.scale_aif(aif.curve, vof.curve)
    times = series.times.to(series.hu.device, torch.float64)
    aif_times = _vessel_times(times, aif)
    own = _own_times(times, inside)
    parts, mean = [], series.hu.new_zeros(series.n_frames)
    try:
        onset_reach = ops.arterial_reach(own, arterial, aif_times) if int(inside.any()) else (0.0, 0.0)
        moments = ops.artery_moments(arterial, aif_times)
        bolus = None if vof is None else _bolus(arterial, aif_times, vof.curve, _vessel_times(times, vof))
        for curves in _at_each_width(scan, view, inside):
            mean = curves.mean(dim=0) if len(curves) else mean
            make = ops.residue_features if view.features == "residue" else ops.arterial_curves
            parts.append(make(curves, own, arterial, aif_times))
    except ValueError as error:
        raise QualityError(f"the arterial input can't be used: {error}") from error
    n = len(parts[0])
    if view.artery_curve:
        parts.append(ops.arterial_curves(arterial[None], aif_times, arterial, aif_times).to(parts[0]).expand(n, -1))
    if view.artery_moments:
        parts.append(moments.to(parts[0]).expand(n, -1))
    if view.baseline_hu:
        plain = torch.nan_to_num(scan.anatomy.baseline).clamp(*_TISSUE_HU)
        spacing = series.geometry.spacing
        parts.append(ops.smooth_inside(plain, inside, spacing, _BASELINE_MM)[inside][:, None].to(parts[0]))
    facts = {"reach_s": onset_reach[1], "bolus_s": float(moments[1]), "dt_s": series.dt}
    provenance = MapsProvenance(
        aif=aif,
        vof=vof,
        vof_to_aif_ratio=ratio,
        tissue_curve=mean,
        baseline_frames=scan.anatomy.n_baseline,
        times="from the artery's onset, every second",
        warnings=(NO_VEIN,) if vof is None and scale_by_vof else (),
    )
    return Seen(TissueCurves(torch.cat(parts, dim=1), series.dt, inside, series.geometry), provenance, facts, bolus)


def _vessel_times(times: Tensor, vessel: VesselCurve) -> Tensor:
    """When the slices of a vessel were taken ``(time,)``; in the mean where none is told."""
    where = vessel.mask.nonzero()[:, 0].to(times.device)
    return times[:, where].mean(dim=1) if len(where) else times.mean(dim=1)


def _bolus(artery: Tensor, artery_times: Tensor, vein: Tensor, vein_times: Tensor) -> Tensor | None:
    """The shape of a scan's bolus; None where its vein never rises."""
    seen = [
        ops.arterial_curves(curve[None], own, artery, artery_times)[0]
        for curve, own in ((artery, artery_times), (vein, vein_times))
    ]
    return ops.bolus_shape(*seen) if float(seen[1].max()) > 0 else None


def _own_times(times: Tensor, inside: Tensor) -> Tensor:
    """Times ``(time,)`` of all voxels, or ``(voxels, time)`` where slices were taken at different moments."""
    if bool((times == times[:, :1]).all()):
        return times[:, 0]
    return times.T[inside.nonzero()[:, 0]]


def _at_each_width(scan: Scan, view: View, inside: Tensor) -> list[Tensor]:
    """Enhancement ``(voxels, time)`` [HU] of the masked voxels, smoothed at each width."""
    volumes = scan.enhancement
    if view.median_size > 1:
        volumes = ops.median_filter(volumes, view.median_size)
    listed = []
    for width in view.smoothing_mm or (0.0,):
        smooth = volumes if width == 0 else smooth_enhancement(scan, volumes, inside, width, view.smoothing)
        listed.append(smooth[:, inside].T.contiguous())
    return listed
