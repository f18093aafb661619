"""A picture to draw on: images, words, colour bars and curves, quicker by far than by a plotting library."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from ctp_torch import ops

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFont import FreeTypeFont
    from torch import Tensor

__all__ = ["INK", "PAPER", "Box", "Canvas", "grey"]

INK, PAPER = "#e8e8e8", "#101014"
_LINE = "#55555c"
_FINER = 3  # curves are drawn so many times larger, and shrunk: their edges are smooth


class Box(NamedTuple):
    """A rectangle [pixels]."""

    left: int
    top: int
    width: int
    height: int


class Canvas:
    """An RGB picture in the making.

    Parameters
    ----------
    width, height
        [pixels]
    paper, ink
        colour of the ground and of words
    """

    def __init__(self, width: int, height: int, *, paper: str = PAPER, ink: str = INK) -> None:
        from PIL import Image, ImageDraw

        self.paper, self.ink = paper, ink
        self.words: list[str] = []
        """All that was written, in that order."""
        self.picture: Image.Image = Image.new("RGB", (width, height), paper)
        self._pen = ImageDraw.Draw(self.picture)

    def image(self, colors: Tensor, box: Box) -> None:
        """``(y, x, 3)`` uint8 into a box: pixels kept as they are when it is larger, averaged when it is smaller."""
        from PIL import Image

        image = Image.fromarray(colors.cpu().contiguous().numpy())
        smaller = box.width < image.width or box.height < image.height
        how = Image.Resampling.BOX if smaller else Image.Resampling.NEAREST
        self.picture.paste(image.resize((box.width, box.height), how), (box.left, box.top))

    def text(self, x: float, y: float, words: str, *, size: int = 12, anchor: str = "la", color: str = "") -> None:
        """Words whose ``anchor`` lies at a place: left, middle or right; ascender, middle, baseline or descender."""
        self.words.append(words)
        self._pen.text((x, y), words, color or self.ink, _font(size), anchor=anchor)

    def sideways(self, x: int, y: int, words: str, *, size: int = 15) -> None:
        """Words that run upwards, about a centre."""
        from PIL import Image, ImageDraw

        self.words.append(words)
        left, top, right, bottom = _font(size).getbbox(words)
        label = Image.new("L", (math.ceil(right - left) + 2, math.ceil(bottom - top) + 2))
        ImageDraw.Draw(label).text((1 - left, 1 - top), words, 255, _font(size))
        turned = label.transpose(Image.Transpose.ROTATE_90)
        self.picture.paste(self.ink, (x - turned.width // 2, y - turned.height // 2), turned)

    def ring(self, x: float, y: float, radius: float, color: str) -> None:
        """A circle's line."""
        self._pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=color)

    def bar(self, box: Box, limits: tuple[float, float], unit: str) -> None:
        """The JET bar, high at the top, with its ends and middle to the right and its unit below."""
        self.image(ops.jet_lut().flip(0)[:, None], box)
        for share, value in ((0.0, limits[1]), (0.5, sum(limits) / 2), (1.0, limits[0])):
            y = box.top + share * (box.height - 1)
            self._pen.line((box.left + box.width, y, box.left + box.width + 3, y), self.ink)
            self.text(box.left + box.width + 6, y, f"{value:g}", size=11, anchor="lm")
        self.text(box.left - 4, box.top + box.height + 4, unit, size=10)

    def plot(
        self, box: Box, x: Sequence[float], curves: Mapping[str, tuple[Sequence[float], str]], *, label: str
    ) -> None:
        """Curves ``name -> (values, colour)`` over shared ``x``, with ticks and ``label`` to the left.

        Values that aren't finite are left out; the range of y holds 0.
        """
        from PIL import Image, ImageDraw

        known = [v for values, _ in curves.values() for v in values if math.isfinite(v)]
        low, high = min([0.0, *known]), max([0.0, *known])
        low, high = low - 0.03 * (high - low or 1.0), high + 0.03 * (high - low or 1.0)
        rows, columns = _ticks(low, high), _ticks(min(x), max(x))
        first, last = min(x), max(x) if max(x) > min(x) else min(x) + 1.0

        def place(a: float, b: float) -> tuple[float, float]:
            return (a - first) / (last - first) * box.width, (high - b) / (high - low) * box.height

        size = box.width * _FINER, box.height * _FINER
        panel = Image.new("RGB", size, self.paper)
        pen = ImageDraw.Draw(panel)
        pen.line([(0, place(first, 0.0)[1] * _FINER), (size[0], place(first, 0.0)[1] * _FINER)], _LINE, _FINER)
        for values, color in curves.values():
            points = [place(a, b) for a, b in zip(x, values, strict=True) if math.isfinite(b)]
            pen.line([(a * _FINER, b * _FINER) for a, b in points], color, 5, joint="curve")
        self.picture.paste(panel.resize((box.width, box.height), Image.Resampling.BOX), (box.left, box.top))
        self._pen.rectangle((box.left, box.top, box.left + box.width, box.top + box.height), outline=_LINE)
        for tick in (tick for tick in rows if low <= tick <= high):
            y = box.top + place(first, tick)[1]
            self._pen.line((box.left - 4, y, box.left, y), self.ink)
            self.text(box.left - 7, y, f"{tick:g}", size=11, anchor="rm")
        for tick in (tick for tick in columns if first <= tick <= last):
            left = box.left + place(tick, 0.0)[0]
            self._pen.line((left, box.top + box.height, left, box.top + box.height + 4), self.ink)
            self.text(left, box.top + box.height + 7, f"{tick:g}", size=11, anchor="ma")
        self.sideways(box.left - 48, box.top + box.height // 2, label, size=12)

    def legend(self, x: float, y: float, colors: Mapping[str, str]) -> None:
        """Names one below the other, each after a line of its colour; ``x`` is where the names end."""
        for row, (name, color) in enumerate(colors.items()):
            at = y + 17 * row
            self.text(x, at, name, anchor="rm")
            end = x - _font(12).getlength(name) - 6
            self._pen.line((end - 22, at, end, at), color, 2)

    def png(self) -> bytes:
        """The picture as a PNG file."""
        buffer = io.BytesIO()
        self.picture.save(buffer, format="png")
        return buffer.getvalue()


def grey(values: Tensor, limits: tuple[float, float]) -> Tensor:
    """``(..., 3)`` uint8: black at the lower limit and below (and where nothing is known), white at the upper."""
    low, high = limits
    level = ((values.float().nan_to_num() - low) / (high - low)).clamp(0, 1) * 255
    return level.round().byte()[..., None].expand(*values.shape, 3)


@cache
def _font(size: int) -> FreeTypeFont:
    from PIL import ImageFont
    from PIL.ImageFont import FreeTypeFont

    font = ImageFont.load_default(size)
    assert isinstance(font, FreeTypeFont)
    return font


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers that span a range."""
    rough = max(high - low, 1e-9) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [round(i * step, 9) for i in range(math.floor(low / step), math.ceil(high / step) + 1)]
