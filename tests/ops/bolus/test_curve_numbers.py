"""Areas, peaks and rises of curves against numpy and closed forms."""

import numpy as np
import pytest
import torch

from ctp_torch.ops.bolus.curve_numbers import area, blood_volume, half_rise_time, parabola_offset, time_to_peak
from ctp_torch.ops.deconvolution.units import KH, RHO, flow_per_peak, volume_per_area


def test_units():
    """CBF 60 mL/100 g/min is k = 0.0141818 /s with the default constants."""
    ratio = KH / RHO
    assert ratio == pytest.approx(0.70513, abs=1e-5)
    assert 60 / flow_per_peak() == pytest.approx(0.0141818, abs=1e-7)
    assert volume_per_area(1.0, 1.0) == 100.0
    with pytest.raises(ValueError, match="must be positive"):
        flow_per_peak(rho=0.0)


def test_area_of_uneven_frames(generator):
    times = torch.rand(11, generator=generator, dtype=torch.float64).cumsum(0)
    curves = torch.rand(4, 11, generator=generator, dtype=torch.float64)
    expected = np.trapezoid(curves.numpy(), times.numpy(), axis=1)
    np.testing.assert_allclose(area(curves, times).numpy(), expected)
    np.testing.assert_allclose(area(curves, times.expand(4, -1)).numpy(), expected)


def test_blood_volume_is_the_ratio_of_areas():
    t = torch.arange(5, dtype=torch.float64)
    aif, curve = torch.tensor([0.0, 4, 8, 4, 0]).double(), torch.tensor([[0.0, 1, 2, 1, 0], [0, 0, 0, 0, 0]]).double()
    assert blood_volume(curve, aif, t, kh=1.0, rho=1.0).tolist() == [25.0, 0.0]
    assert blood_volume(curve, aif, t, aif_times=2 * t, kh=1.0, rho=1.0).tolist() == [12.5, 0.0]


def test_time_to_peak_between_frames():
    """A parabola's own vertex exactly; at the ends the frame itself."""
    t = torch.arange(3.0, 11.0, dtype=torch.float64)
    curves = torch.stack((-((t - 6.3) ** 2), t, -t))
    torch.testing.assert_close(time_to_peak(curves, t), torch.tensor([6.3, 10.0, 3.0], dtype=torch.float64))


def test_parabola_offset_of_a_plateau_is_zero():
    one = torch.ones(1)
    assert float(parabola_offset(one, one, one)) == 0.0
    assert float(parabola_offset(one, 2 * one, 2 * one)) == 0.5


def test_half_rise_time():
    t = torch.tensor([0.0, 1.0, 3.0, 4.0], dtype=torch.float64)
    assert half_rise_time(torch.tensor([0.0, 0.0, 8.0, 10.0]), t) == pytest.approx(1 + 2 * 5 / 8)
    assert half_rise_time(torch.tensor([9.0, 10.0, 1.0, 0.0]), t) == 0.0
