"""All tables of a study, by file name, in the order of the page: scores, floors, truth, lesions, degraded scans."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from ctp_torch.data.maps import QUANTITIES
from ctp_torch.learning.intervals import Interval, paired_difference, per_patient, select
from ctp_torch.phantom.cohort import MAPS
from ctp_torch.report.tables import (
    MODEL_LABELS,
    Cell,
    Columns,
    Lines,
    Table,
    cross_table,
    difference_table,
    mean_cell,
    paper_numbers,
)  # fmt: skip
from ctp_torch.study.design.rows import DegradedRow, LesionRow, ReferenceRow, ScoreRow
from ctp_torch.study.engine.running import StudyResults
from ctp_torch.study.output.costs import cost_table, step_table
from ctp_torch.study.output.grid_tables import forest_table, kernel_table, ridge_table
from ctp_torch.study.output.words import filtered, label_of
from ctp_torch.study.work.floors import FLOORS
from ctp_torch.study.work.models import MODELS
from ctp_torch.study.work.robustness import VARIANTS
from ctp_torch.study.work.students import STUDENTS

__all__ = ["all_tables", "in_tissue", "interval_text"]

_SCORES = {"ssim_frame": "SSIM [%], whole frame", "ssim_brain": "SSIM [%], brain only", "r": "r in the brain"}
"""What a score is called."""
_LESION_SCORES = {
    "volume [mL]": ("volume_ml", 1), "true [mL]": ("true_ml", 1), "error [mL]": ("error_ml", 1),
    "Dice truth": ("dice_truth", 2), "error to teacher [mL]": ("teacher_error_ml", 1),
    "Dice teacher": ("dice_teacher", 2),
}  # fmt: skip
"""Header to the field of a row, and its digits."""
_WIDTHS = (0.0, 2.0)
"""Gaussians [pixels] of what is compared with the truth."""
_LABELS = {name: QUANTITIES[name].label for name in MAPS}


def all_tables(results: StudyResults) -> dict[str, Table]:
    """Every table with rows in it."""
    tables = {
        **_paper_tables(results),
        **_honest_tables(results),
        **_robust_tables(results.rows.degraded),
        **_external_tables(results),
        **_grid_tables(results),
        "cost": cost_table(results, "Cost: seconds as they ran, beside other steps"),
        "steps": step_table(results, "Seconds of all steps"),
    }
    return {name: table for name, table in tables.items() if any(_is_filled(row) for row in table.rows)}


def interval_text(value: Interval, *, percent: bool = False, digits: int = 2, ends: bool = True) -> str:
    """Mean and interval as text; a dash where nothing is known."""
    if not value.n:
        return "-"
    factor, decimals = (100, digits - 1) if percent else (1, digits)
    mean, low, high = (f"{factor * v:.{decimals}f}" for v in value[:3])
    return f"{mean} ({low} to {high})" if ends else mean


def in_tissue(rows: Sequence[DegradedRow]) -> list[DegradedRow]:
    """Rows of the tissue, or of the brain where no truth tells the tissue."""
    return select(rows, region="tissue") or select(rows, region="brain")


def _paper_tables(results: StudyResults) -> dict[str, Table]:
    """Tables 1 and 2 at every width, and the differences."""
    rows, tables = results.rows.scores, {}
    for number, split, word in ((2, "test", "testing"), (1, "train", "training")):
        chosen = select(rows, split=split)
        n = len({row.patient for row in chosen})
        for width in results.study.preset.widths:
            for score, label in _SCORES.items():
                caption = f"Table {number}: {word} {label}, {filtered(width, 'every model')}, {n} patients"
                published = paper_numbers(split) if score == "ssim_frame" and width == 0 else None
                tables[f"table{number}_{score}_{width:g}px"] = _score_table(chosen, score, width, caption, published)
    caption = "Paired differences on the test patients, in points (100 times SSIM or r)"
    return {**tables, "differences": _differences(rows, caption)}


def _honest_tables(results: StudyResults) -> dict[str, Table]:
    """Floors, ceilings, truth, lesions."""
    rows, tables = results.rows, {}
    for width in results.study.preset.widths:
        caption = f"Floors and ceilings against the teacher (SSIM [%] and r), {filtered(width)}"
        tables[f"floors_{width:g}px"] = _floor_table(rows.scores, width, caption)
    for region in ("brain", "tissue", "grey", "lesion"):
        for width in _WIDTHS:
            for score, label in (("r", "r"), ("ssim", "SSIM [%]")):
                caption = f"{label} against teacher and truth in the {region}, {filtered(width)}"
                tables[f"truth_{region}_{score}_{width:g}px"] = _truth_table(rows.card, region, score, width, caption)
    limits, where = results.results.get("lesions/calibration"), "the teacher's, on training patients"
    words = f" ({where}: rCBF {limits['rcbf']:.1%}, Tmax {limits['tmax']:g} s)" if limits else ""
    tables["refused"] = _refused_table(results)
    return {**tables, **_lesion_tables(rows.lesions, "Core", words)}


def _robust_tables(rows: Sequence[DegradedRow]) -> dict[str, Table]:
    """Degraded scans."""
    tables = {}
    for width in _WIDTHS:
        chosen = in_tissue(select(rows, filter_px=width))
        for name, label in _LABELS.items():
            caption = f"Degraded scans: r of {label} against the truth in the tissue, {filtered(width)}"
            tables[f"robustness_{name}_{width:g}px"] = _robustness_table(select(chosen, map=name), caption)
        caption = f"r against the truth, student less teacher on the same scan, {filtered(width)}"
        tables[f"students_beat_teacher_{width:g}px"] = _wins_table(chosen, f"{caption}; * the interval is above 0")
    return tables


def _external_tables(results: StudyResults) -> dict[str, Table]:
    """The other cohort, in the same tables."""
    rows, start = results.external_rows, "Another cohort"
    n, tables = len({row.patient for row in rows.scores}), {}
    for width in results.study.preset.widths:
        words = filtered(width, "every model")
        for score, label in _SCORES.items():
            caption = f"{start}, never used for a choice: {label}, {words}, {n} patients"
            tables[f"external_{score}_{width:g}px"] = _score_table(rows.scores, score, width, caption)
        if width in _WIDTHS:
            caption = f"{start}: r against teacher and truth in the tissue, {words}"
            tables[f"external_truth_tissue_{width:g}px"] = _truth_table(rows.card, "tissue", "r", width, caption)
    tables["external_differences"] = _differences(rows.scores, f"{start}: paired differences, in points")
    lesions = _lesion_tables(rows.lesions, f"{start}: core")
    return {**tables, **{f"external_{name}": table for name, table in lesions.items()}}


def _grid_tables(results: StudyResults) -> dict[str, Table]:
    """Hyper-parameters."""
    grids = results.under("grids/")
    where = f"mean R2 of the four maps on training patients left out, {results.study.preset.grid_samples:,} pixels"
    return {
        "grid_kernel_ridge": kernel_table(grids, f"Kernel ridge: {where}, every patient left out in turn"),
        "grid_ridge": ridge_table(grids, f"Ridge: {where}, three folds of patients"),
        "grid_forest": forest_table(grids, f"Forest: {where}, three folds of patients"),
    }


def _score_table(
    rows: Sequence[ScoreRow], score: str, width: float, caption: str, published: Table | None = None
) -> Table:
    """The four models at the largest size: mean over patients and seeds, interval over patients."""

    def spread(part: Sequence[ScoreRow]) -> str:
        return ", ".join(_spread(select(part, map=name), score) for name in MAPS[:2])

    table = cross_table(
        _of_models(select(rows, filter_px=width)),
        {(MODEL_LABELS[model],): {"model": model} for model in MODELS},
        {**_of_maps(_mean(score)), "spread over seeds (rCBV, rCBF)": ({}, spread)},
        corner=["model"],
        caption=caption,
    )
    if published is None:
        return table
    body = [[*ours, *theirs[1:]] for ours, theirs in zip(table.rows, published.rows, strict=True)]
    return Table(caption, [*table.header, *(f"paper {name}" for name in published.header[1:])], body)


def _floor_table(rows: Sequence[ScoreRow], width: float, caption: str) -> Table:
    """Floors, models and other teachers against the teacher: frame SSIM, brain SSIM and r of every map."""
    chosen = select(rows, split="test", filter_px=width, seed=0)
    largest = max((row.size for row in chosen), default=0)
    chosen = [row for row in chosen if row.size in (0, largest)]
    names = sorted({row.model for row in chosen}, key=_order)
    words = {"frame": "ssim_frame", "brain": "ssim_brain", "r": "r"}
    across: Columns = {f"{label} {word}": ({"map": name}, _mean(score, ends=False))
              for name, label in _LABELS.items() for word, score in words.items()}  # fmt: skip
    return cross_table(chosen, _predictors(names, "model"), across, corner=["predictor"], caption=caption)


def _differences(rows: Sequence[ScoreRow], caption: str) -> Table:
    """Kernel ridge and forest against the linear models."""
    return difference_table(_of_models(select(rows, split="test")), _SCORES, unit="points", caption=caption)


def _truth_table(rows: Sequence[ReferenceRow], region: str, score: str, width: float, caption: str) -> Table:
    """Every predictor against the teacher and against the truth: one score of all maps, means over patients."""
    chosen = select(rows, region=region, filter_px=width)
    present = dict.fromkeys(row.predictor for row in chosen)
    names = dict.fromkeys([name for name in ("teacher", *MODELS) if name in present]) | present
    across: Columns = {f"{label} vs {reference}": ({"map": name, "reference": reference}, _mean(score))
              for name, label in _LABELS.items() for reference in ("teacher", "truth")}  # fmt: skip
    return cross_table(chosen, _predictors(names), across, corner=["predictor"], caption=caption)


def _lesion_tables(rows: Sequence[LesionRow], start: str, calibrated: str = "") -> dict[str, Table]:
    """Volumes and overlaps of core and penumbra, with both kinds of thresholds."""
    down: Lines = {(label_of(name), part): {"predictor": name, "part": part}
            for name in ("teacher", *MODELS) for part in ("core", "penumbra", "hypoperfusion")}  # fmt: skip
    across: Columns = {header: ({}, _mean(score, digits=digits)) for header, (score, digits) in _LESION_SCORES.items()}
    across["patients with Dice"] = ({}, mean_cell("dice_truth", lambda value: str(value.n)))
    tables = {}
    for name, words in (("conventional", ""), ("calibrated", calibrated)):
        caption = f"{start} and penumbra with {name} thresholds{words}"
        chosen = select(rows, thresholds=name)
        tables[f"lesions_{name}"] = cross_table(chosen, down, across, corner=["maps", "part"], caption=caption)
    return tables


def _robustness_table(rows: Sequence[DegradedRow], caption: str) -> Table:
    """Teacher and students on every degraded scan, against the truth: mean of r over patients."""
    names = [name for name in ("teacher", *MODELS) if select(rows, predictor=name)]
    down: Lines = {
        (variant.what,): {"variant": name} for name, variant in VARIANTS.items() if select(rows, variant=name)
    }
    across: Columns = {label_of(name): ({"predictor": name}, _mean("r")) for name in names}
    return cross_table(rows, down, across, corner=["scan"], caption=caption)


def _wins_table(rows: Sequence[DegradedRow], caption: str) -> Table:
    """Where a student is closer to the truth than its teacher on the same scan: paired differences of r."""
    down: Lines = {(variant.what, label): {"variant": key, "map": name}
            for key, variant in VARIANTS.items() for name, label in _LABELS.items()
            if select(rows, variant=key, map=name)}  # fmt: skip
    across: Columns = {label_of(model): ({}, _gain_cell(model, "r")) for model in MODELS}
    return cross_table(rows, down, across, corner=["scan", "map"], caption=caption)


def _refused_table(results: StudyResults) -> Table:
    """Test patients whose scan a student refused, and what it said: their scores lack these."""
    body = [
        [patient, label_of(f"student_{view}"), reason]
        for patient in results.study.test
        for view, reason in results.results.get(f"patients/test/{patient}", {}).get("refused", {}).items()
    ]
    return Table("Scans that a student refused, which count in none of its scores", ["patient", "student", "why"], body)


def _predictors(names: Iterable[str], field: str = "predictor") -> Lines:
    """A line for each name."""
    return {(label_of(name),): {field: name} for name in names}


def _of_maps(cell: Cell) -> Columns:
    """A column for each map."""
    return {label: ({"map": name}, cell) for name, label in _LABELS.items()}


def _mean(score: str, *, digits: int = 2, ends: bool = True) -> Cell:
    """Mean and interval of a score, SSIM in per cent."""
    percent = score.startswith("ssim")
    return mean_cell(score, lambda value: interval_text(value, percent=percent, digits=digits, ends=ends))


def _gain_cell(model: str, score: str) -> Cell:
    """What a student has over its teacher on the same scans; a star where the interval is above 0."""

    def gain(rows: Sequence[DegradedRow]) -> str:
        student, teacher = (per_patient(select(rows, predictor=name), score) for name in (model, "teacher"))
        gap = paired_difference(student, teacher)
        if gap.n == 1:
            return f"{gap.mean:+.3f} (one patient)"
        mark = " *" if gap.low > 0 else ""
        return f"{gap.mean:+.3f} ({gap.low:+.3f} to {gap.high:+.3f}){mark}" if gap.n else "-"

    return gain


def _of_models(rows: Sequence[ScoreRow]) -> list[ScoreRow]:
    """Rows of the four models at the largest training size."""
    chosen = [row for row in rows if row.model in MODELS]
    return select(chosen, size=max((row.size for row in chosen), default=0))


def _spread(rows: Sequence[ScoreRow], score: str) -> str:
    """Standard deviation over seeds of the mean over patients, in points."""
    means = [per_patient(select(rows, seed=seed), score) for seed in sorted({row.seed for row in rows})]
    points = [100 * statistics.fmean(mean.values()) for mean in means if mean]
    return f"{statistics.stdev(points):.2f}" if len(points) > 1 and all(map(math.isfinite, points)) else "-"


def _order(name: str) -> tuple[int, int, str]:
    """Floors first, then models without and with the baseline, then students that see more, then teachers."""
    kind, _, rest = name.partition("_")
    if kind == "floor":
        return 0, list(FLOORS).index(rest), ""
    if kind == "subtracted":
        return 1, MODELS.index(rest), ""
    if kind == "student":
        return 3, list(STUDENTS).index(name), ""
    return (2, MODELS.index(name), "") if name in MODELS else (4, 0, name)


def _is_filled(row: Sequence[str]) -> bool:
    """Whether a row says anything beyond its name."""
    return any(cell not in ("", "-", "-, -", "0") for cell in row[1:]) or len(row) == 1
