"""Help, info and doctor."""

import json
import re
import subprocess
import sys
import time

import pytest
import typer

import ctp_torch
from ctp_torch.cli import app, choices
from ctp_torch.errors import CTPError


def test_help_imports_no_torch():
    code = (
        "import sys; sys.argv = ['ctp-torch', '--help']\nfrom ctp_torch.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    sys.exit('torch' in sys.modules)"
    )
    started = time.perf_counter()
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
    assert time.perf_counter() - started < 20  # a hang, not a benchmark


def test_every_method_is_there():
    from ctp_torch import ops

    for name in choices.METHODS:
        assert choices.pick_method(name).__name__ == name
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
    assert "largest" in next(line for line in done.out.splitlines() if line.startswith("  motion"))
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


def _commands():
    group = typer.main.get_command(app)
    yield (), group
    for name, command in group.commands.items():
        yield (name,), command
        yield from (((name, inner), one) for inner, one in getattr(command, "commands", {}).items())


@pytest.mark.parametrize(
    ("words", "command"), [pytest.param(*one, id=" ".join(one[0]) or "app") for one in _commands()]
)
def test_help_keeps_what_was_written(run, monkeypatch, words, command):
    """Units and defaults in square brackets, of every option and argument.

    Mutations seen red: help texts not escaped; switches with a type.
    """
    monkeypatch.setenv("COLUMNS", "1000")  # a line an option
    out = re.sub(r"\x1b\[[0-9;]*m", "", run(*words, "-h").out)  # colours, where a terminal is forced
    shown = " ".join(out.split())
    assert not re.search(r" [.,;](\s|$)|<bool>|\[/?bold\]|\\\[", shown)
    for one in (command, *command.params):
        brackets = re.findall(r"\[[^\]]+\]", one.help)  # an option without help fails here
        assert [text for text in brackets if "bold" not in text and text not in shown] == []
    for option in command.params:
        label = max(option.opts, key=len) if option.opts[0].startswith("-") else option.metavar or option.name
        row = next(line for line in out.splitlines() if re.match(rf"│[ *]+{label}(?![\w-])", line, re.IGNORECASE))
        negative = next(iter(option.secondary_opts), "")
        default = negative.strip("-") if negative and option.default is False else option.opts[0].strip("-")
        if not getattr(option, "is_flag", False):
            default = str(option.default)
        if (negative and option.default is not None) or option.default not in (None, False, True):
            assert f"[default: {default}]" in row
        if unit := re.search(r"_mm$|^dt$|^times$", option.name):
            assert {"_mm": "[mm", "dt": "[s", "times": "[s"}[unit[0]] in row


def test_every_name_is_known_in_any_case():
    for name in choices.METHODS:
        assert choices.as_method(name.upper().replace("_", "-")) == name
    assert choices.as_method(None) is None
    assert choices.pick_maps("CBF, tmax,cbf") == ("cbf", "tmax")


def test_model_names_are_those_of_the_paper():
    from ctp_torch.learning.training import paper_model

    for name in choices.MODELS:
        assert type(choices.make_model(name.upper())) is type(paper_model(name))
    with pytest.raises(CTPError, match=f"among {', '.join(choices.MODELS)}$"):
        paper_model("magic")


TYPING_ERRORS = {
    "maps S -o O --method csdv": "'csdv' (did you mean csvd?)",
    "maps S -o O --method Delay-Corrected-SVD": "(did you mean delay_corrected_ssvd?)",
    "maps S -o O --registration simple-itk": "(did you mean simpleitk?)",
    "maps S -o O --duplicates frist": "(did you mean first?)",
    "maps S -o O --formats nfiti,ct": "unknown format nfiti (did you mean nifti?); known:",
    "lesion M -o O --formats segs": "unknown format segs (did you mean seg?); known:",
    "train C -o m.safetensors --maps cbv,cfb": "unknown map cfb (did you mean cbf?); known:",
    "train C -o m.safetensors --model rigde": "(did you mean ridge?)",
    "train C -o m.safetensors --feature-scale z-scor": "(did you mean zscore?)",
    "calibrate C -o O --method tikhonof": "(did you mean tikhonov?)",
    "evaluate C -m m.safetensors -o O --split tran": "(did you mean train?)",
    "info S --duplicates refused": "(did you mean refuse?)",
    "tune C -o O --maps tmx": "(did you mean tmax?)",
    "maps S -o O --method fft": "unknown method 'fft'; choose among csvd, osvd",
    "maps /nowhere -o O": "/nowhere doesn't exist: give a DICOM folder",
    "info /nowhere": "/nowhere doesn't exist: give a DICOM folder",
}


def test_a_typing_error_is_answered_at_once():
    """With the name that was meant, before torch is loaded; the version too.

    Mutations seen red: `--method` without its callback; names with two letters swapped not preferred.
    """
    code = (
        "import sys\nfrom ctp_torch.cli import main\n"
        "for line in sys.stdin.read().splitlines():\n"
        "    sys.argv = ['ctp-torch', *line.split()]\n"
        "    try:\n        main()\n    except SystemExit as stop:\n"
        "        print(stop.code or 0, 'torch' in sys.modules, file=sys.stderr)\n"
    )
    lines = "\n".join([*TYPING_ERRORS, "--version"])
    done = subprocess.run([sys.executable, "-c", code], input=lines, capture_output=True, text=True, check=True)
    *answers, last = done.stderr.split(" False\n")[:-1]
    assert len(answers) == len(TYPING_ERRORS)
    for answer, expected in zip(answers, TYPING_ERRORS.values(), strict=True):
        assert answer.count("error:") == 1
        assert expected in answer
        assert answer.endswith(("\n1", "\n3"))
    assert last == "0"
    assert done.stdout == f"{ctp_torch.__version__}\n"
