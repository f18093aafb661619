"""A coloured picture back to numbers, with how far each pixel is from the colour table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Inversion", "invert_colors", "read_off"]


@dataclass(frozen=True)
class Inversion:
    """Numbers of a picture, and whether to believe them."""

    index: Tensor
    """``(...)`` int16: index into the table, -1 background, -2 no colour of the table (text, anatomy, overlay)."""
    residual: Tensor
    """``(...)`` float32: distance to the nearest colour of the table [grey levels], 0 on background."""


def invert_colors(rgb: Tensor, lut: Tensor, *, max_distance: float = 40.0, background: int | None = None) -> Inversion:
    """The index of the nearest colour of a table, and the distance to it.

    Parameters
    ----------
    rgb
        ``(..., 3)`` uint8
    lut
        ``(colours, 3)`` uint8
    max_distance
        a pixel further than this from every colour is an overlay [grey levels]
    background
        a pixel with max(R, G, B) below this is background; by default half of the darkest colour's (64 for JET)
    """
    from ctp_torch.io.color.luts import background_level
    from ctp_torch.ops.image.colormap import nearest_color_index

    level = background_level(lut) if background is None else background
    nearest = nearest_color_index(rgb, lut, max_distance=1e6, background=level)
    colors = lut[nearest.clamp_min(0).long()].to(rgb.device)
    residual = (rgb.float() - colors.float()).square().sum(-1).sqrt()
    residual = residual.masked_fill(nearest < 0, 0.0)
    return Inversion(nearest.masked_fill(residual > max_distance, -2), residual)


def read_off(index: Tensor, n_colors: int, low: float, high: float) -> Tensor:
    """Values of indices: low + (high - low) index / (n_colors - 1); NaN for background and overlays."""
    values = low + (high - low) * index.float() / (n_colors - 1)
    return values.masked_fill(index < 0, float("nan"))
