"""Deconvolution with a Gaussian process prior on the residue function, its hyper-parameters by marginal likelihood."""

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

GAINS = (1e-2, 1e4)
"""Signal-to-noise variances tried, times the largest eigenvalue; a lower upper end over-smooths."""

N_GAINS = 28


class _Prior(NamedTuple):
    """One correlation length, diagonalised: everything a voxel needs to be judged and filtered under it."""

    modes: Tensor
    """``(time, time)`` eigenvectors of A K A^T."""
    values: Tensor
    """``(time,)`` eigenvalues."""
    gains: Tensor
    """``(gains,)`` ratios of residue to noise variance."""
    spread: Tensor
    """``(time, lags)`` modes -> residue."""


@deconvolution
def gaussian_process_deconvolution(
    passage: Passage,
    *,
    hyperparameters: Literal["voxel", "study"] = "voxel",
    step: float = 1.0,
) -> Deconvolution:
    """Perfusion by the posterior mean of a Gaussian process, with the standard deviation of CBF.

    ``k ~ GP(0, s_h^2 exp(-(s - s')^2 / 2 l^2))`` on lags from -6 s to the length of the scan, white noise ``s^2``:
    ``k = K A^T (A K A^T + (s^2 / s_h^2) I)^-1 c``. The correlation length and the ratio ``s_h^2 / s^2`` maximise the
    marginal likelihood (type II) over 7 x 28 values, with ``s^2`` profiled out. Uneven frames are used as they are.

    Parameters
    ----------
    hyperparameters
        one choice for each ``"voxel"``, or one for the whole ``"study"``: then the filter is the same everywhere
    step
        spacing of the lags [s]

    Returns
    -------
    Deconvolution
        without ``delay``; ``sd`` is the posterior standard deviation of k at its maximum

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
        choice, noise = _most_likely(curves, priors, shared=hyperparameters == "study")
        k = _posterior_mean(curves, priors, choice)
        _, peak = largest_in_window(k, lags)
        table = torch.cat([_posterior_variance(prior) for prior in priors]).to(k)  # (choices, lags)
        return k, (noise * table[choice, peak]).clamp(min=0).sqrt()

    k, sd = by_timing(passage, solve)
    return read_out(k, lags, passage, sd=sd * passage.flow_per_peak)


def _diagonalise(matrix: Tensor, lags: Tensor, length: float) -> _Prior:
    """The prior of one correlation length, in the eigenvectors of A K A^T."""
    covariance = torch.exp(-0.5 * ((lags[:, None] - lags) / length) ** 2)
    values, modes = torch.linalg.eigh(matrix @ covariance @ matrix.T)
    values = values.clamp(min=0)
    low, high = torch.tensor(GAINS).log10().tolist()
    gains = torch.logspace(low, high, N_GAINS, dtype=values.dtype, device=values.device) / values[-1]
    return _Prior(modes, values, gains, modes.T @ matrix @ covariance)


def _most_likely(curves: Tensor, priors: list[_Prior], *, shared: bool) -> tuple[Tensor, Tensor]:
    """Index of (length, gain) and variance of the noise [HU^2], both ``(voxels,)``, that make each curve likeliest."""
    n = curves.shape[1]
    choice = torch.empty(len(curves), dtype=torch.long, device=curves.device)
    noise = curves.new_empty(len(curves))
    total = torch.zeros(len(priors) * N_GAINS, dtype=torch.float64, device=curves.device)
    for only_count in (True, False) if shared else (False,):
        for rows in chunks(curves, 4 * len(priors) * N_GAINS):
            variances, evidences = [], []
            for prior in priors:
                spread = prior.gains[:, None] * prior.values + 1  # (gains, time)
                variance = (curves[rows].double() @ prior.modes).square() @ (1 / spread).T / n  # (chunk, gains)
                tiny = torch.finfo(variance.dtype).tiny
                evidences.append(-0.5 * n * variance.clamp(min=tiny).log() - 0.5 * spread.log().sum(dim=1))
                variances.append(variance)
            evidence = torch.cat(evidences, dim=1)  # (chunk, lengths * gains)
            if only_count:
                total += evidence.sum(dim=0)
                continue
            best = total.argmax().expand(len(evidence)) if shared else evidence.argmax(dim=1)
            choice[rows] = best
            noise[rows] = torch.cat(variances, dim=1).gather(1, best[:, None]).squeeze(1).to(noise)
    return choice, noise


def _posterior_mean(curves: Tensor, priors: list[_Prior], choice: Tensor) -> Tensor:
    """Residues ``(voxels, lags)``, each under the prior chosen for it."""
    k = curves.new_empty(len(curves), priors[0].spread.shape[1])
    for i, prior in enumerate(priors):
        modes, spread = prior.modes.to(curves), prior.spread.to(curves)
        damping = (prior.gains[:, None] / (prior.gains[:, None] * prior.values + 1)).to(curves)  # (gains, time)
        members = (choice // N_GAINS == i).nonzero().squeeze(1)
        for part in chunks(members, 4 * modes.shape[0]):
            rows = members[part]
            k[rows] = ((curves[rows] @ modes) * damping[choice[rows] % N_GAINS]) @ spread
    return k


def _posterior_variance(prior: _Prior) -> Tensor:
    """Variance ``(gains, lags)`` of k for noise of variance 1, before any curve is seen."""
    gains = prior.gains[:, None]
    return gains - (gains**2 / (gains * prior.values + 1)) @ prior.spread.square()
