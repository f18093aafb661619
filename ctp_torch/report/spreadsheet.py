"""Rows as the text of a CSV file that a spreadsheet shows as it is: no cell is run as a formula."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence

__all__ = ["csv_text", "unquoted"]

_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""Of cells that Excel, LibreOffice or Google Sheets would run, in their full width too."""


def csv_text(rows: Iterable[Sequence[object]], *, line_end: str = "\n") -> str:
    """One line a row; None and NaN are empty cells, and text that would be run is quoted by an apostrophe.

    Parameters
    ----------
    rows
        of cells, the header first
    line_end
        of every line

    References
    ----------
    OWASP, CSV Injection, https://owasp.org/www-community/attacks/CSV_Injection
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=line_end)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return text.getvalue()


def unquoted(cell: str) -> str:
    """The text of a cell that `csv_text` wrote."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(_STARTS) else cell


def _cell(value: object) -> object:
    """A cell; numbers stay numbers, also where they are negative or text already."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    text = str(value)
    return f"'{text}" if text.startswith(_STARTS) and not _is_number(text) else value


def _is_number(text: str) -> bool:
    """Whether a text is a plain number, such as -3.5 or +1e5."""
    try:
        float(text)
    except ValueError:
        return False
    return True
