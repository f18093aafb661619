"""The compiled loops: built once, kept, and done without where they can't be built."""

import shutil

import pytest
import torch

from ctp_torch.ops.kernel import compiled

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """No library loaded yet, and an empty cache."""
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compiled, "_library", compiled._library.__wrapped__)
    return tmp_path


@needs_compiler
def test_it_is_built_once_and_kept(fresh):
    """Mutation seen red: built anew though it is there."""
    assert compiled.fused_library(torch.device("cpu")) is not None
    (kept,) = (fresh / "ctp_torch").iterdir()
    built = kept.stat().st_mtime_ns
    assert compiled.fused_library(torch.device("cpu")) is not None
    assert kept.stat().st_mtime_ns == built
    assert list((fresh / "ctp_torch").iterdir()) == [kept]


@needs_compiler
def test_a_cache_that_cannot_be_written_is_done_without(fresh, monkeypatch):
    """The folder is a file."""
    (fresh / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(fresh / "file"))
    assert compiled.fused_library(torch.device("cpu")) is not None
    assert list(fresh.iterdir()) == [fresh / "file"]


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false", ""])
def test_without_a_compiler_there_is_none(fresh, monkeypatch, compiler):
    """None found, one that fails, and none asked for. Mutation seen red: the failure of the compiler let through."""
    monkeypatch.setenv("CC", compiler)
    assert compiled.fused_library(torch.device("cpu")) is None


def test_other_devices_have_no_part_in_it():
    assert compiled.fused_library(torch.device("meta")) is None
