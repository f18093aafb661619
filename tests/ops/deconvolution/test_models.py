"""The vascular and box models, maximum slope and delay correction against closed forms, scipy and brute force."""

import numpy as np
import pytest
import torch
from oracles import deconvolution as oracle
from oracles.analytic_curves import CLINICAL, TEXTBOOK, GammaVariate, tissue_curve
from scipy.optimize import least_squares

from ctp_torch.ops.deconvolution.box import box_nlr
from ctp_torch.ops.deconvolution.capillary import (
    Transit,
    gamma_dictionary,
    maximum_oxygen_extraction,
    residue_area,
    residue_function,
)
from ctp_torch.ops.deconvolution.delay_correction import delay_corrected_ssvd
from ctp_torch.ops.deconvolution.dictionary import match_atoms
from ctp_torch.ops.deconvolution.least_squares import damped_steps
from ctp_torch.ops.deconvolution.max_slope import max_slope
from ctp_torch.ops.deconvolution.svd import oscillation_index, osvd, ssvd
from ctp_torch.ops.deconvolution.vascular import vascular_model

T = np.arange(60.0)


def study(cases, preset=TEXTBOOK, noise=0.0):
    aif = GammaVariate(**preset)
    curves = np.stack([tissue_curve(aif, T, r, cbf=cbf, mtt=m, delay=d) for r, cbf, m, d in cases])
    curves = curves + noise * np.random.default_rng(5).normal(size=curves.shape)
    return torch.tensor(curves), torch.tensor(aif(T))


def test_t10_oscillation_index():
    """Ideal residues on 120 lags; first differences, or a sum from j = 1 with wrap-around, turn this red."""
    j = torch.arange(120, dtype=torch.float64)
    ideal = {
        0.0018: torch.exp(-j / 4),
        0.0007: torch.exp(-j / 12),
        0.0010: (1 - j / 8).clamp(min=0),
        0.0167: (j < 4).double(),
        0.0078: torch.exp(-4 * np.log(2) * ((j - 50) / 6) ** 2),
        0.0148: torch.exp(-4 * np.log(2) * ((j - 50) / 3) ** 2),
        0.0204: torch.where(j >= 5, torch.exp(-(j - 5) / 4), 0.0),
    }
    for expected, k in ideal.items():
        assert float(oscillation_index(k[None])) == pytest.approx(expected, abs=6e-5)


@pytest.mark.parametrize("limit", [0.035, 0.095])
def test_osvd_against_loops(limit):
    """Residue of every curve against full SVDs tried one by one; the largest accepted threshold turns this red."""
    curves, aif = study(
        [("exponential", 50, 4, 1.3), ("box", 20, 8, 0.0), ("linear", 70, 3.5, 3.0)], CLINICAL, noise=0.6
    )
    found = osvd(curves, aif, 1.0, oscillation=limit)
    expected = [np.roll(oracle.osvd(aif.numpy(), 1.0, c, limit), 59) for c in curves.numpy()]
    np.testing.assert_allclose(found.k.numpy(), np.stack(expected), atol=1e-9)
    with pytest.raises(ValueError, match="must be positive"):
        osvd(curves, aif, 1.0, oscillation=0.0)


@pytest.mark.parametrize(
    ("preset", "limit", "ratio"), [(TEXTBOOK, 0.035, 0.711), (TEXTBOOK, 0.095, 0.853), (CLINICAL, 0.095, 0.644)]
)
def test_t4_osvd(preset, limit, ratio):
    curves, aif = study([("exponential", 60, 4, d) for d in (0, 2, 4, 6)], preset)
    np.testing.assert_allclose(osvd(curves, aif, 1.0, oscillation=limit).cbf.numpy() / 60, ratio, atol=2e-3)


def test_t11_oxygen_extraction():
    known = {(1.4, 1.33): 0.315, (2, 1): 0.406, (4, 2): 0.473, (4, 4): 0.412, (8, 4): 0.506, (8, 8): 0.457}
    mtt, cth = torch.tensor(list(known), dtype=torch.float64).T
    found = maximum_oxygen_extraction(mtt, cth)
    np.testing.assert_allclose(found.numpy(), list(known.values()), atol=1e-3)
    np.testing.assert_allclose(float(found[3]), oracle.oxygen_extraction(4.0, 4.0), atol=2e-4)


def test_residue_area_is_the_integral_of_the_residue():
    transit = Transit(
        *(torch.tensor(x, dtype=torch.float64) for x in ([1.0, 3.0, 32.0], [4.0, 8.0, 6.0], [0.0, -1.5, 2.0]))
    )
    fine = torch.arange(-5, 40, 1e-3, dtype=torch.float64)
    summed = residue_function(fine, transit).cumsum(dim=1) * 1e-3
    np.testing.assert_allclose(residue_area(fine, transit).numpy(), summed.numpy(), atol=1.5e-3)


