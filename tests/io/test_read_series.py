"""The door to series: what it takes, what it refuses, and that nobody's identity goes through."""

import gzip
import json

import nibabel
import numpy as np
import pytest
import torch
from oracles.scans import Scan
from typer.testing import CliRunner

from ctp_torch.cli import app
from ctp_torch.errors import CTPError, IncompleteSeriesError, NoSeriesError, UnreadableFileError
from ctp_torch.io import read_series, read_volume, write_nifti_series, write_volume
from ctp_torch.io.nifti.frame_times import read_times


def nifti(tmp_path, *, shape=(4, 3, 2, 5), name="ctp.nii.gz"):
    """A 4-D NIfTI (x, y, z, time) that tells no times."""
    data = np.random.default_rng(0).integers(-100, 900, shape).astype("int16")
    nibabel.save(nibabel.Nifti1Image(data, np.diag([-0.5, -0.5, 5, 1.0])), tmp_path / name)
    return tmp_path / name, data.T


def test_nifti_needs_times(tmp_path):
    path, _ = nifti(tmp_path)
    with pytest.raises(IncompleteSeriesError, match=r"tells no times.*--times FILE or --dt S.*ctp\.json"):
        read_series(path)


@pytest.mark.parametrize("way", ["dt", "numbers", "slices", "text", "column of json", "sidecar", "sidecar of slices"])
def test_nifti_with_times(way, tmp_path):
    path, data = nifti(tmp_path)
    frames = [0.0, 1.0, 2.5, 4.0, 9.5]
    slices = [[t, t + 0.25] for t in frames]
    options = {}
    wanted = torch.tensor(frames, dtype=torch.float64)[:, None].expand(5, 2)
    if way == "dt":
        options, wanted = {"dt": 2.0}, torch.arange(5, dtype=torch.float64)[:, None].expand(5, 2) * 2
    elif way == "numbers":
        options = {"times": frames}
    elif way == "slices":
        options = {"times": torch.tensor(slices)}
    elif way == "text":
        options = {"times": tmp_path / "t.txt"}
        options["times"].write_text("0, 1\n\n 2.5 \n4\n9.5".replace(", ", "\n"))
    elif way == "column of json":
        options = {"times": str(tmp_path / "t.json")}
        (tmp_path / "t.json").write_text(json.dumps(frames))
    else:
        told = {"SliceTimes": slices} if way == "sidecar of slices" else {"FrameTimes": frames}
        (tmp_path / "ctp.json").write_text(json.dumps(told))
    if "slices" in way:
        wanted = torch.tensor(slices, dtype=torch.float64)
    series = read_series(path, **options)
    np.testing.assert_array_equal(series.hu.numpy(), data)
    torch.testing.assert_close(series.times, wanted)


def test_time_in_the_fifth_dimension(tmp_path):
    path, data = nifti(tmp_path, shape=(4, 3, 2, 1, 5))
    np.testing.assert_array_equal(read_series(path, dt=1.0).hu.numpy(), data[:, 0])


@pytest.mark.parametrize(
    ("times", "match"),
    [
        ([0.0, 1.0, 2.0], "for 3 .* series has 5 x 2"),
        ([0.0, 1.0, 1.0, 2.0, 3.0], "must rise"),
        ([[0.0] * 3] * 5, "for 5 x 3"),
    ],
)
def test_times_that_dont_fit(times, match, tmp_path):
    path, _ = nifti(tmp_path)
    with pytest.raises(IncompleteSeriesError, match=match):
        read_series(path, times=times)


@pytest.mark.parametrize("text", ["", "a b c", "{}", '{"FrameTimes": "x"}', "1 2\n3", "1 nan"])
def test_files_that_hold_no_times(text, tmp_path):
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(UnreadableFileError, match="holds no times"):
        read_times(tmp_path / "t.txt")


def test_a_single_volume_is_no_series(tmp_path):
    path, _ = nifti(tmp_path, shape=(4, 3, 2))
    with pytest.raises(IncompleteSeriesError, match="one volume"):
        read_series(path)


def test_broken_files(tmp_path):
    path, _ = nifti(tmp_path, shape=(40, 30, 20, 5))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UnreadableFileError, match=r"ctp\.nii\.gz is truncated"):
        read_series(path, dt=1.0)
    path, _ = nifti(tmp_path, shape=(40, 30, 20, 5), name="plain.nii")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UnreadableFileError, match=r"plain\.nii is truncated"):
        read_series(path, dt=1.0)
    (tmp_path / "not.nii.gz").write_bytes(gzip.compress(b"hello"))
    with pytest.raises(UnreadableFileError, match="can't be read as an image"):
        read_series(tmp_path / "not.nii.gz", dt=1.0)
    (tmp_path / "cut.dcm").write_bytes(b"\0" * 60)
    with pytest.raises(UnreadableFileError, match=r"cut\.dcm: broken DICOM file \(it ends after 60 bytes\)"):
        read_series(tmp_path / "cut.dcm")
    (tmp_path / "a.txt").write_text("hello" * 100)
    with pytest.raises(NoSeriesError, match="no DICOM file"):
        read_series(tmp_path / "a.txt")
    (tmp_path / "b.zip").write_bytes(b"PK\x05\x06" + b"\0" * 18)
    with pytest.raises(NoSeriesError, match="it is empty"):
        read_series(tmp_path / "b.zip")
    (tmp_path / "DICOMDIR").write_text("x" * 200)
    with pytest.raises(UnreadableFileError, match="can't be read as a DICOMDIR"):
        read_series(tmp_path / "DICOMDIR")


