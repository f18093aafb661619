"""What a study leaves: a page, every table as CSV, everything as JSON, every figure as PNG, a summary to quote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ctp_torch.io.atomic import whole
from ctp_torch.report.spreadsheet import csv_text
from ctp_torch.report.tables import Table, markdown
from ctp_torch.report.viewer.page import Picture, report_page
from ctp_torch.report.viewer.payload import PatientView
from ctp_torch.study.design.rows import Row
from ctp_torch.study.engine.running import StudyResults
from ctp_torch.study.output.figures import Drawing, all_drawings
from ctp_torch.study.output.tables import all_tables
from ctp_torch.study.output.words import LEAD, facts_of, notes_of

__all__ = ["deliver"]

_ON_THE_PAGE = (
    "table2_ssim_frame_0px", "table2_ssim_brain_0px", "table2_r_0px", "table2_ssim_frame_1px", "table2_ssim_frame_2px",
    "table2_ssim_brain_2px", "table2_r_2px", "table2_ssim_frame_4px", "table1_ssim_frame_0px", "table1_ssim_brain_0px",
    "differences", "floors_0px", "floors_2px", "refused", "truth_tissue_r_0px", "truth_tissue_r_2px",
    "truth_tissue_ssim_2px", "truth_lesion_r_2px", "lesions_conventional", "lesions_calibrated", "robustness_cbf_0px",
    "robustness_cbf_2px",
    "robustness_tmax_2px", "students_beat_teacher_0px", "students_beat_teacher_2px", "external_ssim_frame_0px",
    "external_ssim_frame_2px", "external_ssim_brain_2px", "external_r_2px", "external_differences",
    "external_lesions_calibrated", "grid_kernel_ridge", "grid_ridge", "grid_forest", "cost",
)  # fmt: skip
"""Tables on the page and in the summary; the others are files beside them."""


def deliver(
    folder: Path, out: Path, results: StudyResults, *, patients: Sequence[PatientView] = (), facts: Mapping[str, object]
) -> list[str]:
    """Write ``report.html``, ``results.md``, ``results.json``, ``tables/``, ``rows/`` and ``figures/``.

    Parameters
    ----------
    folder
        of all steps
    out
        where the files go; those of the same names are replaced
    results
        of the run
    patients
        for the viewer
    facts
        machine and versions

    Returns
    -------
        names of the figures
    """
    tables = all_tables(results)
    facts = {**facts_of(results), **facts}
    for name, table in tables.items():
        _write(out / "tables" / f"{name}.csv", csv_text([table.header, *table.rows]))
    for name, rows in _rows_by_file(results).items():
        _write(out / "rows" / f"{name}.csv", csv_text([list(vars(rows[0])), *(row.cells for row in rows)]))
    drawings = list(all_drawings(folder, results))
    for drawing in drawings:
        with whole(out / "figures" / f"{drawing.name}.png", force=True) as partial:
            partial.write_bytes(drawing.png)
    everything = {
        "facts": facts,
        "missing": results.missing,
        "tables": {name: table._asdict() for name, table in tables.items()},
        "patients": {name: result for name, result in results.results.items() if name.startswith("patients/")},
        "calibration": results.results.get("lesions/calibration"),
        "seconds": results.seconds,
    }
    _write(out / "results.json", json.dumps(everything, indent=1) + "\n")
    _write(out / "results.md", _summary(results, tables, drawings, facts))
    sections: dict[str, list[Picture]] = {}
    for drawing in drawings:
        sections.setdefault(drawing.section, []).append(Picture(drawing.png, drawing.caption))
    page = report_page(
        title="The study of CT perfusion by regression, repeated on digital patients",
        lead=LEAD,
        tables=[tables[name] for name in _ON_THE_PAGE if name in tables],
        sections=sections,
        facts=facts,
        patients=patients,
    )
    _write(out / "report.html", page)
    return [drawing.name for drawing in drawings]


def _rows_by_file(results: StudyResults) -> dict[str, Sequence[Row]]:
    """Every row behind the tables."""
    own, external = results.rows, results.external_rows
    files: dict[str, Sequence[Row]] = {
        "scores": own.scores, "card": own.card, "robustness": own.degraded, "lesions": own.lesions,
        "external_scores": external.scores, "external_card": external.card, "external_lesions": external.lesions,
    }  # fmt: skip
    return {name: rows for name, rows in files.items() if rows}


def _summary(
    results: StudyResults, tables: Mapping[str, Table], drawings: Sequence[Drawing], facts: Mapping[str, object]
) -> str:
    """The Markdown page."""
    parts = ["# The study, repeated on digital patients", "", LEAD, ""]
    parts += [f"- {name}: {value}" for name, value in facts.items()]
    parts += ["", *notes_of(results)]
    for name in _ON_THE_PAGE:
        if name in tables:
            parts += ["", f"## {tables[name].caption}", "", markdown(tables[name]), "", f"`tables/{name}.csv`"]
    for drawing in drawings:
        parts += ["", f"## {drawing.caption}", "", f"![{drawing.caption}](figures/{drawing.name}.png)"]
    return "\n".join(parts) + "\n"


def _write(path: Path, text: str) -> None:
    """A text file, whole or not at all."""
    with whole(path, force=True) as partial:
        partial.write_text(text, encoding="utf-8")
