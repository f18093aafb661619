"""The comparison of two sets of maps, or of two cohorts, as tables and a page."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from ctp_torch.data.maps import named_quantity
from ctp_torch.learning.agreement import Agreement, agreement_of
from ctp_torch.report.figures import to_png
from ctp_torch.report.spreadsheet import csv_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ctp_torch.learning.compare import LesionRow, MapRow

__all__ = ["Compared", "over_patients", "write_comparison"]

_MAP_COLUMNS = ("case", "map", "place", *Agreement._fields, "ssim")
_LESION_COLUMNS = ("case", "lesion", "first_ml", "second_ml", "dice")
_MOST_SHOWN = 400
"""Lines of the page's table; all of them are in the CSV file."""


class Compared(NamedTuple):
    """One patient."""

    case: str
    maps: Sequence[MapRow]
    lesions: Sequence[LesionRow]


def over_patients(patients: Sequence[Compared]) -> dict[str, Agreement]:
    """Agreement over patients: of the volumes of each lesion, and of the mean of each map in the brain."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    for patient in patients:
        for lesion in patient.lesions:
            pairs.setdefault(f"{lesion.lesion} [mL]", []).append((lesion.first_ml, lesion.second_ml))
        for row in patient.maps:
            if row.place == "brain":
                label = f"mean {row.map} [{named_quantity(row.map).unit}]"
                pairs.setdefault(label, []).append((row.agreement.first, row.agreement.second))
    return {name: agreement_of(*torch.tensor(both, dtype=torch.float64).T) for name, both in pairs.items()}


def write_comparison(folder: Path, patients: Sequence[Compared], names: tuple[str, str], notes: Sequence[str]) -> None:
    """``maps.csv``, ``lesions.csv``, ``patients.csv`` and ``compare.html`` into a folder that exists.

    Parameters
    ----------
    folder
        to write to
    patients
        one or several
    names
        what the two sets are called
    notes
        who couldn't be compared, and why
    """
    maps = [(one.case, row.map, row.place, *row.agreement, row.ssim) for one in patients for row in one.maps]
    lesions = [(one.case, *row) for one in patients for row in one.lesions]
    overall = over_patients(patients)
    tables: dict[str, tuple[Sequence[str], Sequence[Sequence[object]]]] = {
        "maps.csv": (_MAP_COLUMNS, maps),
        "lesions.csv": (_LESION_COLUMNS, lesions),
        "patients.csv": (("what", *Agreement._fields), [(name, *one) for name, one in overall.items()]),
    }
    for name, (columns, rows) in tables.items():
        (folder / name).write_text(csv_text([columns, *map(_rounded, rows)]), encoding="utf-8")
    (folder / "compare.html").write_text(_page(patients, names, notes, tables), encoding="utf-8")


def _rounded(row: Sequence[object]) -> list[object]:
    """Six digits."""
    return [f"{v:.6g}" if isinstance(v, float) and not math.isnan(v) else v for v in row]


def _page(
    patients: Sequence[Compared],
    names: tuple[str, str],
    notes: Sequence[str],
    tables: Mapping[str, tuple[Sequence[str], Sequence[Sequence[object]]]],
) -> str:
    """The page: differences drawn, then the tables."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("ctp_torch.report", "."), autoescape=True)
    figures = [base64.b64encode(to_png(one)).decode() for one in _figures(patients)]
    shown = [
        {"name": name, "columns": columns, "rows": [_short(row) for row in rows[:_MOST_SHOWN]], "n": len(rows)}
        for name, (columns, rows) in list(tables.items())[::-1]
        if rows
    ]
    return environment.get_template("compare.html.j2").render(
        first=names[0], second=names[1], notes=notes, figures=figures, tables=shown, n=len(patients)
    )


def _short(row: Sequence[object]) -> list[str]:
    """Cells for people."""
    cells = []
    for value in row:
        if isinstance(value, float):
            cells.append("-" if math.isnan(value) else f"{value:.4g}")
        else:
            cells.append(str(value))
    return cells


def _figures(patients: Sequence[Compared]) -> list[Figure]:
    """Bland-Altman plots of what varies over patients; none of a single one."""
    from matplotlib.figure import Figure

    lesions: dict[str, list[tuple[float, float]]] = {}
    for one in patients:
        for row in one.lesions:
            lesions.setdefault(row.lesion, []).append((row.first_ml, row.second_ml))
    figures = []
    for name, pairs in lesions.items():
        if len(pairs) < 2:
            continue
        both = torch.tensor(pairs, dtype=torch.float64)
        whole = agreement_of(both[:, 0], both[:, 1])
        figure = Figure(figsize=(5.2, 3.4), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(both.mean(dim=1).numpy(), (both[:, 1] - both[:, 0]).numpy(), "o", ms=4, alpha=0.7)
        for level, style in ((whole.bias, "-"), (whole.low, "--"), (whole.high, "--")):
            axes.axhline(level, color="#b3261e", ls=style, lw=1)
        axes.set(xlabel=f"mean {name} of both [mL]", ylabel="B minus A [mL]")
        axes.set_title(f"{name}: bias {whole.bias:.1f} mL, limits {whole.low:.1f} to {whole.high:.1f}", fontsize=10)
        figures.append(figure)
    return figures
