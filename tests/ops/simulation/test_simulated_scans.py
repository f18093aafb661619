"""Simulated scans: what was drawn can be read off their curves again."""

import pytest
import torch

from ctp_torch.ops.bolus.curve_numbers import area
from ctp_torch.ops.deconvolution.units import volume_per_area
from ctp_torch.ops.simulation.curves import simulate_curves, simulate_from_artery
from ctp_torch.ops.simulation.prior import DELAYS, FLOWS, TRANSITS

_TIMES = torch.arange(0.0, 90.0, 1.0, dtype=torch.float64)


def test_truth_lies_in_the_ranges_and_belongs_together(generator, device):
    """Mutation seen red: MTT clamped instead of folded piles a tenth of all voxels up at its ends."""
    scans = simulate_curves(_TIMES.to(device), arteries=6, voxels=500, generator=generator)
    assert scans.curves.shape == (6, 500, 90)
    assert scans.curves.device.type == scans.tmax.device.type == device.type
    for values, (low, high) in ((scans.cbf, FLOWS), (scans.mtt, TRANSITS), (scans.delay, DELAYS)):
        assert low - 1e-3 <= float(values.min()) < float(values.max()) <= high + 1e-3
    assert float((scans.mtt > 24.9).float().mean()) < 0.02
    tissue = scans.cbf * scans.mtt / 60.0
    assert bool((scans.cbv >= tissue - 1e-3).all())  # what is above it is in large vessels
    assert 0.06 < float((scans.cbv > tissue + 1e-3).float().mean()) < 0.14
    assert bool((scans.tmax >= scans.delay - 1e-4).all())


def test_areas_are_volumes(generator):
    """A curve's area over its artery's is its volume, where the scan is long enough and the artery's own is known.

    Mutation seen red: the flow scaled by the density twice; vessels left out of CBV.
    """
    aif = simulate_curves(_TIMES, arteries=1, voxels=1, generator=generator).aif[0]
    times = torch.arange(0.0, 90.0, 1.0, dtype=torch.float64)
    scan = simulate_from_artery(
        aif, times, times, voxels=4000, noise_hu=0.01, n_baseline=4, generator=generator, family="gamma"
    )
    early = (scan.mtt < 5.0) & (scan.delay < 2.0)
    ratio = area(scan.curves, times) / area(scan.aif, times) * volume_per_area() / scan.cbv
    assert float(ratio[early].median()) == pytest.approx(0.97, abs=0.04)  # recirculation is still on its way


def test_noise_is_that_of_the_frames_and_of_their_baseline(generator):
    """Mutation seen red: noise added after the baseline is subtracted, so that the first frames keep it."""
    aif = simulate_curves(_TIMES, arteries=1, voxels=1, generator=generator).aif[0]
    noisy = simulate_from_artery(aif, _TIMES, _TIMES, voxels=5000, noise_hu=1.0, n_baseline=4, generator=generator)
    before = noisy.curves[0, :, :4]
    assert float((before.mean(dim=1)).abs().max()) < 1e-4
    assert float(before.std()) == pytest.approx(1.06 * (3 / 4) ** 0.5, abs=0.06)
    assert float(noisy.noise.median()) == pytest.approx(1.0, abs=0.05)


def test_seeds_reproduce():
    first, again, other = (
        simulate_curves(_TIMES, arteries=2, voxels=5, generator=torch.Generator().manual_seed(seed)).curves
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_scans_without_room_for_a_bolus_are_refused(generator):
    with pytest.raises(ValueError, match="doesn't last 20 s"):
        simulate_curves(_TIMES[:15], arteries=1, voxels=1, generator=generator)
    with pytest.raises(ValueError, match="at least 5"):
        simulate_curves(_TIMES.flip(0), arteries=1, voxels=1, generator=generator)
