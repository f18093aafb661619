"""A bank of tissue curves over shape, transit time and time, on a grid far finer than the frames, and its lookup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["CurveBank", "CurveRows", "build_bank", "convolve", "find_rows", "look_up", "residue_peak_lags", "residues"]


class CurveBank(NamedTuple):
    """Curves of unit flow, a convolved with R, ready to be read at any elapsed time and transit time."""

    curves: Tensor
    """``(shapes, transits, fine times)`` [HU s], float32."""
    transits: Tensor
    """``(transits,)`` mean transit times [s], ascending."""
    step: float
    """Spacing of the fine times [s], which start at 0."""


def residues(t: Tensor, mtt: Tensor, *, alpha: float, dispersion: float = 0.0) -> Tensor:
    """Residue functions Q(alpha, t alpha / M) of gamma-distributed transits, dispersed by an exponential.

    Parameters
    ----------
    t
        (fine times,), uniform from 0 [s]
    mtt
        (transits,), mean transit times M [s]
    alpha
        shape of the transit time distribution: 1 exponential, large nearly a box
    dispersion
        time constant [s] of the arterial dispersion that the AIF doesn't show, 0 for none

    Returns
    -------
    Tensor
        (transits, fine times); area M, with R(0) = 1 where nothing is dispersed
    """
    x = t[None, :] * (alpha / mtt[:, None])  # (transits, fine times)
    clean: Tensor = torch.special.gammaincc(torch.full_like(x, alpha), x)
    if dispersion <= 0:
        return clean
    step = float(t[1] - t[0])
    kernel = torch.exp(-t / dispersion) / dispersion
    return convolve(clean, kernel, step)


def convolve(values: Tensor, kernel: Tensor, step: float) -> Tensor:
    """Causal convolution by the trapezoidal rule on a fine uniform grid from 0.

    Parameters
    ----------
    values
        (..., fine times)
    kernel
        (fine times,)
    step
        spacing of the grid [s]
    """
    n = values.shape[-1]
    spectrum = torch.fft.rfft(values, 2 * n) * torch.fft.rfft(kernel, 2 * n)
    full = torch.fft.irfft(spectrum, 2 * n)[..., :n]
    ends = 0.5 * (values * kernel[0] + values[..., :1] * kernel)
    return torch.mul(full - ends, step)


def build_bank(aif: Tensor, step: float, *, shapes: Sequence[tuple[float, float]], transits: Tensor) -> CurveBank:
    """Tissue curves of unit flow for every (shape, transit time).

    Parameters
    ----------
    aif
        (fine times,), float64 arterial enhancement [HU] from time 0, 0 at the start
    step
        spacing of the fine times [s]
    shapes
        (alpha, dispersion [s]) of every shape
    transits
        (transits,), mean transit times [s], ascending
    """
    t = torch.arange(aif.shape[0], dtype=torch.float64, device=aif.device) * step
    curves = [convolve(residues(t, transits.double(), alpha=a, dispersion=d), aif, step) for a, d in shapes]
    return CurveBank(torch.stack(curves).float(), transits.float(), step)


class CurveRows(NamedTuple):
    """Where each voxel's curve lies in the bank: found once, read at every frame."""

    start: Tensor
    """``(voxels,)`` int64, first entry of the curve of the transit time below, in the flattened bank."""
    weight: Tensor
    """``(voxels,)``, share of the transit time above."""


def find_rows(bank: CurveBank, mtt: Tensor, shape: Tensor) -> CurveRows:
    """The curves between which each voxel's lies.

    Mixing two residues linearly keeps R(0) = 1 and makes the area exactly ``mtt``, so flow and volume stay true.

    Parameters
    ----------
    bank
        the curves
    mtt
        (voxels,), mean transit times [s] inside the bank's range
    shape
        (voxels,), int64 index of the shape
    """
    n_transits, n_times = bank.curves.shape[1:]
    m = torch.searchsorted(bank.transits, mtt.contiguous()).clamp(1, n_transits - 1) - 1
    low, high = bank.transits[m], bank.transits[m + 1]
    return CurveRows((shape * n_transits + m) * n_times, ((mtt - low) / (high - low)).clamp(0.0, 1.0))


def look_up(bank: CurveBank, rows: CurveRows, elapsed: Tensor) -> Tensor:
    """Curve values of unit flow ``(voxels,)``, linear between fine times and between transit times.

    Parameters
    ----------
    bank
        the curves
    rows
        from ``find_rows``
    elapsed
        (voxels,), scan time minus the voxel's delay [s]; nothing has arrived before 0
    """
    flat, n_times = bank.curves.reshape(-1), bank.curves.shape[-1]
    position = (elapsed / bank.step).clamp(0.0, n_times - 1.001)
    k = position.long()
    w = position - k
    index = rows.start + k
    low = torch.lerp(flat[index], flat[index + 1], w)
    index = index + n_times
    return torch.lerp(low, torch.lerp(flat[index], flat[index + 1], w), rows.weight)


def residue_peak_lags(bank: CurveBank, shapes: Sequence[tuple[float, float]]) -> Tensor:
    """Lag of the maximum of each residue ``(shapes, transits)`` [s]: 0 unless dispersion moves it."""
    t = torch.arange(bank.curves.shape[-1], dtype=torch.float64) * bank.step
    lags = [
        residues(t, bank.transits.double(), alpha=a, dispersion=d).argmax(-1) * bank.step
        if d > 0
        else torch.zeros(len(bank.transits))
        for a, d in shapes
    ]
    return torch.stack([lag.float() for lag in lags])
