"""A cohort with known lesions to the thresholds that one deconvolution needs to find them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, NamedTuple

from ctp_torch.errors import CTPError
from ctp_torch.lesions.find import Survey, delineate
from ctp_torch.lesions.normal import TISSUE_MM
from ctp_torch.lesions.thresholds import Thresholds

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Calibration", "CalibrationCase", "CalibrationRow", "calibrate", "compare", "false_cores"]

Track = Callable[[Sequence[Any], str], Iterable[Any]]
"""Values as they are tried, and a title for their progress."""

_TMAX_GRID = tuple(2.0 + 0.5 * i for i in range(29))  # 2 to 16 s
_REDUCED_GRID = tuple(round(0.40 + 0.05 * i, 2) for i in range(10))  # 40 to 85 % of normal
_RCBF_GRID = tuple(0.10 + 0.025 * i for i in range(31))  # 10 to 85 %
_FEW = 4
"""Shorter grids of Tmax leave no room for a second threshold below it."""
_CORE_MM = 5.0
"""Tissue around a voxel of which most must be core [mm]."""
_MANY = 13
"""A grid of more values than this is first tried at every fourth."""
_RCBV_GRID = (0.0, *(0.45 + 0.05 * i for i in range(11)))  # not asked, or 45 to 95 %


class CalibrationCase(NamedTuple):
    """One patient: what the maps show and what is true."""

    name: str
    """For the table."""
    survey: Survey
    """From `ctp_torch.lesions.find.survey`."""
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
    """rCBF threshold to mean absolute error of the core [mL], with the Tmax first found."""
    rcbv_errors: dict[float, float]
    """rCBV threshold (0: not asked) to mean absolute error of the core [mL], at any flow; empty where CBV lacks."""


def calibrate(
    cases: Sequence[CalibrationCase],
    *,
    method: str = "",
    start: Thresholds | None = None,
    tmax_grid: Sequence[float] = _TMAX_GRID,
    reduced_grid: Sequence[float] = _REDUCED_GRID,
    rcbf_grid: Sequence[float] = _RCBF_GRID,
    rcbv_grid: Sequence[float] = _RCBV_GRID,
    track: Track = lambda items, *_: items,
) -> Calibration:
    """The Tmax thresholds with the right volume of hypoperfusion, and the rCBF and rCBV thresholds with the right core.

    SVD compresses rCBF and inflates Tmax, the more so the wider the bolus, so that the same physiology needs other
    thresholds with another deconvolution; it leaves CBV as it is. The hypoperfusion is sought by delay alone, and by
    more delay or some delay with reduced flow; the core by flow alone, and by volume then flow; the better of both
    stays. Of several with the same error, the one nearest to the conventional is taken.

    Parameters
    ----------
    cases
        patients with and without lesions
    method
        name of the deconvolution, kept with the thresholds
    start
        everything that isn't calibrated: sizes of regions, smoothing, reference; conventional when None, but for flow
        and volume measured against tissue of the same density, a core in most of the tissue around, and Tmax against
        that of normal tissue (``usual_tmax``, the median over the patients), where the hypoperfusion is known
    tmax_grid
        tried [s]
    reduced_grid
        tried for ``reduced_rcbf``, fractions of normal; empty to leave it out
    rcbf_grid, rcbv_grid
        tried for the core, fractions of normal; an rCBV of 0 leaves it out
    track
        ``(values, title) -> values``, such as a progress bar; called once for each search

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
    known = [case for case in cases if case.hypoperfusion is not None]
    limits = replace(start or _usual_start(known), method=method)
    least = max((float(case.survey.tmax[case.survey.tissue].median()) for case in known), default=0.0)
    tmax_grid = [value for value in tmax_grid if value > least]  # half of a brain is never hypoperfused
    if any(case.survey.cbv_ratio is None for case in cases):
        rcbv_grid = ()
    severe = 0.0
    if known and tmax_grid:
        limits, severe = _search_hypoperfusion(known, limits, tmax_grid, reduced_grid, track)
    limits, rcbf_errors, rcbv_errors = _search_core(cases, limits, rcbf_grid, rcbv_grid, track)
    if known and limits.reduced_rcbf:  # low flow has joined what is late: once more
        late = _Late(limits.tmax, limits.reduced_tmax, limits.reduced_rcbf)
        limits = _settled(known, limits, late, tmax_grid, reduced_grid)[0].applied(limits)
        tmax_grid = [value for value in tmax_grid if value >= limits.reduced_tmax]
    tmax_errors = {}
    if known:
        tmax_errors = _errors(
            lambda t: _hypoperfusion_error(known, _with_tmax(limits, t)), tmax_grid, limits.tmax, track, "Tmax again"
        )
    if tmax_errors:
        limits = _with_tmax(limits, _best(tmax_errors, Thresholds.tmax))
    if limits.rcbv:
        near = _nearby(rcbv_grid, limits.rcbv)
        settled = {value: _core_error(cases, replace(limits, rcbv=value)) for value in track(near, "rCBV again")}
        limits = replace(limits, rcbv=_best(settled, limits.rcbv))
    if limits.reduced_rcbf and severe:  # what was tried on the way doesn't count
        limits = replace(limits, severe_tmax=max(severe, limits.tmax))
    return Calibration(limits, tmax_errors, rcbf_errors, rcbv_errors)


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


