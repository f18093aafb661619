"""What a study leaves: a page, every table as CSV, everything as JSON, every figure as PNG, a summary to quote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ctp_torch.io.atomic import whole
from ctp_torch.report.tables import Table, markdown
from ctp_torch.report.viewer.page import Picture, report_page
from ctp_torch.report.viewer.payload import PatientView
from ctp_torch.study.engine.running import Findings
from ctp_torch.study.output.pictures import Drawing, all_pictures
from ctp_torch.study.output.rows import CardRow, LesionRow, ScoreRow, StandRow, to_csv
from ctp_torch.study.output.tables import all_tables, card_rows, external_rows, lesion_rows, score_rows, stand_rows
from ctp_torch.study.output.words import LEAD, facts_of, notes_of

__all__ = ["ON_THE_PAGE", "deliver"]

ON_THE_PAGE = (
    "table2_ssim_frame_0px",
    "table2_ssim_brain_0px",
    "table2_r_0px",
    "table2_ssim_frame_1px",
    "table2_ssim_frame_2px",
    "table2_ssim_brain_2px",
    "table2_r_2px",
    "table2_ssim_frame_4px",
    "table1_ssim_frame_0px",
    "table1_ssim_brain_0px",
    "differences",
    "floors_0px",
    "floors_2px",
    "truth_tissue_r_0px",
    "truth_tissue_r_2px",
    "truth_tissue_ssim_2px",
    "truth_lesion_r_2px",
    "lesions_conventional",
    "lesions_calibrated",
    "robustness_cbf_0px",
    "robustness_cbf_2px",
    "robustness_tmax_2px",
    "students_beat_teacher_0px",
    "students_beat_teacher_2px",
    "external_ssim_frame_0px",
    "external_ssim_frame_2px",
    "external_ssim_brain_2px",
    "external_r_2px",
    "external_differences",
    "external_lesions_calibrated",
    "grid_kernel_ridge",
    "grid_ridge",
    "grid_forest",
    "cost",
)
"""Tables on the page and in the summary; the others are files beside them."""


def deliver(
    folder: Path, out: Path, found: Findings, *, patients: Sequence[PatientView] = (), facts: Mapping[str, object]
) -> list[str]:
    """Write ``report.html``, ``results.md``, ``results.json``, ``tables/``, ``rows/`` and ``figures/``.

    Parameters
    ----------
    folder
        of all steps
    out
        where the files go; those of the same names are replaced
    found
        of the run
    patients
        for the viewer
    facts
        machine and versions

    Returns
    -------
        names of the figures
    """
    tables = all_tables(found)
    told = {**facts_of(found), **facts}
    for name, table in tables.items():
        _write(out / "tables" / f"{name}.csv", to_csv(table.header, table.rows))
    for name, text in _raw(found).items():
        _write(out / "rows" / f"{name}.csv", text)
    drawings = list(all_pictures(folder, found))
    for drawing in drawings:
        with whole(out / "figures" / f"{drawing.name}.png", force=True) as partial:
            partial.write_bytes(drawing.png)
    everything = {
        "facts": told,
        "missing": found.missing,
        "tables": {name: table._asdict() for name, table in tables.items()},
        "patients": {name: result for name, result in found.results.items() if name.startswith("patients/")},
        "calibration": found.results.get("lesions/calibration"),
        "seconds": found.seconds,
    }
    _write(out / "results.json", json.dumps(everything, indent=1) + "\n")
    _write(out / "results.md", _summary(found, tables, drawings, told))
    sections: dict[str, list[Picture]] = {}
    for drawing in drawings:
        sections.setdefault(drawing.section, []).append(Picture(drawing.png, drawing.caption))
    page = report_page(
        title="The study of CT perfusion by regression, repeated on digital patients",
        lead=LEAD,
        tables=[tables[name] for name in ON_THE_PAGE if name in tables],
        sections=sections,
        facts=told,
        patients=patients,
    )
    _write(out / "report.html", page)
    return [drawing.name for drawing in drawings]


def _raw(found: Findings) -> dict[str, str]:
    """Every row behind the tables, by file name."""
    kinds: dict[str, tuple[Any, list[Any]]] = {
        "scores": (ScoreRow, score_rows(found)),
        "card": (CardRow, card_rows(found)),
        "robustness": (StandRow, stand_rows(found)),
        "lesions": (LesionRow, lesion_rows(found)),
        "external_scores": (ScoreRow, external_rows(found, "scores")),
        "external_card": (CardRow, external_rows(found, "card")),
        "external_lesions": (LesionRow, external_rows(found, "lesions")),
    }
    return {name: to_csv(kind._fields, rows) for name, (kind, rows) in kinds.items() if rows}


def _summary(
    found: Findings, tables: Mapping[str, Table], drawings: Sequence[Drawing], facts: Mapping[str, object]
) -> str:
    """The Markdown page."""
    parts = ["# The study, repeated on digital patients", "", LEAD, ""]
    parts += [f"- {name}: {value}" for name, value in facts.items()]
    parts += ["", *notes_of(found)]
    for name in ON_THE_PAGE:
        if name in tables:
            parts += ["", f"## {tables[name].caption}", "", markdown(tables[name]), "", f"`tables/{name}.csv`"]
    for drawing in drawings:
        parts += ["", f"## {drawing.caption}", "", f"![{drawing.caption}](figures/{drawing.name}.png)"]
    return "\n".join(parts) + "\n"


def _write(path: Path, text: str) -> None:
    """A text file, whole or not at all."""
    with whole(path, force=True) as partial:
        partial.write_text(text, encoding="utf-8")
