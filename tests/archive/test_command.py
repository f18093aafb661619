"""``ctp-torch node`` as a person uses it, and a folder as a door."""

import json
import os
import sys
import threading
import time

import pytest

from ctp_torch.archive import NodeSettings, Queue
from ctp_torch.archive.journal import digest
from ctp_torch.archive.settings import Source
from ctp_torch.archive.store import Store
from ctp_torch.archive.watch import _look_at_folder
from ctp_torch.cli import main

from .conftest import free_port, patient


@pytest.fixture
def node(capsys, monkeypatch):
    """Runs ``ctp-torch node`` with arguments: its exit status, what it said, and what it complained of."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["ctp-torch", "node", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        told = capsys.readouterr()
        return stop.value.code or 0, told.out, told.err

    return call


@pytest.fixture
def file(tmp_path):
    """Settings of a node with a folder on either side and an archive that isn't there."""
    (tmp_path / "in").mkdir()
    path = tmp_path / "node.toml"
    path.write_text(
        f'[node]\nfolder = "node"\nkeep_free_gb = 0\naudit = "{tmp_path / "audit"}"\n[dicom]\nport = {free_port()}\n'
        f'[page]\nport = 0\n[[watch]]\nkind = "folder"\nfolder = "{tmp_path / "in"}"\n'
        f'[[send]]\nkind = "folder"\nfolder = "{tmp_path / "out"}"\nformats = ["rgb"]\n'
        f'[[send]]\nkind = "dicom"\naet = "PACS"\nhost = "127.0.0.1"\nport = {free_port()}\ntimeout_s = 5\n'
    )
    return path


def test_init_writes_settings_that_check_can_read(node, tmp_path):
    assert node("init", tmp_path / "node.toml")[0] == 0
    code, _, error = node("init", tmp_path / "node.toml")
    assert (code, "exists already" in error) == (6, True)
    assert "ctp-torch node init" in node("check", tmp_path / "gone.toml")[2]


def test_check_tries_every_connection(node, file):
    """Meant to catch: an archive that isn't there passes."""
    code, out, _ = node("check", file)
    lines = out.splitlines()
    assert code == 1
    assert [line.split()[0] for line in lines] == ["well"] * (len(lines) - 1) + ["FAILED"]
    assert "destination dicom: dicom can't be reached" in lines[-1]
    assert len(lines) == 7


def test_list_retry_park_and_purge(node, file, tmp_path):
    """Meant to catch: a retry that sends nothing; purging what is on its way."""
    assert "holds no queue yet" in node("status", file)[2]
    settings = NodeSettings(tmp_path / "node", keep_free_gb=0.0)
    queue = Queue(settings.folder)
    store = Store(settings, queue)
    image = {"sop": "1.2.3", "study": "1.2.4.5", "series": "1", "part": "p", "file": "f", "bytes": 1, "frames": 0}
    queue.add_image(image, quiet_s=9.0)
    last = queue.one("SELECT last FROM studies")["last"]
    case = {
        "study": "1.2.4.5",
        "series": "1",
        "images": "i",
        "settings": "s",
        "n_images": 80,
        "files": "f",
        "last": last,
    }
    number = queue.add_case(case)
    assert "1.2.4.5" not in node("list", file)[1]
    listed = json.loads(node("list", file, "--study", "1.2.4.5", "--json")[1])
    assert [(row["case"], row["study"], row["state"]) for row in listed["cases"]] == [
        (1, digest("1.2.4.5"), "complete")
    ]
    assert "on its way" in node("purge", file, number)[2]
    assert node("park", file, number)[0] == 0
    assert "parked by a user" in node("list", file, "--state", "parked")[1]
    assert node("retry", file, number)[0] == 0
    taken = queue.take_case()
    queue.add_results(number, "maps", ["9.9.9"], ["folder"])
    queue.finish(taken["id"], state="stored")
    queue.delivered(queue.due_delivery("folder"))
    assert queue.one("SELECT state FROM cases")["state"] == "done"
    assert node("retry", file, number)[0] == 0
    assert queue.due_delivery("folder") is not None
    assert node("park", file, number)[0] == 0
    store.case(number).mkdir()
    assert node("purge", file, number)[0] == 0
    assert not store.case(number).exists()
    assert "no case 7" in node("retry", file, 7)[2]
    assert len((tmp_path / "audit").read_text().splitlines()) == 5
    assert node("status", file)[0] == 0


def test_a_folder_is_a_door(tmp_path):
    """What still changes waits; what was moved in is gone from there, the rest is left, and nothing comes twice."""
    there = tmp_path / "in"
    patient(there / "scan", "TOM", n=32, frames=4)
    (there / "notes.txt").write_text("no image")
    settings = NodeSettings(tmp_path / "node", keep_free_gb=0.0)
    store, stop = Store(settings, Queue(settings.folder), "watch"), threading.Event()
    copied = Source("folder", folder=str(there), every_s=60.0)
    assert _look_at_folder(copied, store, stop) == 0  # written just now
    for path in there.rglob("*"):
        os.utime(path, (time.time() - 100,) * 2)
    assert _look_at_folder(copied, store, stop) == 8
    assert _look_at_folder(copied, store, stop) == 0
    assert len(list((there / "scan").iterdir())) == 8
    with store.queue.change() as db:
        db.execute("DELETE FROM marks")
    moved = Source("folder", folder=str(there), every_s=60.0, take="move")
    assert _look_at_folder(moved, store, stop) == 0  # they are here already
    assert [path.name for path in there.rglob("*") if path.is_file()] == ["notes.txt"]
