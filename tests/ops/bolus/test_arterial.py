"""Arterial features: a curve by hand, an integral by brute force, the laws that let one model serve all scanners."""

import math

import pytest
import torch

from ctp_torch import ops
from ctp_torch.ops.bolus.arterial import AREA_S


def bolus(times, *, start=8.0, width=1.0, height=300.0):
    """A gamma variate in closed form, at whatever times."""
    t = (times - start).clamp_min(0.0) / width
    return height * (t / 6.0) ** 3 * torch.exp(3.0 - t / 2.0)


def tissue(times, *, delays=(0.0, 1.5, 6.0), width=1.0):
    return torch.stack([bolus(times, start=9.0 + d, width=width * (1.2 + 0.1 * d), height=20.0) for d in delays])


def every(dt, seconds=60.0):
    return torch.arange(0.0, seconds + 1e-6, dt, dtype=torch.float64)


def test_onset_by_hand(device, dtype):
    """A straight rise from 10 s: both quarters lie on it, so that the line meets 0 where it begins."""
    times = torch.tensor([0.0, 10.0, 12.0, 14.0, 16.0, 18.0, 30.0])
    artery = torch.tensor([0.0, 0.0, 50.0, 100.0, 150.0, 200.0, 0.0], dtype=dtype, device=device)
    onset = ops.artery_onset(artery, times)
    assert onset.device.type == device.type
    assert float(onset) == pytest.approx(10.0, abs=0.1)  # monotone cubics bend at both ends


def test_curve_by_hand():
    """Frames 2 s apart are interpolated alone: a tent read at its foot, half way, its top, and held at the end.

    The artery is a box of 100 HU from 10 to 20 s: its area is 1000 HU s.
    """
    times = every(2.0, 40.0)
    artery = torch.where((times >= 10) & (times <= 18), 100.0, 0.0).double()
    onset = float(ops.artery_onset(artery, times))
    curve = (20.0 - (times - 14.0).abs() * 5.0).clamp_min(0.0)[None]
    lags = tuple(t - onset for t in (8.0, 11.0, 13.0, 14.0, 39.0, 90.0))
    values = ops.arterial_curves(curve, times, artery, times, lags=lags) * ops.arterial_area(artery, times)
    torch.testing.assert_close(values, torch.tensor([[0.0, 5.0, 15.0, 20.0, 0.0, 0.0]], dtype=torch.float64))
    assert float(ops.arterial_area(artery, times)) == pytest.approx(1000.0)


def test_dense_frames_are_averaged_as_a_triangle_says():
    """Against a fine sum over the triangle; without the blur, or with its area not 1, red."""
    times, dt = every(1.0), 1.0
    curves = torch.randn(4, len(times), dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    artery = bolus(times)
    onset, area = ops.artery_onset(artery, times), ops.arterial_area(artery, times)
    half = math.sqrt(4.0 - dt**2)
    offsets = torch.linspace(-half, half, 4001, dtype=torch.float64)
    weights = 1.0 - offsets.abs() / half
    lags = torch.tensor(ops.ARTERIAL_LAGS, dtype=torch.float64)
    at = onset + lags[:, None] + offsets
    expected = ops.resample_curves(curves, times, at.flatten(), method="linear").view(4, len(lags), -1) @ weights
    expected = expected / weights.sum() / area
    torch.testing.assert_close(ops.arterial_curves(curves, times, artery, times), expected, atol=2e-7, rtol=1e-3)


@pytest.mark.parametrize("features", [ops.arterial_curves, ops.residue_features])
class TestLaws:
    def test_later_scan_is_the_same(self, features):
        """All times 3.7 s later: counted from the first frame instead of the onset, red."""
        times, artery = every(1.0), bolus(every(1.0))
        curves = tissue(times)
        torch.testing.assert_close(
            features(curves, times + 3.7, artery, times + 3.7), features(curves, times, artery, times)
        )

    def test_later_injection_is_nearly_the_same(self, features):
        times = every(1.0)
        early = features(tissue(times), times, bolus(times), times)
        late = features(tissue(times - 2.3), times, bolus(times - 2.3), times)
        assert float((late - early).abs().max()) < 0.01 * float(early.max())

    def test_dose_cancels(self, features):
        times, artery = every(1.0), bolus(every(1.0))
        curves = tissue(times)
        torch.testing.assert_close(
            features(2.5 * curves, times, 2.5 * artery, times), features(curves, times, artery, times)
        )

    @pytest.mark.parametrize("dt", [0.5, 2.0])
    def test_spacing_matters_little(self, features, dt):
        one, other = (features(tissue(t), t, bolus(t), t) for t in (every(1.0), every(dt)))
        assert float((one - other).abs().max()) < 0.04 * float(one.max())

    def test_length_of_the_scan_matters_not_at_all_for_what_it_covers(self, features):
        """With the artery's whole area, red: the longer scan has more of it."""
        times = every(1.0)
        recirculating = bolus(times) + 15.0 * torch.sigmoid((times - 30.0) / 4.0)
        short = times <= 45.0
        whole = features(tissue(times), times, recirculating, times)
        cut = features(tissue(times)[:, short], times[short], recirculating[short], times[short])
        if features is ops.arterial_curves:
            torch.testing.assert_close(cut[:, :33], whole[:, :33])
        else:
            assert float((cut - whole).abs().max()) < 0.05 * float(whole.max())

    def test_own_times_are_one_voxel_at_a_time(self, features, device, dtype):
        """Unsorted slices: rows put back in another order turn this red."""
        times = every(1.5)
        shift = torch.tensor([0.0, 0.7, 0.0, 0.3, 0.7], dtype=torch.float64)
        own = times + shift[:, None] + 0.1 * torch.sin(times)
        curves = torch.stack([tissue(t)[i % 3] for i, t in enumerate(own)]).to(device, dtype)
        artery = bolus(times).to(device, dtype)
        together = features(curves, own, artery, times)
        apart = torch.cat([features(curves[i : i + 1], own[i], artery, times) for i in range(5)])
        assert together.dtype == dtype
        assert together.device.type == device.type
        torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-7)

    def test_no_voxel(self, features):
        times = every(1.0)
        assert features(times.new_zeros(0, len(times)), times, bolus(times), times).shape[0] == 0


