"""Images (..., y, x) to their running medians: an exact minimum-maximum network for 3 x 3, sorting for other sizes."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

from ctp_torch.ops.compute.compiled import fused_library
from ctp_torch.ops.compute.gradients import refuse_gradient
from ctp_torch.ops.compute.threads import in_threads, n_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

__all__ = ["median_filter"]

_COMPILED = {torch.float32: "float", torch.float64: "double", torch.int16: "int16", torch.uint8: "uint8"}
_PIECE = 32_768  # values a thread holds: seven float32 buffers of this length stay in a 1 MB cache
_WINDOWS = 4_194_304  # values of all windows that the sorting path lays out at once (32 MB of float64)


def median_filter(images: Tensor, size: int = 3, *, out: Tensor | None = None) -> Tensor:
    """Median over a size x size window around every pixel of every image.

    Borders are mirrored with the edge pixel repeated (``d c b a | a b c d | d c b a``), so that the result equals
    ``scipy.ndimage.median_filter(image, size, mode="reflect")`` exactly, image by image. A window that holds a NaN has
    the median NaN (scipy's result is undefined there).

    Parameters
    ----------
    images
        ``(..., y, x)``, any real or integer type but bool; the last two dimensions are one image
    size
        side of the window in pixels, odd; 3 is a network of minima and maxima, by compiled loops or in cache-sized
        pieces, other sizes sort
    out
        where to put the result: contiguous, with shape, type and device of ``images``, other memory; new pages cost as
        much as the medians

    Returns
    -------
    ``(..., y, x)``, type and device of ``images``, never the same memory

    Raises
    ------
    ValueError
        if ``size`` is not odd and positive, ``images`` has fewer than two dimensions, or ``out`` doesn't fit
    TypeError
        if ``images`` is complex or bool
    RuntimeError
        if a gradient is asked for

    References
    ----------
    Smith, Implementing median filters in XC4000E FPGAs, Xcell 23 (1996): the nine-value network.
    """
    refuse_gradient("median_filter", images)
    if size < 1 or size % 2 == 0:
        raise ValueError(f"size must be a positive odd number of pixels, got {size}")
    if images.ndim < 2:
        raise ValueError(f"images must be (..., y, x), got shape {tuple(images.shape)}")
    if images.is_complex() or images.dtype == torch.bool:
        raise TypeError(f"images must be real or integer numbers, got {images.dtype}; convert them first")
    if out is None:
        out = torch.empty_like(images, memory_format=torch.contiguous_format)
    elif (out.shape, out.dtype, out.device) != (images.shape, images.dtype, images.device) or not out.is_contiguous():
        raise ValueError(f"out must be contiguous {images.dtype} of shape {tuple(images.shape)} on {images.device}")
    stack, filtered = (t.reshape(-1, *images.shape[-2:]) for t in (images, out))  # (n, y, x)
    if size == 1 or images.numel() == 0:
        filtered.copy_(stack)
    elif size > 3:
        _by_sorting(stack, size, filtered)
    elif images.device.type != "cpu":
        filtered.copy_(_one_kernel(images.device.type)(_mirrored(stack, 1)))
    elif images.dtype in _COMPILED and fused_library(images.device) is not None:
        _compiled(stack.contiguous(), filtered)
    elif min(stack.shape[1:]) < 3:
        filtered.copy_(_network(_mirrored(stack, 1)))
    else:
        _by_pieces(stack.contiguous(), filtered)
    return out


def _compiled(stack: Tensor, filtered: Tensor) -> None:
    """The network in compiled loops, some images for each thread."""
    function = getattr(fused_library(stack.device), f"median_{_COMPILED[stack.dtype]}")

    def some(part: tuple[Tensor, Tensor]) -> None:
        images, medians = part
        memory = images.new_empty(3 * (images.shape[2] + 2))
        function(images.data_ptr(), *images.shape, medians.data_ptr(), memory.data_ptr())

    n = n_threads(stack.device, work=stack.numel())
    in_threads(some, list(zip(stack.chunk(n), filtered.chunk(n), strict=True)), device=stack.device)


def _network(padded: Tensor) -> Tensor:
    """Medians of the 3 x 3 windows of ``padded (n, y + 2, x + 2)``: sort columns, then combine three neighbours."""
    top, centre, bottom = padded[:, :-2], padded[:, 1:-1], padded[:, 2:]  # (n, y, x + 2)
    low, high = torch.minimum(top, centre), torch.maximum(top, centre)
    middle = torch.clamp(bottom, low, high)
    low, high = torch.minimum(low, bottom), torch.maximum(high, bottom)
    largest_low = torch.maximum(torch.maximum(low[..., :-2], low[..., 1:-1]), low[..., 2:])  # (n, y, x)
    smallest_high = torch.minimum(torch.minimum(high[..., :-2], high[..., 1:-1]), high[..., 2:])
    left, right = middle[..., :-2], middle[..., 2:]
    median_middle = torch.clamp(middle[..., 1:-1], torch.minimum(left, right), torch.maximum(left, right))
    return torch.clamp(
        median_middle, torch.minimum(largest_low, smallest_high), torch.maximum(largest_low, smallest_high)
    )


def _by_pieces(stack: Tensor, filtered: Tensor) -> None:
    """The network on ``stack (n, y, x)`` as one line of pixels, piece by piece in the cache; borders afterwards."""
    n_columns = stack.shape[-1]
    line, result = stack.view(-1), filtered.view(-1)
    piece = _PIECE * torch.get_num_threads()
    low, middle, high, spare = line.new_empty((4, piece + 2)).unbind()
    first, last = n_columns + 1, line.numel() - n_columns - 1  # pixels whose window lies inside the line
    for start in range(first, last, piece):
        stop = min(start + piece, last)
        n = stop - start
        span = slice(start - 1, stop + 1)  # columns one to the left and right of the piece
        lo, mid, hi, tmp = low[: n + 2], middle[: n + 2], high[: n + 2], spare[: n + 2]
        centre = line[span]
        top, bottom = line[span.start - n_columns :][: n + 2], line[span.start + n_columns :][: n + 2]
        torch.minimum(top, centre, out=lo)
        torch.maximum(top, centre, out=hi)
        torch.clamp(bottom, lo, hi, out=mid)
        torch.minimum(lo, bottom, out=lo)
        torch.maximum(hi, bottom, out=hi)
        out = result[start:stop]
        torch.minimum(mid[:-2], mid[2:], out=out)
        torch.maximum(mid[:-2], mid[2:], out=tmp[:n])
        torch.clamp(mid[1:-1], out, tmp[:n], out=mid[1:-1])  # median of the middles
        torch.maximum(lo[:-2], lo[1:-1], out=tmp[:n])
        torch.maximum(tmp[:n], lo[2:], out=tmp[:n])  # largest of the lows
        torch.minimum(hi[:-2], hi[1:-1], out=out)
        torch.minimum(out, hi[2:], out=out)  # smallest of the highs
        torch.minimum(tmp[:n], out, out=lo[:n])
        torch.maximum(tmp[:n], out, out=hi[:n])
        torch.clamp(mid[1:-1], lo[:n], hi[:n], out=out)
    for row, rows in ((0, [0, 0, 1]), (-1, [-2, -1, -1])):
        filtered[:, row] = _network(_mirrored(stack[:, rows], 0, 1))[:, 0]
    for column, columns in ((0, [0, 0, 1]), (-1, [-2, -1, -1])):
        filtered[:, :, column] = _network(_mirrored(stack[:, :, columns], 1, 0))[:, :, 0]


def _by_sorting(stack: Tensor, size: int, filtered: Tensor) -> None:
    """Medians of size x size windows of ``stack (n, y, x)``, laying the windows of some rows out at a time."""
    padded = _mirrored(stack, size // 2)
    windows = padded.unfold(1, size, 1).unfold(2, size, 1)  # (n, y, x, size, size), a view
    rows = max(1, _WINDOWS // (stack.shape[-1] * size * size))
    for image in range(stack.shape[0]):
        for start in range(0, stack.shape[1], rows):
            block = windows[image, start : start + rows].flatten(2)  # (rows, x, size * size)
            filtered[image, start : start + rows] = block.median(dim=-1).values


def _mirrored(stack: Tensor, rows: int, columns: int | None = None) -> Tensor:
    """``stack (n, y, x)`` with mirrored borders, the edge repeated, folded again where the border exceeds the image."""
    columns = rows if columns is None else columns
    for dim, border in ((1, rows), (2, columns)):
        if border:
            n = stack.shape[dim]
            index = torch.arange(-border, n + border, device=stack.device) % (2 * n)
            stack = stack.index_select(dim, torch.minimum(index, 2 * n - 1 - index))
    return stack


@cache
def _one_kernel(device_type: str) -> Callable[[Tensor], Tensor]:
    """The network fused into one kernel where Triton is there for a CUDA device, else operation by operation."""
    if device_type == "cuda" and find_spec("triton") is not None:
        return torch.compile(_network, dynamic=True)
    return _network
