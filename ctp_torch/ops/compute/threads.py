"""Independent pieces of work side by side on the processor's cores, each on one thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import torch

__all__ = ["Team", "in_threads", "n_groups", "n_threads"]

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


class Team:
    """Threads that stay for many rounds of work: starting them anew takes milliseconds, as long as a short round.

    Work that consists of thousands of small operations loses more at their barriers than it gains from their threads;
    whole pieces side by side have no barriers. The team has as many threads as torch uses, each with one thread inside
    its operations; on another device than the processor, or with one thread, the pieces follow each other. The threads
    end with the team.

    Parameters
    ----------
    device
        where the tensors of the work are
    at_most
        threads that there is work for
    """

    def __init__(self, device: torch.device, *, at_most: int | None = None) -> None:
        usual = torch.get_num_threads()
        size = usual if at_most is None else min(usual, at_most)
        self._pool = None
        if device.type == "cpu" and usual > 1 and size > 1:
            self._pool = ThreadPoolExecutor(size, "ctp_torch", _alone)
            barrier = Barrier(size)
            try:
                list(self._pool.map(lambda _: barrier.wait(), range(size)))
            finally:
                torch.set_num_threads(usual)  # the workers' number has become the default of threads yet to come

    def run(self, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """``[work(item) for item in items]``, without gradients."""

        def quietly(item: Item) -> Result:
            with torch.no_grad():
                return work(item)

        return list((map if self._pool is None else self._pool.map)(quietly, items))

    def end(self) -> None:
        """Let the threads go; what is still running is waited for."""
        if self._pool is not None:
            self._pool.shutdown()


def _alone() -> None:
    """Let operations of this thread have one thread each."""
    torch.get_num_threads()  # the first call in a thread takes the number of all threads, and none after it
    torch.set_num_threads(1)


def in_threads(work: Callable[[Item], Result], items: Sequence[Item], *, device: torch.device) -> list[Result]:
    """``[work(item) for item in items]`` by a :class:`Team` for this once.

    Parameters
    ----------
    work
        called with each item, without gradients
    items
        the pieces
    device
        where their tensors are
    """
    team = Team(device, at_most=len(items))
    try:
        return team.run(work, items)
    finally:
        team.end()
