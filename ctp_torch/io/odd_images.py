"""Images of a series that hold nothing, or nothing like the other images of their slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["odd_images"]

_SAMPLES = 20  # rows and columns looked at
_FEWEST = 4  # frames from which a slice has a usual image
_FAR_HU, _FAR = 60.0, 5.0
_NAMED = 6


def odd_images(hu: Tensor) -> list[str]:
    """Sentences on images that are of one value while their slice isn't, and on images far from their slice's median.

    Far is a mean distance (over every so many pixels) above 60 HU and above 5 times the usual one of the slice:
    contrast agent changes a slice by some HU, a head that turns by 10 degrees by some 30, another head by 90.

    Parameters
    ----------
    hu
        ``(time, z, y, x)`` [HU]
    """
    rows, columns = max(1, hu.shape[2] // _SAMPLES), max(1, hu.shape[3] // _SAMPLES)
    some = hu[:, :, ::rows, ::columns].flatten(2)  # (time, z, pixels)
    even = some.amax(dim=2) == some.amin(dim=2)  # (time, z)
    for t, z in even.nonzero().tolist():
        even[t, z] = bool((hu[t, z] == hu[t, z, 0, 0]).all())
    if bool(even.all()) and hu[0, 0].numel() > 1:
        return ["every image holds one value alone: there is nothing to see in this series"]
    empty = even & ~even.all(dim=0)
    warnings = _sentence(empty, "hold one value alone", "nothing was measured there")
    if len(hu) >= _FEWEST:
        curves = some.permute(1, 2, 0).contiguous()  # (z, pixels, time): the median is quickest along the last
        away = (curves - curves.median(dim=2, keepdim=True).values).abs().mean(dim=1).T  # (time, z)
        usual = away.median(dim=0).values
        far = (away > _FAR_HU) & (away > _FAR * usual) & ~empty
        warnings += _sentence(far, "look like no other image of their slice", "damaged pixels, or another place")
    return warnings


def _sentence(odd: Tensor, what: str, meaning: str) -> list[str]:
    """How many images are so, and which."""
    places = odd.nonzero().tolist()
    if not places:
        return []
    named = ", ".join(f"time point {t} slice {z}" for t, z in places[:_NAMED])
    more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
    return [f"{len(places)} of {odd.numel()} images {what} ({named}{more}): {meaning}; the maps may be wrong"]
