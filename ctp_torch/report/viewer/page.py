"""One HTML file with tables, pictures and a viewer of every patient inside: nothing is fetched when it opens."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import NamedTuple

from ctp_torch import ops
from ctp_torch.report.tables import Table
from ctp_torch.report.viewer.facts import flat
from ctp_torch.report.viewer.payload import PatientView

__all__ = ["Picture", "report_page"]

_SCRIPTS = ("unpack.js", "paint.js", "plot.js", "below.js", "patient.js", "panels.js", "viewer.js")
"""In the order in which they need each other."""


class Picture(NamedTuple):
    """A PNG with a caption."""

    png: bytes
    caption: str


def report_page(
    *,
    title: str,
    lead: str = "",
    tables: Sequence[Table] = (),
    sections: Mapping[str, Sequence[Picture]] | None = None,
    facts: Mapping[str, object] | None = None,
    patients: Sequence[PatientView] = (),
) -> str:
    """The page as HTML text; it works from a file and without a network.

    Parameters
    ----------
    title, lead
        heading and first paragraph; never an identity
    tables
        of scores, below the viewer
    sections
        heading to pictures, below the tables
    facts
        settings and versions, shown last; may be nested
    patients
        from `ctp_torch.report.viewer.payload.patient_view`; the viewer shows the first, the others by choice, and
        unpacks only the one it shows
    """
    from jinja2 import DictLoader, Environment

    folder = files("ctp_torch.report.viewer").joinpath("web")
    texts = {
        name: folder.joinpath(name).read_text(encoding="utf-8")
        for name in ("report.html.j2", "viewer.html.j2", "report.css", *_SCRIPTS)
    }
    environment = Environment(loader=DictLoader(texts), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["data_uri"] = lambda png: "data:image/png;base64," + _base64(png)
    environment.filters["base64"] = _base64
    environment.filters["in_script"] = _in_script
    return environment.get_template("report.html.j2").render(
        title=title,
        lead=lead,
        tables=tables,
        sections=sections or {},
        facts=flat(facts or {}),
        patients=patients,
        lut=ops.jet_lut().tolist(),
        css=texts["report.css"],
        js="\n".join(texts[name] for name in _SCRIPTS),
    )


def _base64(data: bytes) -> str:
    """Bytes as letters."""
    return base64.b64encode(data).decode("ascii")


def _in_script(value: object) -> str:
    """JSON that can't end the script element it stands in."""
    from markupsafe import Markup

    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))
