"""One HTML file with a study's tables and pictures inside: nothing is fetched when it opens."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import NamedTuple

from ctp_torch.report.tables import Table

__all__ = ["Picture", "study_page"]


class Picture(NamedTuple):
    """A PNG with a caption."""

    png: bytes
    caption: str


def study_page(
    *,
    title: str,
    lead: str,
    tables: Sequence[Table],
    sections: Mapping[str, Sequence[Picture]],
    facts: Mapping[str, object],
) -> str:
    """The page as HTML text.

    Parameters
    ----------
    title, lead
        heading and first paragraph
    tables
        shown first
    sections
        heading to pictures
    facts
        settings and versions, shown last
    """
    from jinja2 import Environment

    source = files("ctp_torch.report").joinpath("study.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["data_uri"] = lambda png: "data:image/png;base64," + base64.b64encode(png).decode("ascii")
    return environment.from_string(source).render(title=title, lead=lead, tables=tables, sections=sections, facts=facts)
