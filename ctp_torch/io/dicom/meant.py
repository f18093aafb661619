"""What stored values mean where the header tells it wrongly: High Bit, Bits Stored and sign, decided by the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ctp_torch.errors import UnreadableFileError
from ctp_torch.io.dicom.image import ImageHeader, PixelLayout
from ctp_torch.io.dicom.pixels import raw_values, stored_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["as_meant"]

_SAMPLES = 6
"""Images looked at for each layout."""
_LOWEST_HU, _HIGHEST_HU, _METAL_HU = -1200.0, 4200.0, 20_000.0
"""Below the first nothing is measured (what pads an image has one value); above the last no scale of CT reaches."""
_SHARE, _DISTINCT = 0.002, 12
"""Of the pixels: from here on, values out of range count. Of their values: fewer are padding, not measurements."""
_ACROSS = 192
"""Rows and columns of an image that are enough to see a sign by."""
_FEWEST = 64
"""Pixels beyond any scale that are no chance."""
_SMOOTHER, _AS_ROUGH, _APART, _MANY = 0.8, 2.5, 0.5, 0.05
"""Images that are so much smoother with the bits above belong with them; and images about as rough, where many pixels
use those and their lower bits are unlike the others', as in values that run over and not under an overlay."""

_Layout = tuple[int, int, int, bool]


