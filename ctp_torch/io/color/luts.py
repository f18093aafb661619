"""Colour tables by name or from a file: what turns a console's picture back into numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from ctp_torch.errors import UnreadableFileError
from ctp_torch.io.limits import read_text

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LUT_NAMES", "background_level", "read_lut"]

_Anchor = tuple[int, tuple[int, int, int]]

_ANCHORS: Mapping[str, Sequence[_Anchor]] = {
    # blood flow and volume on Siemens consoles, measured on a colour bar (rgb2scalar, BSD-2, C. Rorden); 254 colours
    "siemens": (
        (0, (47, 0, 47)),
        (1, (63, 0, 63)),
        (19, (91, 0, 91)),
        (21, (95, 0, 95)),
        (39, (67, 58, 123)),
        (41, (64, 63, 127)),
        (77, (63, 63, 253)),
        (79, (65, 67, 250)),
        (157, (127, 253, 1)),
        (228, (254, 254, 0)),
        (250, (226, 46, 28)),
        (253, (224, 32, 31)),
    ),
    # times on Siemens consoles, from the same source; 254 colours
    "siemens-time": (
        (0, (187, 0, 187)),
        (1, (190, 0, 192)),
        (62, (64, 63, 254)),
        (65, (61, 72, 244)),
        (126, (0, 253, 1)),
        (128, (5, 254, 0)),
        (189, (248, 254, 0)),
        (191, (254, 254, 0)),
        (251, (254, 9, 0)),
        (253, (254, 3, 0)),
    ),
    # the standardised table of ASIST Japan (as printed in ctp-core, MIT); 256 colours
    "asist": (
        (0, (0, 0, 0)),
        (1, (4, 0, 0)),
        (20, (80, 0, 57)),
        (45, (55, 0, 132)),
        (86, (14, 123, 255)),
        (100, (0, 165, 185)),
        (128, (0, 249, 45)),
        (130, (8, 255, 35)),
        (137, (36, 255, 0)),
        (191, (252, 255, 0)),
        (192, (255, 252, 0)),
        (255, (255, 0, 0)),
    ),
}
LUT_NAMES = ("jet", *_ANCHORS)
"""Tables known by name; ``siemens`` is that of flow and volume."""


def read_lut(name: str | Path) -> Tensor:
    """A colour table ``(colours, 3)`` uint8, from low to high.

    Parameters
    ----------
    name
        one of ``LUT_NAMES``, or a file: CSV or text with R, G, B (or index, R, G, B) in each line, or a picture of a
        colour bar with its high end at the top (at the right of a lying one)

    Raises
    ------
    UnreadableFileError
        when it is neither
    """
    import torch

    if str(name) == "jet":
        from ctp_torch.ops.image.colormap import jet_lut

        return jet_lut()
    if str(name) in _ANCHORS:
        return torch.tensor(_between(_ANCHORS[str(name)]), dtype=torch.uint8)
    path = Path(name)
    if not path.is_file():
        raise UnreadableFileError(f"no colour table {str(name)!r}: choose {', '.join(LUT_NAMES)}, or give a file")
    if path.suffix.lower() in (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg", ".gif"):
        return _bar(path)
    return _table(path)


def background_level(lut: Tensor) -> int:
    """The brightest channel below which a pixel is no colour of the table: half of the darkest colour's.

    64 for JET, as in the paper's images; 0, that is never, for a table with black in it.
    """
    return int(lut.amax(dim=1).min()) // 2


def _between(anchors: Sequence[_Anchor]) -> list[list[int]]:
    """Every colour of a table that is linear between its anchors."""
    colors = [list(anchors[0][1])]
    for (a, first), (b, last) in pairwise(anchors):
        colors += [
            [round(x + (y - x) * (k - a) / (b - a)) for x, y in zip(first, last, strict=True)]
            for k in range(a + 1, b + 1)
        ]
    return colors


def _bar(path: Path) -> Tensor:
    """The colours along the middle of a picture of a bar."""
    from ctp_torch.io.color.picture import read_picture

    picture = read_picture(path)  # (y, x, 3)
    lying = picture.shape[1] > picture.shape[0]
    lut = picture[picture.shape[0] // 2] if lying else picture[:, picture.shape[1] // 2].flip(0)
    if len(lut) < 2 or bool((lut == lut[0]).all()):
        raise UnreadableFileError(f"{path} is no picture of a colour bar: it has a single colour along its length")
    return lut.contiguous()


def _table(path: Path) -> Tensor:
    """A table of numbers in text."""
    import torch

    rows = []
    try:
        for line in read_text(path).splitlines():
            words = line.replace(",", " ").replace(";", " ").split()
            if words and all(word.lstrip("-").isdigit() for word in words):
                rows.append([int(word) for word in words])
    except (OSError, ValueError) as error:
        raise UnreadableFileError(f"{path} can't be read as a colour table ({error})") from error
    if len(rows) < 2 or {len(row) for row in rows} not in ({3}, {4}) or min(map(min, rows)) < 0:
        raise UnreadableFileError(f"{path} is no colour table: each line needs R, G, B from 0 to 255")
    highest = max(max(row[-3:]) for row in rows)
    if highest > 255:
        raise UnreadableFileError(f"{path} is no colour table: a colour is {highest}, above 255")
    return torch.tensor([row[-3:] for row in rows], dtype=torch.uint8)
