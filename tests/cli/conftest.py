"""The command line called as a user calls it, and small data to call it on."""

import sys
from typing import NamedTuple

import pytest
from scenes import write_scan, write_toy_cohort

from ctp_torch.cli import console, main


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys, monkeypatch):
    """Run ``ctp-torch`` with arguments; a traceback fails the test by itself."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["ctp-torch", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        code = stop.value.code
        for switch in ("debug", "quiet", "verbose", "log_json"):
            setattr(console.settings, switch, False)
        return Result(0 if code is None else code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def scan_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scan") / "dicom"
    write_scan(folder, n=64, n_slices=3, frames=40)
    return folder


@pytest.fixture(scope="session")
def cohort_folder(tmp_path_factory):
    return write_toy_cohort(tmp_path_factory.mktemp("cohort") / "toy")
