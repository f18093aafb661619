"""Rows of scores as tables: one maker of all of them, CSV for programs, Markdown in the layout of the paper."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ctp_torch.data.maps import QUANTITIES
from ctp_torch.io.atomic import whole
from ctp_torch.learning.evaluate import PointScores, SliceScore
from ctp_torch.learning.intervals import Interval, mean_over_patients, paired_difference, per_patient, select
from ctp_torch.report.spreadsheet import csv_text, unquoted

__all__ = [
    "MODEL_LABELS",
    "Columns",
    "Lines",
    "Table",
    "cross_table",
    "csv_text",
    "difference_table",
    "markdown",
    "mean_cell",
    "paper_numbers",
    "paper_table",
    "point_table",
    "read_scores",
    "summary",
    "write_scores",
]

MODEL_LABELS: Mapping[str, str] = {
    "linear": "Linear regression",
    "ridge": "Ridge regression",
    "krr": "Kernel ridge regression",
    "rf": "Random forest",
}

_PAPER = {
    "train": {"linear": (0.7464, 0.7455), "ridge": (0.7434, 0.7451), "krr": (0.8271, 0.8283), "rf": (0.8114, 0.8212)},
    "test": {"linear": (0.7701, 0.7746), "ridge": (0.7689, 0.7767), "krr": (0.8253, 0.8325), "rf": (0.8259, 0.8419)},
}
"""SSIM of the paper's Tables 1 and 2, rCBV and rCBF, on its own patients (doi:10.1007/978-3-030-90436-4_4)."""

_SCORES = {"ssim_frame": "SSIM, whole frame (the paper's score)", "ssim_brain": "SSIM, brain only"}


Cell = Callable[[Sequence[Any]], str]
"""What a table says of some rows."""
Lines = dict[tuple[str, ...], dict[str, Any]]
"""The labels of each line to the fields that its rows share."""
Columns = dict[str, tuple[dict[str, Any], Cell]]
"""The header of each column to the fields that its rows share, and what makes a cell of them."""


def write_scores(rows: Sequence[SliceScore], path: Path) -> None:
    """One line per patient, slice, map, model and filter width, six digits; an undefined score is left empty."""
    lines = [[f"{v:.6g}" if isinstance(v, float) and not math.isnan(v) else v for v in row] for row in rows]
    with whole(path, force=True) as partial:
        partial.write_text(csv_text([SliceScore._fields, *lines]), encoding="utf-8")


def read_scores(path: Path) -> list[SliceScore]:
    """The rows that `write_scores` wrote."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            SliceScore(
                unquoted(line["patient"]),
                int(line["slice"]),
                line["split"],
                line["map"],
                unquoted(line["model"]),
                float(line["filter_px"]),
                *(float(line[name] or "nan") for name in ("ssim_frame", "ssim_brain", "mae", "r")),
            )
            for line in csv.DictReader(file)
        ]


class Table(NamedTuple):
    """A caption, a header row and rows of cells."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def markdown(table: Table) -> str:
    """The rows of a table as Markdown, padded so that it reads well as plain text too."""
    lines = [list(table.header), *map(list, table.rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.header))]
    padded = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([padded[0], rule, *padded[1:]])


def cross_table(
    rows: Sequence[Any], down: Lines, across: Columns, *, corner: Sequence[str], caption: str = ""
) -> Table:
    """A table whose every cell is made of the rows that its line and its column choose.

    Parameters
    ----------
    rows
        of one kind
    down, across
        what chooses the rows of lines and columns
    corner
        headers above the labels of the lines
    caption
        of the table
    """
    body = []
    for labels, fields in down.items():
        line = select(rows, **fields)
        body.append([*labels, *(cell(select(line, **more)) for more, cell in across.values())])
    return Table(caption, [*corner, *across], body)


def mean_cell(score: str, words: Callable[[Interval], str]) -> Cell:
    """A cell that says the mean of a score over patients, and its interval, in some words."""
    return lambda rows: words(mean_over_patients(rows, score))


def paper_table(
    rows: Sequence[SliceScore], *, split: str, score: str = "ssim_frame", filter_px: float = 0.0, caption: str = ""
) -> Table:
    """One score: models down, maps across, mean and 95 % interval over patients.

    Parameters
    ----------
    rows
        of `ctp_torch.learning.evaluate.score_patient`
    split
        train (the paper's Table 1) or test (its Table 2)
    score
        a score of `SliceScore`
    filter_px
        which filter width
    caption
        of the table
    """
    chosen = select(rows, split=split, filter_px=filter_px)
    cell = mean_cell(score, lambda value: _interval(value, score))
    return cross_table(
        chosen,
        {(MODEL_LABELS.get(row.model, row.model),): {"model": row.model} for row in chosen},
        {QUANTITIES[row.map].label: ({"map": row.map}, cell) for row in chosen},
        corner=["model"],
        caption=caption,
    )


