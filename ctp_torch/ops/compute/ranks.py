"""Rows shared among the processes of a torchrun: who takes which, and sums over all of them.

Without an initialised process group there is one rank that takes everything, and nothing is sent.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from ctp_torch.errors import RankLostError

__all__ = [
    "join_ranks",
    "mean_over_ranks",
    "min_over_ranks",
    "n_ranks",
    "own_rank",
    "rank_device",
    "row_share",
    "sum_over_ranks",
]


@contextmanager
def join_ranks(device: torch.device | str = "cpu", *, timeout_s: float = 300.0) -> Iterator[int]:
    """The rank of this process, inside the process group that torchrun describes; 0 and no group without torchrun.

    Parameters
    ----------
    device
        where the tensors to be summed will be: NCCL serves CUDA, gloo the CPU
    timeout_s
        how long a rank waits for the others before it gives up

    Raises
    ------
    RankLostError
        if another rank doesn't answer
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield own_rank()
        return
    device = torch.device(device)
    with _lost_ranks_named():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
    try:
        yield own_rank()
    finally:
        dist.destroy_process_group()


def rank_device(device: torch.device) -> torch.device:
    """The GPU of this process, where torchrun started several on one machine; else the device itself."""
    if str(device) == "cuda" and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


def own_rank() -> int:
    """Which of the processes this is, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def n_ranks() -> int:
    """How many processes share the work."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def row_share(n: int) -> slice:
    """The consecutive rows, out of n, that this rank takes; sizes differ by one at most."""
    ranks, rank = n_ranks(), own_rank()
    return slice(n * rank // ranks, n * (rank + 1) // ranks)


def sum_over_ranks(*values: Tensor) -> None:
    """Replace each tensor by its sum over all ranks, in place.

    Raises
    ------
    RankLostError
        if another rank doesn't answer
    """
    if n_ranks() == 1:
        return
    with _lost_ranks_named():
        for value in values:
            whole = value.contiguous()
            dist.all_reduce(whole)
            if whole is not value:
                value.copy_(whole)


def min_over_ranks(value: int) -> int:
    """The smallest of the ranks' values."""
    if n_ranks() == 1:
        return value
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    smallest = torch.tensor(value, dtype=torch.int64, device=device)
    with _lost_ranks_named():
        dist.all_reduce(smallest, op=dist.ReduceOp.MIN)
    return int(smallest)


def mean_over_ranks(value: float) -> float:
    """The mean of the ranks' values: what all must agree on, such as when to stop, is decided on this."""
    if n_ranks() == 1:
        return value
    total = torch.tensor([value], dtype=torch.float64, device="cuda" if dist.get_backend() == "nccl" else "cpu")
    sum_over_ranks(total)
    return float(total) / n_ranks()


@contextmanager
def _lost_ranks_named() -> Iterator[None]:
    """Turn the backend's errors about a dead or silent peer into one that says so."""
    try:
        yield
    except RuntimeError as error:  # gloo and NCCL raise plain RuntimeErrors (DistBackendError is one)
        raise RankLostError(
            f"rank {own_rank()} of {n_ranks()} lost contact with another rank ({str(error).splitlines()[0]}); "
            "no model was made: look at that rank's output, then start again"
        ) from error
