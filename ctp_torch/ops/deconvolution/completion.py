"""How much of each voxel's passage a scan has seen: what lacks of its blood volume because the scan ended."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ctp_torch.ops.bolus.curve_numbers import area
from ctp_torch.ops.deconvolution.capillary import Transit, gamma_dictionary, residue_area
from ctp_torch.ops.deconvolution.dictionary import posterior_mean
from ctp_torch.ops.deconvolution.passage import Passage, by_timing, finer_aif

__all__ = ["LEAST_SEEN", "seen_by", "seen_share"]

LEAST_SEEN = 0.5
"""No voxel's share is told to be smaller: what was not seen is an inference, and at most doubles what was."""

SHAPES = (1.0, 4.0, 32.0)
"""Shapes of the transit time distribution tried: exponential (1) to nearly a box (32)."""

TRANSIT_TIMES = (2.0, 30.0, 12)
"""Mean transit times tried [s]: from, to, how many, evenly spaced on a log scale."""

DELAYS = (-2.0, 12.0, 1.0)
"""Delays tried [s]: from, to, step."""

PRIOR_TRANSIT_TIME = (4.5, 1.1)
"""Median [s] and log-scale deviation of the prior on the mean transit time."""

PRIOR_DELAY = (0.0, 5.0)
"""Mean and deviation of the prior on the delay [s]."""


def seen_share(passage: Passage) -> Tensor:
    """Share ``(voxels,)`` of each voxel's blood volume that the area under its curve holds, from 0.5 to 1.

    The expectation of :func:`seen_by` over 540 gamma-distributed transit times behind a delay, weighted by how well
    their curves fit: which residue a voxel has need not be known, only when most of it has gone. CBV over this share is
    complete; late and slow tissue gains 10 to 30 % in a scan of a minute, where the area alone reads it as if it held
    less blood than it does.

    Parameters
    ----------
    passage
        curves and AIF

    Returns
    -------
    Tensor
        1 where a curve is flat

    References
    ----------
    The limit of integration in Meier and Zierler 1954, https://doi.org/10.1152/jappl.1954.6.12.731
    """
    fine, fine_times = finer_aif(passage)
    first, last, count = TRANSIT_TIMES
    shapes, mtts, delays = (
        fine.new_tensor(SHAPES),
        torch.logspace(math.log10(first), math.log10(last), count, dtype=fine.dtype, device=fine.device),
        torch.arange(DELAYS[0], DELAYS[1] + DELAYS[2] / 2, DELAYS[2], dtype=fine.dtype, device=fine.device),
    )

    def solve(curves: Tensor, moments: Tensor) -> tuple[Tensor, ...]:
        transit, atoms = gamma_dictionary(fine, fine_times, moments, shapes, mtts, delays)
        share = seen_by(float(moments[-1]), passage.aif, passage.aif_times, transit)
        late = (transit.mtt / PRIOR_TRANSIT_TIME[0]).log() / PRIOR_TRANSIT_TIME[1]
        prior = -0.5 * (late.square() + ((transit.delay - PRIOR_DELAY[0]) / PRIOR_DELAY[1]).square())
        return (posterior_mean(curves, atoms, prior, share),)

    (share,) = by_timing(passage, solve)
    return (share if passage.flat is None else share.masked_fill(passage.flat, 1.0)).clamp(LEAST_SEEN, 1.0)


def seen_by(end: float, aif: Tensor, times: Tensor, transit: Transit) -> Tensor:
    """Share ``(n,)`` of the volume that tissue curves hold until ``end`` [s].

    ``∫ a(s) G(end - s) ds / ∫ a(s) ds``, where ``G(t) = 1/MTT ∫ R`` up to ``t - delay``; for an exponential residue
    ``G(t) = 1 - exp(-(t - delay) / MTT)``.

    Parameters
    ----------
    end
        the last moment of the curves [s]
    aif
        ``(time,)`` [HU]
    times
        ``(time,)`` [s]
    transit
        of the tissue
    """
    passed = residue_area(end - times, transit) / transit.mtt[:, None]  # (n, time)
    return area(passed * aif, times) / area(aif, times)
