"""Volumes to what a page carries: whole numbers of a stated step, differenced, split into bytes and deflated."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["MISSING", "Chunk", "pack", "quantize", "round_step", "shrink"]

MISSING = -32768
"""Stands for a voxel without a value."""


class Chunk(NamedTuple):
    """A stack of slices of 16-bit numbers, each slice deflated by itself."""

    streams: tuple[bytes, ...]
    """One a slice, as `pack` makes them."""
    shape: tuple[int, ...]
    """Of one slice: ``(y, x)`` or ``(time, y, x)``."""
    step: float
    """Physical value of 1."""

    @property
    def data(self) -> bytes:
        """All streams in a row."""
        return b"".join(self.streams)

    @property
    def lengths(self) -> list[int]:
        """Bytes of each stream."""
        return [len(stream) for stream in self.streams]


def quantize(values: Tensor, step: float, mask: Tensor | None = None) -> Tensor:
    """Whole multiples of a step, round(v / step) in int16; `MISSING` where not finite or off the mask.

    Parameters
    ----------
    values
        ``(...)`` in physical units; beyond +-32767 steps they saturate
    step
        physical value of 1
    mask
        ``(...)`` bool; everywhere when None
    """
    whole = values.float().div(step).round().nan_to_num(0.0).clamp(-32767, 32767).to(torch.int16)
    known = values.isfinite() if mask is None else values.isfinite() & mask.to(values.device)
    return torch.where(known, whole, whole.new_tensor(MISSING))


def pack(values: Tensor, *, axes: Sequence[int] = (-1, -2)) -> bytes:
    """An int16 array made small: neighbours subtracted along axes, small numbers of either sign told by low bytes.

    d = v[i] - v[i-1] (mod 2^16) along one axis, then of these along the next; code = 2 d for d >= 0 and -2 d - 1
    below; low bytes first, then high bytes, as one zlib stream.

    Parameters
    ----------
    values
        int16, any shape
    axes
        along which neighbours are alike, one after the other
    """
    import numpy as np

    numbers = np.ascontiguousarray(values.cpu().numpy())  # (...) int16
    change = numbers
    for axis in axes:
        change = np.diff(change, axis=axis, prepend=np.int16(0))  # wraps
    code = ((change << 1) ^ (change >> 15)).view(np.uint16).reshape(-1)
    planes = np.empty(2 * code.size, dtype=np.uint8)
    planes[: code.size] = code & 0xFF
    planes[code.size :] = code >> 8
    deflate = zlib.compressobj(6, zlib.DEFLATED, strategy=zlib.Z_RLE)  # as small as the default here, in half the time
    return deflate.compress(planes.data) + deflate.flush()


def round_step(limits: tuple[float, float], *, levels: int = 1000) -> float:
    """The largest of 1, 2 or 5 times a power of ten that cuts a display range into about so many levels or more.

    Parameters
    ----------
    limits
        low and high of the range
    levels
        wanted; up to 5 % fewer may come out

    Raises
    ------
    ValueError
        the range is empty
    """
    if not limits[0] < limits[1]:
        raise ValueError(f"a display range needs low < high, got {limits[0]} and {limits[1]}")
    fine = (limits[1] - limits[0]) / levels * 1.05
    power = 10.0 ** math.floor(math.log10(fine))
    return float(f"{max(f * power for f in (1, 2, 5) if f * power <= fine):.1g}")


def shrink(images: Tensor, edge: int) -> Tensor:
    """Images of at most ``edge`` rows and columns, each pixel the mean of those it covers; smaller ones as they are.

    Parameters
    ----------
    images
        ``(n, y, x)``
    edge
        pixels of the longer side
    """
    n, rows, columns = images.shape
    height, width = _shrunk(rows, columns, edge)
    if (height, width) == (rows, columns):
        return images
    if rows % height or columns % width:
        return torch.nn.functional.adaptive_avg_pool2d(images.float(), (height, width))
    tall = (
        images.float().reshape(n, height, rows // height, columns).mean(dim=2)
    )  # (n, height, x), 3 x the pool's speed
    return tall.reshape(n, height, width, columns // width).mean(dim=3)


def _shrunk(rows: int, columns: int, edge: int) -> tuple[int, int]:
    """Rows and columns after shrinking, the aspect kept."""
    longer = max(rows, columns)
    if longer <= edge:
        return rows, columns
    return max(1, round(rows * edge / longer)), max(1, round(columns * edge / longer))
