"""What is printed is text: no file name and no header steers the terminal."""

import json
import sys

import pytest

from ctp_torch import errors
from ctp_torch.cli import console, main
from ctp_torch.errors import CTPError, NoSeriesError


@pytest.mark.parametrize("printed", [console.say, console.warn, console.complain])
def test_control_characters_are_spelt_out(printed, capfd):
    r"""Escape sequences, backspaces, carriage returns, text turned round, undecodable bytes of names.

    Mutation seen red: carriage returns let through.
    """
    printed("a\x1b[2Jb\x08c\rd\x9be\u202ef\udcffg\x00")
    out, err = capfd.readouterr()
    assert r"a\x1b[2Jb\x08c\rd\x9be\u202ef\udcffg\x00" in out + err
    printed("µ Ä 脳\tline\nline")
    out, err = capfd.readouterr()
    assert "µ Ä 脳\tline\nline" in out + err


@pytest.mark.parametrize("words", [("--debug", "info"), ("info", "--debug"), ("-q", "info", "--no-qc", "--debug")])
def test_switches_stand_anywhere(monkeypatch, tmp_path, words):
    """Mutation seen red: the switches left where they are."""
    monkeypatch.setattr(sys, "argv", ["ctp-torch", *words, str(tmp_path)])
    with pytest.raises(NoSeriesError):  # --debug lets the error through
        main()
    assert console.settings.quiet == ("-q" in words)
    console.settings.debug = console.settings.quiet = False


def test_errors_and_warnings_as_lines_for_a_machine(run, tmp_path):
    done = run("info", tmp_path, "--log-json")
    assert done.code == 3
    record = json.loads(done.err)
    assert record["level"] == "error"
    assert "no DICOM" in record["message"] or "no " in record["message"]
    assert record["time"].startswith("20")


def test_long_work_tells_how_far_it_is_without_a_terminal(monkeypatch, capfd):
    """A line a minute, none before.

    Mutations seen red: `last` not moved on; the line written before the first minute.
    """
    clock = iter([0.0, *(20.0 * i for i in range(1, 11)), *([200.0] * 20)])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    assert list(console.track(range(5), "patients", total=5)) == [0, 1, 2, 3, 4]
    lines = [line for line in capfd.readouterr().err.splitlines() if line]
    assert len(lines) >= 1
    assert lines[0] == "info: patients: 2 of 5 done"
    console.settings.quiet = True
    assert list(console.track(range(5), "patients")) == [0, 1, 2, 3, 4]
    console.settings.quiet = False
    assert capfd.readouterr().err == ""


def test_apples_gpus_are_taken_and_compute_on_the_cpu(monkeypatch, capfd):
    """With the reason. Mutation seen red: the device left mps."""
    with pytest.raises(CTPError, match="sees no Apple GPU; use --device cpu"):
        console.pick_device("mps")
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert console.pick_device("mps").type == "cpu"
    assert "float64" in capfd.readouterr().err


def test_exit_codes_are_in_the_help(run):
    """Those of the errors, all of them."""
    shown = " ".join(run("--help").out.split())
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, CTPError):
            assert f"{kind.exit_code} " in shown.split("Exit codes:")[1]
