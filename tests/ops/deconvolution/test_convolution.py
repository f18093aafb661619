"""Convolution matrices against their formulas written out and against quadrature."""

import numpy as np
import pytest
import torch
from oracles.analytic_curves import GammaVariate, tissue_curve
from oracles.deconvolution import circulant, volterra

from ctp_torch.ops.deconvolution.convolution import circulant_column, circulant_lags, hat_matrix, volterra_matrix


def test_volterra_example():
    """The published example; a rectangle rule (dt a[i-j]) turns this red."""
    expected = [
        [1 / 6, 0, 0, 0, 0],
        [1 / 3, 1 / 6, 0, 0, 0],
        [1.5, 4 / 3, 1 / 6, 0, 0],
        [4 / 3, 19 / 6, 4 / 3, 1 / 6, 0],
        [2 / 3, 13 / 6, 19 / 6, 4 / 3, 1 / 6],
    ]
    found = volterra_matrix(torch.tensor([0.0, 1, 4, 2, 1], dtype=torch.float64), 1.0)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_volterra_batches_over_aifs(generator):
    aifs = torch.rand(3, 2, 7, generator=generator, dtype=torch.float64)
    found = volterra_matrix(aifs, 0.5)
    for i in range(3):
        for j in range(2):
            np.testing.assert_allclose(found[i, j].numpy(), volterra(aifs[i, j].numpy(), 0.5), atol=1e-15)


@pytest.mark.parametrize(("residue", "error", "ratio"), [("exponential", 8.13, 1.0054), ("linear", 8.73, 1.0002)])
def test_volterra_accuracy(residue, error, ratio):
    """T3: a residue of MTT 4 s with unit flow, sampled at 1 s, against the closed form."""
    t = np.arange(60.0)
    aif = GammaVariate()
    exact = tissue_curve(aif, t, residue, cbf=1.0, mtt=4.0) / tissue_curve(aif, [1e9], "box", cbf=1.0, mtt=1e9)[0]
    exact = exact * aif.area * 1.0
    r = np.exp(-t / 4) if residue == "exponential" else np.clip(1 - t / 8, 0, None)
    found = volterra_matrix(torch.tensor(aif(t)), 1.0).numpy() @ r
    assert np.abs(found - exact).max() == pytest.approx(error, abs=0.02)
    assert found.sum() / exact.sum() == pytest.approx(ratio, abs=2e-4)


def test_circulant_column_is_the_first_of_the_matrix():
    """The published example of length 10, and each column a rotation of it."""
    aif = torch.tensor([0.0, 1, 4, 2, 1], dtype=torch.float64)
    found = circulant_column(aif, 1.0, 10)
    expected = [1 / 6, 4 / 3, 19 / 6, 13 / 6, 1, 1 / 6, 0, 0, 0, 0]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    np.testing.assert_allclose(circulant(aif.numpy(), 1.0, 10)[:, 0], found.numpy())


def test_circulant_needs_room():
    with pytest.raises(ValueError, match="needs more than 5 rows"):
        circulant_column(torch.ones(5), 1.0, 5)


def test_circulant_lags_turn_negative_past_the_middle():
    lags = circulant_lags(6, 2.0, like=torch.ones(1))
    assert lags.tolist() == [0, 2, 4, 6, -4, -2]


def test_hat_matrix_against_quadrature():
    """Uneven frames, an AIF with its own times and negative lags, against a sum on a grid of 0.5 ms.

    An AIF that drops to 0 after its last frame turns this red, and so does one that is not 0 before its first.
    """
    rng = np.random.default_rng(0)
    aif_times = np.cumsum(rng.uniform(0.5, 2.0, 12))
    aif = rng.uniform(0, 5, 12)
    times = np.cumsum(rng.uniform(0.5, 2.0, 9))
    lags = np.arange(-3, 8) * 1.5
    step = 5e-4
    s = np.arange(lags[0] - 1.5, lags[-1] + 1.5, step) + step / 2
    hats = np.clip(1 - np.abs(s[:, None] - lags) / 1.5, 0, None)
    a = np.interp(times[:, None] - s, aif_times, aif, left=0.0)
    expected = a @ hats * step
    found = hat_matrix(*(torch.tensor(x) for x in (aif, aif_times, times, lags)))
    np.testing.assert_allclose(found.numpy(), expected, atol=3e-3)


def test_hat_matrix_is_volterra_inside_a_uniform_grid():
    t = torch.arange(20, dtype=torch.float64)
    aif = torch.tensor(GammaVariate(t0=3.0)(t.numpy()))
    found, expected = hat_matrix(aif, t, t, t), volterra_matrix(aif, 1.0)
    torch.testing.assert_close(found[:, 1:].tril(-1), expected[:, 1:].tril(-1))
