"""Tikhonov, Gaussian process, expectation maximisation and Bayes against dense numpy, curve by curve."""

from functools import partial

import numpy as np
import pytest
import torch
from oracles import deconvolution as oracle
from oracles.analytic_curves import CLINICAL, KH_OVER_RHO, TEXTBOOK, GammaVariate, tissue_curve
from scipy.interpolate import PchipInterpolator

from ctp_torch.ops.deconvolution.bayes import DELAY_SD, bayesian
from ctp_torch.ops.deconvolution.convolution import hat_matrix
from ctp_torch.ops.deconvolution.expectation_maximization import expectation_maximization
from ctp_torch.ops.deconvolution.gaussian_process import LENGTHS, gaussian_process_deconvolution
from ctp_torch.ops.deconvolution.tikhonov import tikhonov

T = np.arange(40.0)
LAGS = np.arange(-6.0, 40.0)
FLOW = 6000 * KH_OVER_RHO


@pytest.fixture(params=[TEXTBOOK, CLINICAL], ids=["textbook", "clinical"])
def study(request):
    """Six noisy curves and their AIF, in numpy."""
    aif = GammaVariate(**request.param, t0=5.0)
    rng = np.random.default_rng(3)
    cases = (("exponential", 4.0), ("box", 6.0), ("linear", 8.0))
    curves = [tissue_curve(aif, T, r, cbf=cbf, mtt=m, delay=1.2) for r, m in cases for cbf in (15.0, 55.0)]
    return np.stack(curves) + 0.4 * rng.normal(size=(6, 40)), aif(T)


@pytest.fixture(scope="module")
def strengths():
    return np.logspace(np.log10(0.02), 0, 30)


def tensors(study):
    return torch.tensor(study[0]), torch.tensor(study[1])


def test_tikhonov_fixed(study):
    """Against the normal equations with a quadrature matrix; a strength not relative to s_max turns this red."""
    curves, aif = study
    matrix = oracle.hats(aif, 1.0, LAGS, 40)
    expected = np.stack([oracle.tikhonov(matrix, c, 0.15) for c in curves])
    found = tikhonov(*tensors(study), 1.0, selection="fixed", strength=0.15)
    np.testing.assert_allclose(found.lags.numpy(), np.arange(-6, 40))
    np.testing.assert_allclose(found.k.numpy(), expected, atol=2e-6)


@pytest.mark.parametrize(("selection", "choose"), [("l_curve", oracle.l_curve), ("gcv", oracle.cross_validation)])
def test_tikhonov_selection(study, strengths, selection, choose):
    """Against one system per strength and curve; the sum instead of the square of coefficients turns this red."""
    curves, aif = study
    matrix = hat_matrix(*(torch.tensor(x) for x in (aif, T, T, LAGS))).numpy()
    expected = [oracle.tikhonov(matrix, c, strengths[choose(matrix, c, strengths)]) for c in curves]
    found = tikhonov(*tensors(study), 1.0, selection=selection)
    np.testing.assert_allclose(found.k.numpy(), np.stack(expected), atol=1e-8)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"selection": "median"}, "choose 'l_curve', 'gcv' or 'fixed'"), ({"strength": 0.0}, "strength must be positive")],
)
def test_tikhonov_refusals(study, options, message):
    with pytest.raises(ValueError, match=message):
        tikhonov(*tensors(study), 1.0, **options)


def test_gaussian_process(study):
    """Mean and deviation against dense normal densities over the same grid.

    Mutations seen red: a missing determinant; the deviation within the priors alone.
    """
    curves, aif = study
    matrix = hat_matrix(*(torch.tensor(x) for x in (aif, T, T, LAGS))).numpy()
    gains = np.logspace(1, 4, 14)
    found = gaussian_process_deconvolution(*tensors(study), 1.0)
    for i, curve in enumerate(curves):
        mean, deviation = oracle.gaussian_process(matrix, LAGS, curve, LENGTHS, gains)
        np.testing.assert_allclose(found.k[i].numpy(), mean, atol=1e-8)
        assert float(found.sd[i]) == pytest.approx(deviation[1 + mean[1:32].argmax()] * FLOW, rel=1e-5)


def test_gaussian_process_per_study_differs(study):
    own, shared = (gaussian_process_deconvolution(*tensors(study), 1.0, hyperparameters=h) for h in ("voxel", "study"))
    assert not torch.allclose(own.cbf, shared.cbf, rtol=0.01)
    with pytest.raises(ValueError, match="choose 'voxel' or 'study'"):
        gaussian_process_deconvolution(*tensors(study), 1.0, hyperparameters="slice")


def test_expectation_maximization_known_noise(study):
    """Against loops over the used lags; the plain form without offset turns this red."""
    curves, aif = study
    matrix = oracle.hats(aif, 1.0, LAGS, 40)
    kept = matrix.sum(axis=0) >= 0.1 * matrix.sum(axis=0).max()
    found = expectation_maximization(*tensors(study), 1.0, noise_hu=1e-3, iterations=15).k.numpy()
    expected = np.stack([oracle.expectation_maximization(matrix[:, kept], c, 3.0, 15) for c in curves])
    np.testing.assert_allclose(found[:, kept], expected, atol=1e-6)
    assert (found[:, ~kept] == 0).all()


