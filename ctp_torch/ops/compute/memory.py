"""How much memory is free, and work in row blocks that shrink instead of dying when it isn't enough."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["free_bytes", "in_row_blocks"]


def free_bytes(device: torch.device | str) -> int:
    """Bytes that can be allocated on the device without swapping.

    Parameters
    ----------
    device
        ``cpu`` or a CUDA device
    """
    device = torch.device(device)
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + cached
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return _free_on_windows()
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2  # no better guess on this system


def _free_on_windows() -> int:
    """Bytes of memory that Windows can hand out, by its ``GlobalMemoryStatusEx``."""
    names = ("total", "available", "total_page", "available_page", "total_virtual", "available_virtual", "extended")

    class Status(ctypes.Structure):
        """Windows' MEMORYSTATUSEX."""

        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in names),
        )

    status = Status(length=ctypes.sizeof(Status))
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009 - there on Windows alone
    if not kernel.GlobalMemoryStatusEx(ctypes.byref(status)):
        return 1 << 30
    return int(status.available)


def in_row_blocks(work: Callable[[int, int], Tensor], n_rows: int, *, block: int) -> list[Tensor]:
    """The results of ``work(start, stop)`` over consecutive row blocks, in order.

    A block that doesn't fit in memory is halved, and so are all that follow.

    Parameters
    ----------
    work
        what to do with rows start to stop; must be free to be called again for the same rows
    n_rows
        how many rows there are
    block
        rows to begin with

    Raises
    ------
    torch.OutOfMemoryError
        if not even a single row fits
    """
    results, start = [], 0
    while start < n_rows:
        stop = min(start + block, n_rows)
        try:
            results.append(work(start, stop))
        except torch.OutOfMemoryError:
            if stop - start == 1:
                raise
            block = (stop - start + 1) // 2
            continue
        start = stop
    return results
