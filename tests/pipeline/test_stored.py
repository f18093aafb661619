"""Thin slices that stay on disk: the same scan as from memory, in a part of the memory."""

import json
import subprocess
import sys

import pytest
import torch
from oracles.heads import head
from oracles.images import DigitalHead, registration_error
from typer.testing import CliRunner

from ctp_torch import CTPSeries, Geometry, MapSettings, analyse, ops, prepare, read_series
from ctp_torch.cli import app
from ctp_torch.data.provenance import Provenance
from ctp_torch.data.stored import StoredSeries
from ctp_torch.errors import UnreadableFileError
from ctp_torch.io import coarse, write_ct_series, write_nifti_series
from ctp_torch.io.nifti import voxels
from ctp_torch.io.read_series import open_series
from ctp_torch.pipeline.examine import examine

GRID = (24, 201, 215), (1.0, 0.75, 0.75)
"""No multiple of the blocks of 1 x 2 x 2 voxels."""


@pytest.fixture
def large(monkeypatch):
    """Every series is a large one, and none is cropped."""
    monkeypatch.setattr(coarse, "LARGE_BYTES", 1000)
    monkeypatch.setattr(voxels, "_head_box", lambda first, grid: None)


@pytest.fixture(scope="module")
def thin():
    """Eight thin slices with contrast in them, taken one after the other."""
    made, _ = head(size=32, slices=8, frames=16, dt=2.0)
    times = made.times + torch.arange(8) / 100
    return CTPSeries(made.hu, times, Geometry((8, 32, 32), (1.0, 6.25, 6.25), made.geometry.origin))


def written(series, folder, kind):
    """The series as files."""
    folder.mkdir(exist_ok=True)
    if kind == "NIfTI":
        return write_nifti_series(folder / "thin.nii.gz", series)
    write_ct_series(series, folder)
    return folder


@pytest.mark.parametrize("kind", ["DICOM", "NIfTI"])
def test_frames_on_disk_are_those_of_the_series_read_whole(thin, kind, tmp_path, large):
    """Bit for bit, and the slabs made of them too. Mutation seen red: the median filter left out."""
    place = written(thin, tmp_path / kind, kind)
    whole = read_series(place)
    with open_series(place) as series:
        assert isinstance(series, StoredSeries)
        assert series.geometry == whole.geometry
        assert torch.equal(series.times, whole.times)
        assert all(torch.equal(frame, there) for frame, there in zip(series.frames(), whole.hu, strict=True))
        ready, other = (prepare(one, registration="none", median_size=3) for one in (series, whole))
    assert torch.equal(ready.series.hu, other.series.hu)
    assert torch.equal(ready.series.times, other.series.times)
    assert ready.series.geometry == other.series.geometry
    assert ready.series.provenance.warnings == whole.provenance.warnings
    assert "read frame by frame" in ready.series.provenance.inferences[-1].conclusion
    with open_series(place, slab_mm=0.0) as kept:
        assert isinstance(kept, CTPSeries)


@pytest.mark.parametrize("kind", ["DICOM", "NIfTI"])
def test_maps_of_a_series_on_disk(thin, kind, tmp_path, large, monkeypatch):
    """An artery chosen in a thin slice and a mask of thin slices among them."""
    place = written(thin, tmp_path / kind, kind)
    settings = MapSettings(registration="none", aif="16,10,3", vof="20,18,5", lesions=False)
    ours = analyse(place, settings)
    monkeypatch.undo()
    theirs = analyse(place, settings)
    for name, volume in theirs.maps.values.items():
        assert torch.equal(ours.maps[name], volume), name
    assert torch.equal(ours.aif.curve, theirs.aif.curve)


def test_a_series_on_disk_is_looked_over(thin, tmp_path, large):
    """By ``info`` and ``qc``, on its slabs."""
    place = written(thin, tmp_path / "NIfTI", "NIfTI")
    told = CliRunner().invoke(app, ["info", str(place), "--json"])
    assert told.exit_code == 0, told.output
    facts = json.loads(told.stdout)
    assert facts["slices"] == 8
    assert facts["hu_range"][0] < -990
    assert "read frame by frame" in facts["inferences"][-1]["conclusion"]
    examined = examine(place, registration=None)
    assert {check.flag for check in examined.quality.checks} >= {"q1", "q2", "q3"}


