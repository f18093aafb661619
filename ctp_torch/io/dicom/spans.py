"""How evenly slices lie, and how far images drift from their slice's first place, as the headers tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from ctp_torch.io.dicom.select import along_normal

if TYPE_CHECKING:
    from ctp_torch.io.dicom.image import ImageHeader

__all__ = ["drift_mm", "slice_steps_mm"]


def slice_steps_mm(row: Sequence[ImageHeader]) -> tuple[float, float] | None:
    """Smallest and largest distance of neighbouring slices of one frame [mm]; None for a single slice."""
    steps = [b - a for a, b in pairwise(along_normal(image) for image in row)]
    return (min(steps), max(steps)) if steps else None


def drift_mm(cells: Sequence[Sequence[ImageHeader]]) -> float:
    """The largest distance [mm] of an image from the place of its slice in the first frame."""
    home = [image.position or (0.0, 0.0, 0.0) for image in cells[0]]
    return max(
        (
            math.dist(image.position, place)
            for row in cells[1:]
            for image, place in zip(row, home, strict=True)
            if image.position is not None and image.position != place
        ),
        default=0.0,
    )
