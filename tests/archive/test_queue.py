"""What a node keeps: nothing is lost, doubled or half there, whatever ends a process, and nobody is named."""

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pydicom
import pytest

from ctp_torch.archive import Queue, check, read_settings
from ctp_torch.archive.check import file_system
from ctp_torch.archive.complete import judge, look
from ctp_torch.archive.failure_page import write_failure_page
from ctp_torch.archive.journal import Journal, anonymous, digest
from ctp_torch.archive.settings import NodeSettings
from ctp_torch.archive.store import FullError, Store
from ctp_torch.archive.template import TEMPLATE
from ctp_torch.errors import CTPError, OptionError, UnreadableFileError

from .conftest import patient, study_of


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A scan of 2 slices and 40 times in order of time, then slice."""
    folder = patient(tmp_path_factory.mktemp("scan") / "ct", "TOM", n=32)
    return sorted(folder.iterdir(), key=lambda p: (pydicom.dcmread(p).AcquisitionTime, p.name))


@pytest.fixture
def store(tmp_path):
    settings = NodeSettings(tmp_path / "node", quiet_s=0.0, settle_s=0.0, deadline_s=60.0, keep_free_gb=0.0)
    return Store(settings, Queue(settings.folder), "receive")


def put(store, paths, change=None):
    """Files taken in; what became of each."""
    kept = []
    for path in paths:
        part = store.part()
        if change is None:
            part.write_bytes(Path(path).read_bytes())
        else:
            one = pydicom.dcmread(path)
            change(one)
            one.save_as(part)
        kept.append(store.keep(part).what)
    return kept


def looked(store, **changes):
    """A look at all studies; the numbers of cases to be told of."""
    settings = NodeSettings(**{**vars(store.settings), **changes})
    store.queue._db.execute("UPDATE studies SET look=0 WHERE look IS NOT NULL")
    return [
        number
        for study in store.queue.to_look_at()
        for number in look(study, settings, store.queue, Journal("t", log=os.devnull), key="k", duplicates="refuse")
    ]


def states(store):
    return [(r["state"], r["n_images"], r["replaces"]) for r in store.queue.rows("SELECT * FROM cases ORDER BY id")]


def test_a_whole_series_is_a_case_once(scan, store):
    """Meant to catch: duplicates entered again; the case made at every look; the first half taken for a whole."""
    assert set(put(store, scan[:40])) == {"new"}
    assert looked(store) == []
    assert states(store) == []  # 20 s: more must follow
    assert set(put(store, scan)) == {"again", "new"}
    assert looked(store) == []
    assert states(store) == [("complete", 80, None)]
    assert set(put(store, scan)) == {"again"}
    looked(store)
    assert states(store) == [("complete", 80, None)]
    assert store.queue.take_case()["n_images"] == 80
    assert store.queue.take_case() is None
    assert store.queue.restart() == 1  # its worker went with the node
    assert store.queue.take_case() is not None


def test_a_missing_image_waits_then_is_parked_then_replaced(scan, store):
    """Meant to catch: waiting for ever; the parked case not named as replaced."""
    put(store, scan[:30] + scan[31:])
    assert looked(store) == []
    assert states(store) == []
    assert "1 of 80 (slice, time) cells are missing" in store.queue.one("SELECT message FROM studies")["message"]
    (number,) = looked(store, deadline_s=0.0)
    assert states(store) == [("parked", 79, None)]
    assert "lacks slice 0" in store.queue.one("SELECT message FROM cases WHERE id=?", number)["message"]
    put(store, [scan[30]])
    assert looked(store) == []
    assert states(store) == [("parked", 79, None), ("complete", 80, 1)]


def test_how_many_time_points_the_headers_tell(scan, tmp_path):
    """A full grid of fewer time points than are told isn't whole; one with as many needs no wait."""
    kept = [p for p in scan if pydicom.dcmread(p).AcquisitionTime <= pydicom.dcmread(scan[75]).AcquisitionTime]
    series = str(pydicom.dcmread(scan[0]).SeriesInstanceUID)
    (verdict,) = judge(kept, {series: 40})
    assert (verdict.full, verdict.sure, verdict.why_not) == (True, False, "38 of 40 time points are here")
    (verdict,) = judge(scan, {series: 40})
    assert (verdict.full, verdict.sure, verdict.why_not) == (True, True, "")
    (verdict,) = judge(scan, {series: 0})
    assert (verdict.full, verdict.sure, verdict.why_not) == (True, False, "")


