"""Tables 1 and 2 of the paper and ours, at every filter width, and the differences between models."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from operator import attrgetter

from ctp_torch.data.maps import QUANTITIES
from ctp_torch.learning.evaluate import bootstrap_mean
from ctp_torch.phantom.cohort import MAPS
from ctp_torch.report.tables import MODEL_LABELS, Table, paper_numbers
from ctp_torch.study.output.rows import ScoreRow, over_patients, per_patient, short
from ctp_torch.study.work.models import MODELS

__all__ = ["difference_table", "floor_table", "label_of", "score_table"]

SCORE_LABELS = {"ssim_frame": "SSIM [%], whole frame", "ssim_brain": "SSIM [%], brain only", "r": "r in the brain"}
"""What a score is called in captions."""

_FLOOR_LABELS = {
    "floor_constant": "one constant",
    "floor_tissue": "one constant per tissue (true labels)",
    "floor_baseline": "HU before contrast alone",
    "floor_peak": "peak enhancement alone",
    "teacher": "teacher (cSVD 0.1)",
    "teacher_csvd_20": "teacher: cSVD 0.2",
    "teacher_osvd": "teacher: oSVD",
    "teacher_ssvd": "teacher: sSVD",
    "teacher_tikhonov": "teacher: Tikhonov",
}


def label_of(name: str) -> str:
    """A predictor in words."""
    if name.startswith("subtracted_"):
        return f"{MODEL_LABELS[name.removeprefix('subtracted_')]}, baseline subtracted"
    return {**MODEL_LABELS, **_FLOOR_LABELS}.get(name, name)


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
        whether the paper's own numbers stand beside (whole frame, unfiltered)
    caption
        of the table
    """
    chosen = [row for row in rows if row.split == split and row.filter_px == filter_px]
    chosen = _largest([row for row in chosen if row.model in MODELS])
    percent = score != "r"
    published = {row[0]: row[1:] for row in paper_numbers(split).rows}
    header = ["model", *(QUANTITIES[name].label for name in MAPS), "spread over seeds (rCBV, rCBF)"]
    body = []
    for model in MODELS:
        line = [MODEL_LABELS[model]]
        for name in MAPS:
            part = [row for row in chosen if row.model == model and row.map == name]
            line.append(short(over_patients(part, lambda row: float(getattr(row, score))), percent=percent))
        line.append(", ".join(_spread([r for r in chosen if r.model == model and r.map == m], score) for m in MAPS[:2]))
        body.append([*line, *(published[MODEL_LABELS[model]] if paper else ())])
    if paper:
        header += ["paper rCBV", "paper rCBF"]
    return Table(caption, header, body)


def floor_table(rows: Sequence[ScoreRow], *, filter_px: float, caption: str = "") -> Table:
    """Floors, models and other teachers against the teacher: frame SSIM, brain SSIM and r of rCBV, rCBF, MTT, Tmax.

    Parameters
    ----------
    rows
        of models (first seed), floors and teachers
    filter_px
        width of the Gaussian on all of them
    caption
        of the table
    """
    chosen = [row for row in rows if row.split == "test" and row.filter_px == filter_px and row.seed == 0]
    largest = max((row.size for row in chosen), default=0)
    chosen = [row for row in chosen if row.size in (0, largest)]
    header = ["predictor", *(f"{QUANTITIES[m].label} {w}" for m in MAPS for w in ("frame", "brain", "r"))]
    body = []
    names = list(dict.fromkeys(row.model for row in chosen))
    for name in sorted(names, key=_order):
        line = [label_of(name)]
        for quantity in MAPS:
            part = [row for row in chosen if row.model == name and row.map == quantity]
            frame, inside = (over_patients(part, attrgetter(score)) for score in ("ssim_frame", "ssim_brain"))
            line += [short(frame, percent=True, ends=False), short(inside, percent=True, ends=False)]
            line.append(short(over_patients(part, lambda row: row.r), ends=False))
        body.append(line)
    return Table(caption, header, body)


def difference_table(rows: Sequence[ScoreRow], *, caption: str = "") -> Table:
    """Paired differences on the test patients, kernel ridge and forest against the linear models, in points.

    Parameters
    ----------
    rows
        of the models; means over seeds
    caption
        of the table
    """
    chosen = _largest([row for row in rows if row.split == "test" and row.model in MODELS])
    body = []
    widths = sorted({row.filter_px for row in chosen})
    cases = itertools.product(widths, ("ssim_frame", "ssim_brain", "r"), MAPS[:2], ("krr", "rf"), ("linear", "ridge"))
    for width, score, quantity, better, plain in cases:
        sides = []
        for model in (better, plain):
            part = [r for r in chosen if (r.model, r.map, r.filter_px) == (model, quantity, width)]
            sides.append(per_patient(part, attrgetter(score)))
        gap = bootstrap_mean([100 * (sides[0][name] - sides[1][name]) for name in sides[0] if name in sides[1]])
        if gap.n:
            where = [f"{width:g} px", SCORE_LABELS[score], QUANTITIES[quantity].label, f"{better} - {plain}"]
            body.append([*where, f"{gap.mean:+.1f}", f"{gap.low:+.1f} to {gap.high:+.1f}"])
    return Table(caption, ["filter", "score", "map", "comparison", "points", "95 % interval"], body)


def _largest(rows: Sequence[ScoreRow]) -> list[ScoreRow]:
    """Rows of the largest training size."""
    most = max((row.size for row in rows), default=0)
    return [row for row in rows if row.size == most]


def _spread(rows: Sequence[ScoreRow], score: str) -> str:
    """Standard deviation over seeds of the mean over patients, in points."""
    means = []
    for seed in sorted({row.seed for row in rows}):
        values = per_patient([row for row in rows if row.seed == seed], lambda row: float(getattr(row, score)))
        if values:
            means.append(100 * statistics.fmean(values.values()))
    return f"{statistics.stdev(means):.2f}" if len(means) > 1 and all(map(math.isfinite, means)) else "-"


def _order(name: str) -> tuple[int, str]:
    """Floors first, then models, then teachers."""
    if name.startswith("floor"):
        return 0, f"{list(_FLOOR_LABELS).index(name)}"
    if name.startswith("subtracted"):
        return 1, f"{MODELS.index(name.removeprefix('subtracted_'))}"
    return (2, f"{MODELS.index(name)}") if name in MODELS else (3, name)
