"""All samples down all trees at once: pointers chased level by level over packed node arrays."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["PackedTrees", "leaves", "pack_trees"]

_COMPACT = 4  # levels between two looks at which samples have arrived


class PackedTrees(NamedTuple):
    """Nodes in the form that chasing needs: one word for feature and child. A leaf leads to itself."""

    threshold: Tensor
    """(nodes,); infinite for a leaf: every x is below."""
    link: Tensor
    """(nodes,), int32 or int64: ``(left child - node) * 2^shift + feature``."""
    shift: int


def pack_trees(feature: Tensor, threshold: Tensor, left: Tensor) -> PackedTrees:
    """The packed form of these nodes.

    Parameters
    ----------
    feature
        (nodes,), integer; -1 for a leaf
    threshold
        (nodes,), float32 or float64; ``x <= threshold`` goes to the left child
    left
        (nodes,), integer: the left child, followed by the right one; above the node's own number
    """
    shift = max(1, int(feature.max())).bit_length()
    leaf = feature < 0
    ahead = (left.long() - torch.arange(len(left), device=left.device)).masked_fill_(leaf, 0)
    link = (ahead << shift) + feature.long().clamp(min=0)
    threshold = threshold.masked_fill(leaf, torch.inf)
    return PackedTrees(threshold, link.int() if int(link.max()) < 2**31 else link, shift)


def leaves(X: Tensor, roots: Tensor, trees: PackedTrees) -> Tensor:
    """The leaf that each sample reaches in each tree, (trees, samples) int64.

    Samples that have arrived are dropped every few levels.

    Parameters
    ----------
    X
        (samples, features), in the dtype of the thresholds
    roots
        (trees,), int64: where the trees begin
    trees
        their nodes
    """
    n_samples, n_features = X.shape
    index = torch.int32 if max(len(trees.link), X.numel()) < 2**31 else torch.int64
    node = roots.to(index)[:, None].expand(-1, n_samples).reshape(-1)  # (trees * samples,)
    row = torch.arange(0, X.numel(), n_features, dtype=index, device=X.device).repeat(len(roots))
    values, result = X.reshape(-1), node.clone()
    active = torch.arange(len(node), device=X.device)
    mask = (1 << trees.shift) - 1
    while True:
        for _ in range(_COMPACT):
            threshold, link = trees.threshold.index_select(0, node), trees.link.index_select(0, node)
            x = values.index_select(0, torch.add(row, link & mask))
            ahead = (link >> trees.shift).to(index)
            node = torch.add(node, ahead).sub_(_minus_if_above(x, threshold))
        inner = (ahead != 0).nonzero().squeeze(1)
        if not len(inner) or len(inner) < 0.8 * len(node):
            result.index_copy_(0, active, node)
            if not len(inner):
                return result.view(len(roots), n_samples).long()
            active, node, row = active[inner], node.index_select(0, inner), row.index_select(0, inner)


def _minus_if_above(x: Tensor, threshold: Tensor) -> Tensor:
    """-1 where ``x > threshold``, else 0: the sign of the difference, spread over its bits (faster than comparing)."""
    bits, width = (torch.int32, 31) if x.dtype == torch.float32 else (torch.int64, 63)
    return (threshold - x).view(bits) >> width
