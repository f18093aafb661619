"""Curves at the times they were taken into curves at the times one wants: linear or monotone cubic, batched."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = ["regular_times", "resample_curves"]


def resample_curves(
    values: Tensor, times: Tensor, new_times: Tensor, *, method: Literal["linear", "monotone"] = "monotone"
) -> Tensor:
    """Curves interpolated to new times; outside their own times they keep their first and last value.

    ``"monotone"`` is the cubic Hermite interpolant with Fritsch and Butland's harmonic-mean slopes, as in
    ``scipy.interpolate.PchipInterpolator``: it overshoots nowhere, so that noise makes no new peaks.

    Parameters
    ----------
    values
        ``(..., time)``
    times
        ``(time,)`` or ``(..., time)``, strictly ascending [s]
    new_times
        ``(new,)`` or ``(..., new)`` [s]
    method
        ``"monotone"`` or ``"linear"``

    Returns
    -------
    Tensor
        ``(..., new)`` with the dtype of ``values``

    Raises
    ------
    ValueError
        when lengths differ, times don't ascend, there are fewer than two of them, or the method is unknown

    References
    ----------
    Fritsch and Butland 1984, https://doi.org/10.1137/0905021
    """
    if method not in ("linear", "monotone"):
        raise ValueError(f"unknown interpolation {method!r}; choose 'linear' or 'monotone'")
    n = values.shape[-1]
    if times.shape[-1] != n or n < 2:
        raise ValueError(f"resampling needs one time for each of at least two values, got {times.shape[-1]} and {n}")
    t = times.to(values.device, torch.float64)
    steps = t.diff(dim=-1)
    if not bool((steps > 0).all()):
        raise ValueError("times must ascend strictly: sort the frames and drop doubled ones before resampling")
    new = new_times.to(values.device, torch.float64)
    batch = (t[..., 0] + new[..., 0]).shape
    new = new.expand(*batch, new.shape[-1]).contiguous().clamp(min=t[..., :1], max=t[..., -1:])  # (..., new)
    t = t.expand(*batch, n).contiguous()
    left = torch.searchsorted(t, new, right=True).sub_(1).clamp_(0, n - 2)  # (..., new): interval each falls in
    width = t.diff(dim=-1).gather(-1, left)
    s = ((new - t.gather(-1, left)) / width).to(values.dtype)  # 0..1 inside the interval
    y0, y1 = _take(values, left), _take(values, left + 1)
    if method == "linear":
        return torch.lerp(y0, y1, s)
    slopes = _monotone_slopes(values, steps.to(values.dtype))  # (..., time)
    m0, m1 = (_take(slopes, i) * width.to(values.dtype) for i in (left, left + 1))
    return y0 + s * (m0 + s * (3 * (y1 - y0) - 2 * m0 - m1 + s * (m0 + m1 - 2 * (y1 - y0))))


def regular_times(times: Tensor, step: float) -> Tensor:
    """Times ``(new,)`` every ``step`` [s] from the first to at most the last of ``times (..., time)``."""
    first, last = float(times.min()), float(times.max())
    count = int((last - first) / step + 1e-6) + 1
    return first + step * torch.arange(count, dtype=torch.float64, device=times.device)


def _take(values: Tensor, index: Tensor) -> Tensor:
    """Entries ``(..., new)`` of ``values (..., time)``; an index shared by all curves is not spread over them."""
    if index.ndim == 1:
        return values.index_select(-1, index)
    batch = (values[..., 0] + index[..., 0]).shape
    return values.expand(*batch, values.shape[-1]).gather(-1, index.expand(*batch, index.shape[-1]))


def _monotone_slopes(values: Tensor, steps: Tensor) -> Tensor:
    """Slopes at the nodes: a weighted harmonic mean of the neighbouring secants, 0 where these disagree in sign."""
    secant = values.diff(dim=-1) / steps  # (..., time-1)
    if secant.shape[-1] == 1:
        return secant.expand(values.shape)
    h0, h1 = steps[..., :-1], steps[..., 1:]
    d0, d1 = secant[..., :-1], secant[..., 1:]
    w0, w1 = h0 + 2 * h1, 2 * h0 + h1
    product = d0 * d1
    inner = torch.where(product > 0, (w0 + w1) * product / (w1 * d0 + w0 * d1), 0.0)  # (..., time-2)
    first = _end_slope(h0[..., 0], h1[..., 0], d0[..., 0], d1[..., 0])
    last = _end_slope(h1[..., -1], h0[..., -1], d1[..., -1], d0[..., -1])
    return torch.cat((first[..., None], inner, last[..., None]), dim=-1)


def _end_slope(h0: Tensor, h1: Tensor, d0: Tensor, d1: Tensor) -> Tensor:
    """The one-sided three-point slope at an end, limited so that the interpolant stays monotone."""
    slope = ((2 * h0 + h1) * d0 - h0 * d1) / (h0 + h1)
    slope = torch.where(slope * d0 <= 0, 0.0, slope)
    return torch.where((d0 * d1 <= 0) & (slope.abs() > 3 * d0.abs()), 3 * d0, slope)
