"""Processes killed before any change of the disk: nothing is lost or half under a final name, the next run goes on."""

import hashlib
import json
import random
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from ctp_torch.io.claims import delivered
from ctp_torch.io.listing import LISTING
from ctp_torch.io.workplace import PREFIX, temporary_folder

FIRST = {"cbf.nii": "A", "core.nii": "A", "dicom/ct/1.dcm": "A", "run.json": "A"}
SECOND = {"cbf.nii": "B", "run.json": "B"}
CODE = """
import sys
from ctp_torch.io.claims import claim_folder
from ctp_torch.io.workplace import temporary_folder
with temporary_folder() as unpacked, claim_folder(sys.argv[1], force=True) as claim, claim.delivered() as folder:
    for path in (unpacked / "patient.dcm", folder / "cbf.nii", folder / "run.json"):
        path.write_text("B")
"""


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def deliver(place, files, **options):
    with delivered(place, **options) as folder:
        write(folder, files)


def contents(root):
    """Every file below a folder by its SHA-256, lists and workplaces aside."""
    files = (p for p in Path(root).rglob("*") if p.is_file() and p.name != LISTING)
    told = {p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    return {name: digest for name, digest in told.items() if not any(x.startswith(PREFIX) for x in Path(name).parts)}


def hidden(*places):
    """What no run may leave."""
    return [p for place in places for p in Path(place).rglob("*") if p.name.startswith(PREFIX)]


def digests(files):
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}


@pytest.mark.slow
@pytest.mark.parametrize("earlier", ["none", "empty", "first"])
def test_a_delivery_killed_anywhere_is_gone_on_with(forks, tmp_path, earlier, monkeypatch):
    """Whole or marked before every change and removal, and the next run needs no --force and leaves no rest.

    Mutations seen red: the record moved in first; no list of what is under way; leftovers not swept.
    """
    monkeypatch.setattr("tempfile.tempdir", str(forks.temporary))
    number, died = 0, True
    while died:
        number += 1
        out = tmp_path / str(number) / "out"
        out.parent.mkdir()
        if earlier == "empty":
            out.mkdir()
        elif earlier == "first":
            deliver(out, FIRST)
            write(out, {"thesis.txt": "mine"})
        before = contents(out)
        mine = digests({"thesis.txt": "mine"} if earlier == "first" else {})
        after = digests(SECOND) | mine
        under = str(tmp_path.parent.parent)
        died = forks.run(out, code=CODE, kill_at=number, removals=True, under=under).code
        assert died in (0, -signal.SIGKILL)
        left = contents(out)
        assert left in (before, after) or "run.json" not in left
        deliver(out, SECOND, force=left in (before, after))
        with temporary_folder():
            pass
        assert contents(out) == after
        assert not hidden(out.parent, forks.temporary)
    assert number > {"none": 15, "empty": 15, "first": 20}[earlier]


class Case(NamedTuple):
    """A command, and what it leaves."""

    argv: tuple
    primary: str
    """The file, below the folder of the run, that tells that all is there."""
    share: int
    """Of 40 kills."""


def cases(world):
    fast = ("--registration", "none")
    few = ("--samples", 300, "--keep-all", *fast)
    maps = ("maps", world.archive, "-o", "out", *fast, "--no-report", "--formats", "all")
    small = ("--patients", 1, "--train", 1, "--size", 64, "--slices", 1, "--frames", 36, *fast)
    return {
        "maps": Case(maps, "out/run.json", 6),
        "maps over others": Case((*maps[:4], *fast, "--no-report"), "out/run.json", 8),
        "convert": Case(("convert", world.archive, "-o", "ctp.nii.gz"), "ctp.nii.gz", 14),
        "train": Case(("train", world.cohort, "-o", "m.safetensors", "--model", "rf", "--trees", 2, *few),
                      "m.safetensors", 6),
        "evaluate": Case(("evaluate", world.cohort, "--model", world.model, "-o", "out"), "out/summary.md", 4),
        "phantom cohort": Case(("phantom", "cohort", "out", *small), "out/cohort.json", 2),
    }  # fmt: skip


