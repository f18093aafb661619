"""Every block of code in README and the pages: Python and commands are run.

Blocks of bash and sh are understood, for they need a hospital or a data set. Commands run with ``--all-blocks``, as
`.ci/run` asks for; else they are understood, and pages without scans run.

A block that isn't run says why in a comment before it: ``<!-- not run: reason -->`` or, for commands whose options are
still checked, ``<!-- parsed only: reason -->``.
"""

import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
from scenes import write_scan, write_toy_cohort

from ctp_torch.cli import app, main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"(?:<!-- (?P<why>[^>]*?) -->\n)?```(?P<kind>[^\n]*)\n(?P<text>.*?)```", re.DOTALL)


class Block(NamedTuple):
    kind: str
    text: str
    why: str


def blocks_of(page):
    for found in _FENCE.finditer(page.read_text(encoding="utf-8")):
        yield Block(found["kind"], found["text"], found["why"] or "")


def commands_of(block):
    for line in re.split(r"\n|&&|;|\|", block.text):
        if re.match(r"\s*ctp-torch\s", line):
            yield shlex.split(line, comments=True)[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_are_understood(page):
    """Every option of every command on a page exists, and takes what is given. Mutation seen red: an option renamed."""
    group = typer.main.get_command(app)
    for block in blocks_of(page):
        assert block.kind in ("", "text", "sh", "bash", "console", "python", "json", "toml", "yaml"), (
            f"a {block.kind} block?"
        )
        if block.kind in ("console", "sh", "bash", "") or page.name == "commands.md":
            for words in commands_of(block):
                command, context = group, None
                while hasattr(command, "commands"):
                    context = typer.Context(command, parent=context, info_name=command.name)
                    command, words = command.get_command(context, words[0]), words[1:]
                    assert command is not None, f"{page.name}: no such command in {block.text}"
                command.make_context(command.name, [w for w in words if w != "-q"], resilient_parsing=False)


def runnable(page):
    """The blocks of a page to run."""
    said = [block for block in blocks_of(page) if block.kind in ("console", "python")]
    for block in said:
        assert not block.why or re.match(r"(not run|parsed only): \w", block.why), (
            f"{page.name}: why isn't {block.text} run?"
        )
    return [block for block in said if not block.why]


RUN = [page for page in PAGES if page.parent.name != "examples" and runnable(page)]
QUICK = {"README.md", "deconvolution.md", "scores.md", "add-deconvolution.md", "add-model.md"}
"""What runs without being asked for: a second or two each."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A scan as DICOM and as NIfTI, and a cohort, under the names that pages give them."""
    from ctp_torch.io import read_series, write_nifti_series

    folder = tmp_path_factory.mktemp("pages")
    write_scan(folder / "DICOM", n=64, n_slices=3, frames=40)
    write_toy_cohort(folder / "COHORT")
    write_nifti_series(folder / "scan.nii.gz", read_series(folder / "DICOM"))
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", RUN, ids=lambda path: str(path.relative_to(ROOT)))
def test_blocks_run(page, data, tmp_path, monkeypatch, capsys, request):
    """One after another, in one folder, in one Python. Mutation seen red: a name of the front door misspelt."""
    everything = request.config.getoption("--all-blocks")
    if not everything and page.name not in QUICK:
        pytest.skip("runs with --all-blocks")
    for entry in data.iterdir():
        (shutil.copytree if entry.is_dir() else shutil.copy)(entry, tmp_path / entry.name)
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "page"}
    for block in runnable(page):
        if block.kind == "python":
            exec(compile(block.text, str(page), "exec"), namespace)
            continue
        for line in block.text.splitlines() if everything else ():
            words = shlex.split(line, comments=True)
            if not words:
                continue
            assert words[0] == "ctp-torch", f"{page.name}: only ctp-torch is run here, mark {line!r}"
            monkeypatch.setattr(sys, "argv", words)
            with pytest.raises(SystemExit) as stop:
                main()
            assert not stop.value.code, capsys.readouterr().err
