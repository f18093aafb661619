"""Curves by closed-form transforms against a convolution on a fine grid, and against the phantom's closed forms."""

import math

import pytest
import torch
from scipy import signal, stats

from ctp_torch.ops.simulation.spectrum import (
    Transit,
    bolus_spectrum,
    curve_spectrum,
    peak_lag,
    read_spectrum,
    survival,
    tissue_curves,
)

_STEP = 0.02
_FINE = torch.arange(0.0, 90.0, _STEP, dtype=torch.float64)
_TIMES = torch.tensor([0.0, 3.1, 8.0, 11.7, 14.0, 15.3, 18.0, 20.5, 28.8, 40.0, 59.0, 75.0], dtype=torch.float64)


def _artery():
    """One bolus with recirculation: as a spectrum, and on the fine grid by scipy."""
    onset, alpha, b, area, phi, wait, tau = 6.3, 5.5, 1.7, 2000.0, 1.2, 13.0, 30.0
    one = torch.ones(1, dtype=torch.float64)
    spectrum = bolus_spectrum(onset * one, alpha * one, b * one, area * one, (phi * one, wait * one, tau * one))
    t = _FINE.numpy()
    first = area * stats.gamma.pdf(t - onset, alpha + 1, scale=b)
    echo = phi * stats.expon.pdf(t - wait, scale=tau)
    return spectrum, first + signal.fftconvolve(first, echo)[: len(t)] * _STEP


def _residue(family, mtt, shape):
    lags = _FINE.numpy()
    if family == "gamma":
        return stats.gamma.sf(lags, shape, scale=mtt / shape) if math.isfinite(shape) else (lags < mtt).astype(float)
    return (lags < mtt).astype(float) if family == "box" else (1 - lags / (2 * mtt)).clip(0)


_CASES = [
    ("gamma", 4.0, 3.0, 0.0, 1.3),
    ("gamma", 22.0, 1.0, 2.5, 9.1),
    ("gamma", 1.6, 8.0, 0.0, -0.9),
    ("gamma", 6.0, math.inf, 1.0, 0.5),
    ("box", 5.0, 1.0, 0.0, 2.0),
    ("linear", 9.0, 1.0, 1.5, 4.0),
]


@pytest.mark.parametrize(("family", "mtt", "shape", "tau", "delay"), _CASES)
def test_curves_are_the_convolution_on_a_fine_grid(family, mtt, shape, tau, delay, dtype):
    """Mutation seen red: the residue's steady part left out; the delay's sign; dispersion's phase."""
    spectrum, fine = _artery()
    residue = _residue(family, mtt, shape)
    if tau:
        spread = stats.expon.pdf(_FINE.numpy(), scale=tau)
        spread[0] /= 2
        residue = signal.fftconvolve(residue, spread)[: len(residue)] * _STEP
    residue[0] /= 2
    curve = torch.from_numpy(signal.fftconvolve(fine, residue)[: len(fine)] * _STEP)
    at = ((_TIMES - delay) / _STEP).round().long()
    expected = torch.where(at >= 0, curve[at.clamp_min(0)], 0.0)
    spectrum = type(spectrum)(spectrum.values.to(torch.promote_types(dtype, torch.complex64)), spectrum.omega.to(dtype))
    transit = Transit(*(torch.tensor([[value]], dtype=dtype) for value in (mtt, delay, shape, tau)))
    ours = tissue_curves(spectrum, transit, _TIMES, family=family)
    assert ours.shape == (1, 1, 12)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours[0, 0].double(), expected, rtol=2e-3, atol=0.004 * float(expected.max()))


def test_arteries_are_gamma_variates_with_recirculation():
    """Mutation seen red: the exponent alpha instead of alpha + 1."""
    spectrum, fine = _artery()
    at = (_TIMES / _STEP).round().long()
    torch.testing.assert_close(read_spectrum(spectrum, _TIMES)[0], torch.from_numpy(fine)[at], rtol=1e-3, atol=0.3)


def test_a_measured_curve_is_given_back_between_its_ends():
    """Mutation seen red: the spacing of the samples forgotten."""
    times = torch.arange(0.0, 60.0, 1.5, dtype=torch.float64)
    curve = read_spectrum(_artery()[0], times)[0]
    back = read_spectrum(curve_spectrum(curve, times)._replace(), times)
    torch.testing.assert_close(back[1:-1], curve[1:-1], rtol=0.01, atol=1.5)


@pytest.mark.parametrize(
    ("family", "mtt", "shape", "tau"),
    [("gamma", 6.0, 2.0, 1.5), ("gamma", 12.0, 1.0, 3.0), ("gamma", 4.0, math.inf, 2.0), ("linear", 8.0, 1.0, 0.5)],
)
def test_tmax_is_where_the_dispersed_residue_peaks(family, mtt, shape, tau):
    """Mutation seen red: the delay added twice; the peak of the clean residue, 0, given back."""
    lags = torch.arange(0.0, 60.0, 0.01, dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    residue = survival(lags, mtt * one, shape * one, family=family).numpy()
    spread = stats.expon.pdf(lags.numpy(), scale=tau)
    peak = float(lags[int(signal.fftconvolve(residue, spread)[: len(lags)].argmax())])
    ours = peak_lag(Transit(mtt * one, 2.0 * one, shape * one, tau * one), family=family)
    assert float(ours) == pytest.approx(2.0 + peak, abs=0.06)
    assert float(peak_lag(Transit(mtt * one, 2.0 * one, shape * one, 0.0 * one), family=family)) == 2.0


def test_an_unknown_family_is_refused():
    one = torch.ones(1, 1)
    with pytest.raises(ValueError, match="gamma, box, linear"):
        tissue_curves(_artery()[0], Transit(one, one, one, one), _TIMES, family="fermi")
