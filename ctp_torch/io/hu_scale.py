"""Whether values are Hounsfield units at all: seen from the values, whatever the header says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctp_torch.errors import UnreadableFileError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

__all__ = ["check_scale"]

_LOWEST_HU, _HIGHEST_HU = -1100.0, 4000.0
"""Half of an image below the first or above the second is no head on any CT scale."""
_MUCH = 0.1
"""Of an image: more of its values beyond these, unless all are one that pads, are no CT numbers."""
_AROUND_HU = 100.0
"""What compression with loss makes of the one value that pads."""
_NO_AIR_HU = -60.0
_WATER_OF_OFFSET = (974.0, 1174.0)
"""Where brain lies when 1,024 were not taken off: air at 24, no value below."""
_SHARE = 0.1
_NOTHING_HU = -500.0
"""Below this lie air and lung: no head has only such values."""
_SAMPLES = 32  # rows and columns looked at


def check_scale(hu: Tensor, place: Path) -> list[str]:
    """Sentences on values that are no Hounsfield units, or carry an offset.

    Parameters
    ----------
    hu
        ``(time, z, y, x)`` [HU]
    place
        where they come from, for the message

    Raises
    ------
    UnreadableFileError
        when most images lie beyond any CT scale
    """
    rows, columns = max(1, hu.shape[2] // _SAMPLES), max(1, hu.shape[3] // _SAMPLES)
    some = hu[:, :, ::rows, ::columns].flatten(2)  # (time, z, pixels)
    low, high = float(some.amin()), float(some.amax())
    fits = low >= _LOWEST_HU and high <= _HIGHEST_HU
    beyond = some.new_zeros(some.shape[:2]).bool() if fits else _beyond(some)  # (time, z)
    n, of = int(beyond.sum()), beyond.numel()
    if 2 * n >= of:
        raise UnreadableFileError(
            f"{place}: {n} of {of} images hold values beyond any CT scale, {low:,.0f} to {high:,.0f} HU: their rescale"
            " (slope, intercept) or the type of their pixels is told wrongly; export the series again"
        )
    if low < high < _NOTHING_HU:
        raise UnreadableFileError(
            f"{place}: all values lie between {low:,.0f} and {high:,.0f} HU, nothing but air: the slope or intercept"
            " of their rescale is told wrongly; export the series again"
        )
    warnings = []
    if n:
        warnings.append(f"{n} of {of} images hold values beyond any CT scale (below -1,100 or above 4,000 HU)")
    if low < 2 * _NO_AIR_HU:
        return warnings
    values = some[:: 1 + len(some) // 8].flatten()
    lowest = float(values[:: 1 + values.numel() // 100_000].quantile(0.01))
    water = ((values >= _WATER_OF_OFFSET[0]) & (values <= _WATER_OF_OFFSET[1])).float().mean()
    if lowest > _NO_AIR_HU and float(water) >= _SHARE:
        warnings.append(
            f"there is no air (-1,000 HU) anywhere, the lowest values are {lowest:,.0f} HU: they may carry an offset of"
            " 1,024"
        )
    return warnings


def _beyond(some: Tensor) -> Tensor:
    """Which images ``(time, z)`` hold many values beyond any scale; what pads them is one value, however low."""
    padding = some.amin(dim=2, keepdim=True) + _AROUND_HU
    share = (((some < _LOWEST_HU) & (some > padding)) | (some > _HIGHEST_HU)).float().mean(dim=2)
    middle = some.median(dim=2).values
    return (share > _MUCH) | (middle < _LOWEST_HU) | (middle > _HIGHEST_HU)
