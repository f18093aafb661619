"""Curves against a dictionary of model curves: the best match, and means over all matches weighted by likelihood."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.ops.deconvolution import chunks

__all__ = ["Match", "match_atoms"]

LEAST_MISFIT = 1e-6
"""Part of a curve's energy below which single precision cannot tell misfits apart."""


class Match(NamedTuple):
    """How a dictionary explains each curve."""

    best: Tensor
    """``(voxels,)`` index of the likeliest atom."""
    amplitude: Tensor
    """``(voxels,)`` least-squares amplitude of that atom."""
    means: Tensor
    """``(voxels, parameters)`` expectation of each parameter of the atoms."""
    scaled: Tensor
    """``(voxels, rates)`` expectation of amplitude times rate."""
    scaled_sd: Tensor
    """``(voxels, rates)`` its standard deviation, noise included."""


def match_atoms(curves: Tensor, atoms: Tensor, log_prior: Tensor, parameters: Tensor, rates: Tensor) -> Match:
    """Posterior over atoms with white noise whose variance, with a prior 1/s, is integrated out.

    Each atom is scaled to fit (amplitudes below 0 count as 0); its weight is ``prior · |c - v y|^(-n)``.

    Parameters
    ----------
    curves
        ``(voxels, time)`` [HU]
    atoms
        ``(atoms, time)``, of any amplitude
    log_prior
        ``(atoms,)``
    parameters
        ``(atoms, parameters)`` quantities of which the expectation is wanted
    rates
        ``(atoms, rates)`` factors of the amplitude, such as 1 for CBV or 1 / MTT for CBF
    """
    n = curves.shape[1]
    size = atoms.norm(dim=1).clamp(min=torch.finfo(atoms.dtype).tiny)
    unit = (atoms / size[:, None]).to(curves).T.contiguous()  # (time, atoms)
    per_unit = (rates / size[:, None]).to(curves)  # (atoms, rates)
    prior, parameters = log_prior.to(curves), parameters.to(curves)
    parts = []
    for rows in chunks(curves, len(atoms)):
        energy = curves[rows].square().sum(dim=1, keepdim=True).clamp(min=torch.finfo(curves.dtype).tiny)
        score = (curves[rows] @ unit).clamp_(min=0)  # (chunk, atoms)
        misfit = (1 - score.square() / energy).clamp_(min=LEAST_MISFIT)  # as part of the energy
        weights = torch.log(misfit).mul_(-0.5 * n).add_(prior)
        best = weights.argmax(dim=1, keepdim=True)
        weights = weights.softmax(dim=1)
        means = weights @ parameters
        noise = misfit.mul_(weights) @ per_unit.square() * (energy / n)
        weights.mul_(score)
        scaled = weights @ per_unit
        square = weights.mul_(score) @ per_unit.square()
        deviation = (square - scaled.square()).clamp(min=0).add(noise).sqrt()
        amplitude = score.gather(1, best) / size.to(curves)[best]
        parts.append((best.squeeze(1), amplitude.squeeze(1), means, scaled, deviation))
    return Match(*(torch.cat(part) for part in zip(*parts, strict=True)))
