"""Perfusion maps of a preprocessed series by deconvolution with its arterial input."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from ctp_torch import ops
from ctp_torch.data.curves import TissueCurves
from ctp_torch.data.maps import PerfusionMaps
from ctp_torch.data.slabs import average_slices, slab_geometry, slab_mask, slices_per_slab, spread_slices
from ctp_torch.errors import QualityError
from ctp_torch.ops.deconvolution.passage import DeconvolutionWarning
from ctp_torch.pipeline.scan import locate

if TYPE_CHECKING:
    from ctp_torch.data.series import CTPSeries
    from ctp_torch.ops.bolus.vessels import VesselCurve
    from ctp_torch.ops.deconvolution.result import Deconvolution

__all__ = ["Method", "deconvolve"]

Method = Callable[..., "Deconvolution"]
"""``(curves (voxels, time), aif (time,), dt) -> Deconvolution``; options bound with functools.partial."""
_Found = TypeVar("_Found", "VesselCurve", "VesselCurve | None")
"""An artery is found or refused, a vein may be missing."""

_CHUNK = 1_000_000
"""Voxels handed to a method together: half a gigabyte of residues at 120 lags."""
_JITTER = 0.05
"""Frame times further off an even grid than this [fraction of dt] are handed to the method."""
_NO_VEIN = "no vein found: the arterial input was not scaled (ratio 1), flows and volumes may be too high"


def deconvolve(
    series: CTPSeries,
    method: Method = ops.csvd,
    *,
    aif: VesselCurve | None = None,
    vof: VesselCurve | None = None,
    mask: Tensor | None = None,
    sigma_mm: float = 2.0,
    scale_by_vof: bool = True,
) -> PerfusionMaps:
    """Perfusion maps of a preprocessed series by deconvolution.

    Enhancement over the pre-contrast mean, smoothed by [1/4, 1/2, 1/4] in time and a Gaussian in the plane, deconvolved
    with the arterial input, smoothed alike in time and scaled by the venous outflow.

    Parameters
    ----------
    series
        preprocessed, HU
    method
        ``(curves, aif, dt) -> Deconvolution``
    aif, vof
        curves on the frames of the series; chosen automatically when None, in thin slices on their slabs
    mask
        ``(z, y, x)`` bool, where to deconvolve; the brain when None
    sigma_mm
        standard deviation of the Gaussian [mm]; the arterial input is read before it
    scale_by_vof
        whether the arterial input is scaled to the area of the venous outflow

    Returns
    -------
        maps in physical units; ``notes`` says which arterial input was used, and how

    Raises
    ------
    QualityError
        if no artery stands out of the noise

    References
    ----------
    Fieselmann et al. 2011, IJBI 467563, doi:10.1155/2011/467563
    """
    anatomy = locate(series)
    inside = anatomy.brain if mask is None else mask.to(anatomy.brain)
    change = ops.enhancement(series.hu, anatomy.n_baseline)
    spacing = series.geometry.spacing
    if aif is None:
        aif = _find_vessel(ops.select_aif, change, anatomy.brain, series)
    if not bool(aif.curve.isfinite().all()) or float(aif.curve.sum()) <= 0:
        raise QualityError("the arterial input holds no bolus; choose another voxel, or let it be found (--aif auto)")
    if not scale_by_vof:
        vof = None
    elif vof is None:
        vof = _find_vessel(partial(ops.select_vof, aif=aif.curve), change, anatomy.brain, series)
    arterial, ratio = (aif.curve, 1.0) if vof is None else ops.scale_aif(aif.curve, vof.curve)

    smooth = ops.smooth_inside(ops.smooth_in_time(change), inside, spacing, sigma_mm)
    tissue = TissueCurves.gather(smooth, inside, series.geometry, dt=series.dt)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DeconvolutionWarning)
        found = _in_chunks(method, tissue, ops.smooth_in_time(arterial), series, aif)
    maps = {name: tissue.scatter(values) for name, values in found.items()}
    said = [] if vof is not None or not scale_by_vof else [_NO_VEIN]
    kinds = {entry.category: str(entry.message) for entry in caught}  # one of a kind, whatever the chunks
    said += kinds.values()
    notes = {
        "aif": _described(aif),
        "vof": None if vof is None else _described(vof),
        "vof_to_aif_ratio": round(ratio, 4),
        "tissue": {"curve_hu": [round(v, 4) for v in tissue.values.mean(dim=0).tolist()]},
        "baseline_frames": anatomy.n_baseline,
        "times": ops.time_route(method, series.dt, uneven=_is_uneven(series)),
        "warnings": said,
    }
    return PerfusionMaps(maps, inside, series.geometry, notes)


def _find_vessel(select: Callable[..., _Found], change: Tensor, brain: Tensor, series: CTPSeries) -> _Found:
    """The vessel that ``select`` finds; in thin slices on their slabs: of many noisy voxels, the largest are noise."""
    n, depth = slices_per_slab(series.geometry), series.geometry.shape[0]
    if n == 1:
        return select(change, brain, series.dt, spacing=series.geometry.spacing)
    on_slabs = slab_geometry(series.geometry, n).spacing
    found = select(average_slices(change, n), slab_mask(brain, n), series.dt, spacing=on_slabs)
    return found if found is None else found._replace(mask=spread_slices(found.mask, n, depth))


def _in_chunks(
    method: Method, tissue: TissueCurves, arterial: Tensor, series: CTPSeries, aif: VesselCurve
) -> dict[str, Tensor]:
    """Maps ``(voxels,)`` of a method; negative flows, volumes and times are noise and become 0."""
    times, uneven = series.times.to(tissue.values.device), _is_uneven(series)
    slices = tissue.mask.nonzero()[:, 0]  # (voxels,)
    artery = aif.mask.nonzero()[:, 0].to(times.device)
    found: dict[str, list[Tensor]] = {}
    for first in range(0, len(slices), _CHUNK):
        rows = slice(first, first + _CHUNK)
        moments = {}
        if uneven:
            moments["times"] = times.T[slices[rows]]  # (voxels, time)
            moments["aif_times"] = times[:, artery].mean(dim=1) if len(artery) else times.mean(dim=1)
        result = method(tissue.values[rows], arterial, series.dt, **moments)
        peak = ops.time_to_peak(tissue.values[rows], moments.get("times", times[:, 0]))
        for name, values in {**result.maps(), "ttp": peak}.items():
            found.setdefault(name, []).append(torch.nan_to_num(values, nan=0.0).clamp_min(0.0))
    return {name: torch.cat(parts) for name, parts in found.items()}


def _is_uneven(series: CTPSeries) -> bool:
    """Whether slices or frames are further from one even grid than jitter."""
    off = (series.times - series.times[:, :1]).abs().max(), (series.times.diff(dim=0) - series.dt).abs().max()
    return bool(max(off) > _JITTER * series.dt)


def _described(vessel: VesselCurve) -> Mapping[str, object]:
    """Where a vessel curve was taken (column, row, slice) and the curve [HU]."""
    return {
        "voxels_xyz": vessel.mask.nonzero().flip(1).tolist(),
        "curve_hu": [round(value, 3) for value in vessel.curve.tolist()],
    }
