"""Help, info and doctor."""

import json
import subprocess
import sys
import time

import pytest

COMMANDS = ("demo", "maps", "info", "convert", "lut", "train", "evaluate", "doctor", "phantom", "phantom cohort")


def test_help_imports_no_torch():
    code = (
        "import sys; sys.argv = ['ctp-torch', '--help']\nfrom ctp_torch.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    sys.exit('torch' in sys.modules)"
    )
    started = time.perf_counter()
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
    assert time.perf_counter() - started < 20  # a hang, not a benchmark


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run, command):
    done = run(*command.split(), "--help")
    assert done.code == 0
    assert len(done.out) > 200


def test_every_method_is_there():
    from ctp_torch import ops
    from ctp_torch.cli import choices

    for name in choices.METHODS:
        assert choices.pick_method(name) is getattr(ops, name)
    known = {"torch": ops.register_rigid, "simpleitk": ops.register_simpleitk, "none": None}
    assert {name: choices.pick_registration(name) for name in choices.REGISTRATIONS} == known


def test_info_tells_what_a_series_is(run, scan_folder):
    done = run("info", scan_folder)
    assert done.code == 0, done.err
    assert "3 slices x 40 frames of 64 x 64 pixels" in done.out
    facts = json.loads(run("info", scan_folder, "--json").out)
    assert facts["frames"] == 40
    assert facts["dt_s"] == 1.0
    assert len(facts["frame_times_s"]) == 40
    assert set(facts["quality"]["checks"]) == {"q1", "q2", "q3", "q4", "q5", "q6", "q7"}
    assert len([line for line in done.out.splitlines() if line.startswith("  quality")]) == 1
    assert "quality" not in json.loads(run("info", scan_folder, "--json", "--no-qc").out)


def test_info_on_nothing(run, tmp_path):
    done = run("info", tmp_path)
    assert done.code == 3
    assert done.err.count("error:") == 1


def test_doctor_passes_its_self_test(run):
    done = run("doctor", "--json", "--device", "cpu")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert facts["self_test"].startswith("passed")
    assert facts["device"] == "cpu"
