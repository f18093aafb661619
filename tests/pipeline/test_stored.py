"""Thin slices that stay on disk: the same scan as from memory, in a part of the memory."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from oracles.images import DigitalHead, registration_error

from ctp_torch import CTPSeries, Geometry, ops, prepare, read_series
from ctp_torch.data.stored import StoredSeries
from ctp_torch.errors import UnreadableFileError
from ctp_torch.io import coarse, write_ct_series, write_nifti_series
from ctp_torch.io.read_series import open_series

GRID = (30, 225, 215), (1.0, 0.75, 0.75)
"""No multiple of the blocks of 1 x 2 x 2 voxels."""


@pytest.fixture(scope="module")
def moving():
    """A head that moves in space, five frames of it."""
    generator = torch.Generator().manual_seed(3)
    rotation, translation = (4 * torch.rand(2, 5, 3, generator=generator, dtype=torch.float64) - 2).unbind()
    rotation[0] = translation[0] = 0.0
    still = DigitalHead(5).volume(*GRID, thin=1)
    motion = ops.RigidMotion(rotation, translation, torch.ones(6, dtype=torch.bool))
    hu = ops.apply_motion(still.expand(5, *GRID[0]), motion, GRID[1])
    hu += 5 * torch.randn(hu.shape, generator=generator)
    times = torch.arange(5, dtype=torch.float64)[:, None] * 2 + torch.arange(30) / 100
    return CTPSeries(hu.round().clamp_min(-1024), times, Geometry(*GRID, origin=(-80.0, -84.0, 12.0)))


@pytest.fixture(scope="module", params=["DICOM", "NIfTI"])
def written(request, moving, tmp_path_factory):
    folder = tmp_path_factory.mktemp("thin")
    if request.param == "NIfTI":
        return write_nifti_series(folder / "thin.nii.gz", moving)
    write_ct_series(moving, folder)
    return folder


@pytest.fixture
def large(monkeypatch):
    """Everything is large."""
    monkeypatch.setattr(coarse, "LARGE_BYTES", 1000)


def test_a_series_on_disk_becomes_the_same_scan(written, large, monkeypatch):
    """Against the series read whole, bit for bit where the motion is the same.

    Mutations seen red: motion left about the centre of the blocks; one frame's motion for the next.
    """
    from ctp_torch.io.nifti import voxels

    monkeypatch.setattr(voxels, "_head_box", lambda first, grid: None)
    whole = read_series(written)
    with open_series(written) as series:
        assert isinstance(series, StoredSeries)
        assert series.geometry == whole.geometry
        assert torch.equal(series.times, whole.times)
        assert series.coarse.hu.shape[1:] == (30, 112, 107)
        assert all(torch.equal(frame, there) for frame, there in zip(series.frames(), whole.hu, strict=True))
        scan, still = prepare(series), prepare(series, registration="none", median_size=3)
        in_memory = prepare(whole)
        known = prepare(series, registration=in_memory.motion)
    assert series.provenance.warnings == whole.provenance.warnings
    assert "read frame by frame" in scan.series.provenance.inferences[-1].conclusion
    tissue = (whole.hu[0] > 0) & (whole.hu[0] < 100)
    assert registration_error(scan.motion[:2], in_memory.motion[:2], tissue, GRID[1]).max() < 0.3
    for ready, other in ((known, in_memory), (still, prepare(whole, registration="none", median_size=3))):
        assert torch.equal(ready.series.hu, other.series.hu)
        assert torch.equal(ready.series.times, other.series.times)
        assert ready.series.geometry == other.series.geometry
        assert ready.series.provenance.slabs == other.series.provenance.slabs
    apart = (scan.series.hu - known.series.hu)[:, :, 20:-20, 20:-20].abs()
    assert apart.mean() < 2.0