def test_residue_of_a_known_curve():
    """A curve that is the artery convolved with an exponential: area and shape come back but for the filter's blur."""
    times = every(1.0)
    fine = every(0.05)
    artery, lags = bolus(times), torch.tensor(ops.RESIDUE_LAGS, dtype=torch.float64)
    k = 0.01 * torch.exp(-fine / 6.0)
    curve = torch.nn.functional.conv1d(bolus(fine)[None, None], k.flip(0)[None, None], padding=len(k) - 1)[0, 0]
    curve = 0.05 * curve[: len(fine) : 20]
    residue = ops.residue_features(curve[None], times, artery, times, strength=0.01)[0]
    truth = torch.where(lags >= 0, 0.01 * torch.exp(-lags / 6.0), 0.0)
    assert float(residue.sum()) == pytest.approx(0.01 * 6.0, rel=0.05)
    assert float((residue - truth).abs()[lags > 2].max()) < 0.002


def test_reach_counts_from_the_onset():
    times = torch.stack((every(1.0), every(1.0) + 0.4))
    artery = bolus(every(1.0))
    onset = float(ops.artery_onset(artery, every(1.0)))
    assert ops.arterial_reach(times, artery, every(1.0)) == pytest.approx((0.4 - onset, 60.0 - onset))


def test_moments_know_width_alone():
    """Twice as wide a bolus has twice the standard deviation; dose and time of injection change nothing."""
    times = every(0.5, 90.0)
    narrow, wide = (ops.artery_moments(bolus(times, width=w), times) for w in (0.5, 1.0))
    assert float(wide[1] / narrow[1]) == pytest.approx(2.0, rel=0.05)
    later = ops.artery_moments(3.0 * bolus(times - 5.0, width=0.5), times)
    torch.testing.assert_close(later, narrow, atol=0.05, rtol=0.0)


def test_moments_by_brute_force():
    times = every(0.1)
    artery = bolus(times)
    since = times - ops.artery_onset(artery, times)
    inside = (since >= -2.0) & (since < AREA_S)
    weights = artery[inside] / artery[inside].sum()
    mean = float(weights @ since[inside])
    spread = [float(weights @ (since[inside] - mean) ** p) for p in (2, 3, 4)]
    expected = [mean, spread[0] ** 0.5, spread[1] ** (1 / 3), spread[2] ** 0.25]
    assert ops.artery_moments(artery, times).tolist() == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize(
    ("artery", "times", "message"),
    [
        (torch.zeros(9), torch.arange(9.0), "never rises"),
        (torch.full((9,), torch.nan), torch.arange(9.0), "NaN"),
        (torch.ones(9), torch.arange(8.0), "time,"),
    ],
)
def test_no_artery_is_refused(artery, times, message):
    with pytest.raises(ValueError, match=message):
        ops.artery_onset(artery, times)


def test_times_that_do_not_fit_are_refused():
    times = every(1.0)
    with pytest.raises(ValueError, match="need times"):
        ops.arterial_curves(tissue(times), times[:-1], bolus(times), times)
    with pytest.raises(ValueError, match="ascend"):
        ops.arterial_curves(tissue(times), times.flip(0), bolus(times), times)
    with pytest.raises(ValueError, match="whole seconds"):
        ops.residue_features(tissue(times), times, bolus(times), times, lags=(0.5,))
