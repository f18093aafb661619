"""Results come to their place whole, one run at a time, and nothing but a run's own files is ever removed."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from ctp_torch.errors import OutputExistsError
from ctp_torch.io.claims import claim_file, claim_folder, delivered
from ctp_torch.io.listing import LISTING
from ctp_torch.io.workplace import PREFIX, Workplace, sweep


def contents(root):
    """Every file below a folder with its text, the list of files aside."""
    files = (p for p in Path(root).rglob("*") if p.is_file() and p.name != LISTING)
    return {p.relative_to(root).as_posix(): p.read_text(encoding="utf-8") for p in files}


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def deliver(place, files, **options):
    with delivered(place, **options) as folder:
        write(folder, files)


FIRST = {"cbf.nii": "A", "core.nii": "A", "dicom/ct/1.dcm": "A", "run.json": "A"}
SECOND = {"cbf.nii": "B", "run.json": "B"}


def test_a_second_run_leaves_its_own_files_and_the_users(tmp_path):
    """Mutation seen red: not removing what the run before listed."""
    deliver(tmp_path / "out", FIRST)
    told = json.loads((tmp_path / "out" / LISTING).read_text(encoding="utf-8"))["files"]
    assert told == {name: [1, hashlib.sha256(b"A").hexdigest()] for name in FIRST}
    write(tmp_path / "out", {"thesis.txt": "mine", "dicom/notes.txt": "mine"})
    with pytest.raises(OutputExistsError, match=r"exists already.*--force"):
        deliver(tmp_path / "out", SECOND)
    assert contents(tmp_path / "out") == FIRST | {"thesis.txt": "mine", "dicom/notes.txt": "mine"}
    deliver(tmp_path / "out", SECOND, force=True)
    assert contents(tmp_path / "out") == SECOND | {"thesis.txt": "mine", "dicom/notes.txt": "mine"}
    assert not (tmp_path / "out" / "dicom" / "ct").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_without_our_list_is_never_touched(tmp_path, force):
    """Mutation seen red: taking a folder without a list for an empty one."""
    write(tmp_path / "case", {"dicom/1.dcm": "source"})
    with pytest.raises(OutputExistsError, match="new or an empty folder"):
        deliver(tmp_path / "case", {"dicom/ct/1.dcm": "B"}, force=force)
    assert contents(tmp_path / "case") == {"dicom/1.dcm": "source"}


def test_a_file_that_its_user_changed_is_refused_by_name(tmp_path):
    """Mutation seen red: comparing sizes alone."""
    deliver(tmp_path / "out", FIRST)
    (tmp_path / "out" / "core.nii").write_text("C", encoding="utf-8")
    with pytest.raises(OutputExistsError, match=r"core\.nii is changed|core\.nii.*changed since"):
        deliver(tmp_path / "out", SECOND, force=True)
    assert contents(tmp_path / "out") == FIRST | {"core.nii": "C"}


def test_what_came_to_stand_in_the_way_is_refused_by_name(tmp_path):
    deliver(tmp_path / "out", {"cbf.nii": "A", "run.json": "A"})
    write(tmp_path / "out", {"dicom/scan.dcm": "source", "core.nii": "mine"})
    before = contents(tmp_path / "out")
    for files in ({"dicom/ct/1.dcm": "B"}, {"core.nii": "B"}):
        with pytest.raises(OutputExistsError, match="in the way of this run's results"):
            deliver(tmp_path / "out", files, force=True)
        assert contents(tmp_path / "out") == before


def test_links_lead_nowhere(tmp_path):
    """A folder of ours that was moved away and linked to is not emptied; a list that points outside is no list."""
    deliver(tmp_path / "out", FIRST)
    (tmp_path / "out" / "dicom").rename(tmp_path / "archive")
    (tmp_path / "out" / "dicom").symlink_to(tmp_path / "archive")
    with pytest.raises(OutputExistsError, match="changed since"):
        deliver(tmp_path / "out", SECOND, force=True)
    assert contents(tmp_path / "archive") == {"ct/1.dcm": "A"}
    write(tmp_path, {"precious.txt": "1"})
    digest = hashlib.sha256(b"1").hexdigest()
    write(tmp_path / "evil", {LISTING: json.dumps({"files": {"../precious.txt": [1, digest]}})})
    with pytest.raises(OutputExistsError, match="didn't list as its own"):
        deliver(tmp_path / "evil", SECOND, force=True)
    assert (tmp_path / "precious.txt").exists()


def test_an_input_among_what_is_replaced_is_refused_before_anything_is_read(tmp_path):
    """Mutation seen red: comparing paths as they are written."""
    deliver(tmp_path / "out", FIRST)
    (tmp_path / "other").symlink_to(tmp_path / "out" / "dicom")
    for given in (tmp_path / "out", tmp_path / "out" / "cbf.nii", tmp_path / "other", tmp_path / "other" / "ct"):
        with pytest.raises(OutputExistsError, match="is read by this run"):
            claim_folder(tmp_path / "out", force=True, inputs=(given,))
    write(tmp_path / "out", {"mine/1.dcm": "source"})
    deliver(tmp_path / "out", SECOND, force=True, inputs=(tmp_path / "out" / "mine", tmp_path, None))
    assert contents(tmp_path / "out") == SECOND | {"mine/1.dcm": "source"}
    os.link(tmp_path / "out" / "cbf.nii", tmp_path / "hard.nii")
    for name in ("hard.nii", "soft.nii"):
        if name == "soft.nii":
            (tmp_path / name).symlink_to(tmp_path / "out" / "cbf.nii")
        with pytest.raises(OutputExistsError, match="is read by this run"):
            claim_file(tmp_path / name, force=True, inputs=(tmp_path / "out" / "cbf.nii",))


@pytest.mark.parametrize("there", [False, True])
def test_one_run_at_a_time_writes_to_a_place(tmp_path, there):
    """Mutation seen red: no lock in the claim."""
    if there:
        (tmp_path / "out").mkdir()
    (tmp_path / "same").symlink_to(tmp_path / "out")
    with claim_folder(tmp_path / "out") as first:
        for place in (tmp_path / "out", tmp_path / "same"):
            with pytest.raises(OutputExistsError, match=rf"written to by process {os.getpid()} on"):
                claim_folder(place, force=True)
        with first.delivered() as folder:
            write(folder, SECOND)
    with pytest.raises(OutputExistsError, match="exists already"):
        claim_folder(tmp_path / "out")
    assert contents(tmp_path / "out") == SECOND


def test_a_folder_made_meanwhile_by_others_is_left_alone(tmp_path):
    claim = claim_folder(tmp_path / "out")
    write(tmp_path / "out", {"other.txt": "mine"})
    with claim, pytest.raises(OutputExistsError, match="by another program meanwhile"), claim.delivered() as folder:
        write(folder, SECOND)
    assert contents(tmp_path) == {"out/other.txt": "mine"}


def test_a_refused_run_leaves_no_folder_behind(tmp_path):
    with pytest.raises(FileExistsError), delivered(tmp_path / "a" / "b" / "out") as folder:
        write(folder, {**SECOND, "cbf.nii/below": "B"})
    assert not list(tmp_path.iterdir())


def test_files_of_one_result_come_together(tmp_path):
    """Mutation seen red: the record of what is under way left behind; the second file replaced first."""
    model, beside = tmp_path / "m.safetensors", tmp_path / "m.importance.png"
    for text, names, force in (("A", (model, beside), False), ("B", (model,), True)):
        with claim_file(model, beside, force=force) as claim, claim.delivered() as folder:
            for path in names:
                (folder / path.name).write_text(text, encoding="utf-8")
    assert contents(tmp_path) == {"m.safetensors": "B"}
    beside.write_text("mine", encoding="utf-8")
    with pytest.raises(OutputExistsError, match=r"m\.safetensors exists already.*--force"):
        claim_file(model, beside)
    model.unlink()
    with pytest.raises(OutputExistsError, match=r"importance\.png exists already.*--force"):
        claim_file(model, beside)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.importance.png"]


def test_only_the_dead_are_swept(tmp_path):
    """Mutations seen red: no lock asked for; a symbolic link followed; another machine's run taken for dead."""
    write(tmp_path / f"{PREFIX}dead", {"maps.nii": "1"})
    write(tmp_path / f"{PREFIX}far", {".owner": json.dumps({"pid": 1, "host": "elsewhere", "boot": "other"})})
    write(tmp_path / "precious", {"a": "1"})
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "precious")
    with Workplace(tmp_path / f"{PREFIX}alive") as alive:
        assert [p.name for p in sweep(tmp_path)] == [f"{PREFIX}dead"]
        assert alive.folder.is_dir()
    assert (tmp_path / "precious" / "a").exists()
    assert (tmp_path / f"{PREFIX}far").is_dir()
    with pytest.raises(OutputExistsError, match="process 1 on elsewhere"):
        claim_folder(tmp_path / "far")
