"""The label over a colour bar, where the picture is one of our own map sheets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctp_torch.data.maps import QUANTITIES

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.io.color.colorbar import ColorBar

__all__ = ["TITLE_SIZE", "read_label"]

TITLE_SIZE = 17
"""Of the titles of a map sheet, in Pillow's own font."""
_ABOVE = 64
"""Rows over a bar in which its title stands."""


def read_label(picture: Tensor, bar: ColorBar) -> str:
    """The quantity's label that stands over a bar, pixel by pixel as our sheets draw it; empty where none does.

    Parameters
    ----------
    picture
        ``(y, x, 3)`` uint8
    bar
        one of its colour bars
    """
    (top, _), (left, right) = bar.rows, bar.columns
    part = picture[max(0, top - _ABOVE) : top, max(0, left - 2) : right + 2].float().mean(-1)
    found = [label for label in {one.label for one in QUANTITIES.values()} if _shows(part, _drawn(label))]
    return max(found, key=len, default="")  # rCBF stands in "rCBF sd" too


def _drawn(label: str) -> Tensor:
    """The label ``(y, x)`` as it is drawn, white on black, cut to its ink."""
    import numpy as np
    import torch
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(TITLE_SIZE)
    canvas = Image.new("L", (8 + round(font.getlength(label)), 2 * TITLE_SIZE))
    ImageDraw.Draw(canvas).text((4, 4), label, 255, font)
    box = canvas.getbbox() or (0, 0, 1, 1)
    return torch.from_numpy(np.array(canvas.crop(box))).float()


def _shows(part: Tensor, ink: Tensor) -> bool:
    """Whether the ink stands somewhere in a part of a picture; captures may round its greys a little."""
    height, width = ink.shape
    if part.shape[0] < height or part.shape[1] < width:
        return False
    windows = part.unfold(0, height, 1).unfold(1, width, 1)
    return bool(((windows - ink).abs().amax((-2, -1)) < 48).any())
