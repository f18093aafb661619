"""The colour bar and the words beside a map, as a console burns them into its pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["draw_legend"]


def draw_legend(shape: tuple[int, int], lut: Tensor, low: float, high: float, *, title: str, unit: str) -> Tensor:
    """A picture ``(y, x, 3)`` uint8, black but for a colour bar at the right edge and words in three corners.

    Parameters
    ----------
    shape
        rows and columns
    lut
        ``(colours, 3)`` uint8, from low to high
    low, high
        what the ends of the bar mean, in ``unit``
    title, unit
        name of the map and its unit
    """
    import numpy as np
    import torch
    from PIL import Image, ImageDraw, ImageFont

    rows, columns = shape
    size = max(6.0, min(rows, columns) / 32)
    canvas = Image.new("RGB", (columns, rows))
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size)
    white, margin, line = (255, 255, 255), max(1, columns // 64), size * 1.25
    pen.text((columns - margin, margin), title, white, font, anchor="ra")
    pen.text((columns - margin, margin + line), unit, white, font, anchor="ra")
    pen.text((columns - margin, rows * 0.25 - margin), f"{high:g}", white, font, anchor="rd")
    pen.text((columns - margin, rows * 0.75 + margin), f"{low:g}", white, font, anchor="ra")
    for k, word in enumerate(("RESEARCH", "USE", "ONLY")):
        pen.text((margin, rows - margin - (2 - k) * line), word, white, font, anchor="ld")
    picture = torch.from_numpy(np.array(canvas))  # (y, x, 3)
    top, bottom, width = rows // 4, rows - rows // 4, max(2, columns // 40)
    ramp = torch.linspace(len(lut) - 1, 0, bottom - top).round().long()  # high at the top
    picture[top:bottom, columns - margin - width : columns - margin] = lut.cpu()[ramp, None]
    return picture
