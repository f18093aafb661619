"""Perfusion maps of a preprocessed series by deconvolution with its arterial input."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ctp_torch import ops
from ctp_torch.data.curves import TissueCurves
from ctp_torch.data.maps import QUANTITIES, PerfusionMaps
from ctp_torch.data.provenance import MapsProvenance
from ctp_torch.data.series import TO_SERIES, CTPSeries
from ctp_torch.errors import QualityError, check_type
from ctp_torch.ops.deconvolution.passage import DeconvolutionWarning
from ctp_torch.pipeline.scan import Scan, locate
from ctp_torch.pipeline.vessels import find_large, find_vein

if TYPE_CHECKING:
    from ctp_torch.ops.bolus.vessels import VesselCurve
    from ctp_torch.ops.deconvolution.result import Deconvolution

__all__ = ["NO_VEIN", "SMOOTHINGS", "Method", "Smoothing", "choose_vessels", "deconvolve", "smooth_enhancement"]

Method = Callable[..., "Deconvolution"]
"""``(curves (voxels, time), aif (time,), dt) -> Deconvolution``; options bound with functools.partial.

One that learns from a scan has an attribute ``for_scan``: called once with all curves, it gives the method to apply."""

Smoothing = Literal["beside", "inside"]
"""Ways to smooth before deconvolution: vessels left out of the Gaussian, or part of it."""
SMOOTHINGS: Mapping[Smoothing, float] = {"beside": 2.5, "inside": 2.0}
"""Each with its width, where none is asked for [mm]. Without vessels in it a Gaussian can be wider: 2.5 mm, because on
digital patients more costs flow at full dose and less costs times and volumes at a quarter."""

_CHUNK = 1_000_000
"""Voxels handed to a method together: half a gigabyte of residues at 120 lags."""
_SMOOTHED_VOXELS = 1 << 26
"""Voxels smoothed together, of all their frames: a quarter of a gigabyte."""
_MANY = 0.05
"""Of the voxels, the share at the longest time from which it is said."""
_JITTER = 0.05
"""Frame times further off an even grid than this [fraction of dt] are handed to the method."""
_SEEN = "volume seen"
"""What the share of the volume that the frames hold is called among the maps."""
NO_VEIN = "no vein found: the arterial input was not scaled (ratio 1), flows and volumes may be too high"


def deconvolve(
    scan: Scan | CTPSeries,
    method: Method = ops.csvd,
    *,
    aif: VesselCurve | None = None,
    vof: VesselCurve | None = None,
    mask: Tensor | None = None,
    sigma_mm: float | None = None,
    smoothing: Smoothing = "beside",
    scale_by_vof: bool = True,
    complete_cbv: bool | None = None,
    permeability: bool = False,
) -> PerfusionMaps:
    """Perfusion maps of a scan by deconvolution.

    Enhancement over the pre-contrast mean, smoothed by [1/4, 1/2, 1/4] in time and a Gaussian in the plane, deconvolved
    with the arterial input, smoothed alike in time and scaled by the venous outflow.

    Parameters
    ----------
    scan
        from `ctp_torch.prepare`; or a series as it is [HU], best preprocessed
    method
        ``(curves, aif, dt) -> Deconvolution``
    aif, vof
        curves on the frames of the scan; chosen automatically when None, in thin slices on their slabs
    mask
        ``(z, y, x)`` bool, where to deconvolve; the brain when None
    sigma_mm
        standard deviation of the Gaussian [mm]; 2.5 beside vessels and 2 inside when None. The arterial input is read
        before it
    smoothing
        ``"beside"`` leaves large vessels out of the Gaussian (`ctp_torch.ops.smooth_beside`): they keep their curves,
        and where one reaches into a voxel, flow and times are those of the tissue beside and the volume is the voxel's
        own; ``"inside"`` smooths everything in the mask alike, which spreads vessels over the tissue around them
    scale_by_vof
        whether the arterial input is scaled to the area of the venous outflow
    complete_cbv
        whether a volume by the areas under the curves is completed by what passed after the last frame
        (`ctp_torch.ops.seen_share`), and MTT with it; a method that fits a volume of its own keeps it.
        Beside vessels when None, not inside
    permeability
        whether flow extraction is mapped too (`ctp_torch.ops.permeability`), of scans of 90 s at least

    Returns
    -------
        maps in physical units; ``provenance`` says which arterial input was used, and how

    Raises
    ------
    QualityError
        if no artery stands out of the noise, or the scan is too short for its permeability
    ValueError
        for an unknown smoothing

    References
    ----------
    Fieselmann et al. 2011, IJBI 467563, doi:10.1155/2011/467563
    """
    check_type(scan, (Scan, CTPSeries), "deconvolve: scan", TO_SERIES)
    if not callable(method):
        raise TypeError(f"deconvolve: method must be a function such as ctp_torch.ops.osvd, got {method!r}")
    scan = scan if isinstance(scan, Scan) else Scan(scan, None, locate(scan))
    series, brain = scan.series, scan.anatomy.brain
    inside = brain if mask is None else mask.to(brain)
    aif, vof = choose_vessels(scan, aif, vof, scale_by_vof=scale_by_vof)
    arterial, ratio = (aif.curve, 1.0) if vof is None else ops.scale_aif(aif.curve, vof.curve)
    if smoothing not in SMOOTHINGS:
        raise ValueError(f"unknown smoothing {smoothing!r}; choose among {', '.join(SMOOTHINGS)}")
    complete = smoothing == "beside" if complete_cbv is None else complete_cbv
    width = SMOOTHINGS[smoothing] if sigma_mm is None else sigma_mm
    tissue, partial = _smooth_curves(scan, inside, width, smoothing)
    arterial = ops.smooth_in_time(arterial)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DeconvolutionWarning)
        if len(tissue.values) and (for_scan := getattr(method, "for_scan", None)):
            method = for_scan(tissue.values, arterial, series.dt, **_moments(series, tissue.mask.nonzero()[:, 0], aif))
        values, route, longest = _in_chunks(method, tissue, arterial, series, aif, complete, permeability)
    seen = values.pop(_SEEN, None)
    maps = {name: tissue.scatter(quantity) for name, quantity in values.items()}
    kinds = {entry.category: str(entry.message) for entry in caught}  # one of a kind, whatever the chunks
    if partial is not None:  # their volume is their own
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeconvolutionWarning)  # said of all voxels above
            maps["cbv"][partial.mask] = _in_chunks(method, partial, arterial, series, aif, complete)[0]["cbv"]
    at_longest: dict[str, float] = {}
    at_longest |= {n: float((values[n] >= longest).float().mean()) for n in ("mtt", "tmax") if n in values and route}
    provenance = MapsProvenance(
        aif=aif,
        vof=vof,
        vof_to_aif_ratio=ratio,
        tissue_curve=tissue.values.mean(dim=0),
        baseline_frames=scan.anatomy.n_baseline,
        times=route or "no voxel to deconvolve",
        longest_s=longest if math.isfinite(longest) else None,
        at_longest=at_longest,
        volume_seen=None if seen is None or not len(seen) else float(seen.mean()),
        warnings=(
            *([NO_VEIN] if vof is None and scale_by_vof else []),
            *kinds.values(),
            *_too_long(at_longest, longest),
        ),
    )
    return PerfusionMaps(maps, inside, series.geometry, provenance)


def _smooth_curves(
    scan: Scan, inside: Tensor, sigma_mm: float, smoothing: Smoothing
) -> tuple[TissueCurves, TissueCurves | None]:
    """The masked curves smoothed in time and space, and of those that are partly a vessel what is smooth in time alone.

    Some frames at a time: smoothed copies of all would take as much memory as the series, each.
    """
    series, volumes = scan.series, scan.enhancement
    in_space, partly = _smoother(scan, inside, sigma_mm, smoothing)
    n, together = len(volumes), max(4, _SMOOTHED_VOXELS // volumes[0].numel())
    tissue = volumes.new_empty(int(inside.sum()), n)
    beside = volumes.new_empty(0 if partly is None else int(partly.sum()), n)
    for first in range(0, n, together):
        last, before = min(n, first + together), min(first, 1)
        in_time = ops.smooth_in_time(volumes[first - before : last + 1])[before : before + last - first]
        tissue[:, first:last] = in_space(in_time)[:, inside].T
        if partly is not None:
            beside[:, first:last] = in_time[:, partly].T
    curves = TissueCurves(tissue, series.dt, inside, series.geometry)
    return curves, None if partly is None else TissueCurves(beside, series.dt, partly, series.geometry)


def smooth_enhancement(scan: Scan, curves: Tensor, inside: Tensor, sigma_mm: float, smoothing: Smoothing) -> Tensor:
    """Curves ``(time, z, y, x)`` smoothed in space."""
    return _smoother(scan, inside, sigma_mm, smoothing)[0](curves)


def _smoother(
    scan: Scan, inside: Tensor, sigma_mm: float, smoothing: Smoothing
) -> tuple[Callable[[Tensor], Tensor], Tensor | None]:
    """What smooths curves ``(time, z, y, x)`` in space, and which ``(z, y, x)`` are partly a vessel, if any."""
    spacing = scan.series.geometry.spacing
    if smoothing == "inside":
        return lambda curves: ops.smooth_inside(curves, inside, spacing, sigma_mm), None
    brain = scan.anatomy.brain
    large = scan.large_vessels if inside is brain else find_large(scan.enhancement, inside, scan.series)
    partly = large.partly if bool(large.partly.any()) else None
    return (
        lambda curves: ops.smooth_beside(curves, inside, large.mostly, spacing, sigma_mm, partly=large.partly)
    ), partly


def choose_vessels(
    scan: Scan, aif: VesselCurve | None, vof: VesselCurve | None, *, scale_by_vof: bool
) -> tuple[VesselCurve, VesselCurve | None]:
    """The arterial input that was given, else the one found; and the vein to scale it by."""
    given = aif is not None
    if aif is None:
        aif = scan.vessels.aif
        if aif is None:
            raise scan.vessels.refusal or QualityError("no artery was found")
    if not bool(aif.curve.isfinite().all()) or float(aif.curve.sum()) <= 0:
        raise QualityError("the arterial input holds no bolus; choose another voxel, or let it be found (--aif auto)")
    if not scale_by_vof:
        return aif, None
    if vof is None:
        vof = find_vein(scan.enhancement, scan.anatomy.brain, scan.series, aif) if given else scan.vessels.vof
    return aif, vof


def _in_chunks(
    method: Method,
    tissue: TissueCurves,
    arterial: Tensor,
    series: CTPSeries,
    aif: VesselCurve,
    complete_cbv: bool,
    permeability: bool = False,
) -> tuple[dict[str, Tensor], str, float]:
    """Maps ``(voxels,)`` of a method, how it treated the frames, and the longest time that it tells [s].

    Negative values are noise and become 0; without a voxel, nothing is said of the frames.
    """
    times, slices = series.times.to(tissue.values.device), tissue.mask.nonzero()[:, 0]  # (voxels,)
    parts: dict[str, list[Tensor]] = {}
    route, longest = "", math.inf
    for first in range(0, len(slices), _CHUNK):
        rows = slice(first, first + _CHUNK)
        moments = _moments(series, slices[rows], aif)
        result = method(tissue.values[rows], arterial, series.dt, **moments)
        route, longest = result.route, result.longest  # all chunks have the same times
        peak = ops.time_to_peak(tissue.values[rows], moments.get("times", times[:, 0]))
        values = {**result.maps(), "ttp": peak}
        if complete_cbv:
            values |= _completed(result, ops.Passage(tissue.values[rows], arterial, series.dt, **moments))
        if permeability:
            passage = ops.Passage(tissue.values[rows], arterial, series.dt, **moments)
            values["permeability"] = ops.permeability(passage).flow_extraction
        for name, quantity in values.items():
            parts.setdefault(name, []).append(torch.nan_to_num(quantity, nan=0.0).clamp_min(0.0))
    return {name: torch.cat(listed) for name, listed in parts.items()}, route, longest


def _moments(series: CTPSeries, slices: Tensor, aif: VesselCurve) -> dict[str, Any]:
    """When the curves of voxels in these slices ``(voxels,)`` and the artery were taken, where that isn't one grid."""
    if not _is_uneven(series):
        return {}
    times = series.times.to(slices.device)
    artery = aif.mask.nonzero()[:, 0].to(times.device)
    return {
        "times": times.T[slices],  # (voxels, time)
        "aif_times": times[:, artery].mean(dim=1) if len(artery) else times.mean(dim=1),
    }


def _too_long(at_longest: Mapping[str, float], longest: float) -> list[str]:
    """A sentence where many voxels read the longest time that the scan can show."""
    many = {name: share for name, share in at_longest.items() if share > _MANY}
    if not many:
        return []
    named = " and ".join(f"{QUANTITIES[name].label} in {share:.0%}" for name, share in many.items())
    return [f"{named} of the voxels read {longest:.0f} s, the longest that this scan can show"]


def _completed(result: Deconvolution, passage: ops.Passage) -> dict[str, Tensor]:
    """CBV and MTT with the passage after the last frame, and the share seen; nothing where CBV isn't by the areas."""
    if not torch.allclose(result.cbv, passage.blank(passage.cbv), equal_nan=True):
        return {}
    seen = ops.seen_share(passage)
    return {"cbv": result.cbv / seen, "mtt": (result.mtt / seen).clamp(max=result.longest), _SEEN: seen}


def _is_uneven(series: CTPSeries) -> bool:
    """Whether slices or frames are further from one even grid than jitter."""
    off = (series.times - series.times[:, :1]).abs().max(), (series.times.diff(dim=0) - series.dt).abs().max()
    return bool(max(off) > _JITTER * series.dt)
