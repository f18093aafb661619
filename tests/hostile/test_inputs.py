"""Every hostile input ends within 5 s and 1 GB: in the scan as it was made, in a warning, or in one clear message."""

import json
import re
import sys

import numpy as np
import pytest
from pydicom import dcmread
from scenes import write_scan

from ctp_torch.cli import console, main
from ctp_torch.errors import CTPError
from ctp_torch.io import read_series
from hostile.inputs import INPUTS, READS, REFUSES, WARNS, Hostile, scan
from hostile.mutations import bounded


def what_comes(folder, one):
    """Outcome and words of an input."""
    path = one.make(folder)
    try:
        with bounded():
            series = read_series(path if path is not None and not isinstance(path, dict) else folder, **one.options)
    except CTPError as error:
        return REFUSES, str(error)
    words = "\n".join(series.provenance.warnings)
    truth = scan(n_slices=series.hu.shape[1], rows=series.hu.shape[2], columns=series.hu.shape[3]).hu
    right = series.hu.shape == truth.shape and np.array_equal(series.hu.numpy(), truth)
    return (READS if right else WARNS if words else "silently wrong"), words


@pytest.mark.parametrize("name", INPUTS)
def test_hostile_input(name, tmp_path):
    """Mutations seen red: each line of `wrong_amount`; extractall in `unpack`; the checksum's end not read."""
    one: Hostile = INPUTS[name]
    came, words = what_comes(tmp_path / "data", one)
    if came == READS and words and WARNS in one.wanted:
        came = WARNS
    assert came in one.wanted, words
    if name == "zip_whose_damaged_members_climb":
        assert (tmp_path / "data" / "kept.txt").read_text() == "mine"
    assert re.search(one.says, words, re.DOTALL), words
    if came == REFUSES:
        assert len(words) > 25
        assert ":" in words or ";" in words or "give" in words, "no remedy"


def test_a_warning_reaches_all_that_reads_the_result(tmp_path, monkeypatch, capsys):
    """An image of zeros and a hidden file: told on the terminal, in run.json, on the page and beside the NIfTI.

    Mutation seen red: the warnings of the series left out of those of the run.
    """
    write_scan(tmp_path / "ct", n=64, n_slices=2, frames=24)
    first, second, *_ = sorted((tmp_path / "ct").iterdir())
    d = dcmread(first)
    d.PixelData = b"\0" * len(d.PixelData)
    d.save_as(first)
    (tmp_path / "ct" / ".copy.dcm").write_bytes(second.read_bytes())
    words = ("1 of 48 images hold one value alone", "1 hidden files look like DICOM")
    for command, *more in (("maps", "--registration", "none"), ("convert",)):
        monkeypatch.setattr(
            sys, "argv", ["ctp-torch", command, str(tmp_path / "ct"), "-o", str(tmp_path / command), *more]
        )
        with pytest.raises(SystemExit) as stop:
            main()
        console.settings.debug = console.settings.quiet = False
        assert stop.value.code in (0, None)
        err = capsys.readouterr().err
        assert all(one in err for one in words)
    told = [
        json.loads((tmp_path / "maps" / "run.json").read_text())["warnings"],
        json.loads((tmp_path / "convert" / "ctp.json").read_text())["Warnings"],
    ]
    for warnings in told:
        assert all(any(one in warning for warning in warnings) for one in words)
    page = (tmp_path / "maps" / "report.html").read_text()
    assert all(one in page for one in words)
