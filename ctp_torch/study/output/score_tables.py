"""Each kind of table of a study: scores of the models, floors, the scorecard, lesions, degraded scans."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from ctp_torch.data.maps import QUANTITIES
from ctp_torch.learning.intervals import Interval, paired_difference, per_patient, select
from ctp_torch.phantom.cohort import MAPS
from ctp_torch.report.tables import MODEL_LABELS, Cell, Table, cross_table, difference_table, mean_cell, paper_numbers
from ctp_torch.study.design.rows import DegradedRow, LesionRow, ReferenceRow, ScoreRow
from ctp_torch.study.work.floors import FLOORS
from ctp_torch.study.work.models import MODELS
from ctp_torch.study.work.robustness import VARIANTS

__all__ = ["SCORE_LABELS", "accounting_table", "floor_table", "in_tissue", "interval_text", "label_of", "lesion_table",
           "model_differences", "robustness_table", "score_table", "wins_table"]  # fmt: skip

SCORE_LABELS = {"ssim_frame": "SSIM [%], whole frame", "ssim_brain": "SSIM [%], brain only", "r": "r in the brain"}
"""What a score is called in captions."""
_LABELS = {
    **MODEL_LABELS,
    **{f"floor_{name}": knows for name, knows in FLOORS.items()},
    "teacher": "teacher (cSVD 0.1)",
    "teacher_csvd_20": "teacher: cSVD 0.2",
    "teacher_osvd": "teacher: oSVD",
    "teacher_ssvd": "teacher: sSVD",
    "teacher_tikhonov": "teacher: Tikhonov",
    **{f"subtracted_{name}": f"{MODEL_LABELS[name]}, baseline subtracted" for name in MODELS},
}
_PARTS = ("core", "penumbra", "hypoperfusion")


def label_of(name: str) -> str:
    """A predictor in words."""
    return _LABELS.get(name, name)


def interval_text(value: Interval, *, percent: bool = False, digits: int = 2, ends: bool = True) -> str:
    """Mean and interval as text; a dash where nothing is known."""
    if not value.n:
        return "-"
    factor, decimals = (100, digits - 1) if percent else (1, digits)
    mean, low, high = (f"{factor * v:.{decimals}f}" for v in value[:3])
    return f"{mean} ({low} to {high})" if ends else mean


def score_table(
    rows: Sequence[ScoreRow], *, split: str, score: str, filter_px: float, paper: bool = False, caption: str = ""
) -> Table:
    """One score of the four models at the largest size: mean over patients and seeds, interval over patients.

    Parameters
    ----------
    rows
        of the models
    split
        train (Table 1) or test (Table 2)
    score
        ssim_frame, ssim_brain or r
    filter_px
        width of the Gaussian on every model's predictions
    paper
        whether the paper's own numbers are beside (whole frame, unfiltered)
    caption
        of the table
    """
    table = cross_table(
        _of_models(select(rows, split=split, filter_px=filter_px)),
        {(MODEL_LABELS[model],): {"model": model} for model in MODELS},
        {
            **{QUANTITIES[name].label: ({"map": name}, _mean(score)) for name in MAPS},
            "spread over seeds (rCBV, rCBF)": ({}, lambda part: ", ".join(
                _spread(select(part, map=name), score) for name in MAPS[:2])),
        },
        corner=["model"],
        caption=caption,
    )  # fmt: skip
    if not paper:
        return table
    published = [row[1:] for row in paper_numbers(split).rows]
    body = [[*ours, *theirs] for ours, theirs in zip(table.rows, published, strict=True)]
    return Table(caption, [*table.header, "paper rCBV", "paper rCBF"], body)


def floor_table(rows: Sequence[ScoreRow], *, filter_px: float, caption: str = "") -> Table:
    """Floors, models and other teachers against the teacher: frame SSIM, brain SSIM and r of every map.

    Parameters
    ----------
    rows
        of models (first seed), floors and teachers
    filter_px
        width of the Gaussian on all of them
    caption
        of the table
    """
    chosen = select(rows, split="test", filter_px=filter_px, seed=0)
    largest = max((row.size for row in chosen), default=0)
    chosen = [row for row in chosen if row.size in (0, largest)]
    cells = {word: _mean(score, ends=False) for word, score in (("frame", "ssim_frame"), ("brain", "ssim_brain"),
                                                                ("r", "r"))}  # fmt: skip
    return cross_table(
        chosen,
        {(label_of(name),): {"model": name} for name in sorted({row.model for row in chosen}, key=_order)},
        {f"{QUANTITIES[m].label} {word}": ({"map": m}, cell) for m in MAPS for word, cell in cells.items()},
        corner=["predictor"],
        caption=caption,
    )


def model_differences(rows: Sequence[ScoreRow], *, caption: str = "") -> Table:
    """Paired differences on the test patients, kernel ridge and forest against the linear models, in points."""
    return difference_table(_of_models(select(rows, split="test")), SCORE_LABELS, unit="points", caption=caption)


def accounting_table(
    rows: Sequence[ReferenceRow], *, region: str, filter_px: float, score: str = "r", caption: str = ""
) -> Table:
    """Every predictor against the teacher and against the truth: one score of all maps, means over patients.

    Parameters
    ----------
    rows
        of the scorecard
    region
        brain, tissue or lesion
    filter_px
        width of the Gaussian on all of them
    score
        ssim, mae or r
    caption
        of the table
    """
    chosen = select(rows, region=region, filter_px=filter_px)
    present = dict.fromkeys(row.predictor for row in chosen)
    first = [name for name in ("teacher", *MODELS) if name in present]
    return cross_table(
        chosen,
        {(label_of(name),): {"predictor": name} for name in dict.fromkeys([*first, *present])},
        {f"{QUANTITIES[m].label} vs {reference}": ({"map": m, "reference": reference}, _mean(score))
         for m in MAPS for reference in ("teacher", "truth")},
        corner=["predictor"],
        caption=caption,
    )  # fmt: skip


def lesion_table(rows: Sequence[LesionRow], *, thresholds: str, caption: str = "") -> Table:
    """Volumes and overlaps of core and penumbra: mean absolute volume error and Dice against truth and teacher.

    Parameters
    ----------
    rows
        of lesions
    thresholds
        conventional or calibrated
    caption
        of the table
    """
    columns = {"volume [mL]": ("volume_ml", 1), "true [mL]": ("true_ml", 1), "error [mL]": ("error_ml", 1),
               "Dice truth": ("dice_truth", 2), "error to teacher [mL]": ("teacher_error_ml", 1),
               "Dice teacher": ("dice_teacher", 2)}  # fmt: skip
    return cross_table(
        select(rows, thresholds=thresholds),
        {(label_of(name), part): {"predictor": name, "part": part} for name in ("teacher", *MODELS) for part in _PARTS},
        {
            **{header: ({}, _mean(score, digits=digits)) for header, (score, digits) in columns.items()},
            "patients with Dice": ({}, mean_cell("dice_truth", lambda value: str(value.n))),
        },
        corner=["maps", "part"],
        caption=caption,
    )


def robustness_table(
    rows: Sequence[DegradedRow], *, quantity: str, filter_px: float, score: str = "r", caption: str = ""
) -> Table:
    """Teacher and students on every degraded scan, against the truth in the tissue: mean over patients.

    Parameters
    ----------
    rows
        of degraded scans
    quantity
        which map
    filter_px
        width of the Gaussian on all of them
    score
        ssim or r
    caption
        of the table
    """
    chosen = in_tissue(select(rows, map=quantity, filter_px=filter_px))
    names = [name for name in ("teacher", *MODELS) if select(chosen, predictor=name)]
    return cross_table(
        chosen,
        {(what,): {"variant": variant} for variant, what in VARIANTS.items() if select(chosen, variant=variant)},
        {label_of(name): ({"predictor": name}, _mean(score)) for name in names},
        corner=["scan"],
        caption=caption,
    )


def wins_table(rows: Sequence[DegradedRow], *, filter_px: float, score: str = "r", caption: str = "") -> Table:
    """Where a student is closer to the truth than its teacher on the same scan: paired differences of r in the tissue.

    Parameters
    ----------
    rows, filter_px, score
        as in `robustness_table`
    caption
        of the table
    """
    chosen = in_tissue(select(rows, filter_px=filter_px))
    lines = {(variant, name): select(chosen, variant=variant, map=name) for variant in VARIANTS for name in MAPS}
    return cross_table(
        chosen,
        {(VARIANTS[variant], QUANTITIES[name].label): {"variant": variant, "map": name}
         for (variant, name), line in lines.items() if line},
        {label_of(model): ({}, _gain_cell(model, score)) for model in MODELS},
        corner=["scan", "map"],
        caption=caption,
    )  # fmt: skip


def in_tissue(rows: Sequence[DegradedRow]) -> list[DegradedRow]:
    """Rows of the tissue, or of the brain where no truth tells the tissue."""
    return select(rows, region="tissue") or select(rows, region="brain")


def _mean(score: str, *, digits: int = 2, ends: bool = True) -> Cell:
    """Mean and interval of a score, SSIM in per cent."""
    percent = score.startswith("ssim")
    return mean_cell(score, lambda value: interval_text(value, percent=percent, digits=digits, ends=ends))


def _gain_cell(model: str, score: str) -> Cell:
    """What a student has over its teacher on the same scans; a star where the interval is above 0."""

    def gain(rows: Sequence[DegradedRow]) -> str:
        student, teacher = (per_patient(select(rows, predictor=name), score) for name in (model, "teacher"))
        gap = paired_difference(student, teacher)
        if not gap.n:
            return "-"
        mark = " *" if gap.n > 1 and gap.low > 0 else ""
        return f"{gap.mean:+.3f} ({gap.low:+.3f} to {gap.high:+.3f}){mark}"

    return gain


def _of_models(rows: Sequence[ScoreRow]) -> list[ScoreRow]:
    """Rows of the four models at the largest training size."""
    chosen = [row for row in rows if row.model in MODELS]
    return select(chosen, size=max((row.size for row in chosen), default=0))


def _spread(rows: Sequence[ScoreRow], score: str) -> str:
    """Standard deviation over seeds of the mean over patients, in points."""
    seeds = sorted({row.seed for row in rows})
    means = [per_patient(select(rows, seed=seed), score) for seed in seeds]
    points = [100 * statistics.fmean(mean.values()) for mean in means if mean]
    return f"{statistics.stdev(points):.2f}" if len(points) > 1 and all(map(math.isfinite, points)) else "-"


def _order(name: str) -> tuple[int, str]:
    """Floors first, then models, then teachers."""
    if name.startswith("floor_"):
        return 0, str(list(FLOORS).index(name.removeprefix("floor_")))
    if name.startswith("subtracted_"):
        return 1, str(MODELS.index(name.removeprefix("subtracted_")))
    return (2, str(MODELS.index(name))) if name in MODELS else (3, name)
