"""A series and its motion to quality flags: the paper's pruning, made explicit, with every measured value."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ctp_torch import ops
from ctp_torch.data.series import TO_SERIES, CTPSeries
from ctp_torch.errors import check_type
from ctp_torch.quality.flags import Check, Quality

if TYPE_CHECKING:
    from ctp_torch.data.anatomy import Anatomy
    from ctp_torch.data.geometry import Geometry
    from ctp_torch.ops import RigidMotion, VesselCurve

__all__ = [
    "Bolus",
    "assess",
    "check_artery",
    "check_frames",
    "check_motion",
    "check_slices",
    "check_truncation",
    "slice_mismatch",
]

MISSING_FRAMES = 2
LOCATION_MM = 1.0
MEDIAN_MOTION_MM, LARGEST_MOTION_MM, ROTATION_DEG, SHARE_THROUGH_PLANE = 3.0, 8.0, 5.0, 0.1
BASELINE_FRAMES, BASELINE_MARGIN_S = 3, 2.0
ARTERIAL_LEAD_S = 2.4
"""From the arteries' onset to that of the brain's mean; 2.0 to 3.1 s in digital patients."""
TAIL, VENOUS_PEAK_TO_END_S, COVERAGE_S = 0.6, 5.0, 20.0
PEAK_TO_NOISE, AIF_WIDTH_S, AREA_RATIO = 5.0, 25.0, 8.0
PEAK_TO_TISSUE = 1.2
"""Arteries of digital patients reach 3 to 18 times the brain's mean peak; a patch of MRI curves, one shifted, 1.3."""
BRAIN_PEAK_HU = 1.5


class Bolus(NamedTuple):
    """The contrast's passage through a series."""

    enhancement: Tensor
    """``(time, z, y, x)`` HU over the pre-contrast mean."""
    aif: VesselCurve | None
    """The arterial input."""
    vof: VesselCurve | None
    """The venous outflow."""
    refusal: str
    """Why there is no artery."""


def assess(
    series: CTPSeries,
    motion: RigidMotion | None = None,
    *,
    anatomy: Anatomy,
    bolus: Bolus | None,
    locations: Tensor | None = None,
    maps_geometry: Geometry | None = None,
    expected_frames: int | None = None,
) -> Quality:
    """Check a series for what makes perfusion maps wrong.

    Parameters
    ----------
    series
        preprocessed: median-filtered, and aligned if it moved
    motion
        as estimated on the series before that; None leaves q3 unmeasured
    anatomy
        of ``series``, as `ctp_torch.pipeline.locate` finds it
    bolus
        its enhancement and vessels; None where there is no brain
    locations
        ``(images, 2)``: position along the normal [mm] and time [s] of every image before sorting; None leaves the
        first part of q2 unmeasured
    maps_geometry
        grid of maps that belong to the series; None leaves the second part of q2 unmeasured
    expected_frames
        of the protocol; None judges by the gaps between frames alone

    Returns
    -------
    Quality

    Raises
    ------
    ValueError
        if the series has fewer than four frames

    References
    ----------
    De la Rosa et al. 2022, medRxiv 2022.06.16.22276371 (coverage of the bolus); Kloska et al. 2016, PMC5134896.
    """
    check_type(series, CTPSeries, "assess: series", TO_SERIES)
    if series.n_frames < 4:
        raise ValueError(f"a bolus can't be judged on {series.n_frames} frame(s), at least 4 are needed")
    return Quality(
        (
            check_frames(series, expected_frames=expected_frames),
            check_slices(series, locations=locations, maps_geometry=maps_geometry),
            check_motion(series, motion),
            *_check_bolus(series, anatomy, bolus),
        )
    )


def check_frames(series: CTPSeries, *, expected_frames: int | None = None) -> Check:
    """q1: frames that are expected but not there, by number or by holes in an even sequence of times."""
    times = series.times.median(dim=1).values
    steps = times.diff()
    missing = 0
    for i in range(1, len(steps) - 1):
        before, step, after = (float(s) for s in steps[i - 1 : i + 2])
        if abs(before - after) < 0.25 * min(before, after) and step > 1.5 * min(before, after):
            missing += round(2 * step / (before + after)) - 1
    missing = max(missing, series.provenance.incomplete_frames)
    if expected_frames is not None:
        missing = max(missing, expected_frames - series.n_frames)
    return Check("q1", {"missing_frames": float(missing)}, {"missing_frames": float(MISSING_FRAMES)})


