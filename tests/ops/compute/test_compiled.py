"""The compiled loops: built once, kept where nobody else writes, and done without where they can't be built."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from ctp_torch.ops.compute import compiled

pytestmark = pytest.mark.skipif(shutil.which("cc") is None or os.name != "posix", reason="no C compiler here")
needs_root = pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root gives files away")
ASK = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("compiled", sys.argv[1])  # without torch: many processes are asked
compiled = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compiled)
print(compiled.library_state())
"""


@pytest.fixture(scope="module")
def cc():
    """A compiler that is quick, for it gives what ``cc`` built once, and leaves a line in ``calls``; in an open folder.

    What lies below a closed folder, as pytest's own, nobody else can reach.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        command = ["cc", *compiled._OPTIONS, *map(str, compiled._SOURCES), "-o", str(folder / "built.so")]
        subprocess.run(command, check=True)
        program = folder / "cc"
        program.write_text(
            f'#!/bin/sh\necho one >> "{folder}/calls"\nfor last; do :; done\ncp "{folder}/built.so" "$last"\n'
        )
        program.chmod(0o755)
        yield program


@pytest.fixture
def fresh(cc, monkeypatch):
    """No library loaded yet, and an empty cache."""
    cache = Path(tempfile.mkdtemp(dir=cc.parent)) / "cache"
    cache.parent.chmod(0o755)
    (cc.parent / "calls").unlink(missing_ok=True)
    monkeypatch.setenv("CC", str(cc))
    monkeypatch.delenv("CTP_TORCH_COMPILED", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr(compiled, "_library_and_state", compiled._library_and_state.__wrapped__)
    return cache / "ctp_torch"


def ask(**variables):
    """What a process of its own says about the library. It would take a bad one's signal, not we."""
    command = [sys.executable, "-c", ASK, compiled.__file__]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, (done.returncode, done.stderr[-500:])
    return done.stdout.strip()


def kept_in(folder):
    return sorted(folder.glob("*.so"))


def test_it_is_built_once_and_kept(fresh, monkeypatch):
    """By the machine's own compiler. Mutation seen red: built anew though it is there."""
    monkeypatch.delenv("CC")
    assert compiled.fused_library(torch.device("cpu")) is not None
    (kept,) = kept_in(fresh)
    built = kept.stat()
    assert compiled.library_state() == f"yes, kept in {fresh}"
    assert kept_in(fresh) == [kept]
    assert (kept.stat().st_ino, kept.stat().st_mtime_ns) == (built.st_ino, built.st_mtime_ns)
    assert {path.suffix for path in fresh.iterdir()} == {".so", ".lock"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in (fresh, *fresh.iterdir()))


def test_a_cache_that_cannot_be_written_is_done_without(fresh):
    """The folder is a file."""
    fresh.parent.write_text("")
    assert compiled.fused_library(torch.device("cpu")) is not None
    assert compiled.library_state().startswith("yes, but built anew by each process")
    assert fresh.parent.read_text() == ""


@pytest.mark.parametrize(
    "compiler", ["no-such-compiler", "false", "true", "", "'", "cc -ffast-math", "cc --no-such-option"]
)
def test_without_a_sound_compiler_there_is_none(fresh, monkeypatch, compiler):
    """None found, one that fails or makes nothing, none asked for, one whose powers are wrong; a reason for doctor.

    Mutations seen red: the failure of the compiler let through; no trial of what it built.
    """
    monkeypatch.setenv("CC", compiler)
    assert compiled.fused_library(torch.device("cpu")) is None
    assert compiled.library_state().startswith("no: ")
    assert not kept_in(fresh)


def test_a_compiler_that_never_ends_is_given_up_with_its_children(fresh, monkeypatch, tmp_path):
    """Mutation seen red: the compiler alone ended, whose child holds on to what it writes to."""
    children = tmp_path / "children"
    slow = tmp_path / "slow"
    slow.write_text(f"#!/bin/sh\nsleep 300 &\necho $! > {children}\nwait\n")
    slow.chmod(0o700)
    monkeypatch.setenv("CC", str(slow))
    monkeypatch.setattr(compiled, "_PATIENCE_S", 1.0)
    assert compiled.fused_library(torch.device("cpu")) is None
    assert "timed out" in compiled.library_state()
    state = Path(f"/proc/{int(children.read_text())}/stat")
    until = time.monotonic() + 10.0  # killed at once, but a busy machine takes its time to bury it
    while state.exists() and not state.read_text().split(") ")[1].startswith("Z"):
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("off", ["0", "off", "No"])
def test_it_can_be_switched_off(fresh, monkeypatch, off):
    """Mutation seen red: the variable not looked at."""
    monkeypatch.setenv("CTP_TORCH_COMPILED", off)
    assert compiled.fused_library(torch.device("cpu")) is None
    assert "switched off" in compiled.library_state()
    assert not fresh.exists()


