"""The best split of large nodes: sums of weights and targets in every bin of every feature, then one scan."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ctp_torch.models.forest.splits import FORBIDDEN, Splits, best_slot, gains

__all__ = ["histogram_splits", "node_histograms"]

_BLOCK = 1 << 17  # (sample, feature) pairs counted at once: their bins are 1 MB of int64


def node_histograms(
    codes: Tensor, rows: Tensor, node: Tensor, channels: Tensor, n_bins: int, n_nodes: int, features: Tensor | None
) -> Tensor:
    """Sums of each channel over each (node, bin) of every feature; exact, as long as they stay below 2^53 units.

    Parameters
    ----------
    codes
        (samples, features), uint8 or int16, below ``n_bins``
    rows
        (members,), int64: samples, one node's after another's
    node
        (members,), int64: whose member it is, below ``n_nodes``
    channels
        (channels, members), float64 whole multiples of a unit
    n_bins
        bins of each feature
    n_nodes
        number of nodes
    features
        (nodes, k), int64: the features that each node may use; None: all

    Returns
    -------
        (channels, features or k, nodes, bins), float64
    """
    n_slots = codes.shape[1] if features is None else features.shape[1]
    sums = channels.new_zeros(len(channels), n_slots, n_nodes * n_bins)
    step = max(1, _BLOCK // n_slots)
    for at in range(0, len(rows), step):
        block, owner = rows[at : at + step], node[at : at + step]
        if features is None:
            taken = codes.index_select(0, block).mT.contiguous()  # (features, members)
        else:
            flat = features.mT.index_select(1, owner) + block * codes.shape[1]
            taken = codes.view(-1).index_select(0, flat.view(-1)).view(flat.shape)
        bins = torch.add(taken, owner * n_bins)
        for channel, total in zip(channels[:, at : at + step], sums, strict=True):
            total.scatter_add_(1, bins, channel.expand_as(bins))
    return sums.view(len(channels), n_slots, n_nodes, n_bins)


def histogram_splits(
    codes: Tensor,
    rows: Tensor,
    node: Tensor,
    weights: Tensor,
    moments: Tensor,
    *,
    n_bins: int,
    n_nodes: int,
    features: Tensor | None = None,
    min_samples_leaf: int = 1,
    choose: Callable[[Tensor], Tensor] = best_slot,
) -> Splits:
    """The split with the highest gain for nodes of any size; ties go to the lowest feature, then code.

    Parameters
    ----------
    codes
        (samples, features), uint8 or int16, below ``n_bins``
    rows
        (members,), int64: samples, one node's after another's
    node
        (members,), int64: whose member it is, below ``n_nodes``
    weights
        (members,), float64 whole numbers
    moments
        (targets, members), float64 multiples of one unit for each node: ``w (y - mean)``
    n_bins
        bins of each feature
    n_nodes
        number of nodes
    features
        (nodes, k), int64: the features that each node may use; all by default
    min_samples_leaf
        samples that either side needs
    choose
        gain (nodes, features) -> which feature (nodes,)
    """
    channels = torch.cat([weights[None], moments])
    if min_samples_leaf > 1:
        channels = torch.cat([channels, torch.ones_like(weights)[None]])
    left = node_histograms(codes, rows, node, channels, n_bins, n_nodes, features).cumsum_(-1)
    total = left[0, :, :, -1:].clone()  # (features, nodes, 1)
    area = (total - left[0]).mul_(left[0])
    forbidden = torch.eq(area, 0.0, out=torch.empty_like(area))  # one side is empty
    gain = gains(area.add_(forbidden), list(left[1 : 1 + len(moments)]))
    gain.sub_(forbidden, alpha=FORBIDDEN)  # moments rounded to the unit need not add up to 0 over the whole node
    if min_samples_leaf > 1:
        small = (left[-1] < min_samples_leaf) | (left[-1, :, :, -1:] - left[-1] < min_samples_leaf)
        gain.masked_fill_(small, -1.0)
    slot = choose(gain.amax(-1).mT)  # (nodes,)
    chosen = gain[slot, torch.arange(n_nodes, device=rows.device)]  # (nodes, bins)
    return Splits(chosen.amax(1), slot, chosen.argmax(1).to(torch.int16))
