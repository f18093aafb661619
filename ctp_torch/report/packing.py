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
    """An array of 16-bit numbers, deflated."""

    data: bytes
    """zlib stream of all low bytes, then all high bytes, of the zigzag-coded differences."""
    shape: tuple[int, ...]
    axis: int
    """Along which neighbours were subtracted."""
    step: float
    """Physical value of 1."""


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


def pack(values: Tensor, step: float, *, axis: int = -1) -> Chunk:
    """An int16 array made small: neighbours along an axis subtracted, small numbers of either sign told by low bytes.

    d = v[i] - v[i-1] (mod 2^16), code = 2 d for d >= 0 and -2 d - 1 below, low bytes first, then high bytes, deflated.

    Parameters
    ----------
    values
        int16, any shape
    step
        physical value of 1
    axis
        along which neighbours are alike
    """
    import numpy as np

    numbers = np.ascontiguousarray(values.cpu().numpy())  # (...) int16
    axis %= numbers.ndim
    change = numbers.copy()
    later, earlier = [slice(None)] * numbers.ndim, [slice(None)] * numbers.ndim
    later[axis], earlier[axis] = slice(1, None), slice(None, -1)
    change[tuple(later)] -= numbers[tuple(earlier)]  # wraps
    code = ((change << 1) ^ (change >> 15)).view(np.uint16).reshape(-1)
    planes = np.empty(2 * code.size, dtype=np.uint8)
    planes[: code.size] = code & 0xFF
    planes[code.size :] = code >> 8
    deflate = zlib.compressobj(6, zlib.DEFLATED, strategy=zlib.Z_RLE)  # as small as the default here, in half the time
    return Chunk(deflate.compress(planes.data) + deflate.flush(), tuple(numbers.shape), axis, step)


def round_step(limits: tuple[float, float], *, levels: int = 1000) -> float:
    """The largest of 1, 2 or 5 times a power of ten that cuts a display range into about so many levels or more.

    Parameters
    ----------
    limits
        low and high of the range
    levels
        wanted; up to 5 % fewer may come out
    """
    fine = (limits[1] - limits[0]) / levels * 1.05
    power = 10.0 ** math.floor(math.log10(fine))
    return float(f"{max(f * power for f in (1, 2, 5) if f * power <= fine):.1g}")


def shrink(volumes: Tensor, edge: int) -> Tensor:
    """Images of at most ``edge`` rows and columns, each pixel the mean of those it covers; smaller ones as they are.

    Parameters
    ----------
    volumes
        ``(time, z, y, x)``
    edge
        pixels of the longer side
    """
    rows, columns = volumes.shape[-2:]
    size = _shrunk(rows, columns, edge)
    if size == (rows, columns):
        return volumes
    frames: Sequence[Tensor] = volumes.unbind(0)
    return torch.stack([torch.nn.functional.adaptive_avg_pool2d(frame.float(), size) for frame in frames])


def _shrunk(rows: int, columns: int, edge: int) -> tuple[int, int]:
    """Rows and columns after shrinking, the aspect kept."""
    longer = max(rows, columns)
    if longer <= edge:
        return rows, columns
    return max(1, round(rows * edge / longer)), max(1, round(columns * edge / longer))
