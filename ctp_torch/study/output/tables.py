"""All tables of a study, by file name, in the order of the page."""

from __future__ import annotations

from typing import Any

from ctp_torch.data.maps import QUANTITIES
from ctp_torch.phantom.cohort import MAPS
from ctp_torch.report.tables import Table
from ctp_torch.study.engine.running import Findings
from ctp_torch.study.output.card_tables import accounting_table, lesion_table, robustness_table, wins_table
from ctp_torch.study.output.costs import cost_table, step_table
from ctp_torch.study.output.grid_tables import forest_table, kernel_table, ridge_table
from ctp_torch.study.output.rows import CardRow, LesionRow, ScoreRow, StandRow, named
from ctp_torch.study.output.score_tables import SCORE_LABELS, difference_table, floor_table, score_table

__all__ = ["all_tables", "card_rows", "external_rows", "lesion_rows", "score_rows", "stand_rows"]

_WORDS = {"train": "training", "test": "testing"}


def score_rows(found: Findings) -> list[ScoreRow]:
    """Models, floors and other teachers against the teacher."""
    rows = [row for prefix in ("scores/", "floors/", "subtracted/") for row in found.rows(prefix)]
    return named(ScoreRow, rows + list(found.results.get("teachers") or []))


def card_rows(found: Findings) -> list[CardRow]:
    """The scorecard."""
    return named(CardRow, found.rows("cards/"))


def stand_rows(found: Findings) -> list[StandRow]:
    """Degraded scans."""
    return named(StandRow, found.rows("robustness/"))


def lesion_rows(found: Findings) -> list[LesionRow]:
    """Core and penumbra."""
    under = {name: rows for name, rows in found.under("lesions/").items() if name != "calibration"}
    return named(LesionRow, [row for rows in under.values() for row in rows])


def external_rows(found: Findings, part: str) -> list[Any]:
    """Rows of the other cohort: scores, card or lesions."""
    kind: Any = {"scores": ScoreRow, "card": CardRow, "lesions": LesionRow}[part]
    rows: list[Any] = named(kind, [row for one in found.under("external/").values() for row in one[part]])
    return rows


def all_tables(found: Findings) -> dict[str, Table]:
    """Every table with rows in it."""
    tables = {
        **_paper_tables(score_rows(found), found.study.preset.widths),
        **_honest_tables(found),
        **_robust_tables(found),
        **_external_tables(found),
        **_grid_tables(found),
        "cost": cost_table(found, caption="Cost: seconds as they ran, beside other steps"),
        "steps": step_table(found, caption="Seconds of all steps"),
    }
    return {name: table for name, table in tables.items() if any(_filled(row) for row in table.rows)}


def _paper_tables(rows: list[ScoreRow], widths: tuple[float, ...]) -> dict[str, Table]:
    """Tables 1 and 2 at every width, and the differences."""
    tables = {}
    for number, split in ((2, "test"), (1, "train")):
        n = len({row.patient for row in rows if row.split == split})
        for width in widths:
            told = "unfiltered" if not width else f"every model filtered, Gaussian {width:g} px"
            for score, label in SCORE_LABELS.items():
                caption = f"Table {number}: {_WORDS[split]} {label}, {told}, {n} patients"
                tables[f"table{number}_{score}_{width:g}px"] = score_table(
                    rows, split=split, score=score, filter_px=width, caption=caption,
                    paper=score == "ssim_frame" and width == 0,
                )  # fmt: skip
    tables["differences"] = difference_table(
        rows, caption="Paired differences on the test patients, in points (100 times SSIM or r)"
    )
    return tables


