"""The scorecard in tables: against teacher and truth, in brain and lesion; lesions; degraded scans."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ctp_torch.data.maps import QUANTITIES
from ctp_torch.learning.evaluate import bootstrap_mean
from ctp_torch.phantom.cohort import MAPS
from ctp_torch.report.tables import Table
from ctp_torch.study.output.rows import CardRow, LesionRow, StandRow, over_patients, per_patient, short
from ctp_torch.study.output.score_tables import label_of
from ctp_torch.study.work.models import MODELS
from ctp_torch.study.work.robustness import VARIANTS

__all__ = ["accounting_table", "lesion_table", "robustness_table", "wins_table"]

_PARTS = ("core", "penumbra", "hypoperfusion")


def accounting_table(
    rows: Sequence[CardRow], *, region: str, filter_px: float, score: str = "r", caption: str = ""
) -> Table:
    """Every predictor against the teacher and against the truth: one score of all maps, means over patients.

    Parameters
    ----------
    rows
        of `ctp_torch.study.work.scorecard.card`
    region
        brain, tissue or lesion
    filter_px
        width of the Gaussian on all of them
    score
        ssim, mae or r
    caption
        of the table
    """
    chosen = [row for row in rows if row.region == region and row.filter_px == filter_px]
    names = list(dict.fromkeys(row.predictor for row in chosen))
    first = [name for name in ("teacher", *MODELS) if name in names]
    header = ["predictor", *(f"{QUANTITIES[m].label} vs {ref}" for m in MAPS for ref in ("teacher", "truth"))]
    body = []
    for name in (*first, *(n for n in names if n not in first)):
        line = [label_of(name)]
        for quantity in MAPS:
            for reference in ("teacher", "truth"):
                part = [r for r in chosen if (r.predictor, r.map, r.reference) == (name, quantity, reference)]
                found = over_patients(part, lambda row: float(getattr(row, score)))
                line.append(short(found, percent=score == "ssim"))
        body.append(line)
    return Table(caption, header, body)


def lesion_table(rows: Sequence[LesionRow], *, thresholds: str, caption: str = "") -> Table:
    """Volumes and overlaps of core and penumbra: mean absolute volume error and Dice against truth and teacher.

    Parameters
    ----------
    rows
        of `ctp_torch.study.work.lesions.outline`
    thresholds
        conventional or calibrated
    caption
        of the table
    """
    chosen = [row for row in rows if row.thresholds == thresholds]
    header = ["maps", "part", "volume [mL]", "true [mL]", "error [mL]", "Dice truth", "error to teacher [mL]",
              "Dice teacher", "patients with Dice"]  # fmt: skip
    body = []
    for name in ("teacher", *MODELS):
        for part in _PARTS:
            these = [row for row in chosen if row.predictor == name and row.part == part]
            numbers = [
                over_patients(these, lambda row: row.volume_ml),
                over_patients(these, lambda row: row.true_ml),
                over_patients(these, lambda row: abs(row.volume_ml - row.true_ml)),
                over_patients(these, lambda row: row.dice_truth),
                over_patients(these, lambda row: abs(row.volume_ml - row.teacher_ml)),
                over_patients(these, lambda row: row.dice_teacher),
            ]
            cells = [short(found, digits=2 if k in (3, 5) else 1) for k, found in enumerate(numbers)]
            body.append([label_of(name), part, *cells, str(numbers[3].n)])
    return Table(caption, header, body)


def robustness_table(
    rows: Sequence[StandRow], *, quantity: str, filter_px: float, score: str = "r", caption: str = ""
) -> Table:
    """Teacher and students on every degraded scan, against the truth in the tissue: mean over patients.

    Parameters
    ----------
    rows
        of `ctp_torch.study.work.robustness.stand`
    quantity
        which map
    filter_px
        width of the Gaussian on all of them
    score
        ssim or r
    caption
        of the table
    """
    chosen = _in_tissue([row for row in rows if row.map == quantity and row.filter_px == filter_px])
    names = [name for name in ("teacher", *MODELS) if any(row.predictor == name for row in chosen)]
    body = []
    for variant, told in VARIANTS.items():
        these = [row for row in chosen if row.variant == variant]
        if these:
            cells = (over_patients([r for r in these if r.predictor == name], lambda r: float(getattr(r, score)))
                     for name in names)  # fmt: skip
            body.append([told, *(short(cell, percent=score == "ssim") for cell in cells)])
    return Table(caption, ["scan", *map(label_of, names)], body)


def wins_table(rows: Sequence[StandRow], *, filter_px: float, score: str = "r", caption: str = "") -> Table:
    """Where a student is closer to the truth than its teacher on the same scan: paired differences of r in the tissue.

    Parameters
    ----------
    rows, filter_px, score
        as in `robustness_table`
    caption
        of the table
    """
    chosen = _in_tissue([row for row in rows if row.filter_px == filter_px])
    body = []
    for variant, told in VARIANTS.items():
        for quantity in MAPS:
            these = [row for row in chosen if row.variant == variant and row.map == quantity]
            taught = per_patient([r for r in these if r.predictor == "teacher"], lambda r: float(getattr(r, score)))
            line = [told, QUANTITIES[quantity].label]
            for model in MODELS:
                found = per_patient([r for r in these if r.predictor == model], lambda r: float(getattr(r, score)))
                gap = bootstrap_mean([found[n] - taught[n] for n in found if n in taught])
                mark = " *" if gap.n > 1 and gap.low > 0 else ""
                line.append("-" if not gap.n or math.isnan(gap.mean) else
                            f"{gap.mean:+.3f} ({gap.low:+.3f} to {gap.high:+.3f}){mark}")  # fmt: skip
            if these:
                body.append(line)
    return Table(caption, ["scan", "map", *map(label_of, MODELS)], body)


def _in_tissue(rows: Sequence[StandRow]) -> list[StandRow]:
    """Rows of the tissue, or of the brain where no truth tells the tissue."""
    region = "tissue" if any(row.region == "tissue" for row in rows) else "brain"
    return [row for row in rows if row.region == region]
