"""The vascular model: gamma-distributed capillary transit times behind a delayed AIF, with CTH and OEFmax."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ctp_torch.ops.deconvolution.capillary import (
    Transit,
    gamma_dictionary,
    maximum_oxygen_extraction,
    residue_function,
    transit_heterogeneity,
)
from ctp_torch.ops.deconvolution.convolution import extended_lags
from ctp_torch.ops.deconvolution.dictionary import match_atoms
from ctp_torch.ops.deconvolution.method import deconvolution
from ctp_torch.ops.deconvolution.passage import Passage, by_timing, finer_aif
from ctp_torch.ops.deconvolution.result import Deconvolution, chunks, finish
from ctp_torch.ops.deconvolution.vascular_fit import refine

__all__ = ["transit_prior", "vascular_model"]

SHAPES = (1.0, 2.0, 4.0, 8.0, 32.0)
"""Shapes of the transit time distribution tried: exponential (1) to nearly a box (32)."""

TRANSIT_TIMES = (2.0, 40.0, 28)
"""Mean transit times tried [s]: from, to, how many, evenly spaced on a log scale."""

DELAYS = (-2.0, 8.0, 0.5)
"""Delays tried [s]: from, to, step."""

PRIOR_TRANSIT_TIME = (4.5, 1.1)
"""Median [s] and log-scale deviation of the prior on the mean transit time."""

PRIOR_SHAPE = (10.0, 3.0)
"""Median and log-scale deviation of the prior on the shape."""

PRIOR_DELAY = (0.0, 5.0)
"""Mean and deviation of the prior on the delay [s]."""


@deconvolution
def vascular_model(passage: Passage, *, estimate: Literal["posterior", "refined"] = "posterior") -> Deconvolution:
    """Perfusion of ``c = f a(. - D) * Q(shape, shape t / MTT)``: gamma-distributed transit times behind a delay.

    2,940 model curves are compared with every curve at once; weights ``prior · |c - v y|^(-n)`` (white noise,
    variance integrated out) give posterior means. ``"refined"`` instead walks from the likeliest curve to the least
    squares by damped Gauss-Newton steps. Frames may be uneven: curves are compared where they were taken.

    Parameters
    ----------
    estimate
        ``"posterior"`` means over the dictionary, or the ``"refined"`` least squares (many times slower)

    Returns
    -------
    Deconvolution
        with ``cth`` [s] and ``oefmax`` [%] in ``extra``. CBV, MTT and delay are the model's own; ``tmax`` is the delay,
        cut at 0; ``k`` is the residue of the likeliest (or refined) model; ``sd`` the posterior deviation

    Raises
    ------
    ValueError
        for an unknown estimate

    References
    ----------
    Mouridsen et al. 2006, NeuroImage 33:570; Mouridsen et al. 2014, J Cereb Blood Flow Metab 34:1511
    """
    if estimate not in ("posterior", "refined"):
        raise ValueError(f"unknown estimate {estimate!r}; choose 'posterior' or 'refined'")
    fine, fine_times = finer_aif(passage)
    lags = extended_lags(passage.times, 1.0)

    def solve(curves: Tensor, moments: Tensor) -> tuple[Tensor, ...]:
        transit, atoms = _dictionary(fine, fine_times, moments)
        cth = transit_heterogeneity(transit)
        once = len(torch.unique(transit.delay))  # neither depends on the delay, the fastest of the three
        oef = maximum_oxygen_extraction(transit.mtt[::once], cth[::once]).repeat_interleave(once)
        parameters = torch.stack((transit.mtt, transit.delay, cth, oef), dim=1)
        rates = torch.stack((1 / transit.mtt, torch.ones_like(transit.mtt)), dim=1)
        match = match_atoms(curves, atoms, _prior(transit), parameters, rates)
        if estimate == "posterior":
            flow = match.amplitude / transit.mtt.to(curves)[match.best]
            k = residue_function(lags, transit).to(curves)[match.best] * flow[:, None]
            return (*match.scaled.unbind(1), *match.means.unbind(1), match.scaled_sd[:, 0], k)
        start = Transit(*(part.to(curves)[match.best] for part in transit))
        volume, fit = refine(curves, fine, fine_times, moments, match.amplitude, start)
        cth = transit_heterogeneity(fit)
        oef = maximum_oxygen_extraction(fit.mtt, cth)
        flow = volume / fit.mtt
        slices = chunks(curves, 4 * len(lags))
        k = torch.cat([residue_function(lags, Transit(*(part[rows] for part in fit))) for rows in slices])
        return flow, volume, fit.mtt, fit.delay, cth, oef, match.scaled_sd[:, 0], k * flow[:, None]

    flow, volume, mtt, delay, cth, oef_max, sd, k = by_timing(passage, solve)
    cbf, cbv, sd = flow * passage.flow_per_peak, volume * passage.volume_per_area, sd * passage.flow_per_peak
    extra = {"cth": cth, "oefmax": 100.0 * oef_max}
    return finish(Deconvolution(cbf, cbv, mtt, delay.clamp(min=0), delay, k, lags.to(k), sd, extra), passage)


def transit_prior(transit: Transit) -> Tensor:
    """Log of the prior ``(atoms,)`` on how blood passes, whenever it arrives: log-normal in mean time and shape."""
    mtt = (transit.mtt / PRIOR_TRANSIT_TIME[0]).log() / PRIOR_TRANSIT_TIME[1]
    shape = (transit.shape / PRIOR_SHAPE[0]).log() / PRIOR_SHAPE[1]
    return -0.5 * (mtt**2 + shape**2)


def _dictionary(aif: Tensor, aif_times: Tensor, times: Tensor) -> tuple[Transit, Tensor]:
    """Transit times ``(atoms,)`` and curves ``(atoms, time)`` of all shapes, mean transit times and delays."""
    first, last, count = TRANSIT_TIMES
    mtts = torch.logspace(math.log10(first), math.log10(last), count, dtype=aif.dtype, device=aif.device)
    delays = torch.arange(DELAYS[0], DELAYS[1] + DELAYS[2] / 2, DELAYS[2], dtype=aif.dtype, device=aif.device)
    return gamma_dictionary(aif, aif_times, times, aif.new_tensor(SHAPES), mtts, delays)


def _prior(transit: Transit) -> Tensor:
    """Log of the prior ``(atoms,)``: that of the transit times, and normal in delay."""
    return transit_prior(transit) - 0.5 * ((transit.delay - PRIOR_DELAY[0]) / PRIOR_DELAY[1]) ** 2
