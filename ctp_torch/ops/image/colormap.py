"""Index images (...,) to JET colours (..., 3) and back, exactly."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["apply_lut", "jet_lut", "nearest_color_index", "paint"]

_PIXELS = 1 << 18  # pixels that become colour codes at a time (2 MB of int64)
_DISTANCES = 1 << 20  # colour-to-entry distances held at a time (4 MB of float32)
_ENTRIES = 32_767  # an int16 index reaches no further


def jet_lut() -> Tensor:
    """The JET colours of indices 0 to 255 as exact integers, 256 different ones.

    R = min(4i - 382, 1148 - 4i), G = min(4i - 127, 893 - 4i), B = min(4i + 128, 638 - 4i), each clipped to 0..255: the
    usual piecewise-linear ramps, rounded half up. The floating-point form ties at every entry and matplotlib's table
    repeats colours, so neither can be inverted reliably.

    Returns
    -------
    uint8 ``(256, 3)``: red, green, blue
    """
    i = 4 * torch.arange(256)
    rising = torch.stack([i - 382, i - 127, i + 128], dim=-1)  # (256, 3)
    falling = torch.stack([1148 - i, 893 - i, 638 - i], dim=-1)
    return torch.minimum(rising, falling).clamp(0, 255).to(torch.uint8)


def apply_lut(index: Tensor, lut: Tensor) -> Tensor:
    """The colour of every index; a negative index (background, invalid) is black.

    Parameters
    ----------
    index
        ``(...)``, any integer type, below the number of colours
    lut
        uint8 ``(colours, 3)``, as from `jet_lut`

    Returns
    -------
    uint8 ``(..., 3)`` on the device of ``index``

    Raises
    ------
    TypeError
        if ``index`` is not integer
    ValueError
        if ``lut`` is not uint8 ``(colours, 3)``, or an index has no colour
    """
    _check_lut(lut)
    if index.is_floating_point() or index.is_complex() or index.dtype == torch.bool:
        raise TypeError(f"index must be integers, got {index.dtype}; round and clip to 0..{lut.shape[0] - 1} first")
    if index.numel() and int(index.max()) >= lut.shape[0]:
        raise ValueError(
            f"index reaches {int(index.max())}, the table has {lut.shape[0]} colours (0..{lut.shape[0] - 1})"
        )
    black = lut.new_zeros(1, 3)
    colors = torch.cat([black, lut]).to(index.device)
    return colors[index.long().clamp(min=-1) + 1]


def paint(values: Tensor, limits: tuple[float, float], mask: Tensor, lut: Tensor | None = None) -> Tensor:
    """A map in the colours of a console: index = round(255 clip((v - low) / (high - low), 0, 1)), black off the mask.

    Parameters
    ----------
    values
        ``(...)`` in physical units
    limits
        low and high: the values of the first and the last colour
    mask
        ``(...)`` bool
    lut
        uint8 ``(colours, 3)``; JET when None

    Returns
    -------
    uint8 ``(..., 3)``

    Raises
    ------
    ValueError
        if the limits are not ascending
    """
    low, high = limits
    if not low < high:
        raise ValueError(f"a colour bar needs low < high, got {low} and {high}")
    table = jet_lut() if lut is None else lut
    index = ((values - low) / (high - low)).clamp(0, 1).mul(len(table) - 1).round().to(torch.int16)
    return apply_lut(torch.where(mask, index, index.new_tensor(-1)), table)


def nearest_color_index(rgb: Tensor, lut: Tensor, *, max_distance: float = 40.0, background: int = 64) -> Tensor:
    """Index of the table colour nearest to every pixel, by squared Euclidean distance in RGB.

    Dark pixels are background and pixels far from every table colour (text, grey anatomy) are invalid, instead of
    becoming the index that happens to be nearest. Exact for any table: each colour that is present is compared with
    every entry once, in integers, and ties go to the lowest index.

    Parameters
    ----------
    rgb
        uint8 ``(..., 3)``: red, green, blue
    lut
        uint8 ``(colours, 3)``, as from `jet_lut`; at most 32,767 colours
    max_distance
        a pixel further than this from every entry is invalid [grey levels]
    background
        a pixel with max(R, G, B) below this is background [grey levels]; 0: none is

    Returns
    -------
    int16 ``(...)``: the index, -1 for background, -2 for invalid

    Raises
    ------
    TypeError
        if ``rgb`` is not uint8
    ValueError
        if ``rgb`` is not ``(..., 3)`` or ``lut`` not uint8 ``(colours, 3)``
    """
    _check_lut(lut)
    if rgb.dtype != torch.uint8:
        raise TypeError(f"rgb must be uint8 (0..255), got {rgb.dtype}")
    if rgb.ndim < 1 or rgb.shape[-1] != 3:
        raise ValueError(f"rgb must be (..., 3), got shape {tuple(rgb.shape)}")
    pixels = rgb.reshape(-1, 3)
    present = torch.zeros(1 << 24, dtype=torch.bool, device=rgb.device)  # a 24-bit colour each
    for piece in torch.split(pixels, _PIXELS):
        present[_color_code(piece)] = True
    codes = present.nonzero().squeeze(1)  # (colours present,)
    table = torch.empty(1 << 24, dtype=torch.int16, device=rgb.device)  # filled where a colour is present
    table[codes] = _nearest_entry(codes, lut.to(rgb.device), max_distance, background)
    index = torch.empty(pixels.shape[0], dtype=torch.int16, device=rgb.device)
    for piece, target in zip(torch.split(pixels, _PIXELS), torch.split(index, _PIXELS), strict=True):
        torch.index_select(table, 0, _color_code(piece), out=target)
    return index.reshape(rgb.shape[:-1])


def _color_code(pixels: Tensor) -> Tensor:
    """``(n, 3)`` uint8 to 24-bit numbers ``(n,)`` int64, red in the highest bits."""
    red, green, blue = pixels.unbind(-1)
    code = red.int() << 8
    code |= green
    code <<= 8
    code |= blue
    return code.long()


def _nearest_entry(codes: Tensor, lut: Tensor, max_distance: float, background: int) -> Tensor:
    """Table index, -1 or -2 of every colour code; all numbers stay below 2^24, so that float32 is exact."""
    entries = lut.float()  # (colours, 3)
    entry_norms = entries.square().sum(-1)
    nearest = torch.empty_like(codes, dtype=torch.int16)
    rows = max(1, _DISTANCES // lut.shape[0])
    for piece, target in zip(torch.split(codes, rows), torch.split(nearest, rows), strict=True):
        colors = torch.stack([piece >> 16, (piece >> 8) & 255, piece & 255], dim=-1).float()  # (n, 3)
        distances = torch.addmm(entry_norms, colors, entries.T, alpha=-2)  # (n, colours), less |colour|^2
        least, index = distances.min(dim=-1)
        invalid = least + colors.square().sum(-1) > max_distance**2
        index = index.masked_fill(invalid, -2).masked_fill(colors.amax(-1) < background, -1)
        target.copy_(index)
    return nearest


def _check_lut(lut: Tensor) -> None:
    """Refuse what is not a table of colours."""
    if lut.dtype != torch.uint8 or lut.ndim != 2 or lut.shape[-1] != 3 or not 1 <= lut.shape[0] <= _ENTRIES:
        raise ValueError(
            f"lut must be uint8 (colours, 3) with 1 to {_ENTRIES} colours, got {lut.dtype} {tuple(lut.shape)}"
        )
