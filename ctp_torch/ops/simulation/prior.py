"""What the literature knows of arteries and tissue, as random draws: wide enough for any scanner and any patient."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.ops.simulation.spectrum import Spectrum, Transit, bolus_spectrum

__all__ = ["DELAYS", "FLOWS", "TRANSITS", "Tissue", "draw_arteries", "draw_tissue"]

FLOWS = (2.0, 120.0)
"""CBF [mL/100 g/min]."""
TRANSITS = (1.5, 25.0)
"""MTT [s]."""
DELAYS = (-1.0, 12.0)
"""Arrival after the artery [s]; an artery that is read late makes it negative."""
_VOLUMES = (0.4, 9.0)
"""CBV [mL/100 g]."""
_SHAPES = (1.0, 10.0)
"""Of the gamma distribution of transit times, from exponential to nearly a box."""


class Tissue(NamedTuple):
    """Perfusion of voxels ``(arteries, voxels)``."""

    cbf: Tensor
    """[mL/100 g/min]"""
    transit: Transit

    @property
    def cbv(self) -> Tensor:
        """[mL/100 g], of the tissue without large vessels."""
        return self.cbf * self.transit.mtt / 60.0


def draw_arteries(n: int, generator: torch.Generator, *, first_onset: float, last_onset: float) -> Spectrum:
    """Arteries of patients ``(n, frequencies)``.

    Time to peak 7 to 22 s (of an 11 s bolus 0.7 to 2 times), exponent LogN(ln 6.5, .45) in 2.5..15, area LogN(ln
    2100 HU s, .45), recirculation 0.5 to 2 times the first pass 10 to 24 s later, spread over 20 to 70 s: a little
    wider than what 93 patients' arterial curves hold (times to peak 9, 12, 18.5 s and exponents 3.8, 6.9, 12 at the 10,
    50 and 90 % marks; last frames .13, .20, .30 of the peak).

    Parameters
    ----------
    n
        how many
    generator
        on the CPU
    first_onset, last_onset
        between which the bolus comes [s]

    References
    ----------
    de Vries et al. 2023, Med Image Anal 90:102971, doi:10.1016/j.media.2023.102971 (the 93 curves are shipped with its
    code); McKinley et al. 2018, Front Neurol 9:717, doi:10.3389/fneur.2018.00717
    """
    draw = _Draw((n,), generator)
    shape = draw.normal(math.log(6.5), 0.45).exp().clamp(2.5, 15.0)
    scale = draw.log_between(7.0, 22.0) / shape
    area = draw.normal(math.log(2100.0), 0.45).exp()
    recirculation = draw.between(0.5, 2.0), draw.between(10.0, 24.0), draw.between(20.0, 70.0)
    return bolus_spectrum(draw.between(first_onset, last_onset), shape, scale, area, recirculation)


def draw_tissue(shape: tuple[int, int], generator: torch.Generator) -> Tissue:
    """Voxels ``(arteries, voxels)``: a fifth of any flow and volume there can be, two normal, two ischaemic.

    *Any*: CBF and CBV log-uniform over 2..120 mL/100 g/min and 0.4..9 mL/100 g, delay uniform over -1..12 s.
    *Normal*: mixtures of grey matter, 53 mL/100 g/min and 3.7 s, and white matter, 25 and 4.6, flow scattered by 30 %
    and transit times by 25 %; delay around 1 s.
    *Ischaemic*: normal tissue with 3 to 90 % of its flow, and a volume that rises by a third at most and falls where
    flow fails. What has less than half of its flow is fed by collaterals and late by up to 12 s; the rest by up to 6.
    Transit times scatter more.
    Transit times are gamma-distributed (of shape 1 to 10, exponential or box); half of the voxels see the bolus
    dispersed by up to 3 s.

    Parameters
    ----------
    shape
        arteries and voxels
    generator
        on the CPU

    References
    ----------
    Riordan et al. 2011, Med Phys 38:3212 (normal flow and volume); Olivot et al. 2009, Stroke 40:469 (how late tissue
    at risk is);
    Murphy et al. 2006, Stroke 37:1771, doi:10.1161/01.STR.0000227243.96808.53 (of ischaemic and infarcted tissue);
    Mouridsen et al. 2014, J Cereb Blood Flow Metab 34:1511, doi:10.1038/jcbfm.2014.111 (gamma-distributed transits);
    Calamante et al. 2000, Magn Reson Med 44:466 (delay and dispersion)
    """
    draw = _Draw(shape, generator)
    kind = draw.between(0.0, 1.0)
    anything, ischaemic = kind < 0.2, kind > 0.6
    grey = draw.between(0.0, 1.0)
    cbf = (25.0 + 28.0 * grey) * draw.normal(0.0, 0.3).exp()
    cbv = cbf * (4.6 - 0.9 * grey) / 60.0 * draw.normal(0.0, 0.25).exp()
    left = draw.between(0.03, 0.9)  # of the flow
    rest = ((0.6 + 2.4 * left).clamp_max(1.3) * draw.normal(0.0, 0.35).exp()).clamp(0.15, 1.6)  # of the volume
    cbf = torch.where(anything, draw.log_between(*FLOWS), torch.where(ischaemic, cbf * left, cbf)).clamp(*FLOWS)
    cbv = torch.where(anything, draw.log_between(*_VOLUMES), torch.where(ischaemic, cbv * rest, cbv))
    mtt = _fold(60.0 * cbv / cbf, *TRANSITS)
    behind = torch.where(left < 0.5, draw.between(2.0, DELAYS[1]), draw.between(0.0, 6.0))
    delay = torch.where(anything, draw.between(*DELAYS), torch.where(ischaemic, behind, draw.normal(1.0, 0.8)))
    delay = delay.clamp(*DELAYS)
    scatter = torch.where(ischaemic, draw.log_between(1.0, 3.0), draw.log_between(*_SHAPES))
    special = draw.between(0.0, 1.0)
    scatter = scatter.masked_fill(special < 0.1, 1.0).masked_fill(special > 0.9, math.inf)
    dispersion = 3.0 * (2.0 * draw.between(0.0, 1.0) - 1.0).clamp_min(0.0)
    return Tissue(cbf, Transit(mtt, delay, scatter, dispersion))


class _Draw:
    """Random numbers of one shape."""

    def __init__(self, shape: tuple[int, ...], generator: torch.Generator) -> None:
        self.shape, self.generator = shape, generator

    def between(self, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(self.shape, generator=self.generator)

    def log_between(self, low: float, high: float) -> Tensor:
        return self.between(math.log(low), math.log(high)).exp()

    def normal(self, mean: float, sd: float) -> Tensor:
        return mean + sd * torch.randn(self.shape, generator=self.generator)


def _fold(values: Tensor, low: float, high: float) -> Tensor:
    """Values outside a range mirrored into it on a logarithmic scale: clamped ones would pile up at its ends."""
    span = math.log(high / low)
    x = (values / low).log().remainder(2.0 * span)
    return low * torch.where(x > span, 2.0 * span - x, x).exp()
