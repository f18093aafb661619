"""Written CT slices: valid, deterministic, and read back exactly by us, pydicom and SimpleITK."""

import shutil
import subprocess
from datetime import datetime

import numpy as np
import pytest
import SimpleITK
import torch
from pydicom import dcmread

from ctp_torch import CTPSeries, Geometry
from ctp_torch.errors import OutputExistsError
from ctp_torch.io import StudyHeader, make_uid, read_series, whole, write_ct_series


def made(*, frames=3, shape=(2, 5, 4)):
    hu = torch.randint(-1024, 3000, (frames, *shape), generator=torch.Generator().manual_seed(0)).float()
    times = torch.arange(frames)[:, None] * 1.7 + torch.arange(shape[0]) * 0.25
    geometry = Geometry(shape, (4.0, 0.6, 0.5), (-10.5, 20.25, 3.125))
    return CTPSeries(hu, times.double(), geometry)


@pytest.mark.parametrize(
    ("slope", "intercept", "signed"), [(1, -1024, False), (1, 0, True), (0.5, -1024, False), (-1, 3000, False)]
)
def test_round_trip_is_exact(slope, intercept, signed, tmp_path):
    """Mutations seen red: truncating instead of rounding; slope and intercept swapped."""
    series = made()
    write_ct_series(series, tmp_path / "ct", slope=slope, intercept=intercept, signed=signed)
    again = read_series(tmp_path / "ct")
    assert torch.equal(again.hu, series.hu)
    torch.testing.assert_close(again.times, series.times, atol=1e-6, rtol=0)
    assert again.geometry.matches(series.geometry, tolerance_mm=1e-6)
    assert again.provenance.time_source == "AcquisitionDateTime"
    assert again.provenance.left_out == ()


def test_pydicom_and_simpleitk_agree(tmp_path):
    series = made()
    paths = write_ct_series(series, tmp_path / "ct")
    for k, path in enumerate(paths):
        dataset = dcmread(path)
        stored = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        np.testing.assert_array_equal(stored, series.hu[k // 2, k % 2].numpy())
        image = SimpleITK.ReadImage(str(path))
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image)[0], series.hu[k // 2, k % 2].numpy())
        assert image.GetOrigin() == pytest.approx(series.geometry.position(k % 2, 0, 0))
        assert image.GetSpacing()[:2] == pytest.approx((0.5, 0.6))


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
def test_dciodvfy_finds_no_error(tmp_path):
    header = StudyHeader(patient="P-07", started=datetime(2026, 12, 31, 23, 59, 59, 900_000))
    for path in write_ct_series(made(), tmp_path / "ct", header=header, signed=True, intercept=0):
        said = subprocess.run(["dciodvfy", str(path)], capture_output=True, encoding="utf-8", check=False)
        assert "Error" not in said.stderr + said.stdout
        assert "CTImage" in said.stderr + said.stdout


def test_scans_past_midnight_of_new_year(tmp_path):
    series = made(frames=4)
    header = StudyHeader(started=datetime(2026, 12, 31, 23, 59, 58))
    paths = write_ct_series(series, tmp_path / "ct", header=header)
    assert dcmread(paths[0]).AcquisitionDate == "20261231"
    assert dcmread(paths[-1]).AcquisitionDate == "20270101"
    torch.testing.assert_close(read_series(tmp_path / "ct").times, series.times, atol=1e-6, rtol=0)


def test_same_seed_same_bytes_and_another_seed_other_uids(tmp_path):
    series = made()
    first = write_ct_series(series, tmp_path / "a", header=StudyHeader(seed=1))
    again = write_ct_series(series, tmp_path / "b", header=StudyHeader(seed=1))
    other = write_ct_series(series, tmp_path / "c", header=StudyHeader(seed=2))
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]
    assert len({dcmread(p).SOPInstanceUID for p in first + other}) == 12
    assert dcmread(first[0]).StudyInstanceUID != dcmread(other[0]).StudyInstanceUID
    assert len({dcmread(p).SeriesInstanceUID for p in first}) == 1


def test_names_of_files_and_places_dont_matter(tmp_path):
    series = made()
    paths = write_ct_series(series, tmp_path / "ct")
    order = np.random.default_rng(0).permutation(len(paths))
    (tmp_path / "moved" / "deep").mkdir(parents=True)
    for k, path in zip(order, paths, strict=True):
        shutil.copy(path, tmp_path / "moved" / ("deep" if k % 2 else ".") / f"x{k}")
    again = read_series(tmp_path / "moved")
    assert torch.equal(again.hu, series.hu)


def test_values_are_clipped_to_sixteen_bits(tmp_path):
    series = made()
    series.hu[0, 0, 0, 0], series.hu[0, 0, 0, 1] = -9e9, 9e9
    write_ct_series(series, tmp_path / "ct")
    again = read_series(tmp_path / "ct").hu
    assert (again[0, 0, 0, 0], again[0, 0, 0, 1]) == (-1024, 65535 - 1024)


def test_fractions_go_to_the_nearest_stored_value(tmp_path):
    series = made()
    series.hu.add_(torch.rand(series.hu.shape, generator=torch.Generator().manual_seed(3)) - 0.5)
    write_ct_series(series, tmp_path / "ct", slope=0.25)
    again = read_series(tmp_path / "ct").hu
    assert float((again - series.hu).abs().max()) <= 0.125 + 1e-4


def test_refusals(tmp_path):
    write_ct_series(made(), tmp_path / "ct")
    with pytest.raises(OutputExistsError, match=r"exists already.*--force"):
        write_ct_series(made(), tmp_path / "ct")
    before = {file.name: file.read_bytes() for file in (tmp_path / "ct").iterdir()}
    with pytest.raises(OutputExistsError, match=r"IM0000.\.dcm.* in the way"):  # those of later frames would stay
        write_ct_series(made(frames=1), tmp_path / "ct", force=True)
    assert {file.name: file.read_bytes() for file in (tmp_path / "ct").iterdir()} == before
    assert len(write_ct_series(made(), tmp_path / "ct", slope=0.5, force=True)) == len(
        list((tmp_path / "ct").iterdir())
    )
    assert {file.name: file.read_bytes() for file in (tmp_path / "ct").iterdir()} != before
    with pytest.raises(ValueError, match="slope must not be 0"):
        write_ct_series(made(), tmp_path / "other", slope=0)


def test_uids_are_valid_and_depend_on_every_word():
    uids = {make_uid(*words) for words in [("a", "b"), ("ab",), ("a", "b", ""), ("a", 1), ("a", "1 ")]}
    assert len(uids) == 5
    assert make_uid("a", "b") == make_uid("a", "b")
    for uid in uids:
        assert uid.startswith("2.25.")
        assert len(uid) <= 64
        assert not uid.split(".")[2].startswith("0")


def test_nothing_half_written_is_seen(tmp_path):
    """Mutation seen red: writing to the path itself."""

    def fail(path):
        with whole(path) as partial:
            partial.write_text("half")
            assert not path.exists()
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fail(tmp_path / "x" / "file.txt")
    assert list((tmp_path / "x").iterdir()) == []
    with whole(tmp_path / "file.txt") as partial:
        partial.write_text("all")
    with pytest.raises(OutputExistsError), whole(tmp_path / "file.txt"):
        pass
    assert (tmp_path / "file.txt").read_text(encoding="utf-8") == "all"
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputExistsError, match="can't be made"), whole(tmp_path / "taken" / "below"):
        pass