def summary(rows: Sequence[SliceScore], *, title: str, facts: Mapping[str, object] | None = None) -> str:
    """The Markdown page: training and testing SSIM for every filter width, differences between models, the paper's."""
    widths = sorted({row.filter_px for row in rows})
    parts = [f"# {title}", ""]
    parts += [f"- {name}: {value}" for name, value in (facts or {}).items()]
    parts += [
        "",
        "Means over patients with 95 % bootstrap intervals over patients. Maps are compared as 8-bit colour indices "
        "(data range 255); outside the head both count as 0. *Brain* is the SSIM map averaged over the brain, eroded "
        "by 3 pixels: the identical background lifts the frame score.",
    ]
    for split, number in (("train", 1), ("test", 2)):
        if not any(row.split == split for row in rows):
            continue
        n = len({row.patient for row in rows if row.split == split})
        parts += ["", f"## Table {number}: {'training' if split == 'train' else 'testing'} SSIM ({n} patients)"]
        for width in widths:
            for score, label in _SCORES.items():
                note = "predictions unfiltered" if width == 0 else f"predictions filtered, Gaussian of {width:g} px"
                table = paper_table(rows, split=split, score=score, filter_px=width)
                parts += ["", f"### {label}; {note}", "", markdown(table)]
        parts += ["", f"### Correlation r in the brain; {'unfiltered' if widths[0] == 0 else f'{widths[0]:g} px'}", ""]
        parts += [markdown(paper_table(rows, split=split, score="r", filter_px=widths[0]))]
        parts += ["", "### The paper's own patients, whole frame", "", markdown(paper_numbers(split))]
    differences = difference_table(rows)
    if differences.rows:
        parts += ["", f"## {differences.caption}", "", markdown(differences)]
    return "\n".join(parts).rstrip() + "\n"


def point_table(points: PointScores) -> Table:
    """R2 and RMSE on the sampled test pixels."""
    models = list(dict.fromkeys(model for model, _ in points.r2))
    maps = list(dict.fromkeys(name for _, name in points.r2))
    n = sum(len(pixels) for pixels in points.pixels.values())
    body = [
        [
            MODEL_LABELS.get(model, model),
            *(
                f"{points.r2[model, name]:.3f} ({points.rmse[model, name]:.1f})" if (model, name) in points.r2 else "-"
                for name in maps
            ),
        ]
        for model in models
    ]
    caption = f"Pointwise on {n:,} test pixels: R2 (RMSE in colour levels)"
    return Table(caption, ["model", *(QUANTITIES[name].label for name in maps)], body)


def paper_numbers(split: str) -> Table:
    """The paper's own table: training (Table 1) or testing (Table 2) SSIM of the whole frame."""
    body = [[MODEL_LABELS[model], f"{100 * v:.2f} %", f"{100 * f:.2f} %"] for model, (v, f) in _PAPER[split].items()]
    return Table("The paper's own patients, whole frame", ["model", "rCBV", "rCBF"], body)


def difference_table(
    rows: Sequence[Any],
    scores: Mapping[str, str] = MappingProxyType({"ssim_frame": "frame", "ssim_brain": "brain"}),
    *,
    unit: str = "difference",
    caption: str = "Paired differences on the test patients, in points of SSIM",
) -> Table:
    """Paired differences of the test patients in points: kernel ridge and forest against the linear models.

    Parameters
    ----------
    rows
        of slices
    scores
        which, and what they are called
    unit
        header of the differences
    caption
        of the table
    """
    chosen, body = select(rows, split="test"), []
    widths = sorted({row.filter_px for row in rows})
    for width, score, name in itertools.product(widths, scores, ("cbv", "cbf")):
        part = select(chosen, filter_px=width, map=name)
        means = {model: per_patient(select(part, model=model), score) for model in MODEL_LABELS}
        for better, plain in itertools.product(("krr", "rf"), ("linear", "ridge")):
            gap = paired_difference(means[better], means[plain])
            if gap.n:
                where = [f"{width:g} px", scores[score], QUANTITIES[name].label, f"{better} - {plain}"]
                ends = "one patient" if gap.n == 1 else f"{100 * gap.low:+.1f} to {100 * gap.high:+.1f}"
                body.append([*where, f"{100 * gap.mean:+.1f}", ends])
    return Table(caption, ["filter", "score", "map", "comparison", unit, "95 % interval"], body)


def _interval(value: Interval, score: str) -> str:
    """Mean and interval, SSIM in per cent as in the paper."""
    if not value.n:
        return "-"
    if value.n == 1:
        mean = f"{100 * value.mean:.2f} %" if score.startswith("ssim") else f"{value.mean:.3f}"
        return f"{mean} (one patient, no interval)"
    if score.startswith("ssim"):
        return f"{100 * value.mean:.2f} % ({100 * value.low:.1f}-{100 * value.high:.1f})"
    return f"{value.mean:.3f} ({value.low:.2f} to {value.high:.2f})"
