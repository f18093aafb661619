"""Independent pieces of work side by side on the processor's cores, each on one thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["in_threads"]

Item = TypeVar("Item")
Result = TypeVar("Result")


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

    n_threads = torch.get_num_threads()
    if device.type != "cpu" or n_threads == 1 or len(items) < 2:
        return [quietly(item) for item in items]
    try:
        with ThreadPoolExecutor(min(n_threads, len(items)), "forest", torch.set_num_threads, (1,)) as pool:
            return list(pool.map(quietly, items))
    finally:
        torch.set_num_threads(n_threads)  # the workers' number has become the default of threads yet to come
