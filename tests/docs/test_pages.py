"""What README and the pages say: written from the program and from results, its links there, its numbers true."""

import importlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture
def generate(monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "generate")
    return importlib.import_module


@pytest.mark.parametrize(
    ("page", "module"), [("reference/commands", "commands"), ("accuracy", "accuracy"), ("benchmarks", "benchmarks")]
)
def test_pages_are_those_of_the_program_and_its_results(generate, page, module):
    """Mutation seen red: an option's help changed."""
    written = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    assert written == generate(module).text(), "python docs/generate/pages.py writes it again"


def test_readme_is_short_and_its_numbers_are_measured():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) < 700
    results = ROOT / "benchmarks" / "results"
    mix = json.loads((results / "collaterals.json").read_text(encoding="utf-8"))["sets"]["continuous"]
    core, floor = (mix["rules"][rule]["core_mean_absolute_ml"] for rule in ("default", "floor"))
    slow = mix["rules"]["default"]["hypoperfusion_mean_absolute_ml"]
    words = " ".join(text.split())
    assert f"on {len(mix['rows'])} unseen digital patients" in words
    assert f"{core:.1f} mL on average (perfect maps by the same rule: {floor:.1f})" in words
    assert f"hypoperfusion by {slow:.1f}" in words
    ours = json.loads((results / "patient.json").read_text(encoding="utf-8"))["runs"]["ctp_torch"][0]
    assert f"took {ours['seconds']:.0f} s on two cores" in words


def test_releases_agree():
    import tomllib

    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(version)} ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted(DOCS.rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    """To a file, and to a heading of it. Mutation seen red: a heading renamed."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name}: {target} isn't there"
        if anchor and there.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", one).strip().lower()) for one in headings}
            assert anchor in slugs, f"{page.name}: {target} is no heading"