def check_slices(
    series: CTPSeries | None, *, locations: Tensor | None = None, maps_geometry: Geometry | None = None
) -> Check:
    """q2: slices that lie elsewhere in some frames, or maps that lie elsewhere than the scan."""
    wandering = None if locations is None else _wandering(locations)
    mismatch, thickness = None, math.inf
    if series is not None and maps_geometry is not None:
        mismatch = slice_mismatch(series.geometry, maps_geometry)
        thickness = _thickness(series)
    values = {"between_frames_mm": wandering, "scan_to_maps_mm": mismatch}
    limits = {"between_frames_mm": LOCATION_MM}
    if mismatch is not None:
        limits["scan_to_maps_mm"] = thickness / 2
    return Check("q2", values, limits)


def check_motion(series: CTPSeries, motion: RigidMotion | None) -> Check:
    """q3: how far a sphere of 65 mm moved, how far the head turned, how often it left its slice."""
    limits = {
        "median_displacement_mm": MEDIAN_MOTION_MM,
        "largest_displacement_mm": LARGEST_MOTION_MM,
        "largest_rotation_deg": ROTATION_DEG,
        "share_of_frames_through_plane": SHARE_THROUGH_PLANE,
    }
    if motion is None:
        return Check("q3", dict.fromkeys(limits), limits)
    displacement = ops.mean_displacement(motion)
    through = (motion.translation[:, 2].abs() > _thickness(series) / 2).double().mean()
    measured = (displacement.quantile(0.5), displacement.max(), motion.rotation.abs().max(), through)
    return Check("q3", dict(zip(limits, (float(m) for m in measured), strict=True)), limits)


def slice_mismatch(scan: Geometry, maps: Geometry) -> float:
    """Largest distance [mm] of a map's slice from the nearest slice of the scan, along the scan's normal."""
    normal = scan.direction[2::3]

    def places(geometry: Geometry) -> Tensor:
        _, y, x = geometry.shape
        middles = [geometry.position(z, (y - 1) / 2, (x - 1) / 2) for z in range(geometry.shape[0])]
        return torch.tensor(middles, dtype=torch.float64) @ torch.tensor(normal, dtype=torch.float64)

    return float((places(maps)[:, None] - places(scan)).abs().amin(dim=1).max())


def _wandering(locations: Tensor, *, same_mm: float = 0.1) -> float:
    """How far [mm] a location that isn't visited throughout the scan lies from the nearest other one; 0 without one.

    Shuttle scans come back to all their locations until the end; a location that is used in a part of the scan only is
    one that moved.
    """
    place, order = locations[:, 0].sort()
    time = locations[order, 1]
    group = torch.cat([place.new_zeros(1), (place.diff() > same_mm).cumsum(0)]).long()
    n = int(group[-1]) + 1
    if n < 2:
        return 0.0
    empty = place.new_zeros(n)
    counts = empty.index_add(0, group, torch.ones_like(place))
    centres = empty.index_add(0, group, place) / counts
    first = torch.full_like(empty, math.inf).scatter_reduce(0, group, time, "amin")
    last = torch.full_like(empty, -math.inf).scatter_reduce(0, group, time, "amax")
    duration = time.max() - time.min()
    partial = (last - first < 0.7 * duration) | (counts < 0.5 * counts.max())
    if not bool(partial.any()) or float(duration) == 0:
        return 0.0
    apart = (centres[:, None] - centres).abs()
    apart.fill_diagonal_(math.inf)
    return float(apart[partial].amin(dim=1).max())


def _check_bolus(series: CTPSeries, anatomy: Anatomy, bolus: Bolus | None) -> list[Check]:
    """q4 to q7: baseline, truncation, arterial input, bolus."""
    if bolus is None:
        reason = "no brain found"
        return [Check(flag, {}, {}, reason) for flag in ("q4", "q5", "q6", "q7")]
    times = series.times.median(dim=1).values
    brain = ops.smooth_in_time(bolus.enhancement[:, anatomy.brain].mean(dim=1))
    onset = _onset(brain, series.dt)
    before = int((times - times[0] <= onset - BASELINE_MARGIN_S).sum())
    baseline = Check(
        "q4",
        {"baseline_frames": float(before), "onset_s": onset},
        {"min_baseline_frames": float(BASELINE_FRAMES)},
    )
    peak = Check("q7", {"brain_peak_hu": float(brain.max())}, {"min_brain_peak_hu": BRAIN_PEAK_HU})
    seconds = [float(t) for t in times - times[0]]
    return [
        baseline,
        check_truncation(bolus.aif, bolus.vof, seconds),
        check_artery(bolus, brain, series.dt, anatomy.n_baseline),
        peak,
    ]


