"""The recipe of the paper's Figure 1: preprocess a series, then deconvolve it or predict its maps."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch
from torch import Tensor

from ctp_torch import ops
from ctp_torch.curves import TissueCurves
from ctp_torch.errors import NoSeriesError, QualityError
from ctp_torch.maps import PerfusionMaps
from ctp_torch.ops.passage import DeconvolutionWarning
from ctp_torch.recipe import Recipe
from ctp_torch.slices import average_slices, slab_geometry, slab_mask, slices_per_slab, spread_slices

if TYPE_CHECKING:
    from ctp_torch.models.base import Regressor
    from ctp_torch.ops.deconvolution import Deconvolution
    from ctp_torch.ops.rigid import RigidMotion
    from ctp_torch.ops.vessels import VesselCurve
    from ctp_torch.series import CTPSeries

__all__ = ["Anatomy", "align", "deconvolve", "estimate_motion", "features", "locate", "predict", "preprocess"]

Registration = Callable[[Tensor, tuple[float, float, float], int], "RigidMotion"]
"""``(hu (time, z, y, x), spacing mm, pre-contrast frames) -> motion``."""
Method = Callable[..., "Deconvolution"]
"""``(curves (voxels, time), aif (time,), dt) -> Deconvolution``; options bound with functools.partial."""
_Found = TypeVar("_Found", "VesselCurve", "VesselCurve | None")
"""An artery is found or refused, a vein may be missing."""

_CHUNK = 1_000_000
"""Voxels handed to a method together: half a gigabyte of residues at 120 lags."""
_JITTER = 0.05
"""Frame times further off an even grid than this [fraction of dt] are handed to the method."""
_RIM_MM = 2.0
"""Distance kept from the skull, where partial volume and motion change a voxel more than contrast does [mm]."""
_MIN_FRAMES = 4
_NO_VEIN = "no vein found: the arterial input was not scaled (ratio 1), flows and volumes may be too high"


class Anatomy(NamedTuple):
    """Where the head and the brain are, and how long the contrast is still away."""

    baseline: Tensor
    """``(z, y, x)`` mean of the pre-contrast frames [HU]."""
    head: Tensor
    """``(z, y, x)`` bool."""
    brain: Tensor
    """``(z, y, x)`` bool: inside the skull, out of reach of its partial volume."""
    n_baseline: int
    """Pre-contrast frames."""


def preprocess(series: CTPSeries, *, registration: Registration | None = None, median_size: int = 3) -> CTPSeries:
    """The series median-filtered slice by slice and aligned in time, still in HU.

    Motion is estimated on the unfiltered, unclipped HU, where bone carries it, and applied once to the filtered HU.

    Parameters
    ----------
    series
        as read
    registration
        ``(hu, spacing, n_pre_contrast) -> RigidMotion``, such as `ctp_torch.ops.register_rigid`; None leaves the frames
        where they are
    median_size
        edge of the median filter [pixels], odd

    Returns
    -------
        the series, on the same grid; ``notes["motion"]`` holds the rotations [degree] and translations [mm] per frame
    """
    filtered = replace(series, hu=ops.median_filter(series.hu, median_size))
    return filtered if registration is None else align(filtered, estimate_motion(series, registration))


def estimate_motion(series: CTPSeries, registration: Registration) -> RigidMotion:
    """How the head moves in a series; give it the unfiltered HU."""
    return registration(series.hu, series.geometry.spacing, _count_baseline(series))


def align(series: CTPSeries, motion: RigidMotion) -> CTPSeries:
    """The series with its motion undone by one interpolation; ``notes["motion"]`` tells it in patient axes (LPS).

    Thick slices can't be sampled between (`ops.correctable`); what moving through their plane changed in the brain's
    curves is found by its path and subtracted (`ops.remove_through_plane`). ``notes["motion"]["through_plane"]`` says
    what was done: interpolated, subtracted, or both where thick slices move far.
    """
    spacing, determined = series.geometry.spacing, bool(motion.estimated[5])
    undone = ops.correctable(motion, spacing)
    in_patient = ops.patient_axes(motion, series.geometry.direction)
    noted = {
        "rotation_deg": [[round(v, 4) for v in row] for row in in_patient.rotation.tolist()],
        "translation_mm": [[round(v, 4) for v in row] for row in in_patient.translation.tolist()],
        "through_plane": "interpolated" if determined else "subtracted" if undone is not motion else "both",
    }
    moved = ops.apply_motion(series.hu, undone, spacing)
    aligned = replace(series, hu=moved, notes={**series.notes, "motion": noted})
    if not determined:
        ops.remove_through_plane(moved, motion, locate(aligned).brain, spacing, series.dt, in_place=True)
    return aligned


def features(series: CTPSeries, *, window: tuple[float, float] = (0.0, 600.0)) -> Tensor:
    """What a model sees: HU clipped to the window and scaled, ``(time, z, y, x)`` in 0..1."""
    return ops.window(series.hu, *window)


def locate(series: CTPSeries) -> Anatomy:
    """Head, brain and pre-contrast frames of a series.

    Parameters
    ----------
    series
        preprocessed or raw

    Returns
    -------
        masks made on the mean of the pre-contrast frames

    Raises
    ------
    NoSeriesError
        if there are too few frames for a bolus to be seen
    """
    n_baseline, spacing = _count_baseline(series), series.geometry.spacing
    baseline = series.hu[:n_baseline].mean(dim=0)
    head = ops.head_mask(baseline, spacing)
    brain = ops.erode(ops.brain_mask(baseline, spacing) & head, _RIM_MM, spacing)
    return Anatomy(baseline, head, brain, n_baseline)


def _count_baseline(series: CTPSeries) -> int:
    """Number of pre-contrast frames, from a brain found on the first three."""
    if series.n_frames < _MIN_FRAMES:
        raise NoSeriesError(
            f"{series.n_frames} time point(s) of {series.geometry.shape[0]} slice(s): no perfusion series, which has "
            f"at least {_MIN_FRAMES}; give the folder of all its images"
        )
    spacing = series.geometry.spacing
    rough = ops.brain_mask(series.hu[:3].mean(dim=0), spacing)
    inner = ops.erode(rough, _RIM_MM, spacing)  # a jerk at the rim looks like an early bolus
    inside = inner if bool(inner.any()) else rough
    return ops.baseline_frames(series.hu, inside, series.dt) if bool(inside.any()) else 3  # the caller refuses


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


def predict(series: CTPSeries, model: Regressor, *, mask: Tensor | None = None) -> PerfusionMaps:
    """Perfusion maps of a preprocessed series by a trained regressor.

    Parameters
    ----------
    series
        preprocessed as the model's recipe says, HU
    model
        trained by `ctp_torch.training.train`, or loaded
    mask
        ``(z, y, x)`` bool, where to predict; the brain when None

    Returns
    -------
        maps in physical units, 0 outside the mask

    Raises
    ------
    ModelMismatchError
        if the series has other frames than the model learned from, or the model carries no recipe
    """
    recipe = Recipe.of(model)
    recipe.check(series.n_frames, series.dt)
    inside = locate(series).brain if mask is None else mask.to(series.hu.device)
    tissue = TissueCurves.gather(series.hu, inside, series.geometry, dt=series.dt)
    indices = model.predict(recipe.scale(ops.window(tissue.values, *recipe.window))).clamp(0, 255)  # (voxels, targets)
    indices = indices[:, None] if indices.ndim == 1 else indices
    values = {
        name: tissue.scatter(low + indices[:, i] / 255 * (high - low))
        for i, (name, (low, high)) in enumerate(recipe.targets.items())
    }
    return PerfusionMaps(values, inside, series.geometry)


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
