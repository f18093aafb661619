"""A cohort with known lesions to the thresholds that one deconvolution needs to find them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from ctp_torch.errors import CTPError
from ctp_torch.lesion import Survey, delineate
from ctp_torch.thresholds import Thresholds

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Calibration", "CalibrationCase", "CalibrationRow", "calibrate", "compare"]

_TMAX_GRID = tuple(2.0 + 0.5 * i for i in range(29))  # 2 to 16 s
_RCBF_GRID = tuple(0.10 + 0.025 * i for i in range(31))  # 10 to 85 %


class CalibrationCase(NamedTuple):
    """One patient: what the maps show and what is true."""

    name: str
    """For the table."""
    survey: Survey
    """From `ctp_torch.lesion.survey`."""
    core: Tensor
    """``(z, y, x)`` bool: the true core."""
    hypoperfusion: Tensor | None
    """``(z, y, x)`` bool: true core and penumbra; None where only the core is known."""


class CalibrationRow(NamedTuple):
    """Volumes of one patient [mL]."""

    name: str
    """As in the case."""
    core_true: float
    """Of the truth."""
    core: float
    """With these thresholds."""
    hypoperfusion_true: float
    """Of the truth; NaN where unknown."""
    hypoperfusion: float
    """With these thresholds."""


@dataclass(frozen=True)
class Calibration:
    """The thresholds found, and how the errors depend on them."""

    thresholds: Thresholds
    """With the smallest mean absolute volume error."""
    tmax_errors: dict[float, float]
    """Tmax threshold [s] to mean absolute error of the hypoperfusion [mL]; empty where its truth is unknown."""
    rcbf_errors: dict[float, float]
    """rCBF threshold to mean absolute error of the core [mL], at the Tmax threshold found."""


def calibrate(
    cases: Sequence[CalibrationCase],
    *,
    method: str = "",
    start: Thresholds | None = None,
    tmax_grid: Sequence[float] = _TMAX_GRID,
    rcbf_grid: Sequence[float] = _RCBF_GRID,
) -> Calibration:
    """The Tmax threshold with the right volume of hypoperfusion, then the rCBF threshold with the right core in it.

    SVD compresses rCBF and inflates Tmax, the more so the wider the bolus, so that the same physiology needs other
    thresholds with another deconvolution. Of several thresholds with the same error, the one nearest to the
    conventional is taken.

    Parameters
    ----------
    cases
        patients with and without lesions
    method
        name of the deconvolution, kept with the thresholds
    start
        everything that isn't calibrated: sizes of regions, smoothing; conventional when None
    tmax_grid
        tried [s]
    rcbf_grid
        tried, fractions of normal

    Returns
    -------
        thresholds and error curves

    Raises
    ------
    CTPError
        there is no case, or no case has a lesion: any threshold above everything would do
    """
    if not cases:
        raise CTPError("calibration needs patients with known lesions, got none")
    if not any(bool(case.core.any()) for case in cases):
        raise CTPError(
            f"none of the {len(cases)} patients has a true core, so that no threshold can be told from another"
        )
    limits = replace(start or Thresholds(), method=method)
    tmax_errors: dict[float, float] = {}
    known = [case for case in cases if case.hypoperfusion is not None]
    if known:
        least = max(float(case.survey.tmax[case.survey.tissue].median()) for case in known)
        for tmax in (value for value in tmax_grid if value > least):  # half of a brain is never hypoperfused
            tried = replace(limits, tmax=tmax, severe_tmax=max(limits.severe_tmax, tmax))
            rows = compare(known, tried)
            tmax_errors[tmax] = _mean(abs(row.hypoperfusion - row.hypoperfusion_true) for row in rows)
        tmax = _best(tmax_errors, limits.tmax)
        limits = replace(limits, tmax=tmax, severe_tmax=max(tmax * 10.0 / 6.0, tmax))
    rcbf_errors = {}
    for rcbf in rcbf_grid:
        rows = compare(cases, replace(limits, rcbf=rcbf))
        rcbf_errors[rcbf] = _mean(abs(row.core - row.core_true) for row in rows)
    return Calibration(replace(limits, rcbf=_best(rcbf_errors, limits.rcbf)), tmax_errors, rcbf_errors)


def compare(cases: Sequence[CalibrationCase], thresholds: Thresholds) -> list[CalibrationRow]:
    """Measured and true volumes of every case [mL].

    Parameters
    ----------
    cases
        patients
    thresholds
        applied to all
    """
    rows = []
    for case in cases:
        lesions = delineate(case.survey, thresholds)
        volumes = lesions.volumes()
        truth = float("nan") if case.hypoperfusion is None else int(case.hypoperfusion.sum()) * lesions.voxel_ml
        core = int(case.core.sum()) * lesions.voxel_ml
        rows.append(CalibrationRow(case.name, core, volumes["core_ml"], truth, volumes["hypoperfusion_ml"]))
    return rows


def _mean(values: object) -> float:
    """The mean of some numbers."""
    listed = [float(value) for value in values]  # type: ignore[attr-defined]
    return sum(listed) / len(listed)


def _best(errors: dict[float, float], usual: float) -> float:
    """The key with the smallest error; of equals the one nearest to the usual value."""
    least = min(errors.values())
    return min((key for key, error in errors.items() if error <= least + 1e-9), key=lambda key: abs(key - usual))