def _onset(brain: Tensor, dt: float) -> float:
    """Arrival of the contrast in the arteries [s from the first frame], from the mean curve ``(time,)`` of the brain.

    The brain's mean has hardly any noise, and the straight line through its rise at 20 and 60 % meets 10 % of the peak
    at a moment that a baseline a little off does not move; the arteries are ``ARTERIAL_LEAD_S`` ahead.
    """
    peak, base = int(brain.argmax()), float(brain[:3].mean())
    onset = 0.0
    for _ in range(3):
        height = float(brain[peak]) - base
        low, high = (_last_rise(brain[: peak + 1], base + share * height) for share in (0.2, 0.6))
        onset = low - 0.25 * (high - low)  # [frames]
        base = float(brain[: max(3, int(onset) - 1)].mean())
    return max(0.0, onset * dt - ARTERIAL_LEAD_S)


def _last_rise(curve: Tensor, level: float) -> float:
    """The fractional frame at which a curve last comes up through a level; 0 when it is never below."""
    below = (curve < level).nonzero()
    if not len(below) or int(below[-1]) == len(curve) - 1:
        return 0.0
    i = int(below[-1])
    return i + (level - float(curve[i])) / float(curve[i + 1] - curve[i])


def check_truncation(aif: VesselCurve | None, vof: VesselCurve | None, seconds: list[float]) -> Check:
    """q5: whether the scan ends before the contrast has passed."""
    values: dict[str, float | None] = {
        "tail_to_peak": None,
        "venous_peak_to_end_s": None,
        "arterial_peak_to_end_s": None,
    }
    if vof is not None:
        curve = ops.smooth_in_time(vof.curve)
        values["tail_to_peak"] = float(curve[-3:].mean() / curve.max())
        values["venous_peak_to_end_s"] = seconds[-1] - seconds[int(curve.argmax())]
    if aif is not None:
        values["arterial_peak_to_end_s"] = seconds[-1] - seconds[int(ops.smooth_in_time(aif.curve).argmax())]
    limits = {
        "tail_to_peak": TAIL,
        "min_venous_peak_to_end_s": VENOUS_PEAK_TO_END_S,
        "min_arterial_peak_to_end_s": COVERAGE_S,
    }
    return Check("q5", values, limits)


def check_artery(bolus: Bolus, brain: Tensor, dt: float, n_baseline: int) -> Check:
    """q6: whether the arterial input stands out, is narrow, comes before tissue and vein and isn't far too small.

    ``brain`` is the mean curve of all, smoothed in time. Half of its rise comes 1.2 to 5.2 s after that of an artery,
    in digital patients, and before that of a vein. No vein is told but no fault: a slab may lie beside all sinuses.
    """
    limits = {
        "min_peak_to_noise": PEAK_TO_NOISE,
        "min_peak_to_tissue": PEAK_TO_TISSUE,
        "width_s": AIF_WIDTH_S,
        "later_than_tissue_s": 0.0,
        "later_than_vein_s": dt,  # a peak is known to a frame
        "vein_to_artery_area": AREA_RATIO,
    }
    values: dict[str, float | None] = dict.fromkeys((*(name.removeprefix("min_") for name in limits), "veins"))
    aif, vof = bolus.aif, bolus.vof
    if aif is None:
        return Check("q6", values, limits, bolus.refusal)
    curve = ops.smooth_in_time(aif.curve)
    noise = float(aif.curve[:n_baseline].std().clamp(min=1e-6))
    rise, tissue_rise = (float(ops.bolus_onset(rising, dt, fraction=0.5)) for rising in (curve, brain))
    values |= {
        "peak_to_noise": float(curve.max()) / noise,
        "peak_to_tissue": float(curve.max() / brain.max().clamp(min=1e-6)),
        "width_s": float(ops.curve_width(curve, dt)),
        "later_than_tissue_s": rise - tissue_rise,
        "veins": float(vof is not None),
    }
    if vof is not None:
        venous = ops.smooth_in_time(vof.curve)
        values["later_than_vein_s"] = (int(curve.argmax()) - int(venous.argmax())) * dt
        values["vein_to_artery_area"] = float(vof.curve.sum() / aif.curve.sum().clamp(min=1e-6))
    check = Check("q6", values, limits)
    return check._replace(advice=_advise(check.broken, no_vein=vof is None))


def _advise(broken: list[str], *, no_vein: bool) -> str:
    """What suffers from an implausible arterial input, and what to do."""
    late = any(name.startswith("later") for name in broken)
    effect = (
        "it rises like tissue or a vein: Tmax reads too short, CBF and MTT are off"
        if late
        else "CBF, CBV, MTT and Tmax all rest on it and may be off"
    )
    unscaled = ", and no vein was found to scale it by" if no_vein else ""
    return f"{effect}{unscaled}; look at its curve and name an artery by --aif x,y,z"


def _thickness(series: CTPSeries) -> float:
    """Slice thickness [mm]: as the headers say, else the distance of the slices."""
    thickness = series.provenance.slice_thickness_mm
    return thickness if thickness is not None and thickness > 0 else series.geometry.spacing[0]
