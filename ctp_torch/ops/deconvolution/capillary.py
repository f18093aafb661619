"""Gamma-distributed capillary transit times: their residue function, heterogeneity, and the oxygen they let through."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.ops.deconvolution.convolution import hat_matrix
from ctp_torch.ops.deconvolution.result import chunks

__all__ = [
    "Transit",
    "fine_lags",
    "gamma_dictionary",
    "maximum_oxygen_extraction",
    "residue_area",
    "residue_function",
    "transit_heterogeneity",
]

EXTRACTION_RATE = 118.0
"""Rate constant of oxygen transport out of the capillary [1/s]."""

HALF_SATURATION = 26.0
"""Oxygen tension at which half the haemoglobin is saturated [mmHg]."""

HILL_EXPONENT = 2.8

SOLUBILITY = 3.1e-5
"""Oxygen dissolved in plasma [mL/mL/mmHg]."""

ARTERIAL_OXYGEN = 0.19
"""Oxygen in arterial blood [mL/mL]."""

OXYGEN_CAPACITY = 0.1943
"""Oxygen in saturated blood [mL/mL]."""

TISSUE_TENSION = 25.0
"""Oxygen tension in tissue [mmHg]."""

FINE_STEP = 0.25
"""Spacing of the lags on which the model is convolved [s]."""

LONGEST_TRANSIT = 400.0
"""End of the table of extraction against transit time [s]; nearly nothing is left to extract by then."""


STEPS = 240
"""Steps of that table, evenly spaced on a log scale."""


class Transit(NamedTuple):
    """Gamma-distributed transit times behind a delay, one per voxel or per atom of a dictionary."""

    shape: Tensor
    """``(n,)`` 1 makes the residue exponential, infinity a box."""
    mtt: Tensor
    """``(n,)`` mean [s]."""
    delay: Tensor
    """``(n,)`` arrival after the AIF [s]."""


def residue_function(lags: Tensor, transit: Transit) -> Tensor:
    """Part of the tracer still there ``(n, lags)`` at each lag [s]: ``Q(shape, shape t / mtt)``, 0 before arrival."""
    u = _scaled(lags, transit)
    remaining: Tensor = torch.special.gammaincc(transit.shape[:, None].expand_as(u), u.clamp(min=0))
    return torch.where(u >= 0, remaining, 0.0)


def residue_area(lags: Tensor, transit: Transit) -> Tensor:
    """Integral [s] of the residue function up to each lag ``(n, lags)``: ``t Q(shape, u) + mtt P(shape + 1, u)``."""
    u = _scaled(lags, transit).clamp(min=0)
    shape, mtt = transit.shape[:, None].expand_as(u), transit.mtt[:, None]
    area: Tensor = u / shape * mtt * torch.special.gammaincc(shape, u) + mtt * torch.special.gammainc(shape + 1, u)
    return area


def _scaled(lags: Tensor, transit: Transit) -> Tensor:
    """Time since arrival in units of the distribution's scale, ``(n, lags)``."""
    return (lags.to(transit.mtt) - transit.delay[:, None]) * (transit.shape / transit.mtt)[:, None]


def fine_lags(times: Tensor, first: float) -> Tensor:
    """Lags ``(lags,)`` every 0.25 s from before ``first`` [s] to the length of the scan ``times (time,)``."""
    count = int((float(times.max() - times.min()) - first) / FINE_STEP) + 3
    return first + FINE_STEP * (torch.arange(count, dtype=torch.float64, device=times.device) - 1)


