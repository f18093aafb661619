"""One table of a cohort: a row a case and variant, for a spreadsheet, and as a page with pictures."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from ctp_torch.cohorts.cases import Case
from ctp_torch.cohorts.records import Record, read_record
from ctp_torch.errors import NoSeriesError
from ctp_torch.io.atomic import private_file, whole
from ctp_torch.io.limits import DAMAGE, read_text
from ctp_torch.report.spreadsheet import csv_text, unquoted

__all__ = ["COLUMNS", "is_run", "read_plan", "rows_of", "write_plan", "write_tables"]

_NUMBERS = (
    "core_ml", "hypoperfusion_ml", "penumbra_ml", "severe_hypoperfusion_ml", "mismatch_ratio",
    "hypoperfusion_intensity_ratio", "cbv_index",
)  # fmt: skip
COLUMNS = (
    "number", "case", "variant", "status", "exit_code", *_NUMBERS, "side", "flags", "warnings", "message", "version",
)  # fmt: skip
_VARIANTS, _KEY = "variants.json", "cases.private.csv"
_THUMBNAIL = 168
"""Width of a picture in the page [pixels]: 2,000 of them stay below 20 MB."""


def rows_of(out: Path, cases: Sequence[Case], variants: Sequence[str]) -> list[dict[str, object]]:
    """The rows, in the order of the cases; what wasn't done yet is waiting."""
    rows = []
    for number, case in enumerate(cases, start=1):
        for variant in variants:
            record = read_record(out, case.key, variant)
            rows.append({"number": number, "case": case.key, "variant": variant, **_facts(record)})
    return rows


def _facts(record: Record | None) -> dict[str, object]:
    """What a record says."""
    if record is None:
        return {"status": "waiting"}
    outcome = record.outcome
    return {
        "status": "done" if outcome.exit_code == 0 else "failed",
        "exit_code": outcome.exit_code,
        **{name: outcome.lesions.get(name) for name in (*_NUMBERS, "side")},
        "flags": " ".join(outcome.flags),
        "warnings": " | ".join(outcome.warnings),
        "message": outcome.message,
        "version": record.version,
    }


def write_plan(out: Path, cases: Sequence[Case], variants: Sequence[str]) -> None:
    """Which cases and variants a run consists of: ``variants.json``, ``cases.private.csv`` for this user's eyes alone.

    Parameters
    ----------
    out
        of the cohort run
    cases, variants
        in the order of the tables
    """
    _write(out / _VARIANTS, json.dumps(list(variants)) + "\n")
    key = [[n, case.key, str(case.source), str(case.example or "")] for n, case in enumerate(cases, start=1)]
    with private_file(out / _KEY) as stream:
        stream.write(csv_text([("number", "case", "source", "example"), *key]))


def is_run(folder: Path) -> bool:
    """Whether a cohort run left its tables there."""
    return (folder / _VARIANTS).is_file()


def read_plan(out: Path) -> tuple[list[Case], list[str]]:
    """The cases, without their files, and variants that `write_plan` noted.

    Raises
    ------
    NoSeriesError
        when no cohort run left any there
    """
    try:
        variants = [str(name) for name in json.loads(read_text(out / _VARIANTS))]
        with (out / _KEY).open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
            lines = list(csv.DictReader(stream))
        cases = [Case(line["case"], Path(unquoted(line["source"])), ()) for line in lines]
    except (*DAMAGE, OSError) as error:
        raise NoSeriesError(f"{out} holds no cohort run ({error}): give the -o of ctp-torch cohort run") from error
    return cases, variants


def write_tables(
    out: Path, cases: Sequence[Case], variants: Sequence[str], *, identity: bool = False
) -> list[dict[str, object]]:
    """``cohort.csv``, ``times.csv`` and ``cohort.html``: what is known by now.

    Parameters
    ----------
    out
        of the cohort run
    cases, variants
        what the run consists of
    identity
        name the sources in the shared table too

    Returns
    -------
        the rows
    """
    rows = rows_of(out, cases, variants)
    columns = (*COLUMNS, "source") if identity else COLUMNS
    if identity:
        sources = {case.key: str(case.source) for case in cases}
        rows = [{**row, "source": sources[str(row["case"])]} for row in rows]
    _write(out / "cohort.csv", csv_text([columns, *([row.get(name) for name in columns] for row in rows)]))
    seconds = [[row["number"], row["case"], row["variant"], _seconds(out, row)] for row in rows]
    _write(out / "times.csv", csv_text([("number", "case", "variant", "seconds"), *seconds]))
    _write(out / "cohort.html", _page(out, rows))
    return rows


def _seconds(out: Path, row: dict[str, object]) -> float | None:
    record = read_record(out, str(row["case"]), str(row["variant"]))
    return None if record is None else round(record.outcome.seconds, 1)


def _write(path: Path, text: str) -> None:
    with whole(path, force=True) as partial:
        partial.write_text(text, encoding="utf-8")


def _thumbnail(path: Path) -> str:
    """A small JPEG of a montage as a data address; empty where there is none."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            small = picture.convert("RGB")
            small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    except OSError:
        return ""
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=60)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _page(out: Path, rows: Sequence[dict[str, object]]) -> str:
    """The page: what failed, how volumes are spread, and a table that sorts by any column."""
    shown: list[dict[str, Any]] = []
    for row in rows:
        folder = Path("cases") / str(row["case"]) / str(row["variant"])
        page = folder / "report.html"
        shown.append(
            {
                **{name: row.get(name) for name in (*COLUMNS, "source")},
                "link": page.as_posix() if (out / page).is_file() else "",
                "picture": _thumbnail(out / folder / "montage.png"),
            }
        )
    counts = {status: sum(row["status"] == status for row in rows) for status in ("done", "failed", "waiting")}
    words = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    data = json.dumps(shown).replace("</", "<\\/")
    template = (files("ctp_torch.cohorts") / "cohort.html").read_text(encoding="utf-8")
    return template.replace("@WORDS@", html.escape(words)).replace("@DATA@", data)
