"""Deconvolution with a Gaussian process prior on the residue function, averaged over its hyper-parameters."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ctp_torch.ops.deconvolution.convolution import extended_lags, hat_matrix
from ctp_torch.ops.deconvolution.method import deconvolution
from ctp_torch.ops.deconvolution.passage import Passage, by_timing
from ctp_torch.ops.deconvolution.result import Deconvolution, chunks, largest_in_window, read_out

__all__ = ["gaussian_process_deconvolution"]

LENGTHS = (1.0, 1.5, 2.0, 3.0, 4.5, 6.5, 9.0)
"""Correlation lengths tried [s]."""

GAINS = (10.0, 1e4)
"""Signal-to-noise variances tried, times the largest eigenvalue. A lower upper end over-smooths; a lower lower end lets
noise explain a whole curve away, so that CBF falls to 0 and MTT grows without bound."""

N_GAINS = 14


class _Prior(NamedTuple):
    """One correlation length, diagonalised: everything a voxel needs to be judged and filtered under it."""

    modes: Tensor
    """``(time, time)`` eigenvectors of A K A^T."""
    values: Tensor
    """``(time,)`` eigenvalues."""
    gains: Tensor
    """``(gains,)`` ratios of residue to noise variance."""
    damping: Tensor
    """``(gains, time)`` what is kept of each mode."""
    spread: Tensor
    """``(time, lags)`` modes -> residue."""
    variance: Tensor
    """``(gains, lags)`` of k for noise of variance 1, before any curve is seen."""


@deconvolution
def gaussian_process_deconvolution(
    passage: Passage,
    *,
    hyperparameters: Literal["voxel", "study"] = "voxel",
    step: float = 1.0,
) -> Deconvolution:
    """Perfusion by the posterior mean of a Gaussian process, with the standard deviation of CBF.

    ``k ~ GP(0, s_h^2 exp(-(s - s')^2 / 2 l^2))`` on lags from -6 s to the length of the scan, white noise ``s^2``:
    ``k = K A^T (A K A^T + (s^2 / s_h^2) I)^-1 c``, averaged over 7 correlation lengths and 14 ratios ``s_h^2 / s^2``
    by their marginal likelihood, with ``s^2`` profiled out. (The likeliest of them alone is noisier, and at 2 HU
    explains some curves by noise altogether.) Uneven frames are used as they are.

    Parameters
    ----------
    hyperparameters
        weighed by each ``"voxel"`` for itself, or by the whole ``"study"``: then the filter is the same everywhere
    step
        spacing of the lags [s]

    Returns
    -------
    Deconvolution
        without ``delay``; ``sd`` is the standard deviation of k at its maximum, within and between the priors

    Raises
    ------
    ValueError
        for an unknown choice

    References
    ----------
    Andersen et al. 2002, Magn Reson Med 48:351 (whose prior also forces k to start at zero)
    """
    if hyperparameters not in ("voxel", "study"):
        raise ValueError(f"unknown choice {hyperparameters!r} of hyperparameters; choose 'voxel' or 'study'")
    lags = extended_lags(passage.times, step)

    def solve(curves: Tensor, moments: Tensor) -> tuple[Tensor, Tensor]:
        matrix = hat_matrix(passage.aif, passage.aif_times, moments, lags)
        priors = [_diagonalise(matrix, lags, length) for length in LENGTHS]
        shared = _evidence_of_all(curves, priors).softmax(dim=0) if hyperparameters == "study" else None
        k, variance = curves.new_empty(len(curves), len(lags)), curves.new_empty(len(curves))
        for rows in chunks(curves, 4 * len(priors) * N_GAINS):
            k[rows], variance[rows] = _averaged(curves[rows].double(), priors, lags, shared)
        return k, variance.sqrt()

    k, sd = by_timing(passage, solve)
    return read_out(k, lags, passage, sd=sd * passage.flow_per_peak)


def _diagonalise(matrix: Tensor, lags: Tensor, length: float) -> _Prior:
    """The prior of one correlation length, in the eigenvectors of A K A^T."""
    covariance = torch.exp(-0.5 * ((lags[:, None] - lags) / length) ** 2)
    values, modes = torch.linalg.eigh(matrix @ covariance @ matrix.T)
    values = values.clamp(min=0)
    low, high = torch.tensor(GAINS).log10().tolist()
    gains = torch.logspace(low, high, N_GAINS, dtype=values.dtype, device=values.device) / values[-1]
    damping = gains[:, None] / (gains[:, None] * values + 1)
    spread = modes.T @ matrix @ covariance
    variance = gains[:, None] - (gains[:, None] * damping) @ spread.square()
    return _Prior(modes, values, gains, damping, spread, variance)


def _evidence(curves: Tensor, prior: _Prior) -> tuple[Tensor, Tensor]:
    """Log marginal likelihood and variance of the noise [HU^2] of each curve under each gain ``(voxels, gains)``."""
    n = curves.shape[1]
    spread = prior.gains[:, None] * prior.values + 1  # (gains, time)
    variance = (curves @ prior.modes).square() @ (1 / spread).T / n
    size = variance.clamp(min=torch.finfo(variance.dtype).tiny)
    return -0.5 * n * size.log() - 0.5 * spread.log().sum(dim=1), variance


def _evidence_of_all(curves: Tensor, priors: list[_Prior]) -> Tensor:
    """Log marginal likelihood ``(lengths * gains,)`` of all curves together."""
    total = torch.zeros(len(priors) * N_GAINS, dtype=torch.float64, device=curves.device)
    for rows in chunks(curves, 4 * len(priors) * N_GAINS):
        total += torch.cat([_evidence(curves[rows].double(), prior)[0].sum(dim=0) for prior in priors])
    return total


def _averaged(curves: Tensor, priors: list[_Prior], lags: Tensor, shared: Tensor | None) -> tuple[Tensor, Tensor]:
    """Residues ``(voxels, lags)`` averaged over length and gain, and the variance ``(voxels,)`` of their maximum."""
    evidence, noise = zip(*(_evidence(curves, prior) for prior in priors), strict=True)
    weights = torch.cat(evidence, dim=1).softmax(dim=1) if shared is None else shared.expand(len(curves), -1)
    parts = list(zip(priors, weights.split(N_GAINS, dim=1), noise, strict=True))
    k = curves.new_zeros(len(curves), len(lags))
    for prior, weight, _ in parts:
        k += ((curves @ prior.modes) * (weight @ prior.damping)) @ prior.spread
    highest, peak = largest_in_window(k, lags)
    variance = torch.zeros_like(highest)
    for prior, weight, scale in parts:  # what each prior leaves open, and how far it is from the average
        mean = ((curves @ prior.modes) * prior.spread.T[peak]) @ prior.damping.T  # (voxels, gains)
        within = scale * prior.variance.T[peak]
        variance += (weight * (within + (mean - highest[:, None]).square())).sum(dim=1)
    return k, variance.clamp(min=0)