def gamma_dictionary(
    aif: Tensor, aif_times: Tensor, times: Tensor, shapes: Tensor, mtts: Tensor, delays: Tensor
) -> tuple[Transit, Tensor]:
    """All combinations of three grids, each ``(atoms,)``, and their tissue curves ``(atoms, time)`` for a volume of 1.

    ``(a * Q) / mtt`` at ``times``; the residue enters as its mean over each fine step. ``delays`` ascend evenly by a
    multiple of 0.25 s, so that residues are computed once and moved.
    """
    jump = round(float(delays[-1] - delays[0]) / max(len(delays) - 1, 1) / FINE_STEP)
    lags = fine_lags(times, float(delays[0]))
    moved = (len(delays) - 1) * jump
    since = lags[0] - delays[-1] + FINE_STEP * (torch.arange(len(lags) + moved + 1, device=lags.device) - 0.5)
    shape, mtt = (part.flatten() for part in torch.meshgrid(shapes, mtts, indexing="ij"))
    still = Transit(shape, mtt, torch.zeros_like(mtt))
    mean = residue_area(since, still).diff(dim=1) / (FINE_STEP * mtt[:, None])
    windows = mean.unfold(1, len(lags), max(jump, 1)).flip(1)  # (shapes * mtts, delays, lags): the latest came first
    curves = windows @ hat_matrix(aif, aif_times, times, lags).T
    atoms = Transit(*(part.flatten() for part in torch.meshgrid(shapes, mtts, delays, indexing="ij")))
    return atoms, curves.flatten(0, 1)


def transit_heterogeneity(transit: Transit) -> Tensor:
    """CTH ``(n,)``, the standard deviation of the transit times [s]: ``mtt / sqrt(shape)``."""
    return transit.mtt / transit.shape.sqrt()


def maximum_oxygen_extraction(mtt: Tensor, cth: Tensor) -> Tensor:
    """Largest oxygen extraction fraction (0..1) that gamma-distributed capillary transit times allow.

    ``OEFmax = ∫ h(t) Q(t) dt`` with the extraction Q of a single capillary from
    ``dC/dx = -k t (a P50 (C / (B - C))^(1/h) - a Pt)``, ``C(0) = CA``, ``Q(t) = 1 - C(1) / CA``.

    Parameters
    ----------
    mtt, cth
        ``(...)`` mean and standard deviation of the transit times [s], positive

    Returns
    -------
    Tensor
        ``(...)``

    References
    ----------
    Jespersen and Ostergaard 2012, https://doi.org/10.1038/jcbfm.2011.153
    """
    times, extraction = _extraction_table(mtt)
    middle = (extraction[1:] + extraction[:-1]) / 2
    shape, mean = (mtt / cth).square().flatten().double(), mtt.flatten().double()
    extracted = torch.empty_like(shape)
    for rows in chunks(shape, 2 * len(times)):
        scaled = (shape / mean)[rows, None] * times  # (values, times)
        edges = torch.special.gammainc(shape[rows, None].expand_as(scaled), scaled)
        extracted[rows] = edges.diff(dim=1) @ middle + (1 - edges[:, -1]) * extraction[-1]
    return extracted.view(mtt.shape).to(mtt)


def _extraction_table(like: Tensor) -> tuple[Tensor, Tensor]:
    """Transit times ``(times,)`` [s] and the oxygen extracted over them, by fourth-order Runge-Kutta steps."""
    grid = [0.0, *(LONGEST_TRANSIT * 10 ** (-4 + 4 * i / STEPS) for i in range(STEPS + 1))]
    oxygen = [ARTERIAL_OXYGEN]
    for before, after in pairwise(grid):
        step, start = after - before, oxygen[-1]
        a = _loss(start)
        b = _loss(start - step / 2 * a)
        c = _loss(start - step / 2 * b)
        oxygen.append(start - step / 6 * (a + 2 * b + 2 * c + _loss(start - step * c)))
    outflow = torch.tensor(oxygen, dtype=torch.float64, device=like.device)
    return torch.tensor(grid, dtype=torch.float64, device=like.device), 1 - outflow / ARTERIAL_OXYGEN


def _loss(oxygen: float) -> float:
    """Oxygen lost per second of transit [mL/mL/s]."""
    tension: float = HALF_SATURATION * (oxygen / (OXYGEN_CAPACITY - oxygen)) ** (1 / HILL_EXPONENT)
    return EXTRACTION_RATE * SOLUBILITY * (tension - TISSUE_TENSION)
