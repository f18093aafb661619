"""Bayesian deconvolution: delay and smoothness of the residue averaged out over a grid, with their uncertainty."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.ops.deconvolution.convolution import extended_lags, hat_matrix
from ctp_torch.ops.deconvolution.method import deconvolution
from ctp_torch.ops.deconvolution.passage import Passage, by_timing, finer_aif
from ctp_torch.ops.deconvolution.result import Deconvolution, chunks, from_peak

__all__ = ["bayesian"]

N_SMOOTHNESS = 9
SMOOTHNESS = (0.1, 1e3)
"""The grid of prior strengths: this many, evenly spaced on a log scale."""

DELAY_SD = 4.0
"""Deviation of the prior on the delay [s]; a flat one draws the mean of ambiguous curves to the grid's middle."""

LEAST_MISFIT = 1e-6
"""Part of a curve's energy below which single precision cannot tell misfits apart."""


class _Bank(NamedTuple):
    """One posterior mean per (delay, smoothness), linear in the curve."""

    delays: Tensor
    """``(delays,)`` [s]."""
    backward: Tensor
    """``(delays, lags, time)`` transposed, normalised convolution matrices."""
    filters: Tensor
    """``(delays, smoothness, lags, time)`` curve -> normalised residue."""
    volume: Tensor
    """``(delays, smoothness)`` log of prior over posterior volume, with the prior of the delay."""
    scale: float
    """By how much the residues are too large."""


@deconvolution
def bayesian(
    passage: Passage,
    *,
    delays: tuple[float, float, float] = (-3.0, 10.0, 0.5),
    step: float | None = None,
) -> Deconvolution:
    """Perfusion averaged over delay and smoothness of the residue, weighted by the evidence of each.

    For a delay t and a strength e, the residue behind the AIF shifted by t has a Gaussian prior on its second
    differences and its end, the noise is white with a prior 1/s, and both are integrated out:
    ``log p(c | t, e) = log|P| / 2 - log|A^T A + P| / 2 - n/2 log(|c|^2 - c^T A X c)``, ``X = (A^T A + P)^-1 A^T``.
    CBF is the expectation of max k, ``delay`` that of t. Uneven frames are used as they are.

    Parameters
    ----------
    delays
        first, last and step of the grid of delays [s]; beforehand they are normal around 0 with 4 s
    step
        spacing of the lags [s]; None: that of the frames, 1 s at least. Finer lags than frames are a looser prior, by
        which noise raises max k: with frames 2 s apart and 1 HU, lags of 1 s make the error of CBF up to a half larger

    Returns
    -------
    Deconvolution
        ``tmax`` is the delay, cut at 0; ``k`` the residue of the likeliest delay and smoothness; ``sd`` the standard
        deviation of max k over the grid

    Raises
    ------
    ValueError
        for an empty grid of delays

    References
    ----------
    Boutelier et al. 2012, IEEE Trans Med Imaging 31:1381 (the structure; the constants of the prior are our own)
    """
    first, last, spacing = delays
    if not (spacing > 0 and last >= first):
        raise ValueError(f"delays must be (first, last, step) with a positive step, got {delays}")
    fine, fine_times = finer_aif(passage)
    grid = torch.arange(first, last + spacing / 2, spacing, dtype=torch.float64, device=fine.device)
    step = max(1.0, passage.dt) if step is None else step
    lags = extended_lags(passage.times, step)

    def solve(curves: Tensor, moments: Tensor) -> tuple[Tensor, ...]:
        bank = _bank(fine, fine_times, moments, grid, step)
        parts = [_average(curves[rows], bank) for rows in chunks(curves, 300)]
        peak, deviation, delay, best = (torch.cat(part) for part in zip(*parts, strict=True))
        return peak, deviation, delay, _likeliest_residue(curves, bank, best, lags)

    peak, deviation, delay, k = by_timing(passage, solve)
    sd = deviation * passage.flow_per_peak
    return from_peak(peak, delay, passage, k=k, lags=lags.to(k), delay=delay, sd=sd)


