"""A calibration on paper: volumes before and after as a table and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median
from typing import TYPE_CHECKING

from ctp_torch.report.spreadsheet import csv_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ctp_torch.lesions.calibration import Calibration, CalibrationRow

__all__ = ["calibration_csv", "calibration_figure", "error_summary"]


def calibration_csv(parts: Sequence[tuple[str, str, Sequence[CalibrationRow]]]) -> str:
    """One line per patient and set of thresholds.

    Parameters
    ----------
    parts
        split, name of the thresholds, rows
    """
    names = ("core_true_ml", "core_ml", "hypoperfusion_true_ml", "hypoperfusion_ml")
    cells = [
        (row.name, split, thresholds, *(f"{value:.2f}" for value in row[1:]))
        for split, thresholds, rows in parts
        for row in rows
    ]
    return csv_text([("patient", "split", "thresholds", *names), *cells])


def error_summary(rows: Sequence[CalibrationRow]) -> dict[str, float]:
    """Median and mean absolute errors [mL] of core, hypoperfusion and penumbra; NaN where the truth is unknown.

    Parameters
    ----------
    rows
        at least one
    """
    errors = {
        "core": [abs(row.core - row.core_true) for row in rows],
        "hypoperfusion": [abs(row.hypoperfusion - row.hypoperfusion_true) for row in rows],
        "penumbra": [abs(row.hypoperfusion - row.core - (row.hypoperfusion_true - row.core_true)) for row in rows],
    }
    summary = {}
    for name, values in errors.items():
        known = [value for value in values if value == value]
        summary[f"{name}_median_ml"] = median(known) if known else float("nan")
        summary[f"{name}_mean_ml"] = fmean(known) if known else float("nan")
    return summary


def calibration_figure(
    calibration: Calibration, before: Sequence[CalibrationRow], after: Sequence[CalibrationRow]
) -> Figure:
    """Errors over the thresholds, and measured against true volumes with the conventional and the new ones.

    Parameters
    ----------
    calibration
        with its error curves
    before, after
        the same patients with conventional and calibrated thresholds
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 7.0), layout="constrained")
    axes = figure.subplots(2, 2)
    limits = calibration.thresholds
    volume = {value: error for value, error in calibration.rcbv_errors.items() if value}  # 0 doesn't ask
    _curve(axes[0][0], calibration.tmax_errors, limits.tmax, "Tmax threshold [s]", "hypoperfusion")
    _curve(axes[0][1], calibration.rcbf_errors, limits.rcbf, "rCBF threshold", "core")
    if volume:
        axes[0][1].plot(list(volume), list(volume.values()), color="#dd8452")
        axes[0][1].set_ylim(top=1.05 * max(*volume.values(), *calibration.rcbf_errors.values()))
        axes[0][1].set_xlabel("rCBF (blue) and rCBV (orange) threshold")
    for axis, name, true, measured in (
        (axes[1][0], "hypoperfusion", "hypoperfusion_true", "hypoperfusion"),
        (axes[1][1], "core", "core_true", "core"),
    ):
        most = max([1.0, *(getattr(r, k) for r in (*before, *after) for k in (true, measured))])
        axis.plot([0, most], [0, most], color="#999999", linewidth=0.8)
        for rows, label, color in ((before, "conventional", "#c44e52"), (after, "calibrated", "#4c72b0")):
            axis.scatter(
                [getattr(r, true) for r in rows], [getattr(r, measured) for r in rows], s=18, label=label, color=color
            )
        axis.set(xlabel=f"true {name} [mL]", ylabel=f"measured {name} [mL]")
        axis.legend(frameon=False)
    rules = f"core: {limits.core_rule}\nhypoperfusion: {limits.late_rule}"
    figure.suptitle(f"Thresholds for {limits.method or 'these maps'}\n{rules}", fontsize=10)
    return figure


def _curve(axis: Axes, errors: dict[float, float], chosen: float, label: str, what: str) -> None:
    """Mean absolute error over a threshold, the chosen one marked."""
    axis.plot(list(errors), list(errors.values()), color="#4c72b0")
    if errors:
        axis.axvline(chosen, color="#dd8452", linestyle="--")
    axis.set(xlabel=label, ylabel=f"mean absolute error of the {what} [mL]")
    axis.set_ylim(bottom=0)
    axis.locator_params(axis="x", nbins=6)
