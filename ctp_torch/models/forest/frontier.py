"""The nodes of one level of all trees, with their samples: what is summed, padded and handed down."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.models.forest.splits import NO_WEIGHT

__all__ = ["Frontier", "Members", "Samples", "padded_members", "size_classes"]


class Samples(NamedTuple):
    """What the trees learn from; ``Y = offset + unit * fixed`` up to half a unit."""

    X: Tensor
    """(samples, features)."""
    codes: Tensor
    """(samples, features), uint8 or int16: bins of X."""
    Y: Tensor
    """(samples, targets)."""
    fixed: Tensor
    """(samples, targets), int64."""
    unit: Tensor
    """(samples, targets), float64 powers of two."""
    offset: Tensor
    """(samples, targets), float64."""

    def take(self, rows: Tensor, codes: Tensor) -> Samples:
        """These rows (members,), with other codes (members, features)."""
        return Samples(self.X[rows], codes, self.Y[rows], self.fixed[rows], self.unit[rows], self.offset[rows])


class Frontier(NamedTuple):
    """The nodes of one level, and their samples one node after another."""

    rows: Tensor
    """(members,), int64: which sample."""
    weights: Tensor
    """(members,), int64."""
    size: Tensor
    """(nodes,), int64: members of each node, none 0."""
    number: Tensor
    """(nodes,), int64: the node's number within the group of trees."""
    tree: Tensor
    """(nodes,), int64."""
    key: Tensor
    """(nodes,), int64: random key."""
    depth: Tensor
    """(nodes,), int64."""

    def owner(self) -> Tensor:
        """Whose member each is, (members,) int64, counted from 0 within this level."""
        return torch.arange(len(self.size), device=self.size.device).repeat_interleave(
            self.size, output_size=len(self.rows)
        )

    def start(self) -> Tensor:
        """The first member of each node, (nodes,) int64."""
        return self.size.cumsum(0) - self.size

    def only(self, nodes: Tensor) -> Frontier:
        """The nodes of this mask (nodes,) and their members."""
        if bool(nodes.all()):
            return self
        members = nodes.index_select(0, self.owner()).nonzero().squeeze(1)
        return Frontier(
            self.rows.index_select(0, members), self.weights.index_select(0, members), *(v[nodes] for v in self[2:])
        )


class Members(NamedTuple):
    """A block of nodes of up to m members, within the members of the level."""

    rows: Tensor
    """(members,), int64: samples of the whole level, one node's after another's."""
    weights: Tensor
    """(members,), float64 whole numbers."""
    moments: Tensor
    """(targets, members), float64 multiples of one unit for each node: ``w (y - mean)``."""
    start: Tensor
    """(nodes,), int64: the first member of each node of the block."""
    size: Tensor
    """(nodes,), int64."""
    m: int
    """A power of two."""

    def padded(self, start: Tensor, size: Tensor, m: int) -> tuple[Tensor, Tensor, Tensor]:
        """Rows (m, segments), weights and moments (targets, m, segments) of each segment."""
        at, real = padded_members(start, size, m)
        flat, shape = at.view(-1), at.shape
        weights = self.weights.index_select(0, flat).view(shape).masked_fill_(~real, NO_WEIGHT)
        moments = self.moments.index_select(1, flat).view(-1, *shape).mul_(real)
        return self.rows.index_select(0, flat).view(shape), weights, moments

    def owner(self) -> Tensor:
        """Which node of the block each member belongs to, (members of the block,)."""
        return torch.arange(len(self.size), device=self.size.device).repeat_interleave(self.size)


def size_classes(size: Tensor) -> list[tuple[int, Tensor]]:
    """The nodes of up to m = 2, 4, 8, ... members: pairs of m and the nodes' indices (int64), empty classes left out.

    Parameters
    ----------
    size
        (nodes,), int64, at least 2
    """
    exponent = torch.frexp((size - 1).double()).exponent  # 2^(e-1) <= size - 1 < 2^e
    counts: list[int] = torch.bincount(exponent).tolist()
    return [(1 << e, (exponent == e).nonzero().squeeze(1)) for e, count in enumerate(counts) if count]


def padded_members(start: Tensor, size: Tensor, m: int) -> tuple[Tensor, Tensor]:
    """Members of each segment, (m, segments) int64, the first repeated up to m; and which of them are real, bool."""
    rank = torch.arange(m, device=start.device)[:, None] - (m - size)
    return rank.clamp(min=0).add_(start), rank >= 0
