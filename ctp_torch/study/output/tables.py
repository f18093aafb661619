"""All tables of a study, by file name, in the order of the page."""

from __future__ import annotations

from collections.abc import Sequence

from ctp_torch.data.maps import QUANTITIES
from ctp_torch.phantom.cohort import MAPS
from ctp_torch.report.tables import Table
from ctp_torch.study.design.rows import LesionRow
from ctp_torch.study.engine.running import StudyResults
from ctp_torch.study.output.costs import cost_table, step_table
from ctp_torch.study.output.grid_tables import forest_table, kernel_table, ridge_table
from ctp_torch.study.output.score_tables import (
    SCORE_LABELS,
    accounting_table,
    floor_table,
    lesion_table,
    model_differences,
    robustness_table,
    score_table,
    wins_table,
)

__all__ = ["ON_THE_PAGE", "all_tables"]

ON_THE_PAGE = (
    *(f"table2_{name}" for name in ("ssim_frame_0px", "ssim_brain_0px", "r_0px", "ssim_frame_1px", "ssim_frame_2px",
                                    "ssim_brain_2px", "r_2px", "ssim_frame_4px")),
    "table1_ssim_frame_0px", "table1_ssim_brain_0px", "differences", "floors_0px", "floors_2px",
    "truth_tissue_r_0px", "truth_tissue_r_2px", "truth_tissue_ssim_2px", "truth_lesion_r_2px",
    "lesions_conventional", "lesions_calibrated",
    "robustness_cbf_0px", "robustness_cbf_2px", "robustness_tmax_2px",
    "students_beat_teacher_0px", "students_beat_teacher_2px",
    *(f"external_{name}" for name in ("ssim_frame_0px", "ssim_frame_2px", "ssim_brain_2px", "r_2px", "differences",
                                      "lesions_calibrated")),
    "grid_kernel_ridge", "grid_ridge", "grid_forest", "cost",
)  # fmt: skip
"""Tables on the page and in the summary; the others are files beside them."""

_SPLITS = ((2, "test", "testing"), (1, "train", "training"))
_WIDTHS = (0.0, 2.0)
"""Gaussians [pixels] of what is compared with the truth."""


def all_tables(results: StudyResults) -> dict[str, Table]:
    """Every table with rows in it."""
    tables = {
        **_paper_tables(results),
        **_honest_tables(results),
        **_robust_tables(results),
        **_external_tables(results),
        **_grid_tables(results),
        "cost": cost_table(results, caption="Cost: seconds as they ran, beside other steps"),
        "steps": step_table(results, caption="Seconds of all steps"),
    }
    return {name: table for name, table in tables.items() if any(_is_filled(row) for row in table.rows)}


def _paper_tables(results: StudyResults) -> dict[str, Table]:
    """Tables 1 and 2 at every width, and the differences."""
    rows, tables = results.rows.scores, {}
    for number, split, word in _SPLITS:
        n = len({row.patient for row in rows if row.split == split})
        for width in results.study.preset.widths:
            for score, label in SCORE_LABELS.items():
                caption = f"Table {number}: {word} {label}, {_filtered(width, 'every model')}, {n} patients"
                tables[f"table{number}_{score}_{width:g}px"] = score_table(
                    rows, split=split, score=score, filter_px=width, caption=caption,
                    paper=score == "ssim_frame" and width == 0,
                )  # fmt: skip
    caption = "Paired differences on the test patients, in points (100 times SSIM or r)"
    return {**tables, "differences": model_differences(rows, caption=caption)}


