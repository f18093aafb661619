"""A small cohort killed, resumed, shared and merged: always the table that a loop of single runs gives."""

import subprocess
import time

import pytest
from cohorts.campaign import (
    OPTIONS,
    command,
    contents,
    disagreements,
    leftovers,
    rows_of,
    run,
    run_and_kill,
    write_world,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    write_world(root / "in", 1, broken=("cut", "air"))
    assert run("cohort", "run", root / "in", "-o", root / "whole", *OPTIONS, "-q")[0] == 8
    return root


@pytest.mark.slow
def test_the_table_is_that_of_a_loop(world, tmp_path):
    """Mutations seen red: numbers of another row; the study's first series taken for both."""
    rows = rows_of(world / "whole")
    assert [row["status"] for row in rows] == ["failed", "failed", "done", "done", "done"]
    assert len({row["message"] for row in rows if row["message"]}) == 2
    assert disagreements(world / "in", world / "whole", tmp_path) == []


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_files(world, tmp_path):
    """Mutations seen red: a process that outlives its parent; leases not taken by who does the work."""
    assert run_and_kill(world / "in", tmp_path / "out", 2, most_s=8.0) == 8
    assert contents(tmp_path / "out") == contents(world / "whole")
    assert leftovers(tmp_path) == []


@pytest.mark.slow
def test_parts_side_by_side_and_one_merging_command(world, tmp_path):
    """A shard and a run over all of it at once share one folder; `cohort table` merges.

    Mutation seen red: what another run holds passed over.
    """
    words = ("cohort", "run", world / "in", "-o", tmp_path / "out", *OPTIONS, "--workers", 1, "-q")
    crew = []
    for more in (("--shard", "1/2"), ()):
        argv, environment = command(*words, *more)
        crew.append(subprocess.Popen(argv, env=environment))
        time.sleep(0.2)
    assert {one.wait(300) for one in crew} == {8}
    code, out, _ = run("cohort", "table", tmp_path / "out")
    assert code == 8
    assert "3 done, 2 failed" in out
    assert contents(tmp_path / "out") == contents(world / "whole")
    assert leftovers(tmp_path) == []
