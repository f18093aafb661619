"""Samples to the children of their nodes, in place and in order: counting instead of sorting."""

from __future__ import annotations

import torch
from torch import Tensor

from ctp_torch.models.forest.triton import fused_partition_order, has_kernels

__all__ = ["midpoint_thresholds", "partition_order", "segment_sums"]


def segment_sums(values: Tensor, size: Tensor) -> Tensor:
    """Sums over consecutive segments, as differences of running sums: exact for whole numbers in any grouping.

    Parameters
    ----------
    values
        (members, ...), integer or bool
    size
        (segments,), int64, none 0

    Returns
    -------
        (segments, ...), int64
    """
    total = values.cumsum(0, dtype=torch.int64)[size.cumsum(0) - 1]
    total[1:] -= total[:-1].clone()
    return total


def partition_order(left: Tensor, size: Tensor, node: Tensor) -> tuple[Tensor, Tensor]:
    """Where each member goes when every node's left members come before its right ones, and how many go left.

    Parameters
    ----------
    left
        (members,), bool; the members of a node stand together
    size
        (nodes,), int64
    node
        (members,), int64: whose member

    Returns
    -------
    order
        (members,), int64: ``members[order]`` is partitioned, otherwise in the old order
    n_left
        (nodes,), int64
    """
    if has_kernels(left):
        return fused_partition_order(left, size, node)
    running = left.cumsum(0)  # left members so far
    end = size.cumsum(0)
    before = torch.cat([running.new_zeros(1), running[end[:-1] - 1]])  # left members of the nodes before
    n_left = running[end - 1] - before
    position = torch.arange(len(left), device=left.device)
    to_left = (end - size - before).index_select(0, node) + running - 1
    to_right = (n_left + before).index_select(0, node) + position - running
    target = torch.where(left, to_left, to_right)
    return torch.empty_like(target).scatter_(0, target, position), n_left


def midpoint_thresholds(values: Tensor, left: Tensor, node: Tensor, n_nodes: int) -> Tensor:
    """Halfway between the largest value on the left and the smallest on the right of each node.

    Where no number lies between the two, the left one (``x <= threshold`` goes left).

    Parameters
    ----------
    values
        (members,), of the feature that splits the member's node
    left
        (members,), bool
    node
        (members,), int64, below ``n_nodes``
    n_nodes
        number of nodes; each has members on both sides

    Returns
    -------
        (nodes,), in the dtype of ``values``
    """
    outside = torch.full_like(values, torch.inf)
    below, above = torch.where(left, values, -outside), torch.where(left, outside, values)
    start = values.new_zeros(n_nodes)
    low = start.scatter_reduce(0, node, below, "amax", include_self=False)
    high = start.scatter_reduce(0, node, above, "amin", include_self=False)
    middle = low / 2 + high / 2
    return torch.where((middle >= high) | (middle < low), low, middle)