def test_what_is_no_perfusion_series_ends(scan, store):
    def plain(one):
        one.AcquisitionTime = one.ContentTime = "100000"

    put(store, [scan[0], scan[1]], plain)
    assert looked(store) == []
    assert store.queue.one("SELECT state FROM studies")["state"] == "receiving"
    looked(store, deadline_s=0.0)
    assert store.queue.one("SELECT state, look FROM studies") == {"state": "ignored", "look": None}
    assert states(store) == []


def test_own_results_other_objects_and_damage(scan, store):
    """Meant to catch: own results kept as images."""

    def own(one):
        one.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
        one.Manufacturer = one.ManufacturerModelName = "ctp_torch"

    def magnetic(one):
        one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"

    def nameless(one):
        del one.StudyInstanceUID

    assert put(store, scan[:1], own) == ["own"]
    assert put(store, scan[:1], magnetic) == ["other"]
    with pytest.raises(UnreadableFileError):
        put(store, scan[:1], nameless)
    part = store.part()
    part.write_bytes(b"no DICOM")
    with pytest.raises(UnreadableFileError):
        store.keep(part)
    assert not list(store.parts.iterdir())
    assert store.queue.one("SELECT COUNT(*) AS n FROM images")["n"] == 0


CODE = """
import os, sys
from pathlib import Path
import pydicom
from ctp_torch.archive import Queue
from ctp_torch.archive.settings import NodeSettings
from ctp_torch.archive.store import Store

def take(home, at):
    settings = NodeSettings(Path(home), keep_free_gb=0.0)
    store = Store(settings, Queue(settings.folder), "receive")
    calls = 0
    def dies(frame, event, argument):
        nonlocal calls
        if event == "line" and frame.f_code.co_filename.endswith(("store.py", "queue.py")):
            calls += 1
            if calls == at:
                os.kill(os.getpid(), 9)
        return dies
    part = store.part()
    part.write_bytes(Path(sys.argv[2]).read_bytes())
    sys.settrace(dies)
    store.keep(part)
    sys.settrace(None)
    return calls

lines = take(sys.argv[1] + "/whole", 0)
for at in range(1, lines + 1, max(1, lines // 25)):
    child = os.fork()
    if not child:
        take(f"{sys.argv[1]}/{at}", at)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 9
"""


def test_killed_anywhere_nothing_is_lost_or_half_there(scan, tmp_path):
    """Killed at points all through taking an image in: after mending it is here whole or not at all, never a rest.

    Meant to catch: the file moved before its row is committed; parts without a row left.
    """
    subprocess.run([sys.executable, "-c", CODE, str(tmp_path), str(scan[0])], check=True)
    seen = []
    for home in tmp_path.iterdir():
        store = Store(NodeSettings(home, keep_free_gb=0.0), Queue(home), "receive")
        store.mend()
        rows = store.queue.rows("SELECT file FROM images")
        files = [str(p.relative_to(home)) for p in store._files()]
        assert [row["file"] for row in rows] == files
        assert not list(store.parts.iterdir())
        assert all((home / name).read_bytes() == scan[0].read_bytes() for name in files)
        seen.append(len(files))
        assert put(store, scan[:1]) == ["again" if files else "new"]
    assert len(seen) > 20
    assert set(seen) == {0, 1}


