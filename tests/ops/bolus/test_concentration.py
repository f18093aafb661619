"""Baseline, arrival and enhancement on boluses whose arrival is known.

Mutations that these tests catch: ``q`` instead of ``q - margin`` baseline frames; a margin in frames instead of
seconds; ``fraction * peak`` without the baseline in ``bolus_onset``; the mean over all instead of the first frames.
"""

import pytest
import torch
from oracles.vessels import gamma_variate, head, onset_by_loop

from ctp_torch import ops


@pytest.mark.parametrize("dt", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("onset", [8.0, 14.0])
def test_baseline_ends_two_seconds_before_arrival(dt, onset, device):
    made = head(64, 3, frames=round(45 / dt), dt=dt, onset=onset)
    volumes, brain = made.hu.to(device), made.brain.to(device)
    n = ops.baseline_frames(volumes, brain, dt)
    arrival = ops.bolus_arrival(volumes, brain, dt)
    assert n == arrival.n_baseline
    # a tenth of the peak comes about 3 s after the first trace; smoothing over three frames brings it forward
    assert -1.0 - 0.6 * dt < arrival.onset - (onset + 3.0) < 1.0
    assert arrival.onset - 2.0 - 2.0 * dt <= (n - 1) * dt <= arrival.onset - 2.0 + dt
    assert arrival.peak > 20 * arrival.noise


def test_at_least_three_baseline_frames_and_no_bolus_shows():
    made = head(48, 2, frames=30, onset=-3.0)
    assert ops.baseline_frames(made.hu, made.brain, 1.0) == 3
    flat = head(48, 2, frames=30, bolus=0.0)
    arrival = ops.bolus_arrival(flat.hu, flat.brain, 1.0)
    assert arrival.peak < 1.5 < ops.bolus_arrival(made.hu, made.brain, 1.0).peak


def test_damaged_voxels_are_passed_over():
    made = head(48, 2, frames=40)
    n = ops.baseline_frames(made.hu, made.brain, 1.0)
    damaged = made.hu.clone()
    damaged[5, :, 25:28] = torch.nan
    damaged[:, 0, 24, 24] = torch.inf
    assert abs(ops.baseline_frames(damaged, made.brain, 1.0) - n) <= 1


def test_integer_volumes_are_welcome():
    made = head(48, 2, frames=40)
    assert ops.baseline_frames(made.hu.round().to(torch.int16), made.brain, 1.0) >= 3


def test_onset_is_the_walk_back_from_the_peak(dtype, device):
    generator = torch.Generator().manual_seed(4)
    time = torch.arange(40) * 1.5
    curves = torch.stack([gamma_variate(time, t0, peak=80.0) for t0 in (0.0, 3.0, 7.5, 20.0)])
    curves = torch.cat([curves, curves + 5 * torch.randn(curves.shape, generator=generator, dtype=torch.float64)])
    result = ops.bolus_onset(curves.to(device, dtype), 1.5).cpu()
    expected = [onset_by_loop(curve, 1.5) for curve in curves.to(dtype)]
    torch.testing.assert_close(result.double(), torch.tensor(expected, dtype=torch.float64), rtol=1e-4, atol=1e-3)


def test_onset_moves_with_the_curve_and_ignores_its_scale_and_offset():
    time = torch.arange(60.0)
    early, late = gamma_variate(time, 6.0), gamma_variate(time, 11.0)
    assert float(ops.bolus_onset(late, 1.0) - ops.bolus_onset(early, 1.0)) == pytest.approx(5.0, abs=1e-9)
    assert float(ops.bolus_onset(7 * early + 30, 1.0)) == pytest.approx(float(ops.bolus_onset(early, 1.0)), abs=1e-9)
    assert float(ops.bolus_onset(torch.ones(20), 1.0)) == 0.0


def test_enhancement_has_a_zero_baseline_and_keeps_differences(dtype):
    volumes = torch.rand(9, 2, 3, 4, generator=torch.Generator().manual_seed(1), dtype=dtype)
    change = ops.enhancement(volumes, 4)
    assert change.dtype == dtype
    torch.testing.assert_close(change[:4].mean(dim=0), torch.zeros(2, 3, 4, dtype=dtype), rtol=0, atol=1e-6)
    torch.testing.assert_close(change.diff(dim=0), volumes.diff(dim=0))


def test_refusals():
    volumes, mask = torch.zeros(10, 2, 3, 4), torch.ones(2, 3, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match="n_baseline"):
        ops.enhancement(volumes, 11)
    with pytest.raises(ValueError, match="over the mask"):
        ops.baseline_frames(volumes, mask[:1], 1.0)
    with pytest.raises(ValueError, match="dt"):
        ops.baseline_frames(volumes, mask, 0.0)
    with pytest.raises(ValueError, match="4 frames"):
        ops.baseline_frames(volumes[:3], mask, 1.0)
    with pytest.raises(ValueError, match="mask is empty"):
        ops.baseline_frames(volumes, ~mask, 1.0)
