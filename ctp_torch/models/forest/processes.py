"""Trees shared out among the processes of a torchrun, and gathered into the same forest in each."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor

from ctp_torch.models.forest.growth import TreeNodes, join_trees

__all__ = ["shared_out"]


def shared_out(n_trees: int, grow: Callable[[tuple[int, int]], TreeNodes]) -> TreeNodes:
    """All trees: each process of the initialised group grows its share; without a group this one grows them all.

    Parameters
    ----------
    n_trees
        trees of the whole forest
    grow
        (first tree, one after the last) -> their nodes; given the same samples in every process
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return grow((0, n_trees))
    rank, world = dist.get_rank(), dist.get_world_size()
    first, end = rank * n_trees // world, (rank + 1) * n_trees // world
    own = grow((first, max(end, first + 1)))  # a process without trees grows one for its dtypes
    if end == first:
        own = TreeNodes(*(column[:0] for column in own))
    gathered = [_gathered(column) for column in own]
    return join_trees([TreeNodes(*columns) for columns in zip(*gathered, strict=True)])


def _gathered(column: Tensor) -> list[Tensor]:
    """One column of every process, in the order of their ranks."""
    world = dist.get_world_size()
    lengths = [torch.zeros(1, dtype=torch.int64, device=column.device) for _ in range(world)]
    dist.all_gather(lengths, torch.tensor([len(column)], device=column.device))
    counts = [int(length) for length in lengths]
    padded = column.new_zeros(max(counts), *column.shape[1:])
    padded[: len(column)] = column
    parts = [torch.empty_like(padded) for _ in range(world)]
    dist.all_gather(parts, padded)
    return [part[:count] for part, count in zip(parts, counts, strict=True)]