def test_files_without_a_row_are_found(scan, store):
    """A power cut may take the last rows, whose images were answered for."""
    put(store, scan[:3])
    with store.queue.change() as db:
        db.execute("DELETE FROM images")
        db.execute("DELETE FROM studies")
    assert store.mend() == 3
    assert store.queue.one("SELECT COUNT(*) AS n FROM images")["n"] == 3
    assert set(put(store, scan[:3])) == {"again"}


def test_full_disks_refuse_and_kept_days_end(scan, store):
    """Meant to catch: room judged once; deleting studies that are on their way."""
    put(store, scan)
    looked(store)
    now = time.time() + 8 * 86_400
    assert store.clear(now=now) == 0  # it waits to be done
    number = store.queue.take_case()["id"]
    store.queue.finish(number, state="done")
    assert store.clear(now=now) == 1
    assert not list(store._files())
    assert set(put(store, scan)) == {"new"}  # the same again, after it was deleted ...
    looked(store)
    assert states(store) == [("done", 80, None)]  # ... isn't done again
    tight = Store(NodeSettings(store.settings.folder, keep_free_gb=1e6), store.queue, "watch")
    with pytest.raises(FullError):
        put(tight, [scan[0]], lambda one: setattr(one, "SOPInstanceUID", "1.2.3.4"))


def test_new_scans_go_first(scan, store):
    """Meant to catch: first come, first served."""
    put(store, scan)
    looked(store)
    store.queue.finish(store.queue.take_case()["id"], state="done")

    def late(one):
        one.SOPInstanceUID += ".1"
        one.AcquisitionTime = "101500"

    def other(one):
        one.StudyInstanceUID = one.SeriesInstanceUID = "1.2.3"
        one.SOPInstanceUID += ".2"

    put(store, scan[-2:], late)
    looked(store)
    put(store, scan, other)
    looked(store)
    assert [(r["priority"], r["replaces"]) for r in store.queue.rows("SELECT * FROM cases ORDER BY id")][1:] == [
        (1, 1), (0, None),
    ]  # fmt: skip
    assert store.queue.take_case()["study"] == "1.2.3"


def test_deliveries_end_a_case(scan, store):
    put(store, scan)
    looked(store)
    number = store.queue.take_case()["id"]
    store.queue.add_results(number, "maps", ["1.2.9"], ["a", "b"])
    store.queue.finish(number, state="stored")
    assert store.queue.is_result("1.2.9")
    row = store.queue.due_delivery("a")
    store.queue.postponed(row, due=time.time() + 60, message="down")
    assert store.queue.due_delivery("a") is None
    assert store.queue.delivered(store.queue.due_delivery("b")) is False
    assert store.queue.delivered(row) is True
    assert states(store)[0][0] == "done"


def test_failure_page_joins_the_study(scan, tmp_path):
    """The same case and reason make the same object."""
    first, second = (write_failure_page(scan, tmp_path / n, "no artery\nstands out", key="k") for n in "ab")
    page, source = pydicom.dcmread(first[0]), pydicom.dcmread(scan[0])
    assert first[0].read_bytes() == second[0].read_bytes()
    assert (page.StudyInstanceUID, page.PatientID) == (source.StudyInstanceUID, source.PatientID)
    assert page.SeriesDescription == "NO PERFUSION MAPS RESEARCH USE ONLY"
    assert page.pixel_array.shape == (640, 900, 3)
    assert len(set(page.pixel_array.ravel().tolist())) > 10
    if judged := __import__("shutil").which("dciodvfy"):
        told = subprocess.run([judged, str(first[0])], capture_output=True, text=True, check=False)
        assert "Error -" not in told.stderr + told.stdout


def test_the_same_names_in_two_studies(scan, store):
    """An anonymiser that doesn't renew UIDs: both studies keep their images. Meant to catch: images known by UID."""
    put(store, scan[:2])
    assert put(store, scan[:2], lambda one: setattr(one, "StudyInstanceUID", "1.2.3")) == ["new", "new"]
    assert len(list(store._files())) == 4


