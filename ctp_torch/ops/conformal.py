"""Bands that hold for the next patient: conformal quantiles with the patient, not the voxel, as the unit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["band_ends", "conformal_margin", "conformal_rank", "least_patients", "residual_band", "share_score"]

_LEAST_IN_BIN = 40
"""Voxels that a quantile of 5 % rests on, at the least."""


def conformal_rank(n_patients: int, level: float) -> int:
    r"""The rank k of n scores within which the score of patient n + 1 falls with probability ``level``.

    :math:`k = \lceil (n + 1) \, level \rceil`, whatever the scores' distribution, if the patients are exchangeable.

    Raises
    ------
    ValueError
        when there are too few patients: no score of theirs is promised to be above the next one's
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    rank = math.ceil((n_patients + 1) * level - 1e-9)
    if rank > n_patients:
        raise ValueError(f"a level of {level:g} needs {least_patients(level)} patients, got {n_patients}")
    return rank


def least_patients(level: float) -> int:
    """The fewest patients with which a level can be promised."""
    return math.ceil(level / (1 - level) - 1e-9)


def conformal_margin(scores: Sequence[float], level: float) -> float:
    """The score that the next patient's stays within with probability ``level``: the k-th smallest of the patients'.

    References
    ----------
    Dunn, Wasserman, Ramdas: Distribution-free prediction sets for two-layer hierarchical models. arXiv:1809.07441;
    Lee, Barber, Willett: Distribution-free inference with hierarchical data. arXiv:2306.06342
    """
    return sorted(scores)[conformal_rank(len(scores), level) - 1]


def residual_band(predicted: Tensor, truth: Tensor, level: float, *, n_bins: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    """Knots, and at each the quantiles ``(1 -+ level) / 2`` of truth minus prediction around it.

    The predictions are cut into bins of equally many; a knot is the median prediction of a bin. Fewer bins where there
    are too few predictions.

    Parameters
    ----------
    predicted, truth
        ``(voxels,)``
    level
        share of the voxels between the two quantiles
    n_bins
        of predictions, at most

    Returns
    -------
        three of ``(bins,)``, in the dtype of ``predicted``; knots ascend
    """
    order = predicted.argsort()
    bins = order.chunk(max(1, min(n_bins, len(order) // _LEAST_IN_BIN)))
    ends = predicted.new_tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    rest = (truth - predicted).double()
    knots = torch.stack([predicted[part].median() for part in bins])
    quantiles = torch.stack([rest[part].quantile(ends) for part in bins]).to(predicted)  # (bins, 2)
    return knots, quantiles[:, 0], quantiles[:, 1]


def band_ends(
    predicted: Tensor, knots: Tensor, low: Tensor, high: Tensor, margin: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Where the truth of predictions lies: both ends, each ``margin`` band widths further out than the quantiles.

    Parameters
    ----------
    predicted
        any shape
    knots, low, high
        ``(bins,)`` of `residual_band`; linear between the knots, constant beyond
    margin
        in widths of the band there; negative draws it in, to its middle at the most

    Returns
    -------
        lower and upper, in the shape of ``predicted``
    """
    lower, upper = (predicted + _interpolated(predicted, knots, ends) for ends in (low, high))
    out = max(margin, -0.5) * (upper - lower)
    return lower - out, upper + out


def share_score(predicted: Tensor, truth: Tensor, band: tuple[Tensor, Tensor, Tensor], share: float) -> float:
    """The smallest margin of `band_ends` at which a patient's band holds a ``share`` of the voxels.

    Parameters
    ----------
    predicted, truth
        ``(voxels,)`` of one patient
    band
        from `residual_band`, of other patients
    share
        of the voxels
    """
    lower, upper = band_ends(predicted, *band)
    out = torch.maximum(lower - truth, truth - upper) / (upper - lower).clamp_min(torch.finfo(lower.dtype).eps)
    return float(out.kthvalue(max(1, math.ceil(share * len(out) - 1e-9))).values)


def _interpolated(at: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Linear between ascending knots, constant beyond."""
    if len(knots) == 1:
        return values.expand(at.shape)
    right = torch.searchsorted(knots, at.contiguous()).clamp(1, len(knots) - 1)
    left = right - 1
    step = (knots[right] - knots[left]).clamp_min(torch.finfo(knots.dtype).tiny)
    return torch.lerp(values[left], values[right], ((at - knots[left]) / step).clamp(0.0, 1.0))