def _honest_tables(results: StudyResults) -> dict[str, Table]:
    """Floors, ceilings, truth, lesions."""
    rows = results.rows
    tables = {
        f"floors_{width:g}px": floor_table(
            rows.scores, filter_px=width,
            caption=f"Floors and ceilings against the teacher (SSIM [%] and r), {_filtered(width)}",
        )
        for width in results.study.preset.widths
    }  # fmt: skip
    for region in ("brain", "tissue", "lesion"):
        for width in _WIDTHS:
            for score, label in (("r", "r"), ("ssim", "SSIM [%]")):
                caption = f"{label} against teacher and truth in the {region}, {_filtered(width)}"
                tables[f"truth_{region}_{score}_{width:g}px"] = accounting_table(
                    rows.card, region=region, filter_px=width, score=score, caption=caption
                )
    limits = results.results.get("lesions/calibration")
    where = "the teacher's, on training patients"
    words = f" ({where}: rCBF {limits['rcbf']:.1%}, Tmax {limits['tmax']:g} s)" if limits else ""
    return {**tables, **_lesion_tables(rows.lesions, "Core", words)}


def _lesion_tables(rows: Sequence[LesionRow], start: str, calibrated: str = "") -> dict[str, Table]:
    """With both kinds of thresholds."""
    return {
        f"lesions_{name}": lesion_table(
            rows, thresholds=name, caption=f"{start} and penumbra with {name} thresholds{words}"
        )
        for name, words in (("conventional", ""), ("calibrated", calibrated))
    }


def _robust_tables(results: StudyResults) -> dict[str, Table]:
    """Degraded scans."""
    rows, tables = results.rows.degraded, {}
    for width in _WIDTHS:
        for name in MAPS:
            tables[f"robustness_{name}_{width:g}px"] = robustness_table(
                rows, quantity=name, filter_px=width, caption=f"Degraded scans: r of {QUANTITIES[name].label} "
                f"against the truth in the tissue, {_filtered(width)}",
            )  # fmt: skip
        tables[f"students_beat_teacher_{width:g}px"] = wins_table(
            rows, filter_px=width, caption="r against the truth, student less teacher on the same scan, "
            f"{_filtered(width)}; * the interval is above 0",
        )  # fmt: skip
    return tables


def _external_tables(results: StudyResults) -> dict[str, Table]:
    """The other cohort, in the same tables."""
    rows, start = results.external_rows, "Another cohort"
    n, tables = len({row.patient for row in rows.scores}), {}
    for width in results.study.preset.widths:
        for score, label in SCORE_LABELS.items():
            caption = f"{start}, never used for a choice: {label}, {_filtered(width, 'every model')}, {n} patients"
            tables[f"external_{score}_{width:g}px"] = score_table(
                rows.scores, split="test", score=score, filter_px=width, caption=caption
            )
        if width in _WIDTHS:
            caption = f"{start}: r against teacher and truth in the tissue, {_filtered(width, 'every model')}"
            tables[f"external_truth_tissue_{width:g}px"] = accounting_table(
                rows.card, region="tissue", filter_px=width, caption=caption
            )
    tables["external_differences"] = model_differences(rows.scores, caption=f"{start}: paired differences, in points")
    lesions = _lesion_tables(rows.lesions, f"{start}: core")
    return {**tables, **{f"external_{name}": table for name, table in lesions.items()}}


def _grid_tables(results: StudyResults) -> dict[str, Table]:
    """Hyper-parameters."""
    grids = results.under("grids/")
    where = f"mean R2 of the four maps on training patients left out, {results.study.preset.grid_samples:,} pixels"
    return {
        "grid_kernel_ridge": kernel_table(grids, caption=f"Kernel ridge: {where}, every patient left out in turn"),
        "grid_ridge": ridge_table(grids, caption=f"Ridge: {where}, three folds of patients"),
        "grid_forest": forest_table(grids, caption=f"Forest: {where}, three folds of patients"),
    }


def _filtered(width: float, what: str = "all") -> str:
    """A filter width in words."""
    return f"{what} filtered, Gaussian {width:g} px" if width else "unfiltered"


def _is_filled(row: Sequence[str]) -> bool:
    """Whether a row says anything beyond its name."""
    return any(cell not in ("", "-", "-, -", "0") for cell in row[1:]) or len(row) == 1
