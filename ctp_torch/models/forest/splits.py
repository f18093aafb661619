"""The best split of many small nodes at once: sort each node's samples by every feature, sum up, compare."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.models.forest.sort import running_sums, sort_columns

__all__ = ["FORBIDDEN", "NO_WEIGHT", "Splits", "best_slot", "first_slot", "gains", "sorted_splits"]

NO_WEIGHT = 2.0**-80
"""Weight of members that only fill up: no division by zero alone, and lost beside any whole number."""
FORBIDDEN = 2.0**400
"""Larger than any gain: what is taken off where no split is allowed."""


class Splits(NamedTuple):
    """One split for each node."""

    gain: Tensor
    """(nodes,), float64: gain of the split in the node's own unit, negative where no split is allowed."""
    slot: Tensor
    """(nodes,), int64: which of the node's features."""
    cut: Tensor
    """(nodes,): samples go left whose code (or, with random thresholds, whose value) is no larger."""


def gains(area: Tensor, left_moments: list[Tensor]) -> Tensor:
    """``sum_t V_t^2 / (wL wR)``: how much a split lowers the node's sum of squared errors, times its weight.

    With moments centred on the node's mean, ``V = sum over the left of w (y - mean)``, the errors fall by
    ``sum_t V_t^2 w / (wL wR)``.

    Parameters
    ----------
    area
        (...), float64: ``wL wR``, not 0
    left_moments
        one (...) for each target, float64; overwritten
    """
    gain = left_moments[0].square_()
    for moment in left_moments[1:]:
        gain += moment.square_()
    return gain.div_(area)


def best_slot(gain: Tensor) -> Tensor:
    """The feature of the highest gain, the first among equals; gain (nodes, features)."""
    return gain.argmax(1)


def first_slot(gain: Tensor) -> Tensor:
    """The first feature that can be split at all; gain (nodes, features)."""
    return (gain >= 0).to(torch.uint8).argmax(1)


def sorted_splits(
    codes: Tensor,
    rows: Tensor,
    weights: Tensor,
    moments: Tensor,
    *,
    features: Tensor | None = None,
    min_samples_leaf: int = 1,
    choose: Callable[[Tensor], Tensor] = best_slot,
) -> Splits:
    """The split with the highest gain for nodes of at most 256 samples; ties go to the lowest feature, then code.

    Code and rank share one short integer, so that a single sort brings the order and the distinct values.

    Parameters
    ----------
    codes
        (samples, features), uint8 or int16, of ``bin_codes``
    rows
        (m, nodes), int64: the node's samples; m a power of two, 2 to 256; a smaller node repeats one of its samples
    weights
        (m, nodes), float64 whole numbers; ``NO_WEIGHT`` for the repeated ones, which come first
    moments
        (targets, m, nodes), float64 multiples of one unit: ``w (y - mean)``; 0 for the repeated ones
    features
        (nodes, k), int64: the features that each node may use; all by default
    min_samples_leaf
        samples that either side needs
    choose
        gain (nodes, features) -> which feature (nodes,)
    """
    m, n_nodes = rows.shape
    keys = sort_columns(_keys(codes, rows, features))  # (m, nodes, features)
    column = torch.arange(n_nodes, dtype=torch.int32, device=rows.device)[:, None]
    order = torch.add(column, (keys[:-1] & 255).int(), alpha=n_nodes)  # no split after the last
    order, shape = order.view(-1), order.shape
    left_weight = running_sums(weights.view(-1).index_select(0, order).view(shape))
    left_moments = [running_sums(moment.reshape(-1).index_select(0, order).view(shape)) for moment in moments]
    gain = gains((weights.sum(0)[:, None] - left_weight).mul_(left_weight), left_moments)
    value = keys >> 8
    tied = torch.eq(value[1:], value[:-1], out=torch.empty_like(value[1:]))  # no split between equal codes
    gain.sub_(tied.double(), alpha=FORBIDDEN)
    if min_samples_leaf > 1:
        real = (weights >= 1.0).double()
        left = running_sums(real.view(-1).index_select(0, order).view(shape))
        small = (left < min_samples_leaf) | (real.sum(0)[:, None] - left < min_samples_leaf)
        gain.masked_fill_(small, -1.0)
    slot = choose(gain.amax(0))  # (nodes,)
    index = slot[None, :, None].expand(m, -1, 1)
    chosen = gain.gather(2, index[:-1]).squeeze(2)  # (m - 1, nodes)
    rank = chosen.argmax(0, keepdim=True)  # the first of equal gains: the lowest code
    cut = value.gather(2, index).squeeze(2).gather(0, rank).squeeze(0)
    return Splits(chosen.amax(0), slot, cut.short() + (128 if codes.dtype == torch.uint8 else 0))


def _keys(codes: Tensor, rows: Tensor, features: Tensor | None) -> Tensor:
    """``256 code + rank`` in int16 (codes less 128) or int32, (m, nodes, features)."""
    if features is None:
        taken = codes.index_select(0, rows.view(-1)).view(*rows.shape, -1)
    else:
        flat = (rows * codes.shape[1])[:, :, None] + features  # (m, nodes, k)
        taken = codes.view(-1).index_select(0, flat.view(-1)).view(flat.shape)
    keys = taken.short().sub_(128) if codes.dtype == torch.uint8 else taken.int()
    rank = torch.arange(len(rows), dtype=keys.dtype, device=rows.device)
    return keys.mul_(256).add_(rank[:, None, None])
