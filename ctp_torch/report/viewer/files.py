"""The page and, beside it, every number in it: a folder of CSV tables and one JSON file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ctp_torch.report.spreadsheet import csv_text
from ctp_torch.report.tables import Table
from ctp_torch.report.viewer.facts import flat
from ctp_torch.report.viewer.page import Picture, report_page
from ctp_torch.report.viewer.payload import PatientView

__all__ = ["write_report"]

_AXES = ("x", "y", "z")


def write_report(
    folder: Path,
    *,
    title: str,
    lead: str = "",
    tables: Sequence[Table] = (),
    sections: Mapping[str, Sequence[Picture]] | None = None,
    facts: Mapping[str, object] | None = None,
    patients: Sequence[PatientView] = (),
) -> None:
    """``report.html``, ``report/report.json`` with all numbers, and ``report/*.csv`` with the same in tables.

    The tables are ``table-01-....csv`` in their order; of the patients ``volumes.csv``, ``map_values.csv``,
    ``vessels.csv``, ``motion.csv``, ``quality.csv`` and ``settings.csv``, each with a column for the patient.

    Parameters
    ----------
    folder
        exists; files of the same names are replaced
    title, lead, tables, sections, facts, patients
        as in `ctp_torch.report.viewer.page.report_page`
    """
    text = report_page(title=title, lead=lead, tables=tables, sections=sections, facts=facts, patients=patients)
    (folder / "report.html").write_text(text, encoding="utf-8")
    subfolder = folder / "report"
    subfolder.mkdir(exist_ok=True)
    document = {
        "title": title,
        "facts": dict(flat(facts or {})),
        "tables": [table._asdict() for table in tables],
        "patients": [patient.header for patient in patients],
    }
    (subfolder / "report.json").write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    for number, table in enumerate(tables, start=1):
        slug = re.sub(r"[^a-z0-9]+", "-", table.caption.lower()).strip("-")[:60]
        _write(subfolder / f"table-{number:02d}-{slug}.csv", [table.header, *table.rows])
    if patients:
        for name, rows in _patient_tables(patients).items():
            _write(subfolder / f"{name}.csv", rows)


def _patient_tables(patients: Sequence[PatientView]) -> dict[str, list[Sequence[object]]]:
    """Rows of every table over all patients, the header first."""
    tables: dict[str, list[Sequence[object]]] = {
        "volumes": _together(
            {"patient": p.name, "maps": s["label"], **_plain(s["lesion"])} for p, s in _sets(patients) if s["lesion"]
        ),
        "map_values": _together(
            {"patient": p.name, "maps": s["label"], **r} for p, s in _sets(patients) for r in s["values"]
        ),
        "vessels": [("patient", "vessel", "frame", "time_s", "enhancement_hu")],
        "motion": [
            (
                "patient",
                "frame",
                "time_s",
                *(f"r{a}_deg" for a in _AXES),
                *(f"t{a}_mm" for a in _AXES),
                "displacement_mm",
            )
        ],
        "quality": [("patient", "flag", "name", "result", "message")],
        "settings": [("patient", "name", "value")],
    }
    for patient in patients:
        header: Any = patient.header
        for vessel, curve in header["curves"].items():
            if curve:
                pairs = enumerate(zip(curve["times_s"], curve["curve_hu"], strict=True))
                tables["vessels"] += [(patient.name, vessel, i, time, hu) for i, (time, hu) in pairs]
        if header["motion"]:
            columns = (header["motion"][n] for n in ("times_s", "rotation_deg", "translation_mm", "displacement_mm"))
            for i, (time, turn, shift, moved) in enumerate(zip(*columns, strict=True)):
                tables["motion"].append((patient.name, i, time, *turn, *shift, moved))
        tables["quality"] += [(patient.name, *check.values()) for check in header["quality"] or ()]
        tables["settings"] += [(patient.name, *pair) for pair in header["settings"]]
    return {name: rows for name, rows in tables.items() if len(rows) > 1}


def _sets(patients: Sequence[PatientView]) -> Iterable[tuple[PatientView, Any]]:
    """Every patient with every set of maps."""
    for patient in patients:
        header: Any = patient.header
        yield from ((patient, one) for one in header["sets"])


def _plain(summary: Mapping[str, Any]) -> dict[str, object]:
    """A lesion's numbers on one level."""
    row = {name: value for name, value in summary.items() if not isinstance(value, dict | list)}
    row |= {f"threshold_{name}": value for name, value in summary["thresholds"].items()}
    return row | {"warnings": "; ".join(summary["warnings"])}


def _together(rows: Iterable[Mapping[str, object]]) -> list[Sequence[object]]:
    """Rows under all their names, in the order in which these appear; empty cells where a row lacks one."""
    kept = list(rows)
    names = list(dict.fromkeys(name for row in kept for name in row))
    return [names, *([row.get(name, "") for name in names] for row in kept)]


def _write(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """A CSV file; None is an empty cell."""
    path.write_text(csv_text(rows), encoding="utf-8")
