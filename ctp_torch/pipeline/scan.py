"""A series made ready: median-filtered, its motion estimated and undone, its head, brain and baseline found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from ctp_torch import ops
from ctp_torch.data.anatomy import Anatomy
from ctp_torch.errors import NoSeriesError

if TYPE_CHECKING:
    from ctp_torch.data.series import CTPSeries
    from ctp_torch.ops.motion.rigid import RigidMotion

__all__ = ["Registration", "align", "estimate_motion", "locate", "preprocess"]

Registration = Callable[[Tensor, tuple[float, float, float], int], "RigidMotion"]
"""``(hu (time, z, y, x), spacing mm, pre-contrast frames) -> motion``."""
_RIM_MM = 2.0
"""Distance kept from the skull, where partial volume and motion change a voxel more than contrast does [mm]."""
_MIN_FRAMES = 4


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
