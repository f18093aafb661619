"""Conformal bands over patients: the rank's promise on exchangeable toys, and each step against brute force."""

import math

import numpy as np
import pytest
import torch

from ctp_torch.ops.conformal import (
    band_ends,
    conformal_margin,
    conformal_rank,
    least_patients,
    residual_band,
    share_score,
)


def test_rank_is_the_one_of_the_papers():
    """13 patients at 90 %: rank 13 of 14. Mutation seen red: n in place of n + 1."""
    assert conformal_rank(13, 0.9) == 13
    assert conformal_rank(30, 0.9) == 28
    assert conformal_rank(9, 0.9) == 9
    assert conformal_rank(19, 0.95) == 19, "not 20 by rounding of 20 x 0.95"
    assert [least_patients(level) for level in (0.5, 0.8, 0.9, 0.95)] == [1, 4, 9, 19]
    with pytest.raises(ValueError, match="needs 9 patients, got 8"):
        conformal_rank(8, 0.9)
    with pytest.raises(ValueError, match="between 0 and 1"):
        conformal_rank(8, 1.0)


@pytest.mark.parametrize(("n", "level"), [(13, 0.9), (30, 0.8), (9, 0.5)])
def test_next_patient_falls_within_as_often_as_promised(n, level):
    """Exchangeable scores of any distribution: k / (n + 1) exactly. Mutation seen red: the rank below."""
    rng = np.random.default_rng(0)
    scores = rng.standard_cauchy((4000, n + 1))
    within = np.mean([row[n] <= conformal_margin(row[:n].tolist(), level) for row in scores])
    promised = conformal_rank(n, level) / (n + 1)
    assert promised >= level
    assert within == pytest.approx(promised, abs=3.5 * math.sqrt(promised * (1 - promised) / 4000))


def patients(n, *, seed, dtype=torch.float32, device="cpu"):
    """Predictions that are off by a bias and a scale of each patient's own, the more the larger they are."""
    generator = torch.Generator().manual_seed(seed)
    cohort = []
    for _ in range(n):
        predicted = 60 * torch.rand(500, generator=generator)
        bias, scale = 3 * torch.randn((), generator=generator), (0.3 * torch.randn((), generator=generator)).exp()
        noise = (1 + predicted / 10) * torch.randn(500, generator=generator)
        cohort.append((predicted.to(device, dtype), (predicted * scale + bias + noise).to(device, dtype)))
    return cohort


def margin_over(cohort, level):
    """Each patient's score on the band of the others, as a training does it."""
    scores = []
    for i, (predicted, truth) in enumerate(cohort):
        others = [torch.cat(parts) for parts in zip(*(cohort[:i] + cohort[i + 1 :]), strict=True)]
        scores.append(share_score(predicted, truth, residual_band(*others, level), level))
    return conformal_margin(scores, level)


def test_bands_hold_over_patients_where_pooled_ones_do_not():
    """50 cohorts of 13: nine tenths of the voxels in (about) 13 of 14 patients; uncorrected, in far fewer."""
    held = {"patients": 0, "pooled": 0}
    for seed in range(50):
        cohort, (predicted, truth) = patients(13, seed=seed), patients(1, seed=1000 + seed)[0]
        band = residual_band(*(torch.cat(parts) for parts in zip(*cohort, strict=True)), 0.9)
        for name, margin in (("patients", margin_over(cohort, 0.9)), ("pooled", 0.0)):
            lower, upper = band_ends(predicted, *band, margin)
            held[name] += float(((truth >= lower) & (truth <= upper)).float().mean()) >= 0.9
    assert held["patients"] >= 42
    assert held["pooled"] <= 36


def test_score_is_the_least_margin_that_holds(device, dtype):
    """One step less holds too few. Mutation seen red: the floor of the share."""
    cohort = patients(3, seed=5, dtype=dtype, device=device)
    band = residual_band(*(torch.cat(parts) for parts in zip(*cohort[:2], strict=True)), 0.9)
    predicted, truth = cohort[2]
    score = share_score(predicted, truth, band, 0.9)

    def covered(margin):
        lower, upper = band_ends(predicted, *band, margin)
        return float(((truth >= lower) & (truth <= upper)).double().mean())

    assert band[0].dtype == dtype
    assert covered(score + 1e-4) >= 0.9 > covered(score - 1e-4)


def test_quantiles_are_those_of_numpy_and_between_knots_linear():
    generator = torch.Generator().manual_seed(3)
    predicted = torch.rand(400, generator=generator, dtype=torch.float64)
    truth = predicted + torch.randn(400, generator=generator, dtype=torch.float64)
    knots, low, high = residual_band(predicted, truth, 0.8, n_bins=4)
    order = np.argsort(predicted.numpy())
    rest = (truth - predicted).numpy()[order].reshape(4, 100)
    np.testing.assert_allclose(low, np.quantile(rest, 0.1, axis=1))
    np.testing.assert_allclose(high, np.quantile(rest, 0.9, axis=1))
    at = torch.tensor([-1.0, float(knots[0]), 0.5, 2.0], dtype=torch.float64)
    lower, upper = band_ends(at, knots, low, high, 0.25)
    below, above = np.interp(at, knots, low), np.interp(at, knots, high)
    np.testing.assert_allclose(lower, at.numpy() + below - 0.25 * (above - below))
    np.testing.assert_allclose(upper, at.numpy() + above + 0.25 * (above - below))
    drawn_in = band_ends(at, knots, low, high, -3.0)
    np.testing.assert_allclose(drawn_in[0], drawn_in[1], err_msg="never crossed")


def test_few_voxels_make_one_bin_and_equal_predictions_no_division_by_zero():
    knots, low, high = residual_band(torch.ones(50), torch.arange(50.0), 0.9)
    assert len(knots) == 1
    assert bool(torch.isfinite(torch.stack(band_ends(torch.tensor([0.0, 5.0]), knots, low, high))).all())
    knots, low, high = residual_band(torch.ones(500), torch.arange(500.0), 0.9)
    assert len(knots) > 1
    assert bool(torch.isfinite(torch.stack(band_ends(torch.tensor([0.0, 1.0, 5.0]), knots, low, high))).all())
