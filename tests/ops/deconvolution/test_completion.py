"""The volume that passes after the last frame, against curves of any residue convolved finely and cut."""

import math

import numpy as np
import pytest
import torch
from scipy.special import gammainc

from ctp_torch import ops
from ctp_torch.ops.deconvolution.capillary import Transit
from ctp_torch.ops.deconvolution.completion import LEAST_SEEN, seen_by
from ctp_torch.ops.deconvolution.dictionary import match_atoms, posterior_mean

FINE = 0.05
RESIDUES = {
    "exponential": lambda t, mtt: np.exp(-t / mtt),
    "box": lambda t, mtt: (t < mtt).astype(float),
    "fermi": lambda t, mtt: _fermi(t, mtt),
}


def _fermi(t, mtt):
    """A plateau that falls off, of area ``mtt`` and 1 at first."""
    width = mtt / 5
    middle = mtt * 0.975  # the plateau's own tail adds the rest
    return (1 + math.exp(-middle / width)) / (1 + np.exp((t - middle) / width))


def passage(residue, mtt, delay, *, end=60.0, tail=0.25, noise=0.0, voxels=1, seed=0):
    """A passage of curves with volume 1 sampled each second, and the share of the area that they hold."""
    t = np.arange(0, end + FINE / 2, FINE)
    u = np.clip(t - 8.0, 0, None)
    aif = (u / 10) ** 3 * np.exp(3 * (1 - u / 10)) * 300 + 300 * tail * gammainc(4, u / 6)  # recirculation stays
    shape = RESIDUES[residue](t, mtt)
    whole = RESIDUES[residue](np.arange(0, 500, FINE), mtt).sum()
    curve = np.convolve(aif, shape)[: len(t)] / whole
    curve = np.interp(t - delay, t, curve, left=0.0)
    every = slice(None, None, round(1 / FINE))
    share = np.trapezoid(curve, t) / np.trapezoid(aif, t)
    generator = torch.Generator().manual_seed(seed)
    curves = torch.tensor(curve[every] * 0.03).repeat(voxels, 1)
    curves = (curves + noise * torch.randn(curves.shape, generator=generator, dtype=torch.float64)).float()
    return ops.Passage(curves, torch.tensor(aif[every]), 1.0), share


@pytest.mark.filterwarnings("ignore::ctp_torch.ops.deconvolution.passage.TruncatedCurveWarning")
@pytest.mark.parametrize(("residue", "shape"), [("exponential", 1.0), ("box", 1e4)])
@pytest.mark.parametrize(("mtt", "delay"), [(4.0, 0.0), (16.0, 6.0)])
def test_the_share_is_that_of_the_areas(residue, shape, mtt, delay):
    """Mutations seen red: the delay left out; a mean over the frames instead of the artery."""
    made, share = passage(residue, mtt, delay)
    transit = Transit(*(torch.tensor([v], dtype=torch.float64) for v in (shape, mtt, delay)))
    found = float(seen_by(60.0, made.aif, made.aif_times, transit))
    assert found == pytest.approx(share, abs=0.004)
    assert share < (0.985 if mtt < 10 else 0.85)


@pytest.mark.filterwarnings("ignore::ctp_torch.ops.deconvolution.passage.TruncatedCurveWarning")
@pytest.mark.parametrize("residue", RESIDUES)
@pytest.mark.parametrize(("mtt", "delay"), [(4.0, 1.0), (8.0, 3.0), (14.0, 6.0)])
def test_volume_is_complete_whatever_the_residue(residue, mtt, delay):
    """Within 6 % in the mean at half a unit of noise, where the area alone lacks up to a quarter."""
    made, share = passage(residue, mtt, delay, noise=0.5, voxels=200)
    ratio = float((made.cbv / ops.seen_share(made)).mean()) / (made.volume_per_area * 0.03)
    assert ratio == pytest.approx(1.0, abs=0.06)
    assert abs(ratio - 1.0) < 0.5 * (1.0 - share) + 0.01


def test_a_passage_that_is_over_is_left_as_it_is():
    made, share = passage("box", 4.0, 1.0, tail=0.0)
    assert share > 0.999
    assert float(ops.seen_share(made)) == pytest.approx(1.0, abs=0.01)


def test_noise_is_doubled_at_most_and_nothing_stays_nothing():
    made, _ = passage("box", 4.0, 1.0, noise=0.0, voxels=300)
    noise = torch.randn(300, 61, generator=torch.Generator().manual_seed(1))
    noise[0] = 0.0
    with pytest.warns(ops.DeconvolutionWarning):
        share = ops.seen_share(ops.Passage(noise, made.aif, 1.0))
    assert float(share.min()) >= LEAST_SEEN
    assert float(share.max()) <= 1.0
    assert float(share[0]) == 1.0


@pytest.mark.parametrize("atoms", [5, 64, 77])
def test_the_mean_is_that_of_all_matches(atoms, generator, loops, dtype, tolerance):
    """Against `match_atoms`. Mutations seen red: the loops without their last lanes; without the prior."""
    signals = torch.rand(atoms, 30, generator=generator, dtype=torch.float64)
    noise = 0.3 * torch.randn(9, 30, generator=generator, dtype=torch.float64)
    curves = 3.0 * signals[torch.arange(9) % atoms] + noise
    curves[-1] = -1.0  # no atom fits
    prior, values = (torch.randn(atoms, generator=generator, dtype=torch.float64) for _ in range(2))
    expected = match_atoms(curves, signals, prior, values[:, None], torch.ones(atoms, 1)).means[:, 0]
    mean = posterior_mean(curves.to(dtype), signals, prior, values)
    torch.testing.assert_close(mean.double(), expected, **tolerance)