def test_logs_and_names_tell_nobody(scan, store, tmp_path):
    """Meant to catch: a UID in a message."""
    put(store, scan[:4])
    uid = study_of(scan[0].parent)
    Journal("t", log=str(tmp_path / "log"), audit=str(tmp_path / "audit")).say("x", reason=f"--series {uid}#2")
    Journal("t", audit=str(tmp_path / "audit")).note("received", study=uid, who="CT1@10.0.0.1")
    assert uid not in (tmp_path / "log").read_text()
    assert digest(uid) in (tmp_path / "log").read_text()
    assert json.loads((tmp_path / "audit").read_text())["study"] == uid
    assert stat.S_IMODE((tmp_path / "audit").stat().st_mode) == 0o600
    assert stat.S_IMODE((store.settings.folder / "queue.sqlite").stat().st_mode) == 0o600
    assert anonymous("version 0.1.0 of 2.5 mm, 1.2.840.1.2") == f"version 0.1.0 of 2.5 mm, {digest('1.2.840.1.2')}"
    names = " ".join(str(p) for p in store.settings.folder.rglob("*"))
    assert "TOM" not in names
    assert uid not in names


BAD = {
    '[node]\nfolder = "n"\nfodler = 1': "knows no fodler",
    "[node]\nworkers = 1": "needs folder",
    '[node]\nfolder = "n"\nworkers = 0': "1 to 64",
    '[node]\nfolder = "n"\nworkers = "two"': "whole number",
    '[node]\nfolder = "n"\nquiet_s = 50': "quiet_s <= settle_s",
    '[node]\nfolder = "n"\n[dicom]\nhost = "0.0.0.0"': "list who may send",
    '[node]\nfolder = "n"\n[page]\nhost = "0.0.0.0"': "certificate and a token",
    '[node]\nfolder = "n"\n[[send]]\nkind = "fax"': "choose among dicom, stow",
    '[node]\nfolder = "n"\n[[send]]\nkind = "dicom"\nhost = "x"': "needs aet",
    '[node]\nfolder = "n"\n[[send]]\nkind = "folder"\nfolder = "o"\nformats = ["jpg"]': "unknown formats jpg",
    '[node]\nfolder = "n"\n[[watch]]\nkind = "orthanc"': "needs url",
    "nonsense": "no TOML",
}


def test_settings_that_cannot_be_meant(tmp_path):
    path = tmp_path / "node.toml"
    for text, words in BAD.items():
        path.write_text(text)
        with pytest.raises(OptionError, match=words):
            read_settings(path)
    path.write_text('[node]\nfolder = "n"\n[maps]\nmetod = "csvd"')
    with pytest.raises(OptionError, match="knows no metod"):
        read_settings(path).map_settings()
    path.write_text(TEMPLATE)
    assert read_settings(path) == NodeSettings((tmp_path / "node").absolute())  # what it shows are the defaults


def test_every_line_of_the_template_can_be_switched_on(tmp_path):
    lines = TEMPLATE.splitlines()
    text = "\n".join(
        line[2:] if line.startswith("# ") and ("=" in line or line.startswith("# [[")) else line for line in lines
    )
    text = text.replace("[[dicom.peer]]             #", "[[dicom.peer]]  #")
    (tmp_path / "node.toml").write_text(text)
    settings = read_settings(tmp_path / "node.toml")
    assert {one.kind for one in settings.send} == {"dicom", "orthanc", "stow", "folder"}
    assert {one.kind for one in settings.watch} == {"orthanc", "dicomweb", "folder"}


def test_network_disks_are_known(tmp_path, monkeypatch):
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/sda / ext4 rw 0 0\nserver:/x /mnt/net nfs4 rw 0 0\n")
    assert file_system(Path("/mnt/net/node"), mounts) == "nfs4"
    assert file_system(Path("/mnt/network"), mounts) == "ext4"
    monkeypatch.setattr(check, "file_system", lambda _: "nfs4")
    with pytest.raises(CTPError, match="network disk"):
        check.check_disk(tmp_path)
