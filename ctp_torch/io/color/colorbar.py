"""The colour bars in a picture: where they stand, and the table of colours they show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctp_torch.errors import UnreadableFileError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ColorBar", "find_color_bars"]

_SAME = 2
"""Neighbouring pixels of one line across a bar differ by no more than this in any channel."""
_MIN_WIDTH, _MIN_LENGTH, _MIN_COLORS = 3, 24, 12
_GRAY = 24
"""A colour whose channels differ by less is grey; bars are coloured."""


@dataclass(frozen=True)
class ColorBar:
    """A bar of colours, and where it stands."""

    lut: Tensor
    """``(colours, 3)`` uint8; the upper (or right) end is the highest."""
    rows: tuple[int, int]
    """First row and the one behind the last."""
    columns: tuple[int, int]
    """First column and the one behind the last."""


def find_color_bars(picture: Tensor) -> list[ColorBar]:
    """The colour bars of a picture, from left to right, standing ones first.

    A bar is a rectangle that keeps one colour across, and runs through many along.

    Parameters
    ----------
    picture
        ``(y, x, 3)`` uint8

    Raises
    ------
    UnreadableFileError
        when the picture isn't RGB
    """
    if picture.ndim != 3 or picture.shape[-1] != 3:
        raise UnreadableFileError(f"a picture must be (y, x, 3), got {tuple(picture.shape)}")
    upright = _upright(picture)
    horizontal = [
        ColorBar(bar.lut.flip(0), bar.columns, bar.rows) for bar in _upright(picture.transpose(0, 1).contiguous())
    ]
    return upright + horizontal


def _upright(picture: Tensor) -> list[ColorBar]:
    """The upright bars: runs of one colour with the same two ends in many rows below each other."""
    open_runs: dict[tuple[int, int], int] = {}  # ends of a run -> its first row
    boxes: list[tuple[int, int, int, int]] = []
    for y in range(picture.shape[0] + 1):
        runs = set(_runs(picture[y])) if y < picture.shape[0] else set()
        boxes += [(open_runs.pop(ends), y, *ends) for ends in list(open_runs) if ends not in runs]
        for ends in runs:
            open_runs.setdefault(ends, y)
    bars = []
    for top, bottom, left, right in sorted(boxes, key=lambda box: box[2]):
        colors = picture[top:bottom, (left + right) // 2]
        if (
            bottom - top >= _MIN_LENGTH
            and len(set(map(tuple, colors.tolist()))) >= _MIN_COLORS
            and bottom - top > 2 * (right - left)
        ):
            bars.append(ColorBar(colors.flip(0).contiguous(), (top, bottom), (left, right)))
    return bars


def _runs(row: Tensor) -> list[tuple[int, int]]:
    """Stretches of one colour, not black and not grey, in a row ``(x, 3)``."""
    import torch

    values = row.int()
    new = (values.diff(dim=0).abs() > _SAME).any(dim=1).nonzero().flatten() + 1
    starts = torch.cat([new.new_zeros(1), new])
    ends = torch.cat([new, new.new_full((1,), len(row))])
    first = values[starts]
    coloured = (first.amax(1) - first.amin(1) >= _GRAY) & (ends - starts >= _MIN_WIDTH)
    return [(int(a), int(b)) for a, b in zip(starts[coloured], ends[coloured], strict=True)]
