"""Maps by the student that comes along, and by the one a scan makes for itself: any frames, any matrix, any format."""

import json

import pytest
import torch
from scenes import scan

from ctp_torch.data.series import CTPSeries
from ctp_torch.io import StudyHeader, write_ct_series, write_nifti_series
from ctp_torch.pipeline.analysis import MapSettings, analyse
from ctp_torch.pipeline.per_scan import per_scan


def shuttle(*, n=96, frames=37, dt=1.7):
    """A series whose upper slab is taken half a frame after the lower one, and the head it shows."""
    series, made = scan(n=n, n_slices=4, frames=2 * frames, dt=dt / 2, noise=1.5)
    frame = 2 * torch.arange(frames)[:, None] + torch.arange(4) // 2  # (time, z)
    hu = series.hu[frame, torch.arange(4)]
    return CTPSeries(hu, series.times[frame, torch.arange(4)], series.geometry, series.provenance), made


@pytest.fixture(scope="module")
def moving_table():
    return shuttle()


@pytest.mark.parametrize("kind", ["dicom", "nifti"])
def test_a_shuttle_of_37_frames_becomes_maps(moving_table, kind, tmp_path):
    """The times of each slice are its own. Mutation seen red: the times of the first slice for all, Tmax then
    differs between slices by half a frame."""
    series, made = moving_table
    if kind == "dicom":
        source = tmp_path / "ct"
        write_ct_series(series, source, header=StudyHeader(seed=0))
    else:
        source = write_nifti_series(tmp_path / "ctp.nii.gz", series)
    analysis = analyse(source, MapSettings(model="physics", registration="none", slab_mm=0.0))
    maps = analysis.maps
    assert set(maps.values) == {"cbv", "cbf", "mtt", "tmax", "delay"}
    assert "Network" in json.dumps(analysis.used)
    inside = made.brain & maps.mask
    assert all(bool(values[inside].isfinite().all()) for values in maps.values.values())
    tmax = [float(maps["tmax"][z][inside[z]].median()) for z in range(4)]
    assert max(tmax) - min(tmax) < 0.5
    assert 5.0 < float(maps["cbf"][inside].median()) < 80.0


def test_a_scan_makes_its_own_model(moving_table):
    """Probabilities are such, uncertain voxels are told, and the maps are those that the table of methods names."""
    analysis = analyse(moving_table[0], MapSettings(model="per-scan", registration="none", slab_mm=0.0))
    maps = analysis.maps
    assert analysis.used["method"] == "per_scan"
    assert {"cbf_sd", "mtt_sd", "tmax_sd", "p_late", "p_core"} < set(maps.values)
    for name in ("p_late", "p_core"):
        assert 0.0 <= float(maps[name].min()) <= float(maps[name].max()) <= 100.0
    late = maps["tmax"] > 9.0
    assert float(maps["tmax_sd"][maps.mask].median()) > 0.1
    if bool(late.any()):
        assert float(maps["p_late"][late].median()) > 50.0


def test_a_scan_that_ends_too_soon_is_refused(moving_table):
    from ctp_torch.errors import ModelMismatchError

    series = moving_table[0]
    short = CTPSeries(series.hu[:14], series.times[:14], series.geometry, series.provenance)
    with pytest.raises(ModelMismatchError, match="s after the artery's onset"):
        analyse(short, MapSettings(model="physics", registration="none"))


def test_per_scan_follows_seed_device_and_dtype(generator, device, dtype):
    """It finds the flow of curves of its own kind, whose noise it must estimate.

    Mutation seen red: features of curves that weren't smoothed in time as the scan's are.
    """
    from ctp_torch import ops

    times = torch.arange(0.0, 60.0, 1.0, dtype=torch.float64)
    aif = ops.simulate_curves(times, arteries=1, voxels=1, generator=generator).aif[0]
    scan = ops.simulate_from_artery(aif, times, times, voxels=300, noise_hu=0.2, n_baseline=5, generator=generator)
    aif = ops.smooth_in_time(aif[:, None])[:, 0].to(device, dtype)
    curves = ops.smooth_in_time(scan.curves[0].T).T.to(device, dtype)
    first, again = (per_scan(curves, aif, 1.0, n_curves=3000, n_centers=200) for _ in range(2))
    assert torch.equal(first.cbf, again.cbf)
    assert first.cbf.dtype == dtype
    assert first.cbf.device.type == device.type
    truth = scan.cbf[0].to(first.cbf)
    assert float(torch.corrcoef(torch.stack((first.cbf.log(), truth.log())))[0, 1]) > 0.8
