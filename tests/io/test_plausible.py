"""The report on every read: what was measured, inferred, left out, and what the frames say of their own past."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles.heads import head
from oracles.scans import Scan
from typer.testing import CliRunner

from ctp_torch.cli import app
from ctp_torch.io import StudyHeader, read_series, write_ct_series, write_nifti_series
from ctp_torch.io.plausible import doubts_of, measure


def noisy(frames=32, sd=6.0):
    series, _ = head(size=64, frames=frames)
    noise = np.random.default_rng(0).normal(0, sd, series.hu.shape).astype("f4")
    return replace(series, hu=series.hu + torch.from_numpy(noise))


def test_what_is_measured(tmp_path):
    """Known air, brain, bone, steps and places. Mutation seen red: the median over the whole image for the brain."""
    series = noisy()
    times = series.times.clone()
    times[20:] += 0.5
    times[:, 1] += 0.2
    series = replace(series, times=times)
    write_ct_series(series, tmp_path / "ct", header=StudyHeader(patient="P"))
    seen = read_series(tmp_path / "ct").provenance.plausibility
    assert (seen.frames, seen.slices) == (32, 3)
    assert seen.duration_s == pytest.approx(31.7, abs=0.01)
    assert (seen.step_s, seen.step_min_s, seen.step_max_s) == pytest.approx((1.0, 1.0, 1.5), abs=0.01)
    assert seen.slices_apart_s == pytest.approx(0.2, abs=0.01)
    assert seen.spacing_mm == pytest.approx(series.geometry.spacing)
    assert seen.slice_step_mm == pytest.approx((5.0, 5.0))
    assert seen.drift_mm == pytest.approx(0.0, abs=1e-6)
    assert seen.air_hu == pytest.approx(-1000, abs=3)
    assert seen.brain_hu == pytest.approx(35, abs=3)
    assert seen.bone_hu == pytest.approx(900, abs=3)
    assert seen.resampled is False
    nifti = read_series(write_nifti_series(tmp_path / "a.nii.gz", series)).provenance
    assert nifti.plausibility.brain_hu == pytest.approx(35, abs=3)
    assert nifti.plausibility.drift_mm is None
    assert nifti.warnings == ()
    json.dumps(nifti.as_dict())


@pytest.mark.parametrize("step", [0.8, 0.6, 0.5])
def test_resampling_in_time_is_seen(step, tmp_path):
    """Frames interpolated to a finer step share their noise. Mutation seen red: common curves left in."""
    series = noisy()
    at = torch.arange(0, 31, step)
    low, share = at.long(), (at - at.floor())[:, None, None, None]
    hu = series.hu[low] * (1 - share) + series.hu[(low + 1).clamp(max=31)] * share
    seen = measure(hu, (at.double() / step)[:, None].expand(-1, 3), series.geometry)
    assert seen.resampled is True
    assert "resampled or smoothed in time" in seen.evidence()
    plain = measure(series.hu, series.times, series.geometry)
    assert "no sign of resampling" in plain.evidence()
    assert "steps exact" in plain.evidence()


def test_registration_leaves_empty_edges():
    series = noisy()
    hu = series.hu.clone()
    for t in (5, 6, 9):
        hu[t] = hu[t].roll(2, dims=1)
        hu[t, :, :2] = 0.0
    seen = measure(hu, series.times, series.geometry)
    assert seen.moving_rims == 3
    assert "registered before it came" in seen.evidence()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"duration_s": 3600.0}, "3,600 s"),
        ({"duration_s": 0.6}, "within 0.6 s"),
        ({"step_max_s": 400.0}, "a pause of 400 s"),
        ({"spacing_mm": (50.0, 4.5, 4.5)}, "which unit"),
        ({"tissue_share": 0.0}, "hardly any value"),
    ],
)
def test_doubts(change, match):
    series = noisy()
    seen = measure(series.hu, series.times, series.geometry)
    assert doubts_of(seen) == []
    assert match in doubts_of(seen._replace(**change))[0]


def test_info_on_one_screen(tmp_path):
    """All of it in at most 24 lines of 100 characters; nothing of it a name."""
    scan = Scan(n_frames=8, rows=40, columns=40)
    scan.save(tmp_path / "ct")
    (tmp_path / "ct" / "SECRET report.pdf").write_bytes(b"%PDF")
    shown = CliRunner().invoke(app, ["info", str(tmp_path / "ct"), "--no-qc"])
    assert shown.exit_code == 0, shown.output
    lines = shown.output.splitlines()
    assert len(lines) <= 24
    text = shown.output
    for word in ("times", "every 1.5 s", "AcquisitionTime", "grid", "positions over time", "air", "brain", "bone",
                 "ImagePositionPatient", "left out", "no DICOM file"):  # fmt: skip
        assert word in text, (word, text)
    assert "SECRET" not in text
