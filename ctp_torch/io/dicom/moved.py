"""Frames whose table or reconstruction stood elsewhere, laid onto the places of the first frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

from ctp_torch.errors import IncompleteSeriesError
from ctp_torch.io.dicom.select import along_normal
from ctp_torch.io.dicom.straight import shifted

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.io.dicom.image import ImageHeader

__all__ = ["at_home", "time_points"]

_BESIDE = 0.1
"""Of a step or a pixel: what a frame may lie beside the first without being moved."""
_BESIDE_MM = 0.05
_CLAMPED = 0.5
"""Of a step: how far beyond the ends of a moved stack its last slices stand in for what wasn't seen."""


def at_home(
    volumes: Tensor, times: Tensor, cells: Sequence[Sequence[ImageHeader]], *, start: int = 0
) -> tuple[Tensor, Tensor, slice, str]:
    """The volumes with every frame on the places of the first, by the frames' own positions, linearly interpolated.

    Parameters
    ----------
    volumes
        ``(time, z, y, x)``; may be written to
    times
        ``(time, z)`` [s]
    cells
        the images ``[time][slice]`` of the whole series
    start
        the frame that is the first of ``volumes`` and ``times``, which may hold some frames alone

    Returns
    -------
    volumes, times, kept, note
        the frames moved, the slices that all frames show, and what was done; empty where no frame stands elsewhere

    Raises
    ------
    IncompleteSeriesError
        when the frames share less than half of the slices
    """
    home = [along_normal(image) for image in cells[0]]
    step = median([b - a for a, b in pairwise(home)]) if len(home) > 1 else 0.0
    spacing = cells[0][0].spacing or (1.0, 1.0)
    everything = slice(0, len(home))
    moved: dict[int, tuple[float, float]] = {}  # frame to its way along the stack and in the plane
    positions = [image.position for image in cells[0]]
    for t, row in enumerate(cells):
        if [image.position for image in row] == positions:
            continue
        along = max((abs(along_normal(image) - place) for image, place in zip(row, home, strict=True)), default=0.0)
        slips = [_slip(image, first) for image, first in zip(row, cells[0], strict=True)]
        beside = max(math.hypot(*slip) for slip in slips)
        in_plane = any(
            abs(s) > max(_BESIDE_MM, _BESIDE * d) for slip in slips for s, d in zip(slip, spacing, strict=True)
        )
        if in_plane or along > _BESIDE * step:
            moved[t] = along if step and along > _BESIDE * step else 0.0, beside if in_plane else 0.0
            if in_plane and start <= t < start + len(volumes):
                volume = volumes[t - start]
                for z, (down, right) in enumerate(slips):
                    volume[z] = shifted(shifted(volume[z], down / spacing[0], -2), right / spacing[1], -1)
    if not moved:
        return volumes, times, everything, ""
    widths = [n * d for n, d in zip((cells[0][0].pixels.rows, cells[0][0].pixels.columns), spacing, strict=True)]
    far = [t for t, (_, beside) in moved.items() if 2 * beside > min(widths)]
    if far:
        raise IncompleteSeriesError(
            f"the images of {time_points(far)} lie {max(moved[t][1] for t in far):.1f} mm beside those of the first in"
            f" their plane, more than half of their width: they show another place; leave those frames out"
        )
    reach = [
        (along_normal(cells[t][0]) - _CLAMPED * step - 1e-3, along_normal(cells[t][-1]) + _CLAMPED * step + 1e-3)
        for t, (along, _) in moved.items()
        if along
    ]
    kept = [z for z, place in enumerate(home) if all(low <= place <= high for low, high in reach)]
    way = ", ".join(
        f"{max(ways):.2f} mm {where}"
        for where, ways in zip(("along the stack", "in the plane"), zip(*moved.values(), strict=True), strict=True)
        if max(ways)
    )
    named = time_points(sorted(moved))
    if 2 * len(kept) < len(home):
        raise IncompleteSeriesError(
            f"the table or the reconstruction stands {way} from its first place in {named}: {len(kept)} of {len(home)}"
            " slices are seen by all frames; leave those frames out"
        )
    for t, (along, _) in moved.items():
        k = t - start
        if along and 0 <= k < len(volumes):
            volumes[k], times[k] = _resampled(volumes[k], times[k], [along_normal(image) for image in cells[t]], home)
    lost = len(home) - len(kept)
    return (
        volumes,
        times,
        slice(kept[0], kept[-1] + 1),
        f"the table or the reconstruction stands up to {way} from its first place in {named}: resampled by their own"
        " positions" + (f"; {lost} of {len(home)} slices, which not all frames show, were left out" if lost else ""),
    )


def time_points(frames: Sequence[int], *, most: int = 6) -> str:
    """Frames in words: runs as ``3 to 5``, the first few of many."""
    runs: list[list[int]] = []
    for t in frames:
        if runs and t == runs[-1][-1] + 1:
            runs[-1].append(t)
        else:
            runs.append([t])
    words = [f"{run[0]}" if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    return f"time point{'s' if len(frames) > 1 else ''} {', '.join(words[:most])}{' ...' if len(words) > most else ''}"


def _slip(image: ImageHeader, first: ImageHeader) -> tuple[float, float]:
    """How far an image lies beside another in its plane, down its rows and along its columns [mm]."""
    (ax, ay, az), (bx, by, bz) = image.position or (0, 0, 0), first.position or (0, 0, 0)
    away = ax - bx, ay - by, az - bz
    row, column = (first.orientation or ())[:3], (first.orientation or ())[3:]
    return sum(a * c for a, c in zip(away, column, strict=True)), sum(a * r for a, r in zip(away, row, strict=True))


def _resampled(volume: Tensor, times: Tensor, there: Sequence[float], home: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Slices and their times at other places, linearly interpolated; beyond the ends as the last slice."""
    import torch

    at, targets = torch.tensor(there, dtype=torch.float64), torch.tensor(home, dtype=torch.float64)
    above = torch.searchsorted(at, targets).clamp(1, len(there) - 1)
    weight = ((targets - at[above - 1]) / (at[above] - at[above - 1])).clamp(0, 1)
    w = weight.to(volume.dtype)[:, None, None]
    return volume[above - 1] * (1 - w) + volume[above] * w, times[above - 1] * (1 - weight) + times[above] * weight