def test_motion_is_found_on_the_coarse_copy():
    """As in the series itself, and undone to the same numbers where it is the same.

    Mutation seen red: the spacing of the frames in place of the blocks'.
    """
    generator = torch.Generator().manual_seed(3)
    rotation, translation = (4 * torch.rand(2, 5, 3, generator=generator, dtype=torch.float64) - 2).unbind()
    rotation[:3] = translation[:3] = 0.0  # those that are the reference
    still = DigitalHead(5).volume(*GRID, thin=1)
    motion = ops.RigidMotion(rotation, translation, torch.ones(6, dtype=torch.bool))
    hu = ops.apply_motion(still.expand(5, *GRID[0]), motion, GRID[1])
    hu += 5 * torch.randn(hu.shape, generator=generator)
    times = torch.arange(5, dtype=torch.float64)[:, None].expand(-1, 24).contiguous()
    whole = CTPSeries(hu, times, Geometry(*GRID))
    kept = coarse.keep(hu, times, whole.geometry)
    assert kept.coarse.shape == (5, 24, 100, 107)
    series = kept.series(lambda: iter(hu), times, whole.geometry, Provenance())
    ready, other = prepare(series), prepare(whole)
    assert registration_error(ready.motion[:2], other.motion[:2], (still > 0) & (still < 100), GRID[1]).max() < 0.3
    same = prepare(series, registration=other.motion)
    assert torch.equal(same.series.hu, other.series.hu)
    assert same.series.provenance.motion == other.series.provenance.motion


def test_damaged_files_are_left_out_or_told(thin, tmp_path, large):
    """A truncated image, and a file that ends too early, are found while frames are looked at."""
    folder = written(thin, tmp_path / "ct", "DICOM")
    image = sorted(path for path in folder.rglob("*") if path.is_file())[11]
    image.write_bytes(image.read_bytes()[:-700])
    with pytest.raises(UnreadableFileError, match="truncated"), open_series(folder):
        pass
    with open_series(folder, drop_incomplete=True) as series:
        assert series.n_frames == 15
    path = written(thin, tmp_path / "nifti", "NIfTI")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UnreadableFileError, match="truncated"), open_series(path):
        pass


def test_values_lost_in_some_frames_are_interpolated_in_memory(thin, tmp_path, large):
    """What is lost in all frames is air. Mutation seen red: any value that is no number is air."""
    hu = thin.hu + 0.5
    hu[:, :, 0] = float("nan")
    path = write_nifti_series(tmp_path / "nan.nii", CTPSeries(hu, thin.times, thin.geometry))
    with open_series(path) as series:
        assert isinstance(series, StoredSeries)
        assert all((frame[:, 0] == -1000).all() for frame in series.frames())
    hu[5, 2, 9, 9] = float("nan")
    path = write_nifti_series(tmp_path / "some.nii", CTPSeries(hu, thin.times, thin.geometry))
    with open_series(path) as series:
        assert isinstance(series, CTPSeries)
        assert series.hu[5, 2, 9, 9] == (hu[4, 2, 9, 9] + hu[6, 2, 9, 9]) / 2


PEAK = """
import re, sys, nibabel, scipy.ndimage, torch
from pathlib import Path
from ctp_torch import prepare
from ctp_torch.io import coarse
from ctp_torch.io.read_series import open_series
def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
coarse.LARGE_BYTES = 1 << 20
torch.set_num_threads(1)
before = peak()
with open_series(sys.argv[1]) as series:
    prepare(series, registration="none")
print(type(series).__name__, peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_the_thin_slices_are_never_all_in_memory(tmp_path):
    """What a process takes to read and prepare 236 MB of thin slices. Mutation seen red: frames in a list."""
    hu = torch.full((25, 64, 192, 192), -1000.0)
    hu[..., 40:150, 40:150] = 35.0
    times = torch.arange(25, dtype=torch.float64)[:, None].expand(-1, 64).contiguous()
    path = write_nifti_series(tmp_path / "thin.nii", CTPSeries(hu, times, Geometry((64, 192, 192), (1.0, 0.7, 0.7))))
    done = subprocess.run([sys.executable, "-c", PEAK, path], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    kind, kilobytes = done.stdout.split()
    assert kind == "StoredSeries"
    assert 1024 * int(kilobytes) < 4 * hu.numel(), kilobytes
