"""Steps: kept whole, known by their settings, and the same after a kill."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ctp_torch.study.engine.steps import Step, fingerprint, load_step, perform, seconds_of
from ctp_torch.study.engine.workers import share_out

RUNNER = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_steps import many
from ctp_torch.study.engine.workers import share_out
if __name__ == "__main__":
    for name in share_out(Path(sys.argv[1]), many(), processes=int(sys.argv[2])):
        print(name, flush=True)
"""


def work(folder, *, number, factor=3):
    """A step of the test: notes that it ran, takes a while, gives a number that isn't JSON's."""
    with (folder / "ran.txt").open("a", encoding="utf-8") as file:
        file.write(f"{number}\n")
    time.sleep(0.15)
    return {"value": number * factor, "pair": (number, float("nan"))}


def many(n=12):
    return [Step(f"many/{i}", work, {"number": i}) for i in range(n)]


def test_a_result_is_read_back_and_not_computed_again(tmp_path):
    """Mutation seen red: ``_read_record`` never finding the file."""
    step = Step("deep/one", work, {"number": 4})
    assert load_step(tmp_path, step) is None
    first = perform(tmp_path, step)
    assert first == {"value": 12, "pair": [4, None]}
    assert perform(tmp_path, step) == first == load_step(tmp_path, step)
    assert (tmp_path / "ran.txt").read_text(encoding="utf-8") == "4\n"
    assert seconds_of(tmp_path, step) >= 0.15


def test_other_settings_are_another_result(tmp_path):
    """Mutation seen red: comparing no key."""
    perform(tmp_path, Step("one", work, {"number": 4}))
    other = Step("one", work, {"number": 4, "factor": 5})
    assert load_step(tmp_path, other) is None
    assert perform(tmp_path, other)["value"] == 20


def test_settings_are_told_apart_whatever_their_order():
    assert fingerprint({"a": 1, "b": (2.0, "x")}) == fingerprint({"b": [2.0, "x"], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert fingerprint({"a": Step("n", work, {})._replace(work=None)}) != fingerprint({"a": {}})


def test_a_failed_step_leaves_nothing(tmp_path):
    def fail(folder):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        list(share_out(tmp_path, [Step("bad", fail, {})]))
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_run_goes_on_where_it_was(tmp_path, processes):
    """kill -9 of the run: its workers end too; the second run computes only what is missing, with the same numbers.

    Mutation seen red: ``perform`` computing again what is there.
    """
    code = RUNNER.format(here=str(Path(__file__).parent))
    script = tmp_path / "runner.py"
    script.write_text(code, encoding="utf-8")
    command = [sys.executable, str(script), str(tmp_path), str(processes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as run:
        for _ in range(4):  # four steps are through
            assert run.stdout.readline()
        run.send_signal(signal.SIGKILL)
        run.stdout.read()  # ends when the workers are gone too
    done = sorted(file.stem for file in (tmp_path / "many").glob("*.json"))
    assert 4 <= len(done) < 12
    kept = {name: (tmp_path / "many" / f"{name}.json").read_text(encoding="utf-8") for name in done}
    (tmp_path / "ran.txt").unlink()
    again = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    assert sorted(again.stdout.split()) == sorted(step.name for step in many())
    ran = (tmp_path / "ran.txt").read_text(encoding="utf-8").split()
    assert sorted(ran) == sorted({str(i) for i in range(12)} - set(done))
    for name, text in kept.items():
        assert (tmp_path / "many" / f"{name}.json").read_text(encoding="utf-8") == text
    for step in many():
        assert load_step(tmp_path, step)["value"] == 3 * step.settings["number"]


def test_files_are_json_for_others(tmp_path):
    perform(tmp_path, Step("one", work, {"number": 4}))
    record = json.loads((tmp_path / "one.json").read_text(encoding="utf-8"))
    assert set(record) == {"key", "seconds", "settings", "result"}
