"""The best split of every node of a level: nodes of like size side by side, in blocks that stay in the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ctp_torch.models.forest.frontier import Frontier, Members, Samples, size_classes
from ctp_torch.models.forest.histograms import histogram_splits
from ctp_torch.models.forest.random import hash_bits
from ctp_torch.models.forest.random_splits import random_splits
from ctp_torch.models.forest.splits import Splits, best_slot, first_slot, sorted_splits
from ctp_torch.models.forest.triton import fused_splits, has_kernels

__all__ = ["SplitRules", "level_splits"]

_BLOCK = 1 << 19  # (sample, feature) pairs scored at once: arrays of 4 MB, a few of which stay in the cache
_FUSED_BLOCK = 1 << 26  # the same where a kernel keeps them in registers, and only (node, feature) pairs take memory
_SMALL = 256  # members: nodes up to this size are sorted, larger ones counted into bins
_SUBSET = 6  # a stream of random numbers of its own


class SplitRules(NamedTuple):
    """How a node is split."""

    splitter: Literal["best", "random"]
    n_bins: int
    min_samples_leaf: int
    n_features: int
    """How many features each node tries."""
    orders: Tensor | None
    """(orders, features), int64: random orders of the features; None where each node tries all."""


def level_splits(samples: Samples, frontier: Frontier, moments: Tensor, rules: SplitRules) -> Splits:
    """The chosen split of every node; ``slot`` names the feature, gain is -1 where no split is allowed.

    A node that tries some features only goes on through its random order until one of them can be split (as in
    scikit-learn).

    Parameters
    ----------
    samples
        what the trees learn from
    frontier
        the nodes; each of at least two members
    moments
        (targets, members), float64: ``w (y - mean)`` in multiples of one unit for each node
    rules
        how to split
    """
    if rules.orders is None:
        return _scored(samples, frontier, moments, rules, None, best_slot)
    index = (hash_bits(frontier.key ^ _SUBSET) & (len(rules.orders) - 1)).long()
    features = rules.orders[index]  # (nodes, features)
    splits = _scored(samples, frontier, moments, rules, features[:, : rules.n_features].contiguous(), best_slot)
    failed = splits.gain < 0
    rest = features[failed, rules.n_features :].contiguous()
    if rest.numel():
        members = failed[frontier.owner()]
        more = _scored(samples, frontier.only(failed), moments[:, members], rules, rest, first_slot)
        for old, new in zip(splits, more, strict=True):
            old[failed] = new
    return splits


def _scored(
    samples: Samples,
    frontier: Frontier,
    moments: Tensor,
    rules: SplitRules,
    features: Tensor | None,
    choose: Callable[[Tensor], Tensor],
) -> Splits:
    """The chosen split of every node among its features."""
    n_slots = samples.X.shape[1] if features is None else features.shape[1]
    weights, start = frontier.weights.double(), frontier.start()
    score = _random if rules.splitter == "random" else _best
    pairs = _FUSED_BLOCK if score is _best and has_kernels(samples.codes) else _BLOCK
    order, parts = [], []
    for m, nodes in size_classes(frontier.size):
        for block in nodes.split(max(1, pairs // (m * n_slots))):
            members = Members(frontier.rows, weights, moments, start[block], frontier.size[block], m)
            subset = None if features is None else features[block]
            order.append(block)
            parts.append(score(samples, members, frontier.key[block], rules, subset, choose))
    at = torch.cat(order)
    gain, slot, cut = (torch.empty_like(p).index_copy_(0, at, p) for p in map(torch.cat, zip(*parts, strict=True)))
    return Splits(gain, slot if features is None else features.gather(1, slot[:, None]).squeeze(1), cut)


def _best(
    samples: Samples,
    members: Members,
    key: Tensor,
    rules: SplitRules,
    features: Tensor | None,
    choose: Callable[[Tensor], Tensor],
) -> Splits:
    """By sorting small nodes and counting large ones."""
    leaf = rules.min_samples_leaf
    if has_kernels(samples.codes):
        return fused_splits(
            samples.codes, members, n_bins=rules.n_bins, features=features, min_samples_leaf=leaf, choose=choose
        )
    if members.m <= _SMALL:
        rows, weights, moments = members.padded(members.start, members.size, members.m)
        return sorted_splits(
            samples.codes,
            rows,
            weights,
            moments,
            features=features,
            min_samples_leaf=leaf,
            choose=choose,
        )
    owner = members.owner()
    at = torch.arange(len(owner), device=owner.device) + (members.start - members.size.cumsum(0) + members.size)[owner]
    return histogram_splits(
        samples.codes,
        members.rows[at],
        owner,
        members.weights[at],
        members.moments[:, at],
        n_bins=rules.n_bins,
        n_nodes=len(members.size),
        features=features,
        min_samples_leaf=leaf,
        choose=choose,
    )


def _random(
    samples: Samples,
    members: Members,
    key: Tensor,
    rules: SplitRules,
    features: Tensor | None,
    choose: Callable[[Tensor], Tensor],
) -> Splits:
    """By random thresholds; large nodes in pieces."""
    m = min(members.m, _SMALL)
    n_pieces = (members.size + m - 1) // m
    owner = torch.arange(len(n_pieces), device=key.device).repeat_interleave(n_pieces)
    piece = torch.arange(len(owner), device=key.device) - (n_pieces.cumsum(0) - n_pieces)[owner]
    rows, weights, moments = members.padded(
        members.start[owner] + piece * m, (members.size[owner] - piece * m).clamp(max=m), m
    )
    return random_splits(
        samples.X,
        rows,
        owner,
        weights,
        moments,
        key,
        features=features,
        min_samples_leaf=rules.min_samples_leaf,
        choose=choose,
    )