def _bank(aif: Tensor, aif_times: Tensor, times: Tensor, delays: Tensor, step: float) -> _Bank:
    """Filters and volumes in float64 for each delay and smoothness."""
    lags = torch.arange(0.0, float(times.max() - times.min()) + step / 2, step, dtype=aif.dtype, device=aif.device)
    forward = torch.stack([hat_matrix(aif, aif_times, times, lags + delay, abrupt=True) for delay in delays])
    scale = float(aif.square().sum() * (aif_times[1] - aif_times[0]) * step) ** 0.5
    forward = forward / scale  # (delays, time, lags)
    eye = torch.eye(len(lags), dtype=aif.dtype, device=aif.device)
    rough = torch.cat((eye.diff(n=2, dim=0), eye[-1:]))
    low, high = torch.tensor(SMOOTHNESS).log10().tolist()
    strength = torch.logspace(low, high, N_SMOOTHNESS, dtype=aif.dtype, device=aif.device)
    prior = 1e-6 * strength[:, None, None] ** 2 * (rough.T @ rough) + 1e-12 * eye
    precision = (forward.mT @ forward)[:, None] + prior  # (delays, smoothness, lags, lags)
    filters = torch.linalg.solve(precision, forward.mT[:, None].expand(-1, N_SMOOTHNESS, -1, -1))
    volume = 0.5 * (torch.linalg.slogdet(prior)[1] - torch.linalg.slogdet(precision)[1])
    volume = volume - 0.5 * (delays[:, None] / DELAY_SD) ** 2
    return _Bank(delays, forward.mT.contiguous(), filters, volume, scale)


def _average(curves: Tensor, bank: _Bank) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean and deviation of max k [1/s], mean delay [s] and index of the likeliest grid point, all ``(voxels,)``."""
    n_delays, n_smooth, _, n = bank.filters.shape
    energy = curves.square().sum(dim=1).clamp(min=torch.finfo(curves.dtype).tiny)
    logs = curves.new_empty(n_delays * n_smooth, len(curves))
    peaks = torch.empty_like(logs)
    for i in range(n_delays):
        back = curves @ bank.backward[i].to(curves).T  # (voxels, lags): A^T c
        for j in range(n_smooth):
            k = curves @ bank.filters[i, j].to(curves).T
            misfit = 1 - torch.linalg.vecdot(back, k) / energy
            row = i * n_smooth + j
            logs[row] = float(bank.volume[i, j]) - 0.5 * n * misfit.clamp(min=LEAST_MISFIT).log()
            torch.amax(k, dim=1, out=peaks[row])
    weights = logs.softmax(dim=0)  # (delays * smoothness, voxels)
    mean = (weights * peaks).sum(dim=0)
    deviation = (weights * (peaks - mean).square()).sum(dim=0).sqrt()
    per_delay = weights.view(n_delays, n_smooth, -1).sum(dim=1)
    delay = bank.delays.to(curves) @ per_delay
    return mean / bank.scale, deviation / bank.scale, delay, weights.argmax(dim=0)


def _likeliest_residue(curves: Tensor, bank: _Bank, best: Tensor, lags: Tensor) -> Tensor:
    """Residues ``(voxels, lags)`` [1/s] of the likeliest grid point of each voxel, from its delay on."""
    n_smooth, n = bank.filters.shape[1], bank.filters.shape[2]
    step = float(lags[1] - lags[0])
    k = curves.new_zeros(len(curves), len(lags))
    for index in torch.unique(best).tolist():
        members = (best == index).nonzero().squeeze(1)
        place = (lags - bank.delays[index // n_smooth]) / step  # where each lag lies on the residue's own grid
        hats = (1 - (place[:, None] - torch.arange(n, device=lags.device)).abs()).clamp(min=0)  # (lags, n)
        filters = hats @ bank.filters[index // n_smooth, index % n_smooth] / bank.scale
        k[members] = curves[members] @ filters.T.to(curves)
    return k
