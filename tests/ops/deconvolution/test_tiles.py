"""Every method on the standard grid of tile curves with CT noise, against what a plain prototype of it reached."""

from functools import partial

import numpy as np
import pytest
import torch
from deconvolutions import METHODS
from oracles.analytic_curves import CLINICAL, TEXTBOOK, GammaVariate, tissue_curve

from ctp_torch.ops.deconvolution.bayes import bayesian
from ctp_torch.ops.deconvolution.gaussian_process import gaussian_process_deconvolution
from ctp_torch.ops.deconvolution.svd import osvd

NOISE_HU = 0.5
REPEATS = 8

PROTOTYPE = {  # (correlation, slope) of CBF, MTT, delay: narrow input, then wide input
    "ssvd": ((0.917, 0.71, 0.91, 0.66, 0.40, 1.55), (0.885, 0.57, 0.91, 0.71, 0.49, 1.77)),
    "csvd": ((0.931, 0.74, 0.86, 0.55, 0.22, 0.93), (0.909, 0.48, 0.92, 0.62, 0.33, 1.02)),
    "osvd .095": ((0.929, 0.86, 0.90, 0.61, 0.27, 0.99), (0.887, 0.78, 0.87, 0.59, 0.29, 1.03)),
    "tikhonov": ((0.927, 0.84, 0.93, 0.74, 0.29, 1.00), (0.915, 0.65, 0.93, 0.74, 0.33, 1.00)),
    "gaussian_process_deconvolution": (
        (0.919, 0.82, 0.93, 0.92, 0.34, 1.01),
        (0.909, 0.68, 0.93, 0.82, 0.35, 1.00),
    ),
    "expectation_maximization": ((0.930, 0.89, 0.94, 0.72, 0.32, 1.00), (0.912, 0.61, 0.94, 0.70, 0.35, 0.96)),
    "bayesian": ((0.895, 1.07, 0.83, 0.49, 0.79, 0.91), (0.909, 0.93, 0.80, 0.42, 0.77, 0.91)),
    "box_nlr": ((0.852, 0.74, 0.94, 1.07, 0.78, 1.00), (0.813, 0.71, 0.91, 1.07, 0.69, 0.98)),
    "vascular_model": ((0.933, 1.05, 0.97, 1.08, 0.88, 0.99), (0.909, 1.10, 0.96, 1.09, 0.85, 1.00)),
    "max_slope": ((0.917, 0.64, 0.66, 0.33, 0.25, 0.99), (0.884, 0.45, 0.55, 0.24, 0.25, 0.97)),
}
CORRELATION_SLACK = 0.02
SLOPE_SLACK = 0.07
DELAY_SEED_SLACK = 0.04  # another seed moves the correlation of an SVD's Tmax with the delay by that much


def tiles(preset, *, dt=1.0, noise_hu=NOISE_HU, repeats=REPEATS):
    """735 noisy curves, repeated, their AIF, and the true CBF, MTT and delay."""
    t = np.arange(0.0, 60.0, dt)
    aif = GammaVariate(**preset)
    rows = [
        (tissue_curve(aif, t, residue, cbf=60 * cbv / mtt, mtt=mtt, delay=delay), 60 * cbv / mtt, mtt, delay)
        for residue in ("exponential", "linear", "box")
        for cbv in (1, 2, 3, 4, 5)
        for delay in np.arange(7) / 2
        for mtt in (24, 12, 8, 6, 4.8, 4, 24 / 7)
    ]
    curves = np.repeat(np.stack([row[0] for row in rows]), repeats, axis=0)
    curves = curves + noise_hu * np.random.default_rng(11).normal(size=curves.shape)
    truth = np.repeat(np.array([row[1:] for row in rows]), repeats, axis=0)
    return torch.tensor(curves, dtype=torch.float32), torch.tensor(aif(t), dtype=torch.float32), truth


@pytest.fixture(scope="module")
def grids():
    return [tiles(TEXTBOOK), tiles(CLINICAL)]


