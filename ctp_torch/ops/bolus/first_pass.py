"""Where the first passage of a bolus lies on a curve, and how wide it is."""

from __future__ import annotations

from torch import Tensor

from ctp_torch.ops.bolus.concentration import bolus_onset

__all__ = ["curve_width", "first_pass_centre"]


def curve_width(curves: Tensor, dt: float) -> Tensor:
    """Full width of the first pass at half its height.

    Parameters
    ----------
    curves
        ``(..., time)`` enhancement, baseline at 0
    dt
        time between frames [s]

    Returns
    -------
        ``(...)`` [s]; up to the end of the curve where it never falls to half its peak
    """
    rise = bolus_onset(curves, dt, fraction=0.5)
    end = (curves.shape[-1] - 1) * dt
    fall = end - bolus_onset(curves.flip(-1), dt, fraction=0.5, n_baseline=1)
    return fall - rise


def first_pass_centre(curves: Tensor, dt: float) -> Tensor:
    """Time of the middle of the stretch above half the peak ``(voxels,)`` [s]: steadier than the peak."""
    return bolus_onset(curves, dt, fraction=0.5) + 0.5 * curve_width(curves, dt)
