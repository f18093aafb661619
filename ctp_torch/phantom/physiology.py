"""One patient's blood: age, cardiac output, bolus, recirculation, venous outflow, flow and volume of the tissues."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.phantom.bank import CurveBank, build_bank, convolve
from ctp_torch.phantom.curves import Bolus, arterial_curve

__all__ = ["FINE_STEP", "MTT_RANGE", "Blood", "Physiology", "blood_curves", "draw_physiology"]

FINE_STEP = 0.05
"""Spacing of the grid on which curves are made [s]."""
MTT_RANGE = (0.8, 26.0)
"""Transit times a voxel can have [s]."""


class Physiology(NamedTuple):
    """What the heart, the vessels and the tissues of one patient do."""

    age: float
    cardiac_output: float
    """q, relative to normal."""
    bolus: Bolus
    """First pass at the AIF site."""
    recirculation: tuple[float, float, float]
    """Fraction phi, delay t_d [s], time constant tau [s]."""
    vof_lag: float
    """Venous peak after arterial peak [s]."""
    grey: tuple[float, float]
    """CBF [mL/100 g/min], CBV [mL/100 g]."""
    white: tuple[float, float]
    """CBF [mL/100 g/min], CBV [mL/100 g]."""
    alpha: float
    """Shape of the normal transit times."""
    delays: tuple[float, ...]
    """Arrival [s] by territory (``TERRITORIES``), after the AIF site."""
    white_delay: float
    """Extra arrival delay of white matter [s]."""
    watershed_delay: float
    """Extra arrival delay between territories [s]."""


class Blood(NamedTuple):
    """Arterial and venous enhancement on the fine grid from time 0, and the bank of tissue curves."""

    aif: Tensor
    vof: Tensor
    bank: CurveBank
    shapes: tuple[tuple[float, float], ...]
    """(alpha, dispersion [s]) of the bank's shapes."""


def draw_physiology(generator: torch.Generator, *, dt: float, bolus_stretch: float = 1.0) -> Physiology:
    """A random patient.

    Cardiac output q = LogN(0, .2) (1 - .006 (age - 65)); first-pass area 2300 LogN(0, .3) / q HU s (Stewart and
    Hamilton); time to peak 11.5 LogN(0, .22) / q^.7 s within 7 to 20 s; GM and WM flow and volume as in normal adults.

    Parameters
    ----------
    generator
        source of randomness
    dt
        time between frames [s]; at least 5 frames stay without contrast
    bolus_stretch
        factor on the width of the bolus, whose area stays
    """
    n = torch.randn(10, generator=generator, dtype=torch.float64).tolist()
    u = torch.rand(14, generator=generator, dtype=torch.float64).tolist()
    age = 45.0 + 43.0 * u[0]
    q = math.exp(0.2 * n[0]) * (1.0 - 0.006 * (age - 65.0))
    bolus = _draw_bolus(q, n[1:4], onset=0.5 + 7.5 * u[1], baseline=5.0 * dt, stretch=bolus_stretch)
    grey = (max(58.0 + 7.0 * n[4], 38.0) * q**0.3, max(3.9 + 0.4 * n[5], 2.8))
    white = (max(24.0 + 4.0 * n[6], 14.0) * q**0.3, max(2.0 + 0.25 * n[7], 1.3))
    delays = (0.7 * u[2], 0.7 * u[3], 0.7 * u[4], 0.7 + 0.8 * u[5], 0.7 + 0.8 * u[6])
    return Physiology(
        age=age,
        cardiac_output=q,
        bolus=bolus,
        recirculation=(0.8 + u[7], (14.0 + 8.0 * u[8]) / math.sqrt(q), 25.0 + 45.0 * u[9]),
        vof_lag=4.0 + 4.5 * u[10],
        grey=grey,
        white=white,
        alpha=3.0 + 3.0 * u[11],
        delays=delays,
        white_delay=0.5,
        watershed_delay=0.5 + 0.5 * u[12],
    )


def _draw_bolus(q: float, normals: list[float], *, onset: float, baseline: float, stretch: float) -> Bolus:
    """The first pass at the AIF site; it reaches 2 % of its peak no earlier than ``baseline`` seconds."""
    time_to_peak = stretch * min(max(11.5 * math.exp(0.22 * normals[0]) / q**0.7, 7.0), 20.0)
    alpha = min(max(6.9 * math.exp(0.4 * normals[1]), 3.0), 14.0)
    unit = Bolus(onset, alpha, time_to_peak / alpha, 1.0)
    peak = 2300.0 / q * math.exp(0.3 * normals[2]) / unit.area
    t = torch.arange(0.0, 60.0, 0.02, dtype=torch.float64)
    arrival = float(t[(arterial_curve(t, unit) >= 0.02).nonzero()[0, 0]])
    return unit._replace(onset=onset + max(baseline - arrival, 0.0), peak=peak)


def blood_curves(patient: Physiology, *, duration: float, shapes: tuple[tuple[float, float], ...]) -> Blood:
    """Arterial and venous curves and the bank of tissue curves of one patient.

    The AIF is the first pass plus phi times itself, delayed by t_d and dispersed by tau. The vein is the AIF behind the
    transit times of the whole brain, delayed until its peak comes ``vof_lag`` after the artery's: same area.

    Parameters
    ----------
    patient
        the blood
    duration
        length of the curves [s], from time 0
    shapes
        (alpha, dispersion [s]) of the tissue's transit times
    """
    t = torch.arange(0.0, duration + FINE_STEP, FINE_STEP, dtype=torch.float64)
    first = arterial_curve(t, patient.bolus)
    phi, delay, tau = patient.recirculation
    later = (t - delay).clamp_min(0.0)
    echo = torch.where(t >= delay, torch.exp(-later / tau) / tau, 0.0)
    aif = first + phi * convolve(first, echo, FINE_STEP)
    vof = _venous_outflow(aif, t, patient)
    transits = torch.logspace(math.log10(MTT_RANGE[0]), math.log10(MTT_RANGE[1]), 72, dtype=torch.float64)
    return Blood(aif, vof, build_bank(aif, FINE_STEP, shapes=shapes, transits=transits), shapes)


def _venous_outflow(aif: Tensor, t: Tensor, patient: Physiology) -> Tensor:
    """The artery's curve behind the whole brain's transit times, peaking ``vof_lag`` seconds after it."""
    mtt = 60.0 * (0.55 * patient.grey[1] + 0.45 * patient.white[1]) / (0.55 * patient.grey[0] + 0.45 * patient.white[0])
    alpha = 2.5
    x = t * alpha / mtt
    density = torch.exp((alpha - 1) * torch.log(x.clamp_min(1e-12)) - x - math.lgamma(alpha)) * alpha / mtt
    vof = convolve(aif, density, t[1].item())
    early = t < float(t[aif.argmax()]) + 15.0
    wait = patient.vof_lag - float(t[(vof * early).argmax()] - t[aif.argmax()])
    shift = max(round(wait / FINE_STEP), 0)
    return torch.cat([vof.new_zeros(shift), vof[: len(vof) - shift]])
