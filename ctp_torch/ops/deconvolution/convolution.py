"""An arterial input function into the matrix that convolves with it: Volterra, circulant, or on a hat basis of lags."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["aif_integral", "circulant_column", "circulant_lags", "extended_lags", "hat_matrix", "volterra_matrix"]

LEAD = 6.0
"""How much earlier than the AIF tissue may be [s]: a little more than the search window, so that its edge is seen."""


def volterra_matrix(aif: Tensor, dt: float) -> Tensor:
    """Lower-triangular convolution matrix for an AIF and a residue that are linear between the samples.

    ``A[i, j] = dt (a[i-j-1] + 4 a[i-j] + a[i-j+1]) / 6`` inside, ``dt (2 a[i] + a[i-1]) / 6`` in the first column and
    ``dt (2 a[0] + a[1]) / 6`` on the diagonal. (The exact integral has a first row of zeros; ``A[0, 0]`` is a
    convention that keeps the diagonal constant and the matrix invertible.)

    Parameters
    ----------
    aif
        ``(..., time)`` [HU]
    dt
        time between samples [s]

    Returns
    -------
    Tensor
        ``(..., time, time)`` [HU s]: row = time of the curve, column = lag

    References
    ----------
    Sourbron et al. 2007, https://doi.org/10.1088/0031-9155/52/22/014
    """
    n = aif.shape[-1]
    zero = aif.new_zeros((*aif.shape[:-1], 1))
    before = torch.cat((zero, aif[..., :-1]), dim=-1)  # a[i-1]
    after = torch.cat((aif[..., 1:], zero), dim=-1)  # a[i+1]
    inner = dt * (before + 4 * aif + after) / 6
    inner[..., 0] = dt * (2 * aif[..., 0] + aif[..., 1]) / 6  # the diagonal
    shift = torch.arange(n, device=aif.device)
    shift = shift[:, None] - shift  # (time, time): i - j
    matrix = inner[..., shift.clamp(min=0)] * (shift >= 0)
    matrix[..., 1:, 0] = dt * (2 * aif[..., 1:] + aif[..., :-1]) / 6
    return matrix


def circulant_column(aif: Tensor, dt: float, length: int) -> Tensor:
    """First column ``(length,)`` of the circulant convolution matrix of a zero-padded AIF [HU s].

    ``g[k] = dt (a[k-1] + 4 a[k] + a[k+1]) / 6`` for k = 0..n with ``a[-1] = a[n] = a[n+1] = 0``; its sum is
    ``dt (sum(a) - a[0] / 6)``.

    Parameters
    ----------
    aif
        ``(time,)`` [HU]
    dt
        time between samples [s]
    length
        rows of the matrix, above the number of samples
    """
    n = aif.shape[0]
    if length <= n:
        raise ValueError(f"a circulant matrix for {n} samples needs more than {n} rows, got {length}")
    padded = aif.new_zeros(n + 3)
    padded[1 : n + 1] = aif  # a[-1..n+1]
    column = aif.new_zeros(length)
    column[: n + 1] = dt * (padded[:-2] + 4 * padded[1:-1] + padded[2:]) / 6
    return column


def circulant_lags(length: int, dt: float, *, like: Tensor) -> Tensor:
    """Lags ``(length,)`` [s] of a circulant residue as stored: those past the middle are negative delays."""
    index = torch.arange(length, device=like.device)
    return torch.where(index > length // 2, index - length, index).to(torch.float64) * dt


def extended_lags(times: Tensor, step: float) -> Tensor:
    """Lags ``(lags,)`` every ``step`` [s] from -6 s to the length of the scan at ``times (..., time)``."""
    before = math.ceil(LEAD / step - 1e-6)
    after = math.floor(float(times.max() - times.min()) / step + 1e-6)
    return step * torch.arange(-before, after + 1, dtype=torch.float64, device=times.device)


def hat_matrix(aif: Tensor, aif_times: Tensor, times: Tensor, lags: Tensor, *, abrupt: bool = False) -> Tensor:
    """Convolution matrix for a residue that is linear between evenly spaced lags, at any sample times.

    ``A[i, j] = (A2(t_i - s_j + h) - 2 A2(t_i - s_j) + A2(t_i - s_j - h)) / h`` where ``A2`` is the second integral of
    the AIF, linear between its own sample times, 0 before them and its last value after them (a zero
    there would fake a sharp end). Exact; on a uniform grid it is the Volterra kernel.

    Parameters
    ----------
    aif, aif_times
        ``(time,)`` [HU] and [s]
    times
        ``(frames,)`` when the curves were sampled [s]
    lags
        ``(lags,)`` evenly spaced [s]; negative ones are allowed
    abrupt
        the residue jumps from 0 to its first value at the first lag, instead of rising over the step before

    Returns
    -------
    Tensor
        ``(frames, lags)`` float64 [HU s]
    """
    a, ta, t, s = (x.to(aif.device, torch.float64) for x in (aif, aif_times, times, lags))
    h = float(s[1] - s[0])
    lag = t[:, None] - s  # (frames, lags)
    second = [_second_integral(a, ta, lag + offset) for offset in (h, 0.0, -h)]
    matrix = (second[0] - 2 * second[1] + second[2]) / h
    if abrupt:
        matrix[:, 0] = (
            aif_integral(a, ta, lag[:, 0]) - (second[1] - second[2])[:, 0] / h
        )  # the half of the hat after it
    return matrix


def _second_integral(a: Tensor, ta: Tensor, at: Tensor) -> Tensor:
    """Twice-integrated piecewise-linear AIF, with 0 before its first sample and its last value after its last."""
    step = ta.diff()
    zero = a.new_zeros(1)
    once = torch.cat((zero, (step * (a[1:] + a[:-1]) / 2).cumsum(0)))  # integral up to each node
    twice = torch.cat((zero, (once[:-1] * step + step**2 * (2 * a[:-1] + a[1:]) / 6).cumsum(0)))
    node = torch.searchsorted(ta, at.contiguous(), right=True).sub_(1).clamp_(0, len(ta) - 1)
    slope = torch.cat((a.diff() / step, zero))
    u = (at - ta[node]).clamp(min=0)
    return twice[node] + u * (once[node] + u * (a[node] / 2 + u * slope[node] / 6))


def aif_integral(aif: Tensor, aif_times: Tensor, at: Tensor) -> Tensor:
    """Area [HU s] under an AIF ``(time,)``, linear between its samples, up to each time ``at (...)`` [s].

    0 before the first sample; after the last one the AIF keeps its last value.
    """
    a, ta, at = (x.to(aif.device, torch.float64) for x in (aif, aif_times, at))
    step = ta.diff()
    zero = a.new_zeros(1)
    once = torch.cat((zero, (step * (a[1:] + a[:-1]) / 2).cumsum(0)))
    node = torch.searchsorted(ta, at.contiguous(), right=True).sub_(1).clamp_(0, len(ta) - 1)
    slope = torch.cat((a.diff() / step, zero))
    u = (at - ta[node]).clamp(min=0)
    return once[node] + u * (a[node] + u * slope[node] / 2)
