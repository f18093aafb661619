"""Digital patients whose blood flows otherwise than the phantom's own: other first passes, other residues.

The own kind has gamma-variate first passes with recirculation, and gamma-distributed transits. Strangers here have
exponential, box, log-normal or linear residues, and arteries of a slow injection, with a second hump, or log-normal.
Anatomy, lesions, noise and motion stay, so that nothing but the blood can give a stranger away.
"""

import math
from functools import partial
from unittest import mock

import torch

from ctp_torch.phantom.bank import CurveBank, convolve
from ctp_torch.phantom.patient import render_patient
from ctp_torch.phantom.physiology import FINE_STEP, MTT_RANGE, Blood, _venous_outflow

KINDS = {
    "exponential, log-normal": ("exponential", "log-normal"),
    "box, log-normal": ("box", "log-normal"),
    "log-normal, second hump": ("log-normal", "second hump"),
    "linear, slow injection": ("linear", "slow injection"),
    "exponential, second hump": ("exponential", "second hump"),
}
"""Residue and artery."""


def residues(kind, t, mtt):
    """R ``(transits, time)`` with R(0) = 1 and the area ``mtt``."""
    x = t[None, :] / mtt[:, None]
    if kind == "exponential":
        return torch.exp(-x)
    if kind == "box":
        return torch.sigmoid((1.0 - x) / 0.03)
    if kind == "linear":
        return (1.0 - x / 2.0).clamp_min(0.0)
    spread = 0.9
    middle = torch.log(mtt)[:, None] - spread**2 / 2.0
    return 1.0 - torch.distributions.Normal(middle, spread).cdf(t.clamp_min(1e-6).log()[None, :])


def artery(kind, t, bolus):
    """Arterial enhancement [HU] about as high, early and wide as a gamma-variate bolus, of another shape."""
    start, width = bolus.onset + 0.25 * bolus.alpha * bolus.b, bolus.alpha * bolus.b
    u = (t - start).clamp_min(1e-6)
    if kind == "log-normal":
        first = torch.exp(-(torch.log(u / (0.75 * width)) ** 2) / (2 * 0.42**2))
        tail = 0.22 * (1.0 - torch.exp(-(t - start - 8.0).clamp_min(0.0) / 6.0)) * torch.exp(-u / 120.0)
    elif kind == "slow injection":
        end = start + 3.0 + 1.1 * width
        first = torch.sigmoid((t - start - 3.0) / 0.9) * torch.sigmoid((end - t) / 1.6)
        tail = 0.3 * torch.sigmoid((t - end) / 2.0)
    else:
        hump = [torch.exp(-(((t - start - c * width) / (w * width)) ** 2) / 2) for c, w in ((0.7, 0.22), (1.5, 0.3))]
        first, tail = hump[0] + 0.45 * hump[1], 0.12 * torch.sigmoid((t - start - 2.0 * width) / 3.0)
    curve = bolus.peak * (first + tail) * torch.sigmoid((t - start) / 0.3)
    return curve - curve[0]


def blood(residue, pass_, patient, *, duration, shapes):
    """As `ctp_torch.phantom.physiology.blood_curves`, of a stranger; ischaemia changes flow, volume and delay alone."""
    t = torch.arange(0.0, duration + FINE_STEP, FINE_STEP, dtype=torch.float64)
    aif = artery(pass_, t, patient.bolus)
    transits = torch.logspace(math.log10(MTT_RANGE[0]), math.log10(MTT_RANGE[1]), 72, dtype=torch.float64)
    curves = convolve(residues(residue, t, transits), aif, FINE_STEP).float()
    bank = CurveBank(curves[None].repeat(len(shapes), 1, 1), transits.float(), FINE_STEP)
    return Blood(aif, _venous_outflow(aif, t, patient), bank, tuple((1.0, 0.0) for _ in shapes))


def render_foreign(seed, index, kind, *, size=128):
    """Patient ``index`` of the cohort ``seed`` with the blood of a kind."""
    residue, pass_ = KINDS[kind]
    with mock.patch("ctp_torch.phantom.patient.blood_curves", partial(blood, residue, pass_)):
        return render_patient(seed, index, size=size)
