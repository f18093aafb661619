"""The box model: every path through the tissue takes the same time; fitted by non-linear regression."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ctp_torch.ops.deconvolution.convolution import aif_integral, extended_lags
from ctp_torch.ops.deconvolution.dictionary import match_atoms
from ctp_torch.ops.deconvolution.least_squares import damped_steps
from ctp_torch.ops.deconvolution.method import deconvolution
from ctp_torch.ops.deconvolution.passage import Passage, by_timing, finer_aif
from ctp_torch.ops.deconvolution.result import Deconvolution, chunks, finish

__all__ = ["aif_table", "box_nlr"]

GRID = (41, 40)
"""Delays and transit times from which the regression starts."""

TABLE_STEP = 0.05
"""Spacing [s] of the table of the AIF's integral that voxels look their curves up in."""


@deconvolution
def box_nlr(
    passage: Passage,
    *,
    mtt_bounds: tuple[float, float] = (3.0, 30.0),
    delay_bounds: tuple[float, float] = (-2.0, 8.0),
    steps: int = 6,
) -> Deconvolution:
    """Perfusion of a box-shaped residue: ``c = (v / MTT) (I(t - D) - I(t - D - MTT))``, I the integral of the AIF.

    The best of 41 delays x 40 transit times starts Levenberg-Marquardt steps with analytic derivatives. Frames may be
    uneven.

    Parameters
    ----------
    mtt_bounds, delay_bounds
        smallest and largest mean transit time and delay [s]; wider bounds cost accuracy where there is noise
    steps
        regression steps; 0 keeps the best match of the grid

    Returns
    -------
    Deconvolution
        CBF, CBV, MTT and delay of the fitted box; ``tmax`` is its middle, ``delay + MTT / 2``, cut at 0; without ``sd``

    Raises
    ------
    ValueError
        for bounds in the wrong order

    References
    ----------
    Bennink et al. 2016, https://doi.org/10.1117/1.JMI.3.2.026003
    """
    if not (0 < mtt_bounds[0] < mtt_bounds[1] and delay_bounds[0] < delay_bounds[1]):
        raise ValueError(f"bounds must ascend, transit times be positive; got {mtt_bounds} and {delay_bounds}")
    fine, fine_times = finer_aif(passage)
    lags = extended_lags(passage.times, 1.0)
    low, high = (math.log10(bound) for bound in mtt_bounds)
    grid = torch.meshgrid(
        torch.linspace(*delay_bounds, GRID[0], dtype=torch.float64, device=lags.device),
        torch.logspace(low, high, GRID[1], dtype=torch.float64, device=lags.device),
        indexing="ij",
    )
    delays, mtts = (part.flatten() for part in grid)

    def solve(curves: Tensor, moments: Tensor) -> tuple[Tensor, ...]:
        since = moments - delays[:, None]  # (atoms, time)
        first, second = (aif_integral(fine, fine_times, t) for t in (since, since - mtts[:, None]))
        flat = torch.zeros_like(mtts)
        match = match_atoms(curves, (first - second) / mtts[:, None], flat, flat[:, None], flat[:, None])
        fit = torch.stack((match.amplitude, mtts.to(curves)[match.best], delays.to(curves)[match.best]), dim=1)
        if steps:
            bounds = ((0.0, math.inf), mtt_bounds, delay_bounds)
            model = _box_model(fine, fine_times, moments, curves)
            for rows in chunks(curves, 8 * curves.shape[1]):
                fit[rows] = damped_steps(model, curves[rows], fit[rows], bounds=bounds, steps=steps)
        return tuple(fit.unbind(1))

    volume, mtt, delay = by_timing(passage, solve)
    k = torch.where(
        (lags.to(volume) >= delay[:, None]) & (lags.to(volume) < (delay + mtt)[:, None]), (volume / mtt)[:, None], 0.0
    )
    cbf, cbv = volume / mtt * passage.flow_per_peak, volume * passage.volume_per_area
    return finish(Deconvolution(cbf, cbv, mtt, (delay + mtt / 2).clamp(min=0), delay, k, lags.to(k)), passage)


def _box_model(
    aif: Tensor, aif_times: Tensor, times: Tensor, like: Tensor
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """The function from volume, transit time and delay ``(voxels, 3)`` to curves and their derivatives."""
    look_up, moments = aif_table(aif, aif_times, times, like)

    def model(parameters: Tensor) -> tuple[Tensor, Tensor]:
        volume, mtt, delay = parameters[:, :, None].unbind(1)  # (voxels, 1) each
        since = moments - delay
        (area_in, arrived), (area_out, left) = look_up(since), look_up(since - mtt)
        flow = volume / mtt
        shape = (area_in - area_out) / mtt
        slopes = torch.stack((shape, flow * left - volume * shape / mtt, flow * (left - arrived)), dim=2)
        return volume * shape, slopes

    return model


def aif_table(
    aif: Tensor, aif_times: Tensor, times: Tensor, like: Tensor
) -> tuple[Callable[[Tensor], tuple[Tensor, Tensor]], Tensor]:
    """The function from times to the AIF's integral and its slope there, and ``times`` as it counts them [s]."""
    span = float(times.max() - times.min()) + 60.0
    grid = float(aif_times[0]) + TABLE_STEP * torch.arange(
        int(span / TABLE_STEP), dtype=torch.float64, device=like.device
    )
    table = aif_integral(aif, aif_times, grid).to(like)
    slope = torch.cat((table.diff() / TABLE_STEP, table.new_zeros(1)))
    moments = (times - aif_times[0]).to(like)

    def look_up(at: Tensor) -> tuple[Tensor, Tensor]:
        place = (at / TABLE_STEP).clamp(0, len(grid) - 1)
        index = place.long()
        rate = slope[index]
        return table[index] + (place - index) * TABLE_STEP * rate, torch.where(at > 0, rate, 0.0)

    return look_up, moments
