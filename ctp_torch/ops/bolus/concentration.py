"""Hounsfield units to enhancement: when the bolus arrives, which frames come before it, what it adds."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.ops.image.smoothing import smooth_in_time

__all__ = ["Arrival", "baseline_frames", "bolus_arrival", "bolus_likeness", "bolus_onset", "curve_noise", "enhancement"]


class Arrival(NamedTuple):
    """When the contrast passes, and how far it stands out of the noise."""

    n_baseline: int
    """Frames before the contrast, as :func:`baseline_frames` counts them."""
    onset: float
    """Arrival after the first frame [s]."""
    peak: float
    """Highest enhancement of the median voxel [HU]."""
    noise: float
    """Standard deviation of that curve before the contrast [HU]."""


def bolus_onset(curves: Tensor, dt: float, *, fraction: float = 0.1, n_baseline: int = 3) -> Tensor:
    """The time at which each curve last rises through a fraction of its peak, before that peak.

    Walks back from the peak to the last sample below ``b + fraction (peak - b)``, with b the median of the first
    ``n_baseline`` samples, and interpolates linearly from there.

    Parameters
    ----------
    curves
        ``(..., time)`` [HU or any unit]
    dt
        time between samples [s]
    fraction
        of the height above the baseline
    n_baseline
        samples that give the baseline

    Returns
    -------
        ``(...)`` [s from the first sample]; 0 where the curve is never below the level before its peak
    """
    base = curves[..., :n_baseline].median(dim=-1, keepdim=True).values
    peak, at = curves.max(dim=-1, keepdim=True)
    level = base + fraction * (peak - base)  # (..., 1)
    frames = torch.arange(curves.shape[-1], device=curves.device)
    below = (curves < level) & (frames < at)
    last = torch.where(below, frames, -1).amax(dim=-1, keepdim=True)  # (..., 1)
    low = curves.gather(-1, last.clamp_min(0))
    high = curves.gather(-1, (last + 1).clamp_max(curves.shape[-1] - 1))
    step = (level - low) / (high - low).clamp_min(torch.finfo(curves.dtype).tiny)
    onset = torch.where(last >= 0, (last + step) * dt, 0.0)
    return onset.squeeze(-1).clamp_min(0.0)


def curve_noise(curves: Tensor) -> float:
    """Standard deviation of the noise of one sample of a set of curves, from the median absolute second difference.

    Parameters
    ----------
    curves
        ``(voxels, time)``, not smoothed in time

    Returns
    -------
        in the unit of the curves; white Gaussian noise is assumed, and that the signal bends less than it
    """
    return float(curves.diff(n=2, dim=1).abs().flatten().median()) * 1.4826 / math.sqrt(6.0)


def bolus_likeness(curves: Tensor, tissue: Tensor, dt: float, *, reach_s: float = 8.0) -> Tensor:
    """How much curves look like a bolus: the highest correlation with the tissue's, moved either way in time.

    Parameters
    ----------
    curves
        ``(voxels, time)``
    tissue
        ``(time,)`` the brain's mean or median curve
    dt
        time between samples [s]
    reach_s
        the tissue's curve is moved by up to this [s]

    Returns
    -------
        ``(voxels,)`` -1..1; low at edges of bone in a moving head
    """
    frames = torch.arange(len(tissue), device=tissue.device)
    reach = math.ceil(reach_s / dt)
    moved = torch.stack([tissue[(frames - lag).clamp(0, len(tissue) - 1)] for lag in range(-reach, reach + 1)])
    moved = moved - moved.mean(dim=1, keepdim=True)  # (lags, time)
    centred = curves - curves.mean(dim=1, keepdim=True)
    scale = centred.norm(dim=1, keepdim=True) * moved.norm(dim=1)  # (voxels, lags)
    likeness: Tensor = ((centred @ moved.T) / scale.clamp_min(1e-12)).amax(dim=1)
    return likeness


def bolus_arrival(volumes: Tensor, mask: Tensor, dt: float, *, margin_s: float = 2.0) -> Arrival:
    """When contrast reaches the head, from the voxels that show it most clearly.

    Of the masked voxels with the shape and the height of a bolus, the half per cent that has taken up most before the
    tissue has risen half way: arteries. Their median shape is smoothed (1/4, 1/2, 1/4); from its peak walk back to the
    last frame below a tenth of the peak's height; what ends ``margin_s`` before it is baseline. Once more with the mean
    of that baseline as the zero. The median curve of all voxels is read alike, and the shorter baseline taken: where
    no artery is in sight, veins would say too late.

    Parameters
    ----------
    volumes
        ``(time, z, y, x)`` [HU]
    mask
        ``(z, y, x)`` bool; best the brain. Voxels that are not finite at some time are passed over
    dt
        time between frames [s]
    margin_s
        distance kept between the last baseline frame and the arrival [s]

    Returns
    -------
        the number of baseline frames (at least 3), the arrival, and the height and noise of the curve. A peak below
        1.5 HU means that no bolus came; an onset before the fourth frame that the scan began late:
        the caller judges.

    Raises
    ------
    ValueError
        the shapes don't fit, the mask is empty, there are fewer than four frames, or ``dt`` is not positive
    """
    if volumes.ndim != 4 or volumes.shape[1:] != mask.shape:
        raise ValueError(f"volumes {tuple(volumes.shape)} must be (time, z, y, x) over the mask {tuple(mask.shape)}")
    if not (math.isfinite(dt) and dt > 0):
        raise ValueError(f"dt must be a positive number of seconds, got {dt}")
    if volumes.shape[0] < 4:
        raise ValueError(f"a bolus needs at least 4 frames to be seen, got {volumes.shape[0]}")
    typical, curve = _bolus_curves(volumes, mask, dt)
    margin = math.ceil(margin_s / dt - 1e-6)
    n_baseline = min(_count_before(shape, margin) for shape in (curve, smooth_in_time(typical)))
    onset = float(bolus_onset(curve, dt, n_baseline=n_baseline))
    before = typical[:n_baseline]
    return Arrival(n_baseline, onset, float(typical.max() - before.mean()), float(before.std()))


def baseline_frames(volumes: Tensor, mask: Tensor, dt: float) -> int:
    """Number of frames that end at least two seconds before contrast arrives, never below 3.

    Parameters
    ----------
    volumes
        ``(time, z, y, x)`` [HU]
    mask
        ``(z, y, x)`` bool, best the brain
    dt
        time between frames [s]

    Returns
    -------
        the number of leading frames to average as the zero of the enhancement

    Raises
    ------
    ValueError
        as :func:`bolus_arrival`, which also tells the arrival and the height of the bolus
    """
    return bolus_arrival(volumes, mask, dt).n_baseline


def enhancement(volumes: Tensor, n_baseline: int) -> Tensor:
    r"""What contrast adds: every frame less the mean of the first ``n_baseline`` frames.

    .. math:: c(t) = \mathrm{HU}(t) - \frac{1}{n_b} \sum_{i < n_b} \mathrm{HU}(t_i)

    Iodine concentration is proportional to it, with a factor that cancels in every perfusion quantity.

    Parameters
    ----------
    volumes
        ``(time, z, y, x)`` [HU]
    n_baseline
        number of leading frames without contrast

    Returns
    -------
        ``(time, z, y, x)`` [HU]

    Raises
    ------
    ValueError
        ``n_baseline`` is not between 1 and the number of frames
    """
    if not 1 <= n_baseline <= volumes.shape[0]:
        raise ValueError(f"n_baseline must be between 1 and the {volumes.shape[0]} frames, got {n_baseline}")
    return volumes - volumes[:n_baseline].mean(dim=0)


def _count_before(curve: Tensor, margin: int) -> int:
    """Frames of a curve that end ``margin`` frames before it leaves its baseline, at least 3."""
    base = float(curve[:3].median())
    p = int(curve.argmax())
    for _ in range(2):
        below = torch.nonzero(curve[:p] < base + 0.1 * (float(curve.max()) - base))
        q = int(below[-1]) + 1 if below.numel() else 0  # the first frame that is up and stays up
        n_baseline = min(max(q - margin + 1, 3), len(curve))
        base = float(curve[:n_baseline].mean())
    return n_baseline


def _bolus_curves(volumes: Tensor, mask: Tensor, dt: float, max_voxels: int = 100_000) -> tuple[Tensor, Tensor]:
    """The median curve of all voxels, and the median shape of the arteries among them; both ``(time,)``.

    Medians, and likeness before height, because the edges of bone in a moving head change more than any vessel.
    """
    index = torch.nonzero(mask.flatten()).squeeze(-1)
    index = index[:: max(1, math.ceil(index.numel() / max_voxels))]  # an even subset is plenty
    curves = volumes.flatten(1)[:, index]  # (time, voxels)
    curves = curves[:, curves.isfinite().all(dim=0)]
    if not curves.shape[1]:
        raise ValueError("no voxel of the mask is finite at all times: the mask is empty, or the series is damaged")
    curves = curves if curves.is_floating_point() else curves.to(torch.float32)
    noise = curve_noise(curves.T)
    curves = smooth_in_time(curves)
    curves = curves - curves[:3].mean(dim=0)
    typical = curves.median(dim=1).values
    likeness = bolus_likeness(curves.T, typical, dt)
    clear = curves[:, (likeness >= 0.75) & (curves.amax(dim=0) >= 8.0 * noise)]
    if clear.shape[1] < 4:
        return typical, smooth_in_time(typical)
    half_risen = 2 + int(float(bolus_onset(typical, dt, fraction=0.5)) / dt)
    early = clear[:half_risen].sum(dim=0)
    n_arteries = max(4, round(min(0.005 * curves.shape[1], len(early) / 3)))  # veins are no fewer than arteries
    arteries = clear[:, early.topk(min(len(early), n_arteries)).indices]
    scaled = arteries / arteries.norm(dim=0).clamp_min(1e-6)
    return typical, smooth_in_time(scaled.median(dim=1).values)
