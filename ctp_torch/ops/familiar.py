"""How far a scan's signature lies from those of a training: distances under probabilistic principal components."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Familiar", "distance", "fit_familiar", "left_out_distances"]


class Familiar(NamedTuple):
    """A normal distribution with a few wide directions, and one variance in all others."""

    mean: Tensor
    """``(numbers,)``."""
    axes: Tensor
    """``(directions, numbers)``, orthonormal."""
    variances: Tensor
    """``(directions,)`` along the axes."""
    rest: Tensor
    """``()`` variance in every other direction."""


def fit_familiar(signatures: Tensor, *, n_axes: int = 4) -> Familiar:
    """The distribution of signatures ``(scans, numbers)``, float64; fewer axes where there are few scans.

    References
    ----------
    Tipping, Bishop: Probabilistic principal component analysis. J R Stat Soc B 1999;61:611-622.
    doi:10.1111/1467-9868.00196
    """
    values = signatures.double()
    n_scans, n_numbers = values.shape
    if n_scans < 4:
        raise ValueError(f"{n_scans} scans don't tell how scans differ; give 4 or more")
    mean = values.mean(dim=0)
    _, s, vt = torch.linalg.svd(values - mean, full_matrices=False)
    spread = s.square() / (n_scans - 1)
    kept = max(1, min(n_axes, n_scans - 3, n_numbers - 1))
    tiny = torch.finfo(torch.float64).eps * spread.sum().clamp_min(1e-30)
    rest = (spread[kept:].sum() / (n_numbers - kept)).clamp_min(tiny)
    return Familiar(mean, vt[:kept], spread[:kept].clamp_min(tiny), rest)


def distance(signature: Tensor, known: Familiar) -> Tensor:
    """Squared Mahalanobis distance ``(...)`` of signatures ``(..., numbers)``, a number of them on average."""
    off = signature.double() - known.mean
    along = off @ known.axes.T
    across = (off.square().sum(-1) - along.square().sum(-1)).clamp_min(0.0)
    return (along.square() / known.variances).sum(-1) + across / known.rest


def left_out_distances(signatures: Tensor, *, n_axes: int = 4) -> Tensor:
    """Distance of each of ``(scans, numbers)`` from the distribution of the others ``(scans,)``."""
    others = [torch.cat([signatures[:i], signatures[i + 1 :]]) for i in range(len(signatures))]
    return torch.stack([distance(signatures[i], fit_familiar(rows, n_axes=n_axes)) for i, rows in enumerate(others)])
