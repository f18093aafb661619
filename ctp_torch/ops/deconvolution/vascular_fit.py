"""From the likeliest model curve to the least-squares one: damped Gauss-Newton steps, all voxels at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ctp_torch.ops.deconvolution.capillary import FINE_STEP, Transit, fine_lags, residue_area, residue_function
from ctp_torch.ops.deconvolution.convolution import hat_matrix
from ctp_torch.ops.deconvolution.least_squares import damped_steps
from ctp_torch.ops.deconvolution.result import chunks

__all__ = ["refine"]

BOUNDS = ((-math.inf, math.inf), (0.0, math.log(64.0)), (math.log(1.0), math.log(60.0)), (-4.0, 15.0))
"""Of volume, log shape, log mean transit time and delay [s]."""


def refine(
    curves: Tensor, aif: Tensor, aif_times: Tensor, times: Tensor, volume: Tensor, start: Transit, *, steps: int = 12
) -> tuple[Tensor, Transit]:
    """Blood volume ``(voxels,)`` (as part of the AIF's area) and transit times with the least squared misfit.

    Parameters
    ----------
    curves
        ``(voxels, time)`` [HU]
    aif, aif_times
        ``(samples,)`` [HU] and [s]
    times
        ``(time,)`` of the curves [s]
    volume, start
        where to start from, each ``(voxels,)``
    steps
        Gauss-Newton steps
    """
    lags = fine_lags(times, BOUNDS[3][0])
    matrix = hat_matrix(aif, aif_times, times, lags).T.to(curves)  # (lags, time)
    edges = torch.cat((lags - FINE_STEP / 2, lags[-1:] + FINE_STEP / 2))
    fit = torch.stack((volume, start.shape.log(), start.mtt.log(), start.delay), dim=1)  # (voxels, 4)
    for rows in chunks(curves, 12 * len(lags)):
        fit[rows] = damped_steps(
            lambda p: _model(p, edges, matrix), curves[rows], fit[rows], bounds=BOUNDS, steps=steps
        )
    return fit[:, 0], Transit(fit[:, 1].exp(), fit[:, 2].exp(), fit[:, 3])


def _model(parameters: Tensor, edges: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Curves ``(voxels, time)`` and their derivatives ``(voxels, time, 4)``."""
    volume, log_shape, log_mtt, delay = parameters.unbind(1)
    transit = Transit(log_shape.exp(), log_mtt.exp(), delay)
    mtt = transit.mtt[:, None]
    area = residue_area(edges, transit)  # (voxels, lags + 1)
    remaining = residue_function(edges, transit)
    since = (edges.to(mtt) - delay[:, None]).clamp(min=0)
    nudge = 1e-2  # of the log shape: central differences, good to 1e-4 of the derivative
    wider, narrower = (residue_area(edges, transit._replace(shape=(log_shape + d).exp())) for d in (nudge, -nudge))
    changes = torch.stack(
        (
            area / mtt,
            volume[:, None] * (wider - narrower) / (2 * nudge * mtt),
            -volume[:, None] * since * remaining / mtt,  # area / mtt depends on since / mtt alone
            -volume[:, None] * remaining / mtt,
        )
    )  # (4, voxels, lags + 1): derivatives of volume * area / mtt
    slopes = (changes.diff(dim=2) / FINE_STEP) @ matrix  # (4, voxels, time)
    return slopes[0] * volume[:, None], slopes.permute(1, 2, 0)