def false_cores(rows: Sequence[CalibrationRow]) -> tuple[int, float, float]:
    """Patients who are late but have no core (good collaterals), and the mean and largest core they read [mL]."""
    read = [row.core for row in rows if row.core_true == 0 and row.hypoperfusion_true > 0]
    return len(read), fmean(read) if read else 0.0, max(read, default=0.0)


def _usual_start(known: Sequence[CalibrationCase]) -> Thresholds:
    """Conventional thresholds with flow, volume and Tmax measured against normal tissue of the same patient."""
    usual = median(case.survey.usual_tmax for case in known) if known else 0.0
    return Thresholds(tissue_mm=TISSUE_MM, core_mm=_CORE_MM, usual_tmax=round(usual, 2))


def _search_hypoperfusion(
    known: Sequence[CalibrationCase],
    limits: Thresholds,
    tmax_grid: Sequence[float],
    reduced_grid: Sequence[float],
    track: Track,
) -> tuple[Thresholds, float]:
    """The limits with the right hypoperfusion: late, or later than that and less late where flow is reduced.

    And what is severe by delay alone [s].
    """
    by_delay = _errors(
        lambda t: _hypoperfusion_error(known, _with_tmax(limits, t)), tmax_grid, Thresholds.tmax, track, "Tmax"
    )
    limits = _with_tmax(limits, _best(by_delay, Thresholds.tmax))
    if len(tmax_grid) < _FEW or not reduced_grid:
        return limits, limits.severe_tmax
    at = min(range(len(tmax_grid)), key=lambda i: abs(tmax_grid[i] - limits.tmax))
    conventional = min(tmax_grid, key=lambda t: abs(t - Thresholds.reduced_tmax))
    flows = [reduced_grid[share * (len(reduced_grid) - 1) // 3] for share in (2, 1)]
    delayed = _Late(tmax_grid[min(at + 3, len(tmax_grid) - 1)], tmax_grid[max(at - 3, 0)], flows[0])
    starts = [delayed, _Late(tmax_grid[-1], conventional, flows[1])]  # mostly by delay, and mostly by flow
    found = [_settled(known, limits, one, tmax_grid, reduced_grid) for one in track(starts, "Tmax and reduced flow")]
    best, error = min(found, key=lambda pair: pair[1])
    return best.applied(limits) if error < min(by_delay.values()) else limits, limits.severe_tmax


def _settled(
    known: Sequence[CalibrationCase],
    limits: Thresholds,
    start: _Late,
    tmax_grid: Sequence[float],
    reduced_grid: Sequence[float],
) -> tuple[_Late, float]:
    """The rule that no step along one of its numbers betters, from a start; and its error [mL]."""
    tried: dict[_Late, float] = {}

    def error(one: _Late) -> float:
        """Mean absolute error with some rule [mL], each asked once."""
        if one not in tried:
            tried[one] = _hypoperfusion_error(known, one.applied(limits))
        return tried[one]

    best, before = start, float("inf")
    while error(best) < before:
        before = error(best)
        for name, grid in (("flow", reduced_grid), ("less", tmax_grid), ("tmax", tmax_grid)):
            moved = [best._replace(**{name: value}) for value in _steps(grid, getattr(best, name))]
            best = min((best, *(one for one in moved if one.less <= one.tmax)), key=error)
    return best, error(best)


def _steps(grid: Sequence[float], value: float) -> list[float]:
    """What lies one and three steps beside a value of a grid."""
    at = min(range(len(grid)), key=lambda i: abs(grid[i] - value), default=0)
    return [grid[at + step] for step in (-3, -1, 1, 3) if 0 <= at + step < len(grid)]


class _Late(NamedTuple):
    """What makes tissue late where flow counts too."""

    tmax: float
    """Enough by itself [s]."""
    less: float
    """Enough where flow is reduced [s]."""
    flow: float
    """Below this share of normal."""

    def applied(self, limits: Thresholds) -> Thresholds:
        """The limits with it."""
        return _with_tmax(replace(limits, tmax=self.tmax, severe_tmax=max(limits.severe_tmax, self.tmax),
                                  reduced_tmax=self.less, reduced_rcbf=self.flow), self.tmax)  # fmt: skip


def _search_core(
    cases: Sequence[CalibrationCase],
    limits: Thresholds,
    rcbf_grid: Sequence[float],
    rcbv_grid: Sequence[float],
    track: Track,
) -> tuple[Thresholds, dict[float, float], dict[float, float]]:
    """The rCBF and rCBV thresholds with the right core, and the errors of both: flow alone, or volume and then flow."""
    rcbf_errors = _errors(
        lambda value: _core_error(cases, replace(limits, rcbf=value)), rcbf_grid, Thresholds.rcbf, track, "rCBF"
    )
    by_flow = replace(limits, rcbf=_best(rcbf_errors, Thresholds.rcbf))
    if not rcbv_grid:
        return by_flow, rcbf_errors, {}
    open_flow = replace(limits, rcbf=max(rcbf_grid))  # from flow's own optimum, volume would never get its turn
    rcbv_errors = {value: _core_error(cases, replace(open_flow, rcbv=value)) for value in track(rcbv_grid, "rCBV")}
    by_volume = replace(open_flow, rcbv=_best(rcbv_errors, Thresholds.rcbv))
    again = _errors(
        lambda value: _core_error(cases, replace(by_volume, rcbf=value)), rcbf_grid, Thresholds.rcbf, track, "with rCBV"
    )
    if by_volume.rcbv and min(again.values()) < min(rcbf_errors.values()):
        return replace(by_volume, rcbf=_best(again, Thresholds.rcbf)), again, rcbv_errors
    return by_flow, rcbf_errors, rcbv_errors


def _core_error(cases: Sequence[CalibrationCase], limits: Thresholds) -> float:
    """Mean absolute error of the core [mL]."""
    return fmean(abs(row.core - row.core_true) for row in compare(cases, limits))


def _hypoperfusion_error(cases: Sequence[CalibrationCase], limits: Thresholds) -> float:
    """Mean absolute error of the hypoperfusion [mL]."""
    return fmean(abs(row.hypoperfusion - row.hypoperfusion_true) for row in compare(cases, limits))


def _with_tmax(limits: Thresholds, tmax: float) -> Thresholds:
    """Another Tmax, and severe in the usual proportion to the one that counts by itself."""
    severe = max(limits.severe_tmax, tmax) if limits.reduced_rcbf else tmax * 10.0 / 6.0
    return replace(limits, tmax=tmax, severe_tmax=severe)


def _errors(
    error: Callable[[float], float], grid: Sequence[float], usual: float, track: Track, title: str
) -> dict[float, float]:
    """Values to errors: every fourth of a long grid, and those around the best of them; a short one's all."""
    coarse = grid[:: 4 if len(grid) > _MANY else 1]
    errors = {value: error(value) for value in track(coarse, title)}
    near = set(_nearby(grid, _best(errors, usual), 3)) - set(errors)
    return dict(sorted((errors | {value: error(value) for value in sorted(near)}).items()))


def _nearby(grid: Sequence[float], value: float, reach: int = 2) -> list[float]:
    """The value with up to ``reach`` neighbours on either side."""
    at = min(range(len(grid)), key=lambda i: abs(grid[i] - value))
    return list(grid[max(0, at - reach) : at + reach + 1])


def _best(errors: dict[float, float], usual: float) -> float:
    """The key with the smallest error; of equals the one nearest to the usual value."""
    least = min(errors.values())
    return min((key for key, error in errors.items() if error <= least + 1e-9), key=lambda key: abs(key - usual))