def test_dictionary_curves_are_analytic():
    """Against the closed forms for an exponential and a gamma of the bolus' scale; 0.2 % of the peak."""
    aif = GammaVariate()
    fine = np.arange(0, 60, 0.05)
    grids = (torch.tensor([1.0, 8 / 3]), torch.tensor([4.0, 9.0]), torch.tensor([-1.5, 0.0, 1.5]))
    transit, curves = gamma_dictionary(*(torch.tensor(x) for x in (aif(fine), fine, T)), *(g.double() for g in grids))
    for shape, mtt, delay, curve in zip(*transit, curves, strict=True):
        if shape == 1:
            exact = tissue_curve(aif, T, "exponential", cbf=1.0, mtt=float(mtt), delay=float(delay))
        elif mtt == 4:
            exact = tissue_curve(aif, T, "gamma", cbf=1.0, mtt=4.0, delay=float(delay))
        else:
            continue
        volume = exact.sum() / float(curve.sum())
        np.testing.assert_allclose(curve.numpy() * volume, exact, atol=2e-3 * exact.max())


def test_match_against_brute_force(generator):
    """Weights, means and deviations of three curves over seven atoms, one at a time."""
    atoms = torch.rand(7, 9, generator=generator, dtype=torch.float64)
    curves = 2 * atoms[[1, 4, 5]] + 0.3 * torch.randn(3, 9, generator=generator, dtype=torch.float64)
    prior = torch.randn(7, generator=generator, dtype=torch.float64)
    parameters, rates = torch.rand(7, 2, generator=generator).double(), torch.rand(7, 1, generator=generator).double()
    found = match_atoms(curves, atoms, prior, parameters, rates)
    for i, c in enumerate(curves.numpy()):
        amplitude = np.array([max(c @ y, 0) / (y @ y) for y in atoms.numpy()])
        misfit = np.array([((c - v * y) ** 2).sum() for v, y in zip(amplitude, atoms.numpy(), strict=True)])
        weight = np.exp(prior.numpy()) * misfit ** (-9 / 2)
        weight /= weight.sum()
        rate = rates.numpy()[:, 0]
        mean = weight @ (amplitude * rate)
        inside = weight @ (misfit / 9 * rate**2 / (atoms.numpy() ** 2).sum(axis=1))
        assert int(found.best[i]) == weight.argmax()
        assert float(found.amplitude[i]) == pytest.approx(amplitude[weight.argmax()])
        np.testing.assert_allclose(found.means[i].numpy(), weight @ parameters.numpy())
        assert float(found.scaled[i, 0]) == pytest.approx(mean)
        deviation = np.sqrt(weight @ (amplitude * rate) ** 2 - mean**2 + inside)
        assert float(found.scaled_sd[i, 0]) == pytest.approx(deviation, rel=1e-6)


