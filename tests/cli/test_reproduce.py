"""``ctp-torch reproduce``: its refusals; the study itself is tested in tests/study."""

import pytest


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--preset", "large"], 1, "choose among quick, paper"),
        (["COHORT", "--size", "64"], 1, "--size is of digital patients"),
        (["nowhere"], 3, "nowhere"),
        (["--tables-only"], 1, "holds no step of this study"),
    ],
)
def test_mistakes(run, tmp_path, arguments, code, message):
    given = [str(tmp_path) if a == "COHORT" else a for a in arguments]
    done = run("reproduce", *given, "-o", tmp_path / "out")
    assert (done.code, message in done.err) == (code, True), done.err
    assert done.err.count("error:") == 1
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_place_for_a_study(run, tmp_path):
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    done = run("reproduce", "-o", tmp_path / "out")
    assert done.code != 0
    assert "is a file" in done.err
    assert (tmp_path / "out").read_text(encoding="utf-8") == "mine"


def test_the_help_tells_both_presets(run):
    done = run("reproduce", "--help")
    assert done.code == 0
    assert "quick" in done.out
    assert "paper" in done.out
