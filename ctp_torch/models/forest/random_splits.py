"""One random threshold for each feature of a node, the best of them kept: extremely randomised trees in one pass.

References
----------
Geurts P, Ernst D, Wehenkel L. Extremely randomized trees. Machine Learning 2006;63:3-42. doi:10.1007/s10994-006-6226-1
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ctp_torch.models.forest.random import hash_bits, uniform
from ctp_torch.models.forest.splits import Splits, best_slot, gains

__all__ = ["random_splits"]

_THRESHOLDS = 5  # a stream of random numbers of its own


def random_splits(
    X: Tensor,
    rows: Tensor,
    owner: Tensor,
    weights: Tensor,
    moments: Tensor,
    keys: Tensor,
    *,
    features: Tensor | None = None,
    min_samples_leaf: int = 1,
    choose: Callable[[Tensor], Tensor] = best_slot,
) -> Splits:
    """The best of one uniform threshold between smallest and largest value, for each feature of each node.

    Parameters
    ----------
    X
        (samples, features)
    rows
        (m, pieces), int64: samples; a node may have several pieces, one after another; where a piece has fewer than m
        samples it repeats one of them
    owner
        (pieces,), int64 ascending: whose piece it is
    weights
        (m, pieces), float64 whole numbers; ``NO_WEIGHT`` for the repeated ones
    moments
        (targets, m, pieces), float64 multiples of one unit for each node: ``w (y - mean)``; 0 for the repeated ones
    keys
        (nodes,), int64: of the random thresholds; a threshold depends on key and feature alone
    features
        (nodes, k), int64: the features that each node may use; all by default
    min_samples_leaf
        samples that either side needs
    choose
        gain (nodes, features) -> which feature (nodes,)
    """
    values = _values(X, rows, features, owner)  # (m, pieces, features)
    low, high = _over_pieces(values.amin(0), owner, keys, "amin"), _over_pieces(values.amax(0), owner, keys, "amax")
    names = torch.arange(X.shape[1], device=X.device).expand(len(keys), -1) if features is None else features
    draw = uniform(hash_bits(keys ^ _THRESHOLDS)[:, None] + names, X.dtype)  # (nodes, features)
    threshold = low + draw * (high - low)
    threshold = torch.where(threshold >= high, low, threshold)  # rounding must not empty the right side
    left = torch.le(values, _of_pieces(threshold, owner, keys), out=torch.empty_like(values)).double()  # 1 on the left
    weight = _over_pieces((left * weights[:, :, None]).sum(0), owner, keys, "sum")
    left_moments = [_over_pieces((left * moment[:, :, None]).sum(0), owner, keys, "sum") for moment in moments]
    total = _over_pieces(weights.sum(0)[:, None], owner, keys, "sum")
    forbidden = low == high
    if min_samples_leaf > 1:
        real = (weights >= 1)[:, :, None]
        count = _over_pieces((left * real).sum(0), owner, keys, "sum")
        forbidden |= (count < min_samples_leaf) | (
            _over_pieces(real.sum(0), owner, keys, "sum") - count < min_samples_leaf
        )
    area = (total - weight).mul_(weight)
    forbidden |= area == 0
    gain = gains(area.masked_fill_(forbidden, 1.0), left_moments).masked_fill_(forbidden, -1.0)
    slot = choose(gain)
    return Splits(gain.gather(1, slot[:, None]).squeeze(1), slot, threshold.gather(1, slot[:, None]).squeeze(1))


def _values(X: Tensor, rows: Tensor, features: Tensor | None, owner: Tensor) -> Tensor:
    """The values of every piece's samples, (m, pieces, features)."""
    if features is None:
        return X.index_select(0, rows.view(-1)).view(*rows.shape, -1)
    flat = (rows * X.shape[1])[:, :, None] + features[owner]
    return X.view(-1).index_select(0, flat.view(-1)).view(flat.shape)


def _over_pieces(values: Tensor, owner: Tensor, keys: Tensor, reduce: str) -> Tensor:
    """(pieces, ...) to (nodes, ...)."""
    if len(owner) == len(keys):
        return values
    start = torch.zeros(len(keys), *values.shape[1:], dtype=values.dtype, device=values.device)
    index = owner[:, None].expand_as(values)
    return start.scatter_reduce_(0, index, values, reduce, include_self=False)


def _of_pieces(values: Tensor, owner: Tensor, keys: Tensor) -> Tensor:
    """(nodes, ...) to (pieces, ...)."""
    return values if len(owner) == len(keys) else values[owner]