def as_meant(cells: Sequence[Sequence[ImageHeader]]) -> tuple[list[list[ImageHeader]], list[str]]:
    """The images with their bits as the pixels show them to be, and what had to be put right.

    Of each layout told (allocated, stored, high bit, sign) some images are looked at. Stored bits that were never
    shifted up to the high bit are read as they lie; bits above the stored ones belong to the values where these are
    smoother with them (an overlay makes them rougher), or run over into them; values beyond any CT scale are read with
    the other sign where that brings all of them back.

    Parameters
    ----------
    cells
        ``[time][slice]``
    """
    groups: dict[_Layout, list[ImageHeader]] = {}
    for row in cells:
        for image in row:
            groups.setdefault(_layout(image.pixels), []).append(image)
    better: dict[_Layout, _Layout] = {}
    notes = []
    for told, images in groups.items():
        if images[0].pixels.floating:
            continue
        better[told], words = _decide(told, images[:: 1 + (len(images) - 1) // _SAMPLES])
        notes += [f"{word} ({len(images)} images)" for word in words]
    if not notes:
        return [list(row) for row in cells], []

    def put_right(image: ImageHeader) -> ImageHeader:
        allocated, stored, high, signed = better.get(_layout(image.pixels), _layout(image.pixels))
        pixels = replace(image.pixels, bits_allocated=allocated, bits_stored=stored, high_bit=high, signed=signed)
        return replace(image, pixels=pixels)

    return [[put_right(image) for image in row] for row in cells], notes


def _layout(pixels: PixelLayout) -> _Layout:
    """What a header tells of its bits."""
    return pixels.bits_allocated, pixels.bits_stored, pixels.high_bit, pixels.signed


def _decide(told: _Layout, images: Sequence[ImageHeader]) -> tuple[_Layout, list[str]]:
    """The layout that the pixels of some images show, and why it isn't the one told."""
    allocated, stored, high, signed = told
    raw: list[tuple[ImageHeader, Any]] = []
    for image in images:
        try:
            raw.append((image, raw_values(image)))
        except UnreadableFileError:  # told when all images are read
            continue
    notes = []
    if high < stored - 1:
        notes.append(f"High Bit is told as {high}, too low for {stored} bits: read as they lie")
        high = stored - 1
    if high != stored - 1 and raw and all(_lies_low(values, stored, high) for _, values in raw):
        notes.append(f"High Bit is told as {high} but the pixels fill the lower {stored} bits: read as they lie")
        high = stored - 1
    if high == stored - 1 and stored < allocated and _belongs_to_values(raw, (allocated, stored, high, signed)):
        notes.append(f"Bits Stored is told as {stored} but the pixels use the bits above: read in all {allocated}")
        stored, high = allocated, allocated - 1
    if raw and _sign_is_wrong(raw, (allocated, stored, high, signed)):
        words = ("signed", "unsigned") if signed else ("unsigned", "signed")
        notes.append(f"pixels are told to be {words[0]}, which puts HU beyond any scale: read as {words[1]}")
        signed = not signed
    return (allocated, stored, high, signed), notes


def _lies_low(values: NDArray[Any], stored: int, high: int) -> bool:
    """Whether values use the bits below those told, and none (but copies of the sign) above the lower ones."""
    import numpy as np

    unused = (1 << (high + 1 - stored)) - 1
    bits = _bits(values)
    above = bits >> np.array(stored - 1, bits.dtype)  # the sign and all above
    full = (1 << (8 * values.dtype.itemsize - stored + 1)) - 1
    plain = bool((bits < (1 << stored)).all()) or bool(((above == 0) | (above == full)).all())
    return plain and bool((bits & np.array(unused, bits.dtype)).any())


def _bits(values: NDArray[Any]) -> NDArray[Any]:
    """Values as plain bits, whatever their sign and byte order."""
    return values.astype(f"i{values.dtype.itemsize}").view(f"u{values.dtype.itemsize}")


def _belongs_to_values(raw: Sequence[tuple[ImageHeader, Any]], layout: _Layout) -> bool:
    """Whether bits above the stored ones are used, and the images are smoother with them than without."""
    import numpy as np

    rough = [0.0, 0.0]
    apart = 0.0
    for image, values in raw:
        told = stored_values(values, replace(image.pixels, high_bit=layout[2], bits_stored=layout[1]))
        above = _bits(values) >> np.array(layout[1], f"u{values.dtype.itemsize}")
        if bool(((above == 0) | (above == (1 << (8 * values.dtype.itemsize - layout[1])) - 1)).all()):
            continue  # unused, or copies of the sign
        for k, some in enumerate((told, values)):
            wide = some.astype(np.float64)
            rough[k] += float(np.abs(np.diff(wide, axis=0)).sum() + np.abs(np.diff(wide, axis=1)).sum())
        over = told != values
        if over.mean() > _MANY:
            apart = max(apart, _distance(told[~over], told[over]))
    return rough[1] < _SMOOTHER * rough[0] or (apart > _APART and rough[1] < _AS_ROUGH * rough[0])


def _distance(some: NDArray[Any], others: NDArray[Any]) -> float:
    """The Kolmogorov-Smirnov distance of two sets of values; 0 where one has few."""
    import numpy as np

    if min(some.size, others.size) < _DISTINCT:
        return 0.0
    at = np.sort(np.concatenate([some, others]))
    shares = [np.searchsorted(np.sort(values), at, side="right") / values.size for values in (some, others)]
    return float(np.abs(shares[0] - shares[1]).max())


def _sign_is_wrong(raw: Sequence[tuple[ImageHeader, Any]], layout: _Layout) -> bool:
    """Whether many values lie beyond any CT scale as told, and none with the other sign."""
    import numpy as np

    amiss = False
    for image, whole in raw:
        every = [1 + n // _ACROSS for n in whole.shape]
        values = whole[:: every[0], :: every[1]]
        pixels = replace(image.pixels, bits_stored=layout[1], high_bit=layout[2], signed=layout[3])
        told, other = (
            stored_values(values, one).astype(np.float64) * image.slope + image.intercept
            for one in (pixels, replace(pixels, signed=not layout[3]))
        )
        low, high = told < _LOWEST_HU, told > _METAL_HU
        enough = max(_FEWEST, _SHARE * told.size)
        if high.sum() < enough and (low.sum() < enough or not _measured(told[low])):
            continue
        there = other[low | high]
        if there.max() > _HIGHEST_HU or _measured(there[there < _LOWEST_HU]):
            return False
        amiss = True
    return amiss


def _measured(values: NDArray[Any]) -> bool:
    """Whether values are measurements, of which there are many, and not what pads an image."""
    import numpy as np

    return len(np.unique(values)) >= _DISTINCT