def test_options_that_cant_be_meant(tmp_path):
    with pytest.raises(ValueError, match="duplicates must be"):
        read_series(tmp_path, duplicates="last")
    with pytest.raises(CTPError, match="not both"):
        read_series(tmp_path, dt=1.0, times=[1.0])
    with pytest.raises(ValueError, match="positive number of seconds, got 0"):
        read_series(tmp_path, dt=0)
    with pytest.raises(NoSeriesError, match="doesn't exist"):
        read_series(tmp_path / "x")


def test_an_unknown_series_is_named_with_those_there(tmp_path):
    scan = Scan()
    scan.save(tmp_path)
    with pytest.raises(NoSeriesError, match=rf"(?s)no series 9\.9.*{scan.series}\n.*series 4, 4 slices x 5 times"):
        read_series(tmp_path, series="9.9")


def test_volumes_round_trip_whatever_their_type(tmp_path):
    from oracles.heads import head

    geometry = head()[0].geometry
    numbers = torch.randint(0, 99, geometry.shape, generator=torch.Generator().manual_seed(0))
    kinds = [numbers / 7, numbers > 50, numbers, numbers.to(torch.uint8), numbers.to(torch.int16)]
    for k, volume in enumerate(kinds):
        again, grid = read_volume(write_volume(tmp_path / f"{k}.nii.gz", volume, geometry))
        assert torch.equal(again, volume.to(again.dtype))
        assert grid.matches(geometry, tolerance_mm=1e-3)
    with pytest.raises(ValueError, match="doesn't lie on the grid"):
        write_volume(tmp_path / "x.nii", torch.rand(2, 2, 2), geometry)
    with pytest.raises(ValueError, match=r"ends in \.nii"):
        write_volume(tmp_path / "x.img", torch.rand(geometry.shape), geometry)


def test_fractions_of_hu_survive(tmp_path):
    """Mutation seen red: writing every series as int16."""
    from oracles.heads import head

    series, _ = head()
    series.hu[0, 0, 0, 0] = 12.25
    path = write_nifti_series(tmp_path / "a.nii.gz", series)
    assert torch.equal(read_series(path).hu, series.hu)


def test_nobodys_identity_goes_through(tmp_path):
    """Name, number, birth date, accession number, physician and UIDs stay out of files, notes and messages."""
    scan = Scan()
    scan.save(tmp_path / "ct")
    run = CliRunner()
    done = run.invoke(app, ["convert", str(tmp_path / "ct"), "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    shown = run.invoke(app, ["info", str(tmp_path / "ct"), "--json"])
    assert shown.exit_code == 0, shown.output
    written = [gzip.decompress((tmp_path / "out" / "ctp.nii.gz").read_bytes()).decode("latin1")]
    written += [(tmp_path / "out" / "ctp.json").read_text(encoding="utf-8"), done.output, shown.output]
    for text in written:
        for secret in ("SECRET", "19010203", scan.series):
            assert secret not in text.upper()
    told = json.loads((tmp_path / "out" / "ctp.json").read_text(encoding="utf-8"))
    assert told["FrameTimes"] == pytest.approx(list(scan.times[:, 0]))
    assert told["TimeSource"] == "AcquisitionTime"
    assert told["Warnings"] == []
    assert np.array(told["SliceTimes"]).shape == (5, 4)


def test_a_folder_of_one_nifti_is_that_series(tmp_path):
    Scan().save(tmp_path / "ct")
    converted = write_nifti_series(tmp_path / "out" / "ctp.nii.gz", read_series(tmp_path / "ct")).parent
    assert torch.equal(read_series(converted).hu, read_series(tmp_path / "ct").hu)


def test_convert_keeps_what_is_there(tmp_path):
    Scan().save(tmp_path / "ct")
    run = CliRunner()
    path = tmp_path / "a.nii.gz"
    path.write_text("mine")
    refused = run.invoke(app, ["convert", str(tmp_path / "ct"), "-o", str(path)])
    assert refused.exit_code != 0
    assert "exists already" in str(refused.exception)
    assert path.read_text(encoding="utf-8") == "mine"
    done = run.invoke(app, ["convert", str(tmp_path / "ct"), "-o", str(path), "--force"])
    assert done.exit_code == 0, done.output
    assert read_series(path).n_frames == 5