@pytest.mark.slow
@pytest.mark.parametrize("name", PROTOTYPE)
@pytest.mark.parametrize("width", [0, 1], ids=["textbook", "clinical"])
def test_prototype_is_reached(grids, name, width):
    curves, aif, truth = grids[width]
    found = (METHODS | {"osvd .095": partial(osvd, oscillation=0.095)})[name](curves, aif, 1.0)
    values = (found.cbf, found.mtt, found.tmax if found.delay is None else found.delay)
    prototype = PROTOTYPE[name][width]
    for i, quantity in enumerate(("cbf", "mtt", "delay")):
        x = values[i].numpy().astype(float)
        correlation, slope = np.corrcoef(x, truth[:, i])[0, 1], np.polyfit(truth[:, i], x, 1)[0]
        slack = CORRELATION_SLACK + (DELAY_SEED_SLACK if found.delay is None and quantity == "delay" else 0)
        assert correlation > prototype[2 * i] - slack, quantity
        assert abs(slope - 1) < abs(prototype[2 * i + 1] - 1) + SLOPE_SLACK, quantity


@pytest.mark.parametrize("width", [0, 1], ids=["textbook", "clinical"])
def test_delay_correction_beats_ssvd(grids, width):
    """Slope of CBF on the truth nearer to 1 and mean error lower at every delay but 0."""
    curves, aif, truth = grids[width]
    plain, corrected = (METHODS[n](curves, aif, 1.0).cbf.numpy() for n in ("ssvd", "delay_corrected_ssvd"))
    for delay in np.arange(1, 7) / 2:
        here = truth[:, 2] == delay
        slopes = [np.polyfit(truth[here, 0], x[here], 1)[0] for x in (plain, corrected)]
        errors = [np.abs(x[here] - truth[here, 0]).mean() for x in (plain, corrected)]
        assert abs(slopes[1] - 1) < abs(slopes[0] - 1), delay
        assert errors[1] < errors[0], delay


WIDE = {"alpha": 9.0, "b": 3.3, "t0": 2.0}  # area over peak 25 s, as a wide one of patients with its second passage


@pytest.mark.parametrize("noise_hu", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("preset", [TEXTBOOK, CLINICAL, WIDE], ids=["textbook", "clinical", "wide"])
def test_oscillation_is_limited_by_noise_and_artery(preset, noise_hu):
    """CBF is as near the truth as with the literature's high limit and follows it better; no fixed limit does both.

    Mutations seen red: one limit of .095, one of .035; no limit by the artery's width; the noise of the frames after
    they are resampled.
    """
    for dt in (1.0, 2.0):
        curves, aif, truth = tiles(preset, dt=dt, noise_hu=noise_hu, repeats=2)
        found = [osvd(curves, aif, dt, oscillation=limit).cbf.numpy() for limit in (None, 0.035, 0.095)]
        r = [np.corrcoef(cbf, truth[:, 0])[0, 1] for cbf in found]
        error = [np.abs(cbf - truth[:, 0]).mean() for cbf in found]
        assert r[0] > max(r[1] - 0.05, r[2] - 0.02), dt
        assert error[0] < 1.1 * min(error), dt


def test_no_flow_vanishes_in_noise_two_seconds_apart():
    """Under looser priors up to four per cent of curves have a CBF below a tenth of the truth and MTTs above 100 s.

    Mutation seen red: gains from 0.01 on.
    """
    for preset in (TEXTBOOK, CLINICAL):
        curves, aif, truth = tiles(preset, dt=2.0, noise_hu=2.0, repeats=2)
        found = gaussian_process_deconvolution(curves, aif, 2.0)
        assert (found.cbf.numpy() < 0.1 * truth[:, 0]).mean() < 0.004
        assert float(found.mtt.max()) < 60.0


def test_lags_of_bayes_are_no_finer_than_the_frames():
    """Finer lags leave max k to the noise: 1.3 times the error of CBF. Mutation seen red: lags of 1 s always."""
    curves, aif, truth = tiles(CLINICAL, dt=2.0, noise_hu=1.0, repeats=1)
    own, fine = bayesian(curves, aif, 2.0), bayesian(curves, aif, 2.0, step=1.0)
    assert float(own.lags[1] - own.lags[0]) == 2.0
    errors = [np.abs(found.cbf.numpy() - truth[:, 0]).mean() for found in (own, fine)]
    assert errors[0] < 0.8 * errors[1]
