"""Independent pieces of work side by side on the processor's cores, each on one thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["in_threads", "n_groups", "n_threads"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_WORTH_IT = 2**22
_GROUPS = 16  # with few threads: the order of sums is the same with one thread as with eight


def n_threads(device: torch.device, *, work: int) -> int:
    """Equal pieces to split work into: torch's threads on the processor, one on another device or for little work.

    Parameters
    ----------
    device
        where the tensors are
    work
        values that are computed; starting threads costs about a millisecond, four million kernel values take as long
    """
    return torch.get_num_threads() if device.type == "cpu" and work > _WORTH_IT else 1


def n_groups(device: torch.device, *, work: int) -> int:
    """Pieces of uneven length to split work into: several for each thread, so that none waits long for the last."""
    return max(_GROUPS, 2 * torch.get_num_threads()) if device.type == "cpu" and work > _WORTH_IT else 1


def in_threads(work: Callable[[Item], Result], items: Sequence[Item], *, device: torch.device) -> list[Result]:
    """``[work(item) for item in items]``, on as many threads as torch uses, each with one thread inside its operations.

    Work that consists of thousands of small operations loses more at their barriers than it gains from their threads;
    whole pieces side by side have no barriers. On another device than the processor the pieces follow each other.

    Parameters
    ----------
    work
        called with each item, without gradients
    items
        the pieces
    device
        where their tensors are
    """

    def quietly(item: Item) -> Result:
        with torch.no_grad():
            return work(item)

    usual = torch.get_num_threads()
    if device.type != "cpu" or usual == 1 or len(items) < 2:
        return [quietly(item) for item in items]
    try:
        with ThreadPoolExecutor(min(usual, len(items)), "ctp_torch", torch.set_num_threads, (1,)) as pool:
            return list(pool.map(quietly, items))
    finally:
        torch.set_num_threads(usual)  # the workers' number has become the default of threads yet to come