def _honest_tables(found: Findings) -> dict[str, Table]:
    """Floors, ceilings, truth, lesions."""
    rows, cards, lesions = score_rows(found), card_rows(found), lesion_rows(found)
    tables = {}
    for width in found.study.preset.widths:
        told = "unfiltered" if not width else f"all filtered, Gaussian {width:g} px"
        tables[f"floors_{width:g}px"] = floor_table(
            rows, filter_px=width, caption=f"Floors and ceilings against the teacher (SSIM [%] and r), {told}"
        )
    for region in ("brain", "tissue", "lesion"):
        for width in (0.0, 2.0):
            told = "unfiltered" if not width else f"all filtered, Gaussian {width:g} px"
            for score, label in (("r", "r"), ("ssim", "SSIM [%]")):
                tables[f"truth_{region}_{score}_{width:g}px"] = accounting_table(
                    cards, region=region, filter_px=width, score=score,
                    caption=f"{label} against teacher and truth in the {region}, {told}",
                )  # fmt: skip
    for name in ("conventional", "calibrated"):
        told = "" if name == "conventional" else _limits(found)
        tables[f"lesions_{name}"] = lesion_table(
            lesions, thresholds=name, caption=f"Core and penumbra with {name} thresholds{told}"
        )
    return tables


def _robust_tables(found: Findings) -> dict[str, Table]:
    """Degraded scans."""
    rows = stand_rows(found)
    tables = {}
    for width in (0.0, 2.0):
        told = "unfiltered" if not width else f"all filtered, Gaussian {width:g} px"
        for quantity in MAPS:
            tables[f"robustness_{quantity}_{width:g}px"] = robustness_table(
                rows, quantity=quantity, filter_px=width,
                caption=f"Degraded scans: r of {QUANTITIES[quantity].label} against the truth in the tissue, {told}",
            )  # fmt: skip
        tables[f"students_beat_teacher_{width:g}px"] = wins_table(
            rows, filter_px=width,
            caption=f"r against the truth, student less teacher on the same scan, {told}; * the interval is above 0",
        )  # fmt: skip
    return tables


def _external_tables(found: Findings) -> dict[str, Table]:
    """The other cohort, in the same tables."""
    scores, cards, lesions = (external_rows(found, part) for part in ("scores", "card", "lesions"))
    tables = {}
    n = len({row.patient for row in scores})
    for width in found.study.preset.widths:
        told = "unfiltered" if not width else f"every model filtered, Gaussian {width:g} px"
        for score, label in SCORE_LABELS.items():
            caption = f"Another cohort, never used for a choice: {label}, {told}, {n} patients"
            tables[f"external_{score}_{width:g}px"] = score_table(
                scores, split="test", score=score, filter_px=width, caption=caption
            )
        if width in (0.0, 2.0):
            tables[f"external_truth_tissue_{width:g}px"] = accounting_table(
                cards, region="tissue", filter_px=width,
                caption=f"Another cohort: r against teacher and truth in the tissue, {told}",
            )  # fmt: skip
    tables["external_differences"] = difference_table(scores, caption="Another cohort: paired differences, in points")
    for name in ("conventional", "calibrated"):
        tables[f"external_lesions_{name}"] = lesion_table(
            lesions, thresholds=name, caption=f"Another cohort: core and penumbra with {name} thresholds"
        )
    return tables


def _grid_tables(found: Findings) -> dict[str, Table]:
    """Hyper-parameters."""
    results, n = found.under("grids/"), found.study.preset.grid_samples
    where = f"mean R2 of the four maps on training patients left out, {n:,} pixels"
    return {
        "grid_kernel_ridge": kernel_table(results, caption=f"Kernel ridge: {where}, every patient left out in turn"),
        "grid_ridge": ridge_table(results, caption=f"Ridge: {where}, three folds of patients"),
        "grid_forest": forest_table(results, caption=f"Forest: {where}, three folds of patients"),
    }


def _limits(found: Findings) -> str:
    """The calibrated thresholds in words."""
    limits = found.results.get("lesions/calibration")
    if not limits:
        return ""
    return f" (the teacher's, on training patients: rCBF {limits['rcbf']:.1%}, Tmax {limits['tmax']:g} s)"


def _filled(row: Any) -> bool:
    """Whether a row says anything beyond its name."""
    return any(cell not in ("", "-", "-, -", "0") for cell in row[1:]) or len(row) == 1
