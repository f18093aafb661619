"""What shape a bolus has, whatever its dose, its time and its width: which blood it is that a model learned from."""

from __future__ import annotations

import torch
from torch import Tensor

from ctp_torch.ops.bolus.arterial import ARTERIAL_LAGS
from ctp_torch.ops.bolus.resample import resample_curves

__all__ = ["SHAPE_POINTS", "bolus_shape"]

SHAPE_POINTS = 26
"""Points at which each curve is read, from half a width before the artery's onset to three after it.

Further on, noise outweighs the blood.
"""
_HEIGHTS = (0.25, 0.5, 0.75)
"""Shares of the peak at which the first pass is measured."""
_FINE_S = 0.05


def bolus_shape(artery: Tensor, vein: Tensor) -> Tensor:
    r"""Artery and vein in units of the artery's width, both of mean 1 ``(2 * points,)``, float64.

    The width is the mean of those at a quarter, half and three quarters of the peak. Boluses of all widths fall on
    nearly one curve then; what is left is how steeply they come, how they end, and what the blood does between artery
    and vein. Seconds would tell strangers from a fast heart no better than a slow heart from a fast one.

    Parameters
    ----------
    artery, vein
        ``(lags,)`` at `ARTERIAL_LAGS` after the artery's onset [s], as `arterial_curves` gives them

    Raises
    ------
    ValueError
        if a curve has other lags, or never rises
    """
    lags = torch.tensor(ARTERIAL_LAGS, dtype=torch.float64, device=artery.device)
    for name, curve in (("artery", artery), ("vein", vein)):
        if curve.shape != lags.shape or not float(curve.max()) > 0:
            raise ValueError(f"a bolus has an {name} of {len(lags)} lags that rises, got {tuple(curve.shape)}")
    both = torch.stack((artery, vein)).double()
    at = torch.linspace(-0.5, 3.0, SHAPE_POINTS, dtype=torch.float64, device=artery.device) * _width(both[0], lags)
    read = resample_curves(both, lags, at.clamp(lags[0], lags[-1]))  # (2, points)
    area = read.clamp_min(0.0).mean(dim=1, keepdim=True).clamp_min(torch.finfo(read.dtype).tiny)
    return (read / area).flatten()


def _width(curve: Tensor, lags: Tensor) -> Tensor:
    """Mean width ``()`` of the first pass at three heights [s]."""
    grid = torch.arange(float(lags[0]), float(lags[-1]), _FINE_S, dtype=lags.dtype, device=lags.device)
    fine = resample_curves(curve, lags, grid)
    peak = int(fine.argmax())
    widths = []
    for height in _HEIGHTS:
        low = (fine < height * fine[peak]).nonzero().squeeze(1)
        before, after = low[low < peak], low[low > peak]
        first = grid[before[-1]] if len(before) else grid[0]
        last = grid[after[0]] if len(after) else grid[-1]
        widths.append(last - first)
    return torch.stack(widths).mean()
