"""Maps smoothed beside vessels, and the way of before: on a digital patient whose truth is known."""

import pytest
import torch

from ctp_torch import ops
from ctp_torch.phantom.patient import render_patient
from ctp_torch.pipeline import deconvolve, prepare


@pytest.fixture(scope="module")
def patient():
    drawn = render_patient(6500, 1, size=96, slices=3, motion="none")
    return prepare(drawn.series, registration=None, slab_mm=0.0), drawn.truth


def _error(values, truth):
    """Root of the mean squared error after one scale."""
    scale = (values * truth).sum() / values.square().sum()
    return float((scale * values - truth).square().mean().sqrt())


def test_flow_and_volume_come_nearer_to_the_truth(patient):
    """Mutations seen red: everything ``mostly``; the volume of a partial volume taken from the tissue beside."""
    scan, truth = patient
    tissue = scan.anatomy.brain & ((truth.labels == 4) | (truth.labels == 5))
    beside, inside = deconvolve(scan), deconvolve(scan, smoothing="inside")
    for name, most in (("cbf", 0.75), ("cbv", 0.75)):
        errors = [_error(maps[name][tissue], truth.maps[name][tissue]) for maps in (beside, inside)]
        assert errors[0] < most * errors[1], (name, errors)
    late = [(maps["tmax"] - truth.maps["tmax"])[tissue].abs().mean() for maps in (beside, inside)]
    assert late[0] < 1.05 * late[1]


def test_the_old_way_stays_and_differs_near_vessels_alone(patient):
    """One width for both. Mutation seen red: ``inside`` smoothed beside vessels too."""
    scan, _ = patient
    beside, inside = (deconvolve(scan, sigma_mm=2.0, smoothing=way) for way in ("beside", "inside"))
    spacing = scan.series.geometry.spacing
    smooth = ops.smooth_inside(ops.smooth_in_time(scan.enhancement), scan.anatomy.brain, spacing, 2.0)
    aif = ops.scale_aif(inside.provenance.aif.curve, inside.provenance.vof.curve)[0]
    expected = ops.csvd(smooth[:, scan.anatomy.brain].T.contiguous(), ops.smooth_in_time(aif), scan.series.dt)
    torch.testing.assert_close(inside["cbf"][scan.anatomy.brain], expected.cbf.clamp_min(0.0))
    far = scan.anatomy.brain & ~ops.dilate(scan.large_vessels.any, 12.0, spacing)
    assert int(far.sum()) > 20
    torch.testing.assert_close(beside["cbf"][far], inside["cbf"][far], rtol=1e-4, atol=1e-3)


def test_a_mask_of_ones_own_gets_its_own_vessels(patient):
    scan, _ = patient
    half = scan.anatomy.brain.clone()
    half[..., :48] = False
    maps = deconvolve(scan, mask=half)
    assert torch.equal(maps.mask, half)
    assert bool((maps["cbv"][half] > 0).any())


def test_a_method_that_learns_from_the_scan_does_so_once(patient, monkeypatch):
    """Where vessels are partly in a voxel curves are mapped twice. Mutation seen red: ``for_scan`` not asked for."""
    from ctp_torch.pipeline import per_scan as module

    learn, scans = module._learn, []
    monkeypatch.setattr(module, "_learn", lambda p, **_: (scans.append(p), learn(p, n_curves=500, n_centers=50))[1])
    scan, _ = patient
    maps = deconvolve(scan, module.per_scan)
    assert len(scans) == 1
    assert len(scans[0].curves) == int(scan.anatomy.brain.sum())
    assert bool((maps["cbv"][scan.large_vessels.partly & scan.anatomy.brain] > 0).all())


def test_an_unknown_smoothing_lists_the_choices(patient):
    with pytest.raises(ValueError, match="beside, inside"):
        deconvolve(patient[0], smoothing="besides")
