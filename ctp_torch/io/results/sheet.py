"""The map sheet of a console: a row for every slice, a column for every map, each under its colour bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ctp_torch.data.maps import named_quantity
from ctp_torch.io.color.captures import patient_letters
from ctp_torch.io.color.labels import TITLE_SIZE
from ctp_torch.ops.image.colormap import jet_lut, paint

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.data.geometry import Geometry
    from ctp_torch.data.maps import PerfusionMaps

__all__ = ["Column", "columns_of", "draw_sheets", "shown_slices"]

_TILE, _GAP, _SIDE, _HEAD, _FOOT = 240, 12, 76, 92, 58
"""Height of a tile, space between tiles, caption of a row, space above and below the tiles [pixels]."""
_BAR = 256
"""Length of a colour bar: one pixel a colour, so that each of the 256 can be read back [pixels]."""
_ROWS = 6
"""Slices on a page."""
_MANY, _STEP_MM = 24, 5.0
"""Of more slices than this, one every 5 mm is shown, as thick as consoles draw them."""
_MARGIN_MM = 14.0
"""Kept around the brain, so that the skull shows."""
_WHITE, _GREY, _YELLOW = (255, 255, 255), (170, 170, 170), (255, 214, 0)
_CORE, _SLOW = (255, 64, 220), (60, 210, 90)
_GREY_HU = (0.0, 80.0)


class Column(NamedTuple):
    """A column of a sheet."""

    title: str
    pictures: Tensor
    """``(slices shown, y, x, 3)`` uint8."""
    limits: tuple[float, float] | None
    """What the ends of its colour bar mean; None for a column without bar."""
    note: str
    """Unit, or what the colours mean."""


def columns_of(
    maps: PerfusionMaps,
    ranges: Mapping[str, tuple[float, float]],
    baseline: Tensor | None,
    masks: Mapping[str, Tensor] | None,
) -> list[Column]:
    """The CT, the maps in JET, and core and penumbra over the CT, as far as they are there, on the slices shown."""
    import torch

    slices = shown_slices(maps.geometry)
    shape = (len(slices), *maps.geometry.shape[1:], 3)
    plain = torch.zeros(shape, dtype=torch.uint8)
    columns = []
    if baseline is not None:
        low, high = _GREY_HU
        level = ((torch.nan_to_num(baseline[slices].cpu().float()) - low) / (high - low)).clamp(0, 1) * 255
        plain = level.round().to(torch.uint8)[..., None].expand(shape)
        columns.append(Column("CT", plain, None, f"{low:g} to {high:g} HU"))
    for name, volume in maps.values.items():
        limits = ranges.get(name, named_quantity(name).display)
        known = torch.nan_to_num(volume[slices].cpu().float())
        colors = paint(known, limits, maps.mask[slices].cpu(), jet_lut())
        columns.append(Column(named_quantity(name).label, colors, limits, named_quantity(name).unit))
    if masks is not None:
        tinted = plain.clone()
        for name, color in (("penumbra", _SLOW), ("core", _CORE)):
            mask = masks[name][slices].cpu()
            if bool(mask.any()):
                mixed = 0.35 * plain[mask].float() + 0.65 * torch.tensor(color, dtype=torch.float32)
                tinted[mask] = mixed.round().to(torch.uint8)
        columns.append(Column("Lesion", tinted, None, "core magenta, penumbra green"))
    return columns


def draw_sheets(columns: Sequence[Column], mask: Tensor, geometry: Geometry, *, lines: Sequence[str]) -> list[Tensor]:
    """Pages ``(y, x, 3)`` uint8 of one size, feet to head; the patient's left at the right, front at the top.

    Pixels are repeated or left out, never mixed: a coloured pixel keeps a colour of the bar.

    Parameters
    ----------
    columns
        from `columns_of`
    mask
        ``(z, y, x)`` bool: the brain, which fills the tiles
    geometry
        the grid
    lines
        at most two lines of words at the foot, without identity
    """
    import numpy as np
    import torch
    from PIL import Image

    tile = _tiling(mask, geometry)
    slices = shown_slices(geometry)
    pages = [list(enumerate(slices))[k : k + _ROWS] for k in range(0, len(slices), _ROWS)]
    rows = len(pages[0])
    height, width = len(tile.rows), max(len(tile.columns), _BAR)
    size = (_SIDE + len(columns) * (width + _GAP), _HEAD + rows * (height + _GAP) + _FOOT)  # (x, y)
    sheets = []
    for number, page in enumerate(pages, start=1):
        canvas = Image.new("RGB", size)
        _write_words(
            canvas, columns, [z for _, z in page], geometry, (height, width), [*lines, f"page {number} of {len(pages)}"]
        )
        picture = torch.from_numpy(np.array(canvas))
        for c, column in enumerate(columns):
            left = _SIDE + c * (width + _GAP)
            if column.limits is not None:
                picture[_HEAD - 34 : _HEAD - 22, left : left + _BAR] = jet_lut()[None]
            left += (width - len(tile.columns)) // 2
            for r, (k, _) in enumerate(page):
                top = _HEAD + r * (height + _GAP)
                chosen = column.pictures[k][tile.rows][:, tile.columns]
                picture[top : top + height, left : left + len(tile.columns)] = chosen
        sheets.append(picture)
    return sheets


class _Tiling(NamedTuple):
    """Which row and column of a slice stands in each row and column of a tile."""

    rows: Tensor
    columns: Tensor


def _tiling(mask: Tensor, geometry: Geometry) -> _Tiling:
    """The part of a slice around the brain, at the height of a tile, turned to the radiological view."""
    import torch

    ranges = []
    for axis, step in ((1, geometry.spacing[1]), (2, geometry.spacing[2])):
        n = geometry.shape[axis]
        inside = mask.any(dim=0).any(dim=2 - axis).nonzero().flatten()
        first, last = (int(inside[0]), int(inside[-1])) if len(inside) else (0, n - 1)
        margin = round(_MARGIN_MM / step)
        ranges.append((max(0, first - margin), min(n, last + margin + 1)))
    (top, bottom), (left, right) = ranges
    tall, wide = (bottom - top) * geometry.spacing[1], (right - left) * geometry.spacing[2]
    scale = min(_TILE / tall, _BAR / wide)  # pixels per mm
    height, width = max(1, round(tall * scale)), max(1, round(wide * scale))
    rows = top + ((torch.arange(height) + 0.5) * (bottom - top) / height).long()
    columns = left + ((torch.arange(width) + 0.5) * (right - left) / width).long()
    rows_down = geometry.direction[4] >= 0  # rows run to the back
    columns_left = geometry.direction[0] >= 0  # columns run to the patient's left
    return _Tiling(rows if rows_down else rows.flip(0), columns if columns_left else columns.flip(0))


def shown_slices(geometry: Geometry) -> list[int]:
    """All slices, or of many thin ones one every 5 mm."""
    n = geometry.shape[0]
    step = max(1, round(_STEP_MM / geometry.spacing[0])) if n > _MANY else 1
    return list(range((n - 1) % step // 2, n, step))


def _write_words(
    canvas: object,
    columns: Sequence[Column],
    page: Sequence[int],
    geometry: Geometry,
    tile: tuple[int, int],
    lines: Sequence[str],
) -> None:
    """Titles, ends of the bars, slices, sides, and the foot."""
    from PIL import ImageDraw, ImageFont

    pen = ImageDraw.Draw(canvas)  # type: ignore[arg-type]
    big, small = ImageFont.load_default(TITLE_SIZE), ImageFont.load_default(12)
    height, width = tile
    for c, column in enumerate(columns):
        left = _SIDE + c * (width + _GAP)
        pen.text((left, 12), column.title, _WHITE, big)
        pen.text((left + _BAR, 16), column.note, _GREY, small, anchor="ra")
        if column.limits is not None:
            low, high = column.limits
            pen.text((left, _HEAD - 19), f"{low:g}", _GREY, small)
            pen.text((left + _BAR, _HEAD - 19), f"{high:g}", _GREY, small, anchor="ra")
    d, sign = geometry.direction, -1 if geometry.direction[0] >= 0 else 1
    side = patient_letters(sign * d[0], sign * d[3], sign * d[6])
    for r, z in enumerate(page):
        top = _HEAD + r * (height + _GAP)
        along = geometry.position(z, 0, 0)[2]
        pen.text((10, top + 6), f"slice {z + 1}", _WHITE, small)
        pen.text((10, top + 22), f"{along:.1f} mm", _GREY, small)
        pen.text((_SIDE - 6, top + height // 2), side, _WHITE, small, anchor="rm")
    foot = _HEAD + len(page) * (height + _GAP) + 6
    pen.text((10, foot), "RESEARCH USE ONLY - NOT FOR DIAGNOSIS", _YELLOW, big)
    for k, line in enumerate(lines):
        pen.text((canvas.size[0] - _GAP, foot + 15 * k - 2), line, _GREY, small, anchor="ra")  # type: ignore[attr-defined]
