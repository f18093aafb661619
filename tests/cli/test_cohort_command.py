"""``ctp-torch cohort``: list, run, resume, exit codes."""

import csv
import json

import pytest
from scenes import write_scan


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    root = tmp_path_factory.mktemp("archive")
    write_scan(root / "first", n=48, n_slices=2, frames=30)
    (root / "second").mkdir()
    for number in range(9):
        (root / "second" / f"{number}.dcm").write_bytes(b"\0" * 128 + b"DICM" + bytes(20))
    return root


def test_list_tells_the_scans_and_what_is_passed_over(run, archive, tmp_path):
    done = run("cohort", "list", archive, "--index", tmp_path / "index.json")
    assert done.code == 0, done.err
    assert "1 scans" in done.out
    assert "passed over: 9 file(s)" in done.out
    told = json.loads(run("cohort", "list", archive, "--json", "--index", tmp_path / "index.json").out)
    assert [case["files"] for case in told["cases"]] == [60]
    assert run("cohort", "list", archive / "second").code == 3


def test_options_that_can_not_be_meant(run, archive, tmp_path):
    for words in (("--shard", "2-3"), ("--shard", "4/3"), ("--only", "9"), ("--method", "csdv")):
        done = run("cohort", "run", archive, "-o", tmp_path / "out", *words)
        assert done.code == 1, words
        assert done.err.count("error:") == 1


@pytest.mark.slow
def test_run_maps_all_and_ends_with_8_where_some_failed(run, archive, tmp_path):
    table = tmp_path / "cases.csv"
    table.write_text(f"path\n{archive / 'first'}\n{archive / 'second'}\n")
    out = tmp_path / "out"
    options = ("-o", out, "--registration", "none", "--no-report", "--no-lesions", "--device", "cpu")
    done = run("cohort", "run", table, *options)
    assert done.code == 8, done.err
    assert "1 done, 1 failed" in done.out
    with (out / "cohort.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["status"] for row in rows] == ["done", "failed"]
    assert (out / "cases" / rows[0]["case"] / "maps" / "cbf.nii.gz").is_file()
    again = run("cohort", "run", table, *options, "-q")
    assert again.code == 8
    assert again.err == ""