def test_damped_steps_reach_scipys_minimum():
    """Decays of different amplitude and rate against scipy, bounds included; taking every step turns this red."""
    t = torch.linspace(0, 5, 20, dtype=torch.float64)
    truth = torch.tensor([[2.0, 0.5], [3.0, 1.5], [1.0, 4.0]], dtype=torch.float64)
    noise = 0.05 * torch.randn(3, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def model(p):
        decay = torch.exp(-p[:, 1:] * t)
        return p[:, :1] * decay, torch.stack((decay, -p[:, :1] * t * decay), dim=2)

    curves = model(truth)[0] + noise
    found = damped_steps(model, curves, torch.full((3, 2), 1.0).double(), bounds=((0, 10), (0.1, 2.0)), steps=30)
    for c, p in zip(curves.numpy(), found.numpy(), strict=True):
        fit = least_squares(lambda q, c=c: q[0] * np.exp(-q[1] * t.numpy()) - c, [1, 1], bounds=([0, 0.1], [10, 2.0]))
        np.testing.assert_allclose(p, fit.x, rtol=1e-3)
    far = torch.tensor([[0.1, 30.0], [9.0, 0.2], [0.5, 25.0]], dtype=torch.float64)  # whole steps overshoot from here
    misfit = []
    for steps in range(8):
        values, _ = model(damped_steps(model, curves, far, bounds=((0, 10), (0.1, 40.0)), steps=steps))
        misfit.append((curves - values).square().sum(dim=1))
    assert bool((torch.stack(misfit).diff(dim=0) <= 0).all())


@pytest.mark.parametrize(("residue", "shape"), [("exponential", 1.0), ("gamma", 4 / 1.5)])
def test_refined_vascular_model_finds_the_truth(residue, shape):
    """Noise-free curves of the model itself: all of CBF, MTT, delay and CTH, between the grid's points."""
    curves, aif = study([(residue, 50, 4.0, 1.3), (residue, 30, 4.0, 0.2)])
    found = vascular_model(curves, aif, 1.0, estimate="refined")
    np.testing.assert_allclose(found.mtt.numpy(), 4.0, rtol=0.03)
    np.testing.assert_allclose(found.cbf.numpy(), [50, 30], rtol=0.03)
    np.testing.assert_allclose(found.delay.numpy(), [1.3, 0.2], atol=0.06)
    np.testing.assert_allclose(found.extra["cth"].numpy(), 4 / np.sqrt(shape), rtol=0.08)


def test_posterior_covers_the_truth():
    """Noisy curves: errors of CBF are about as large as stated, and shrink with the noise."""
    cases = [("exponential", cbf, 5.0, 1.0) for cbf in (20, 30, 40, 50)] * 20
    truth = torch.tensor([c[1] for c in cases], dtype=torch.float64)
    loud, quiet = (vascular_model(*study(cases, noise=n), 1.0) for n in (0.8, 0.2))
    assert 0.4 < float(((loud.cbf - truth) / loud.sd).square().mean().sqrt()) < 2.5
    assert float(quiet.sd.mean()) < 0.7 * float(loud.sd.mean())


def test_vascular_model_gives_heterogeneity():
    """CTH [s] and OEFmax [%] by name: an exponential is more heterogeneous than a box."""
    found = vascular_model(*study([("exponential", 40, 6.0, 0.5), ("box", 40, 6.0, 0.5)]), 1.0)
    assert float(found.extra["cth"][0]) > 2 * float(found.extra["cth"][1])
    oef_max = found.extra["oefmax"]
    assert bool(((oef_max > 20) & (oef_max < 80)).all())
    assert float(oef_max[0]) < float(oef_max[1])
    with pytest.raises(ValueError, match="choose 'posterior' or 'refined'"):
        vascular_model(*study([("box", 40, 6.0, 0.5)]), 1.0, estimate="map")


def test_box_finds_a_box():
    """Noise-free boxes off the grid, by analytic derivatives; CBV not divided by MTT turns this red."""
    cases = [("box", 50, 4.37, 1.33), ("box", 15, 11.9, -0.6), ("box", 30, 25.0, 4.1)]
    found = box_nlr(*study(cases, CLINICAL), 1.0, steps=15)
    np.testing.assert_allclose(found.mtt.numpy(), [4.37, 11.9, 25.0], rtol=0.01)
    np.testing.assert_allclose(found.delay.numpy(), [1.33, -0.6, 4.1], atol=0.03)
    np.testing.assert_allclose(found.cbf.numpy(), [50, 15, 30], rtol=0.01)
    np.testing.assert_allclose(found.tmax.numpy(), np.array([1.33, -0.6, 4.1]) + found.mtt.numpy() / 2, atol=0.03)


def test_box_refusals():
    curves, aif = study([("box", 50, 4, 1)])
    with pytest.raises(ValueError, match="bounds must ascend"):
        box_nlr(curves, aif, 1.0, mtt_bounds=(10.0, 3.0))


def test_max_slope_against_numpy():
    """Central differences of the raw curve over the AIF's peak."""
    curves, aif = study([("exponential", 50, 4, 1), ("box", 20, 8, 2)], noise=0.3)
    found = max_slope(curves, aif, 1.0, kh=1.0, rho=1.0)
    steepest = [np.gradient(c)[1:-1].max() for c in curves.numpy()]
    np.testing.assert_allclose(found.cbf.numpy(), 6000 * np.array(steepest) / aif.numpy().max(), rtol=1e-12)


@pytest.mark.parametrize("preset", [TEXTBOOK, CLINICAL], ids=["textbook", "clinical"])
def test_delay_correction_beats_plain_ssvd(preset):
    """Noise-free exponential: nearer the truth at every delay above 0, and within 15 % over all delays."""
    delays = (-1.5, -0.5, 0.0, 1.0, 2.0, 3.0, 5.0)
    curves, aif = study([("exponential", 50, 5.0, d) for d in delays], preset)
    plain, corrected = ssvd(curves, aif, 1.0).cbf.numpy(), delay_corrected_ssvd(curves, aif, 1.0).cbf.numpy()
    flow = corrected / 50
    assert np.ptp(flow) < 0.15 * flow.mean() < np.ptp(plain / 50)
    for d, p, c in zip(delays, plain, corrected, strict=True):
        if d > 0:
            assert abs(c - 50) < abs(p - 50), d


def test_delay_correction_reports_the_delay():
    curves, aif = study([("exponential", 50, 5.0, d) for d in (0.5, 2.0, 4.0)])
    found = delay_corrected_ssvd(curves, aif, 1.0)
    np.testing.assert_allclose(found.delay.numpy(), [0.5, 2.0, 4.0], atol=0.26)
    assert bool((found.tmax >= found.delay - 1e-6).all())
    with pytest.raises(ValueError, match="between 0 and 1"):
        delay_corrected_ssvd(curves, aif, 1.0, threshold=2.0)
