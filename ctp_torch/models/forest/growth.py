"""All trees of a group at once, level by level: sum up every node, split it, hand its samples to its children."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.models.forest.bins import local_codes
from ctp_torch.models.forest.frontier import Frontier, Samples
from ctp_torch.models.forest.partition import midpoint_thresholds, partition_order, segment_sums
from ctp_torch.models.forest.random import child_keys
from ctp_torch.models.forest.scoring import SplitRules, level_splits

__all__ = ["GrowthLimits", "TreeNodes", "grow_trees", "join_trees"]


class GrowthLimits(NamedTuple):
    """Which nodes may be split at all."""

    max_depth: int
    min_samples_split: int
    value_bits: int
    """``Samples.fixed`` stays below 2^value_bits."""


class TreeNodes(NamedTuple):
    """Nodes tree by tree, each tree from its root on, every level after the one above, siblings side by side."""

    tree: Tensor
    """(nodes,), int32, ascending."""
    feature: Tensor
    """(nodes,), int32, -1 for a leaf."""
    threshold: Tensor
    """(nodes,), in the dtype of X; ``x <= threshold`` goes left."""
    left: Tensor
    """(nodes,), int32 or int64: the left child, followed by the right one; a leaf points at itself."""
    value: Tensor
    """(nodes, targets), in the dtype of Y: weighted means."""
    decrease: Tensor
    """(nodes,), float32: by how much the split lowers the sum of squared errors."""
    weight: Tensor
    """(nodes,), float32."""


def grow_trees(samples: Samples, roots: Frontier, limits: GrowthLimits, rules: SplitRules) -> TreeNodes:
    """The trees over these roots, grown until every node is pure, too small, too deep, or can't be split.

    A node that its bins can't split, although its samples differ, gets bins of its own.

    Parameters
    ----------
    samples
        what the trees learn from
    roots
        one node for each tree, numbered from 0
    limits
        which nodes may be split
    rules
        how they are split
    """
    store = _Store(len(roots.size))
    frontier, own_bins = roots, False
    while len(frontier.size):
        stuck = []
        while len(frontier.size):
            frontier, failed = _grow_level(samples, frontier, limits, rules, store)
            if own_bins:  # bins of their own that don't help won't help the next time
                failed = failed.only(torch.zeros_like(failed.size, dtype=torch.bool))
            stuck.append(failed)
            own_bins = False
        if rules.splitter == "random":  # thresholds don't come from bins
            break
        samples, frontier = _refined(samples, stuck, rules.n_bins)
        own_bins = True
    return store.nodes(samples)


def join_trees(parts: list[TreeNodes]) -> TreeNodes:
    """One table of the nodes of all parts; the trees of a part come after those of the parts before."""
    count, lefts = 0, []
    index = torch.int32 if sum(len(part.tree) for part in parts) < 2**31 else torch.int64
    for part in parts:
        lefts.append(part.left.to(index) + count)
        count += len(part.tree)
    columns = [torch.cat(column) for column in zip(*parts, strict=True)]
    return TreeNodes(*columns)._replace(left=torch.cat(lefts))


def _grow_level(
    samples: Samples, frontier: Frontier, limits: GrowthLimits, rules: SplitRules, store: _Store
) -> tuple[Frontier, Frontier]:
    """The children of these nodes, and the nodes that no feature could split; both may be empty."""
    weight, value, pure = _summary(samples, frontier)
    store.add(frontier, weight, value)
    splittable = ~pure & (frontier.size >= max(limits.min_samples_split, 2 * rules.min_samples_leaf))
    splittable &= frontier.depth < limits.max_depth
    frontier, weight = frontier.only(splittable), weight[splittable]
    if not len(frontier.size):
        return frontier, frontier
    moments, scale = _moments(samples, frontier, weight, limits.value_bits)
    splits = level_splits(samples, frontier, moments, rules)
    good = splits.gain >= 0
    failed = frontier.only(~good)
    frontier, weight, scale = frontier.only(good), weight[good], scale[good]
    gain, feature, cut = (v[good] for v in splits)
    if not len(frontier.size):
        return frontier, failed
    owner = frontier.owner()
    at = frontier.rows * samples.X.shape[1] + feature.index_select(0, owner)
    values = samples.X.view(-1).index_select(0, at)
    if rules.splitter == "random":
        left, threshold = values <= cut.index_select(0, owner), cut
    else:
        left = samples.codes.view(-1).index_select(0, at) <= cut.index_select(0, owner)
        threshold = midpoint_thresholds(values, left, owner, len(gain))
    order, n_left = partition_order(left, frontier.size, owner)
    number = store.split(frontier.number, feature, threshold, gain * scale)
    keys = torch.stack(child_keys(frontier.key), 1)
    children = Frontier(
        frontier.rows.index_select(0, order),
        frontier.weights.index_select(0, order),
        torch.stack([n_left, frontier.size - n_left], 1).view(-1),
        number,
        frontier.tree.repeat_interleave(2),
        keys.view(-1),
        (frontier.depth + 1).repeat_interleave(2),
    )
    return children, failed


def _summary(samples: Samples, frontier: Frontier) -> tuple[Tensor, Tensor, Tensor]:
    """Weight (nodes,), mean (nodes, targets) and whether all targets are equal (nodes,)."""
    first, owner = frontier.rows[frontier.start()], frontier.owner()
    weight = segment_sums(frontier.weights, frontier.size)
    total = segment_sums(frontier.weights[:, None] * samples.fixed.index_select(0, frontier.rows), frontier.size)
    mean = samples.offset[first] + samples.unit[first] * (total.double() / weight[:, None].double())
    own = samples.Y[first]
    differs = samples.Y.index_select(0, frontier.rows) != own.index_select(0, owner)
    pure = segment_sums(differs.any(1), frontier.size) == 0
    return weight, torch.where(pure[:, None], own, mean.to(own.dtype)), pure


def _moments(samples: Samples, frontier: Frontier, weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """``w (W y - sum w y)`` of every member (targets, members), and what makes gains of them falls in squared error.

    In units of the target's resolution these are whole numbers, and are kept exactly as long as a node's sum of them
    fits 53 bits; beyond, the node's unit grows by powers of two. Either way sums of them are exact in float64.
    """
    owner = frontier.owner()
    fixed = samples.fixed.index_select(0, frontier.rows)
    total = segment_sums(frontier.weights[:, None] * fixed, frontier.size)
    centred = fixed * weight.index_select(0, owner)[:, None] - total.index_select(0, owner)
    centred = centred.double() * frontier.weights[:, None]  # (members, targets)
    excess = (2 * torch.frexp(weight.double()).exponent + bits - 52).clamp_(min=0)
    grain = torch.ldexp(torch.ones_like(excess, dtype=torch.float64), excess)  # (nodes,)
    unit = samples.unit[frontier.rows[frontier.start()]]  # (nodes, targets)
    largest = unit.amax(1, keepdim=True)
    moments = (centred / grain.index_select(0, owner)[:, None]).round_() * (unit / largest).index_select(0, owner)
    return moments.mT.contiguous(), (grain * largest.squeeze(1)).square() / weight


def _refined(samples: Samples, stuck: list[Frontier], n_bins: int) -> tuple[Samples, Frontier]:
    """The stuck nodes whose samples differ, and their samples with bins for each node."""
    frontier = Frontier(*(torch.cat(parts) for parts in zip(*stuck, strict=True)))
    X = samples.X[frontier.rows]
    differs = (X[frontier.start()][frontier.owner()] != X).any(1)
    frontier = frontier.only(segment_sums(differs, frontier.size) > 0)
    rows = frontier.rows
    codes = local_codes(samples.X[rows], frontier.size, n_bins)
    return samples.take(rows, codes), frontier._replace(rows=torch.arange(len(rows), device=rows.device))


class _Store:
    """Nodes as the levels make them."""

    def __init__(self, n_roots: int) -> None:
        self.count = n_roots
        self.known: list[tuple[Tensor, ...]] = []
        self.splits: list[tuple[Tensor, ...]] = []

    def add(self, frontier: Frontier, weight: Tensor, value: Tensor) -> None:
        """Remember what is known of nodes before their split."""
        self.known.append((frontier.number, frontier.tree, weight, value))

    def split(self, number: Tensor, feature: Tensor, threshold: Tensor, decrease: Tensor) -> Tensor:
        """Remember splits; the numbers of the children, left and right in turn."""
        children = self.count + torch.arange(2 * len(number), device=number.device)
        self.splits.append((number, feature, threshold, children[::2], decrease))
        self.count += 2 * len(number)
        return children

    def nodes(self, samples: Samples) -> TreeNodes:
        """All nodes, tree by tree."""
        number, tree, weight, value = (torch.cat(parts) for parts in zip(*self.known, strict=True))
        self.known.clear()
        trees = torch.empty(self.count, dtype=torch.int32, device=tree.device).index_copy_(0, number, tree.int())
        order = trees.argsort(stable=True)
        place = torch.empty_like(order)
        place[order] = torch.arange(self.count, device=order.device)
        number = place[number]
        nodes = TreeNodes(
            tree=trees[order],
            feature=torch.full_like(trees, -1),
            threshold=samples.X.new_zeros(self.count),
            left=torch.arange(self.count, dtype=torch.int32 if self.count < 2**31 else torch.int64, device=tree.device),
            value=value.new_empty(self.count, value.shape[1]).index_copy_(0, number, value),
            decrease=torch.zeros(self.count, dtype=torch.float32, device=tree.device),
            weight=torch.empty(self.count, dtype=torch.float32, device=tree.device).index_copy_(
                0, number, weight.float()
            ),
        )
        if self.splits:
            number, feature, threshold, left, decrease = (torch.cat(parts) for parts in zip(*self.splits, strict=True))
            number = place[number]
            nodes.feature[number], nodes.threshold[number] = feature.int(), threshold
            nodes.left[number], nodes.decrease[number] = place[left].to(nodes.left.dtype), decrease.float()
        return nodes