NAMES = ("maps", "maps over others", "convert", "train", "evaluate", "phantom cohort")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_command_killed_anywhere_is_gone_on_with(forks, world, tmp_path, name, request, capsys):
    """``--hostile-kills 200`` spreads that many over the commands.

    Mutations seen red: results written to their final folder at once; what a zip unpacks in a plain temporary folder.
    """
    case, kills = cases(world)[name], request.config.getoption("--hostile-kills")
    source = contents(world.scan.parent)
    count = max(1, round(case.share * kills / 40))

    def prepared(home):
        """A home for one run, and what it may never change."""
        home.mkdir()
        if name != "maps over others":
            return {}
        deliver(home / "out", FIRST)
        write(home / "out", {"dicom/thesis.txt": "mine"})
        return digests(FIRST)

    def go(home, force=False, **options):
        argv = [home / a if a in ("out", "ctp.nii.gz", "m.safetensors") else a for a in case.argv]
        under = str(tmp_path.parent.parent)
        return forks.run(*argv, *(["--force"] if force else []), under=under, **options)

    old = prepared(tmp_path / "whole")
    undisturbed = go(tmp_path / "whole", force=bool(old))
    assert undisturbed.code == 0, undisturbed.err
    expected = set(contents(tmp_path / "whole"))
    kept = set(contents(tmp_path / "whole")) - {"out/dicom/thesis.txt"}
    drawn, last = random.Random(name), undisturbed.touches
    points = [drawn.randint(1 if number % 2 else max(1, last - 40), last) for number in range(count)]
    ends = {"absent": 0, "whole": 0, "marked": 0, "as before": 0}
    for number, point in enumerate(points):
        home = tmp_path / str(number)
        prepared(home)
        done = go(home, force=bool(old), kill_at=point)
        assert done.code in (0, -signal.SIGKILL), done.err
        left = contents(home)
        mine = left.pop("out/dicom/thesis.txt", None)
        assert (mine is None) == (not old)
        before = {f"out/{file}": digest for file, digest in old.items()}
        if case.primary not in left:
            end = "marked" if left else "absent"
        else:
            end = "as before" if left == before and before else "whole"
        ends[end] += 1
        if end == "whole":
            assert set(left) == kept
        if end == "marked":  # only where something stood before, or several files lie beside each other
            assert old or "out" not in {Path(file).parts[0] for file in left}
        _check_listed(home)
        again = go(home, force=end in ("whole", "as before"))
        assert again.code == 0, (name, point, end, again.err)
        assert set(contents(home)) == expected
        _check_listed(home)
        assert not hidden(home, forks.temporary), (name, point, end)
        assert not list(forks.temporary.iterdir())
    assert contents(world.scan.parent) == source
    with capsys.disabled():
        sys.stdout.write(f"\n{name}: {count} kills among {last} points: {ends}\n")


def _check_listed(home):
    """What a list calls whole is there, byte for byte."""
    listing = home / "out" / LISTING
    if not listing.is_file():
        assert not contents(home / "out")
        return
    told = json.loads(listing.read_text(encoding="utf-8"))
    if told.get("unfinished"):
        assert not (home / "out" / "run.json").exists() or "run.json" in told["files"]
        return
    for name, (size, digest) in told["files"].items():
        path = home / "out" / name
        assert path.stat().st_size == size
        assert digest in ("", hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_cleans_up(forks, world, tmp_path, number, code):
    """Seen red before: SIGTERM and SIGHUP left patient DICOM for ever, SIGINT ended with 1."""
    argv = ("maps", world.archive, "-o", tmp_path / "a" / "out", "--registration", "none", "--formats", "all")
    for touch in (3, 60, 150):
        done = forks.run(*argv, signal_at=(touch, number), under=str(tmp_path.parent.parent))
        assert (done.code, done.err) == (code, "error: interrupted\n")
        assert not list(tmp_path.iterdir())
        assert not list(forks.temporary.iterdir())


@pytest.mark.slow
def test_of_two_runs_into_one_new_folder_one_is_refused(forks, world, tmp_path):
    """Seen red before: both ended with 0, and the first one's maps were gone."""
    argv = [*map(str, ("maps", world.scan, "-o", tmp_path / "out", "--registration", "none", "--no-report"))]
    results = forks.together({"argv": argv}, {"argv": argv})
    assert sorted(one.code for one in results) == [0, 6], results
    (refused,) = (one for one in results if one.code)
    assert "written to by process" in refused.err or "exists already" in refused.err
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"cbf.nii.gz", "run.json"}
    assert not hidden(tmp_path)


@pytest.mark.slow
def test_doctor_removes_what_the_killed_left(forks, world, tmp_path):
    out = tmp_path / "deep" / "out"
    argv = ("maps", world.archive, "-o", out, "--registration", "none")
    done = forks.run(*argv, kill_at=60, under=str(tmp_path.parent.parent))
    assert done.code == -signal.SIGKILL
    assert hidden(tmp_path)
    assert hidden(forks.temporary)
    done = forks.run("doctor", "--clean", tmp_path)
    assert (done.code, "2 leftovers of killed runs removed" in done.out) == (0, True), done
    assert not hidden(tmp_path, forks.temporary)
    assert "no killed run left anything" in forks.run("doctor", "--clean", tmp_path).out
    assert forks.run("doctor", "--clean", tmp_path / "nowhere").code == 3