def test_expectation_maximization_stops_at_the_noise(study):
    """A high stated noise ends the updates early: the misfit has come down to it, not below."""
    early = expectation_maximization(*tensors(study), 1.0, noise_hu=1.5, iterations=200)
    late = expectation_maximization(*tensors(study), 1.0, noise_hu=0.01, iterations=200)
    assert bool((early.cbf < late.cbf).all())
    curves, aif = study
    matrix = oracle.hats(aif, 1.0, LAGS, 40)
    misfit = ((early.k.numpy() @ matrix.T - curves) ** 2).mean(axis=1)
    assert (misfit <= 1.5**2).all()
    assert (misfit > 0.6 * 1.5**2).any()


def test_expectation_maximization_tells_the_noise_from_the_curve(study):
    """The offset is ten times what no residue explains, or a fifth of the peak; against the plain form with either.

    Mutation seen red: all of the curve counts as noise.
    """
    curves, aif = study
    matrix = oracle.hats(aif, 1.0, LAGS, 40)
    kept = matrix.sum(axis=0) >= 0.1 * matrix.sum(axis=0).max()
    modes, size, _ = np.linalg.svd(matrix)
    rest = curves @ modes[:, int((size >= 0.02 * size[0]).sum()) :]
    noise = np.sqrt((rest**2).mean(axis=1))
    assert (abs(noise / 0.4 - 1) < 0.4).all()
    offsets = np.maximum(10 * noise, 0.2 * curves.max(axis=1))
    expected = [
        oracle.expectation_maximization(matrix[:, kept], *pair, 15) for pair in zip(curves, offsets, strict=True)
    ]
    found = expectation_maximization(*tensors(study), 1.0, iterations=15).k.numpy()
    np.testing.assert_allclose(found[:, kept], expected, atol=1e-5)


def test_expectation_maximization_is_positive(study):
    assert bool((expectation_maximization(*tensors(study), 1.0).k >= 0).all())


@pytest.mark.parametrize(
    ("options", "message"),
    [({"iterations": 0}, "at least one iteration"), ({"noise_hu": -1.0}, "noise_hu must be positive")],
)
def test_expectation_maximization_refusals(study, options, message):
    with pytest.raises(ValueError, match=message):
        expectation_maximization(*tensors(study), 1.0, **options)


def test_bayes(study):
    """Against the marginal normal density of the data, another formula; dropping either determinant turns this red."""
    curves, _ = study
    aif = torch.tensor(study[1])
    fine_t = np.arange(0, 39.01, 0.25)
    fine = PchipInterpolator(T, aif.numpy())(fine_t)
    delays = np.arange(-1.0, 3.01, 1.0)
    scale = np.sqrt((fine**2).sum() * 0.25)
    forward = np.stack(
        [hat_matrix(*(torch.tensor(x) for x in (fine, fine_t, T, T + d)), abrupt=True).numpy() / scale for d in delays]
    )
    found = bayesian(*tensors(study), 1.0, delays=(-1.0, 3.0, 1.0))
    for i, curve in enumerate(curves):
        peak, delay, deviation = oracle.bayes(forward, curve, delays, np.logspace(-1, 3, 9), DELAY_SD)
        assert float(found.cbf[i]) == pytest.approx(peak / scale * FLOW, rel=1e-3)
        assert float(found.delay[i]) == pytest.approx(delay, abs=2e-3)
        assert float(found.sd[i]) == pytest.approx(deviation / scale * FLOW, rel=1e-3)


def test_bayes_residue_starts_at_the_delay(study):
    """The likeliest residue is near its maximum at the delay, and small a second earlier."""
    found = bayesian(*tensors(study), 1.0)
    before = found.k[:, (found.lags >= -6) & (found.lags <= -1)]
    assert bool((before.abs().amax(dim=1) < 0.05 * found.k.amax(dim=1)).all())


def test_bayes_refuses_an_empty_grid(study):
    with pytest.raises(ValueError, match="delays must be"):
        bayesian(*tensors(study), 1.0, delays=(3.0, -1.0, 0.5))


def test_abrupt_hat_is_half(generator):
    """The abrupt first column plus the half hat before it is the whole hat, by quadrature."""
    t = torch.arange(12, dtype=torch.float64)
    aif = torch.rand(12, generator=generator, dtype=torch.float64)
    make = partial(hat_matrix, aif, t, t, t[:5])
    s = np.arange(0, 1, 1e-4) + 5e-5
    expected = (np.interp(t.numpy()[:, None] - s, t.numpy(), aif.numpy(), left=0.0) * (1 - s)).mean(axis=1)
    np.testing.assert_allclose(make(abrupt=True)[:, 0].numpy(), expected, atol=2e-4)
    torch.testing.assert_close(make(abrupt=True)[:, 1:], make()[:, 1:])
