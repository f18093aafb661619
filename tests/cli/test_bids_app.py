"""``ctp-torch-bids``: subjects found, mapped into a derivatives tree, failures kept apart."""

import sys

import pytest
import torch
from scenes import scan

from ctp_torch.cli import bids_app
from ctp_torch.errors import NoSeriesError
from ctp_torch.io import write_nifti_series


@pytest.fixture
def data_set(tmp_path):
    series, _ = scan(frames=40)
    for name in ("sub-01/ses-02/perf/sub-01_ses-02_ctp.nii.gz", "sub-02/perf/sub-02_ctp.nii.gz"):
        (tmp_path / "in" / name).parent.mkdir(parents=True)
        write_nifti_series(tmp_path / "in" / name, series if "01" in name else _still(series))
    return tmp_path / "in"


def _still(series):
    return series.__class__(torch.zeros_like(series.hu), series.times, series.geometry)


def test_subjects_are_found(data_set):
    names = [name for name, _ in bids_app.find_series(data_set, [])]
    assert names == ["sub-01/ses-02", "sub-02/ses-01"]
    assert len(bids_app.find_series(data_set, ["sub-02"])) == len(bids_app.find_series(data_set, ["02"])) == 1
    with pytest.raises(NoSeriesError, match="has no sub-03"):
        bids_app.find_series(data_set, ["03"])


def test_one_that_fails_stops_no_other(data_set, tmp_path, monkeypatch, capsys):
    """Mutation seen red: the error not caught."""
    monkeypatch.setattr(sys, "argv", ["ctp-torch-bids", str(data_set), str(tmp_path / "out"), "participant"])
    with pytest.raises(SystemExit) as stop:
        bids_app.main()
    assert stop.value.code == 8
    assert (tmp_path / "out/sub-01/ses-02/perf/sub-01_ses-02_desc-csvd_cbf.nii.gz").is_file()
    assert (tmp_path / "out/dataset_description.json").is_file()
    assert "sub-02/ses-01: " in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["ctp-torch-bids", str(data_set), str(tmp_path / "out"), "group"])
    with pytest.raises(SystemExit) as stop:
        bids_app.main()
    assert stop.value.code == 1
