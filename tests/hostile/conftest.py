"""Children to be killed, and a small world of a scan, a cohort and a model that they work on."""

import shutil
from types import SimpleNamespace

import pytest
from scenes import write_scan, write_toy_cohort

from hostile.crash_points import Forks


@pytest.fixture(scope="session")
def forks(tmp_path_factory):
    """A server of children, shared by all tests of a worker."""
    server = Forks(tmp_path_factory.mktemp("forks") / "home")
    yield server
    server.close()


@pytest.fixture(scope="session")
def world(forks, tmp_path_factory):
    """What the commands read; no test may change it."""
    home = tmp_path_factory.mktemp("world")
    write_scan(home / "scan", n=64, n_slices=3, frames=40)
    shutil.make_archive(str(home / "scan"), "zip", home / "scan")
    cohort = write_toy_cohort(home / "cohort", train=2, test=1)
    model = home / "ridge.safetensors"
    options = ("--samples", 400, "--registration", "none", "--keep-all")
    made = forks.run("train", cohort, "-o", model, "--model", "ridge", *options)
    assert made.code == 0, made.err
    return SimpleNamespace(scan=home / "scan", archive=home / "scan.zip", cohort=cohort, model=model)