def test_other_devices_have_no_part_in_it():
    assert compiled.fused_library(torch.device("meta")) is None


@pytest.mark.parametrize("harm", ["empty", "first page", "one bit", "another library"])
def test_a_library_that_is_not_what_was_built_is_built_anew(fresh, tmp_path, harm):
    """Cut short (a signal when mapped), changed, exchanged. Mutation seen red: the content's hash not looked at."""
    assert "kept in" in ask()
    (kept,) = kept_in(fresh)
    sound, mark, source = kept.read_bytes(), tmp_path / "planted-code-ran", tmp_path / "planted.c"
    harmed = {"empty": b"", "first page": sound[:4096], "one bit": sound[:20000] + b"\xff" + sound[20001:]}.get(harm)
    if harmed is None:
        source.write_text(f'#include <stdio.h>\n__attribute__((constructor)) void f() {{ fopen("{mark}", "w"); }}\n')
        subprocess.run(["cc", "-shared", "-fPIC", str(source), "-o", str(kept)], check=True)
        with pytest.raises(AttributeError):  # it would run if loaded
            compiled._loaded(kept)
        assert mark.exists()
        mark.unlink()
    else:
        kept.write_bytes(harmed)
    assert "kept in" in ask()
    assert kept.read_bytes() == sound
    assert not mark.exists()


@pytest.mark.parametrize("place", ["folder", "parent", "link", "file", pytest.param("owner", marks=needs_root)])
def test_what_others_may_write_is_not_loaded(fresh, place, tmp_path):
    """Hashes alone are no proof, for whoever may write makes their own.

    Mutations seen red, one each: mode of the folder, of a folder above, of the file not looked at; a link followed;
    the owner of the file not looked at.
    """
    assert "kept in" in ask()
    (kept,) = kept_in(fresh)
    before = kept.stat().st_ino
    if place == "link":
        kept.rename(tmp_path / "elsewhere.so")
        kept.symlink_to(tmp_path / "elsewhere.so")
    elif place == "owner":
        os.chown(kept, 12345, 12345)
    else:
        {"folder": fresh, "parent": fresh.parent, "file": kept}[place].chmod(0o777)
    state = ask()
    if place in ("link", "owner", "file"):
        assert "kept in" in state
        assert kept.lstat().st_ino != before
        assert kept.lstat().st_mode & 0o777 == 0o600
    else:
        assert "built anew by each process" in state


@needs_root
def test_root_neither_loads_nor_leaves_anything_in_the_home_of_another(fresh):
    """As by ``sudo``, which leaves HOME as it is. Mutation seen red: owners of the folders above not looked at."""
    fresh.parent.mkdir()
    os.chown(fresh.parent, 12345, 12345)
    assert "another user may write" in ask()
    assert list(fresh.parent.iterdir()) == []


def test_eight_processes_build_it_once(fresh, cc):
    """Each call of the compiler leaves a line. Mutations seen red: no lock; what a killed one left is kept."""
    with ThreadPoolExecutor(8) as threads:
        states = list(threads.map(lambda _: ask(), range(8)))
    assert states == [f"yes, kept in {fresh}"] * 8
    assert (cc.parent / "calls").read_text() == "one\n"
    (kept,) = kept_in(fresh)
    left = fresh / f"{kept.stem.rsplit('-', 1)[0]}-building-killed"
    left.mkdir()
    kept.unlink()
    assert "kept in" in ask()
    assert kept_in(fresh) == [kept]
    assert not left.exists()


def test_it_imports_where_files_have_no_owner():
    """As under Windows. Mutation seen red: the user asked for when imported."""
    gone = "import os, subprocess, tempfile; del os.geteuid, os.getuid, os.killpg\n"
    asked = gone + ASK.replace("print(", "compiled.os.name = 'nt'\nprint(")
    done = subprocess.run([sys.executable, "-c", asked, compiled.__file__], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("no: "), done.stderr[-500:]


@pytest.mark.parametrize(("own", "found"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_the_command_line_lets_waiting_threads_sleep(monkeypatch, own, found):
    """Set before torch is imported, which reads it then, and never against the user. Mutation seen red: not set."""
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    code = (
        "import os, sys; sys.argv = ['ctp-torch', 'doctor', '--json']\nimport ctp_torch.cli as cli\n"
        "assert 'torch' not in sys.modules\n"
        "class Look:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'torch': sys.exit(os.environ.get('OMP_WAIT_POLICY'))\n"
        "sys.meta_path.insert(0, Look())\ncli.main()\n"
    )
    environment = {**os.environ, **({"OMP_WAIT_POLICY": own} if own else {})}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr.strip().endswith(found)
