"""Curves against a dictionary of model curves: the best match, and means over all matches weighted by likelihood."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.ops.compute.compiled import fused_library
from ctp_torch.ops.compute.gradients import refuse_gradient
from ctp_torch.ops.compute.threads import in_threads
from ctp_torch.ops.deconvolution.result import chunks

__all__ = ["Match", "match_atoms", "posterior_mean", "posterior_of_last"]

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
        ``(atoms, parameters)`` quantities whose expectation is computed
    rates
        ``(atoms, rates)`` factors of the amplitude, such as 1 for CBV or 1 / MTT for CBF
    """
    n = curves.shape[1]
    size, unit = _unit_atoms(atoms, curves)
    per_unit = rates.to(curves) / size[:, None]  # (atoms, rates)
    prior, parameters = log_prior.to(curves), parameters.to(curves)
    parts = []
    for rows in chunks(curves, len(atoms)):
        energy, score, misfit = _compare(curves[rows], unit)
        weights = torch.log(misfit).mul_(-0.5 * n).add_(prior)
        best = weights.argmax(dim=1, keepdim=True)
        weights = weights.softmax(dim=1)
        means = weights @ parameters
        noise = misfit.mul_(weights) @ per_unit.square() * (energy / n)
        weights.mul_(score)
        scaled = weights @ per_unit
        square = weights.mul_(score) @ per_unit.square()
        deviation = (square - scaled.square()).clamp(min=0).add(noise).sqrt()
        amplitude = score.gather(1, best) / size[best]
        parts.append((best.squeeze(1), amplitude.squeeze(1), means, scaled, deviation))
    return Match(*(torch.cat(part) for part in zip(*parts, strict=True)))


def posterior_mean(curves: Tensor, atoms: Tensor, log_prior: Tensor, values: Tensor) -> Tensor:
    """Expectation ``(voxels,)`` of a quantity of the atoms, weighted as in :func:`match_atoms`; without a gradient.

    Parameters
    ----------
    curves
        ``(voxels, time)`` [HU]
    atoms
        ``(atoms, time)``, of any amplitude
    log_prior
        ``(atoms,)``
    values
        ``(atoms,)`` the quantity
    """
    refuse_gradient("the completion of CBV", curves)
    _, unit = _unit_atoms(atoms, curves)
    prior, values, means = log_prior.to(curves), values.to(curves), curves.new_empty(len(curves))
    library = fused_library(curves.device) if curves.dtype == torch.float32 else None
    prior_bits = prior / math.log(2.0)
    constants = curves.new_tensor([0.5 * curves.shape[1], LEAST_MISFIT])

    def some(rows: slice) -> None:
        if library is None:
            _, _, misfit = _compare(curves[rows], unit)
            weights = misfit.log_().mul_(-0.5 * curves.shape[1]).add_(prior).softmax(dim=1)
            torch.mv(weights, values, out=means[rows])
            return
        energy, scores = _energy(curves[rows]).contiguous(), curves[rows] @ unit
        known = energy.data_ptr(), prior_bits.data_ptr(), values.data_ptr(), constants.data_ptr()
        library.posterior_means(scores.data_ptr(), *scores.shape, *known, means[rows].data_ptr())

    pieces = list(chunks(curves, len(atoms)))
    if library is None:
        for rows in pieces:
            some(rows)
    else:
        in_threads(some, pieces, device=curves.device)
    return means


def posterior_of_last(curves: Tensor, atoms: Tensor, log_prior: Tensor, values: int) -> Tensor:
    """Posterior ``(voxels, values)`` of the parameter that changes fastest from atom to atom, all others summed over.

    The weights are those of :func:`match_atoms`.

    Parameters
    ----------
    curves
        ``(voxels, time)`` [HU]
    atoms
        ``(others * values, time)``, of any amplitude
    log_prior
        ``(others * values,)``
    values
        how many values that parameter takes
    """
    _, unit = _unit_atoms(atoms, curves)
    prior = log_prior.to(curves)
    posterior = curves.new_empty(len(curves), values)
    for rows in chunks(curves, len(atoms)):
        _, _, misfit = _compare(curves[rows], unit)
        weights = misfit.log_().mul_(-0.5 * curves.shape[1]).add_(prior).softmax(dim=1)
        torch.sum(weights.unflatten(1, (len(atoms) // values, values)), dim=1, out=posterior[rows])
    return posterior


def _unit_atoms(atoms: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Norm of each atom ``(atoms,)``, and atoms of norm 1 ``(time, atoms)``."""
    size = atoms.norm(dim=1).clamp(min=torch.finfo(atoms.dtype).tiny)
    return size.to(like), (atoms / size[:, None]).to(like).T.contiguous()


def _compare(curves: Tensor, unit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Energy ``(voxels, 1)`` of curves, their amplitude along each atom and the misfit left, as part of the energy."""
    energy = _energy(curves)
    score = (curves @ unit).clamp_(min=0)  # (voxels, atoms)
    return energy, score, (1 - score.square() / energy).clamp_(min=LEAST_MISFIT)


def _energy(curves: Tensor) -> Tensor:
    """Sum of squares ``(voxels, 1)`` of curves ``(voxels, time)``, above 0."""
    return curves.square().sum(dim=1, keepdim=True).clamp(min=torch.finfo(curves.dtype).tiny)
