"""The curve bank against closed forms and brute force."""

import numpy as np
import pytest
import torch
from oracles import phantom_curves as oracle

from ctp_torch.phantom import TEXTBOOK, arterial_curve, exponential_tissue_curve, gamma_tissue_curve
from ctp_torch.phantom.bank import build_bank, convolve, find_rows, look_up, residue_peak_lags, residues

STEP = 0.05
FINE = torch.arange(0.0, 80.0, STEP, dtype=torch.float64)
TRANSITS = torch.tensor([1.0, 2.0, 4.0, 6.0, 12.0], dtype=torch.float64)


@pytest.fixture(scope="module")
def bank():
    shapes = [(1.0, 0.0), (4.0 / 1.5, 0.0), (2.0, 1.5)]
    return build_bank(arterial_curve(FINE, TEXTBOOK), STEP, shapes=shapes, transits=TRANSITS)


def read(bank, times, mtt, shape):
    n = len(times)
    rows = find_rows(bank, torch.full((n,), mtt), torch.full((n,), shape, dtype=torch.int64))
    return look_up(bank, rows, times)


def test_bank_equals_the_closed_forms(bank):
    """Red when the trapezoid's end points are left out of the convolution (tried: error 7 of 720)."""
    times = torch.tensor([9.0, 12.0, 15.03, 20.0, 33.3, 59.9])
    torch.testing.assert_close(
        read(bank, times, 4.0, 0),
        exponential_tissue_curve(times, TEXTBOOK, flow=1.0, mtt=4.0).float(),
        rtol=1e-3,
        atol=0.1,
    )
    torch.testing.assert_close(
        read(bank, times, 4.0, 1), gamma_tissue_curve(times, TEXTBOOK, flow=1.0, mtt=4.0).float(), rtol=1e-3, atol=0.1
    )


def test_dispersed_curve_equals_brute_force(bank):
    times = np.array([11.0, 14.0, 18.0, 25.0, 50.0])

    def late(t):
        return np.exp(-t / 1.5) / 1.5

    def dispersed(t):
        return oracle.tissue_curve(t, lambda s: oracle.gamma_variate(s, **TEXTBOOK._asdict()), late, flow=1.0)

    expected = oracle.tissue_curve(times, dispersed, lambda t: oracle.gamma(t, 6.0, 2.0), flow=1.0)
    np.testing.assert_allclose(read(bank, torch.from_numpy(times).float(), 6.0, 2), expected, rtol=2e-3, atol=0.3)


@pytest.mark.parametrize("shape", [0, 1, 2])
@pytest.mark.parametrize("mtt", [1.5, 4.0, 9.0])
def test_area_is_transit_time_even_between_the_banks_curves(bank, shape, mtt):
    area = read(bank, FINE.float(), mtt, shape).sum() * STEP
    assert float(area) == pytest.approx(mtt * TEXTBOOK.area, rel=0.01 if mtt > 5 else 2e-3)


def test_nothing_before_the_arrival_and_no_reading_past_the_end(bank):
    values = read(bank, torch.tensor([-3.0, 0.0, 9.9, 1e6]), 4.0, 0)
    assert values[:3].abs().max() < 1e-3
    assert torch.isfinite(values).all()


def test_residues_start_at_one_fall_and_have_the_right_area():
    r = residues(FINE, TRANSITS, alpha=3.5)
    torch.testing.assert_close(r[:, 0], torch.ones(5, dtype=torch.float64))
    assert float(r.diff(dim=1).max()) <= 1e-12
    torch.testing.assert_close(torch.trapezoid(r, FINE, dim=1), TRANSITS, rtol=1e-3, atol=0)
    spread = residues(FINE, TRANSITS, alpha=3.5, dispersion=2.0)
    torch.testing.assert_close(torch.trapezoid(spread, FINE, dim=1), TRANSITS, rtol=2e-3, atol=0)


def test_dispersion_alone_moves_the_peak_of_the_residue(bank):
    lags = residue_peak_lags(bank, [(1.0, 0.0), (4.0 / 1.5, 0.0), (2.0, 1.5)])
    assert float(lags[:2].abs().max()) == 0.0
    assert bool((lags[2] > 0.3).all())
    assert bool((lags[2].diff() > 0).all())


def test_convolution_of_two_ramps():
    t = torch.arange(0.0, 4.0, 0.01, dtype=torch.float64)
    torch.testing.assert_close(convolve(t, t, 0.01), t**3 / 6, atol=1e-4, rtol=0)
