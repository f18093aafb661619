"""Committed results, and the tables that pages show of them."""

import json
from pathlib import Path

DOCS = Path(__file__).parents[1]
RESULTS = DOCS.parent / "benchmarks" / "results"


def result(name):
    """A committed result, or None where it isn't there."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def study():
    """The tables of the paper's study, each a caption, a header and rows."""
    return json.loads((DOCS / "results" / "results.json").read_text(encoding="utf-8"))["tables"]


def table(header, rows):
    """Lines of a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def seconds(value):
    """Seconds in as many figures as one believes."""
    return f"{value:.2g} s" if value < 10 else f"{value:,.0f} s"


def machine(one):
    """What a result was measured on."""
    told = one.get("machine", {})
    return (
        f"{told.get('cpu', 'unknown')}, {told.get('threads', '?')} threads, load before {told.get('load_before', '?')}"
    )


def page(title, parts):
    """A page of sections; those without results are left out."""
    return "\n\n".join([f"# {title}", *[part.strip() for part in parts if part]]) + "\n"
