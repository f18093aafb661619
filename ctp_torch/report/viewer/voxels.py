"""The scan, maps and lesions of a patient to packed slices, as many as a page's size allows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ctp_torch.report.viewer.packing import Chunk, pack, quantize, round_step, shrink

if TYPE_CHECKING:
    from ctp_torch.data.maps import PerfusionMaps
    from ctp_torch.data.series import CTPSeries
    from ctp_torch.lesions.find import Lesions

__all__ = ["FLOOR_HU", "ROUNDINGS", "SERIES_EDGE", "Rounding", "Voxels", "pack_slices"]

SERIES_EDGE = 128
"""Rows and columns of the time series in a page."""
FLOOR_HU = -250.0
"""Air is shown as this [HU]: its noise would be most of the file."""
_CT_STEP_HU = 1.0
_TRIED = 6
"""Slices that tell how large the others will be."""
_SPARE = 0.97
"""Other slices may be larger than those tried."""

Slice = dict[str, bytes]


class Rounding(NamedTuple):
    """How exactly values are kept."""

    levels: int
    """Steps within a map's display range; a colour bar has 256."""
    series_hu: float
    """Step of the time series [HU]."""


ROUNDINGS = (Rounding(1000, 0.5), Rounding(1000, 1.0), Rounding(400, 2.0))
"""The first that lets all slices into the page."""


@dataclass(frozen=True)
class Voxels:
    """What a viewer shows, in its full matrix."""

    series: CTPSeries
    """Aligned [HU]."""
    maps: Mapping[str, PerfusionMaps]
    """By the label of the set."""
    lesions: Mapping[str, Lesions]
    """By the label of the set, where there are any."""
    baseline: Tensor
    """``(z, y, x)`` [HU]."""
    limits: Mapping[str, tuple[float, float]]
    """Quantity to display range, which sets the step."""
    flips: tuple[int, ...]
    """Axes of ``(z, y, x)`` to flip, of 1 and 2."""

    def turned(self, image: Tensor) -> Tensor:
        """``(..., y, x)`` as a radiologist looks at it."""
        return image.flip([axis - 3 for axis in self.flips])

    def images(self, z: int, levels: int) -> Slice:
        """Packed slices of the CT, the maps and the lesions."""
        images = {"ct": pack(quantize(self.turned(self.baseline[z]).clamp_min(FLOOR_HU), _CT_STEP_HU))}
        for i, (label, maps) in enumerate(self.maps.items()):
            mask = self.turned(maps.mask[z])
            for quantity, volume in maps.values.items():
                step = round_step(self.limits[quantity], levels=levels)
                images[f"map/{i}/{quantity}"] = pack(quantize(self.turned(volume[z]), step, mask))
            if label in self.lesions:
                lesions = self.lesions[label]
                marks = lesions.hypoperfusion[z].to(torch.int16) + (lesions.hypoperfusion[z] & lesions.core[z])
                images[f"lesion/{i}"] = pack(self.turned(marks).to(torch.int16))  # 1 penumbra, 2 core
        return images

    def frames(self, z: int, step: float) -> bytes:
        """A packed slice of the series ``(time, y, x)``, reduced."""
        small = self.turned(shrink(self.series.hu[:, z], SERIES_EDGE))
        return pack(quantize(small.clamp_min(FLOOR_HU), step), axes=(0,))

    def packed(self, z: int, rounding: Rounding) -> Slice:
        """Everything of a slice."""
        return {**self.images(z, rounding.levels), "series": self.frames(z, rounding.series_hu)}

    def chunks(self, packed: Mapping[int, Slice], rounding: Rounding) -> dict[str, Chunk]:
        """The slices put together, in ascending order."""
        _, rows, columns = self.series.geometry.shape
        small = tuple(shrink(self.series.hu[:1, 0], SERIES_EDGE).shape[1:])
        chunks = {}
        for key in next(iter(packed.values())):
            streams = tuple(packed[z][key] for z in sorted(packed))
            if key == "series":
                chunks[key] = Chunk(streams, (self.series.n_frames, *small), rounding.series_hu)
            else:
                units = {"ct": _CT_STEP_HU, "lesion": 1.0}
                kind, _, quantity = key.partition("/")
                limits = self.limits.get(quantity.partition("/")[2], (0.0, 1.0))
                step = units.get(kind) or round_step(limits, levels=rounding.levels)
                chunks[key] = Chunk(streams, (rows, columns), step)
        return chunks


def pack_slices(voxels: Voxels, limit: float) -> tuple[dict[str, Chunk], list[int]]:
    """Everything packed, and the slices that were taken.

    A few slices tell the size of the rest. Where all of them would pass the limit, values are rounded more roughly, and
    where that isn't enough only slices spread evenly over the volume are taken, at least one.

    Parameters
    ----------
    voxels
        what to pack
    limit
        bytes of base64
    """
    n = voxels.series.geometry.shape[0]
    with ThreadPoolExecutor(max_workers=max(1, torch.get_num_threads())) as pool:

        def encode(slices: Iterable[int], rounding: Rounding, known: dict[int, Slice]) -> dict[int, Slice]:
            new = [z for z in slices if z not in known]
            return known | dict(zip(new, pool.map(lambda z: voxels.packed(z, rounding), new), strict=True))

        tried = _spread(n, _TRIED)
        for rounding in ROUNDINGS:
            packed = encode(tried, rounding, {})
            mean = _size(packed.values()) / len(tried)
            if mean * n <= limit:
                break
        slices = _spread(n, n if mean * n <= limit else int(_SPARE * limit / mean))
        while True:
            packed = encode(slices, rounding, packed)
            size = _size(packed[z] for z in slices)
            if size <= limit or len(slices) == 1:
                return voxels.chunks({z: packed[z] for z in slices}, rounding), slices
            slices = _spread(n, min(len(slices) - 1, int(_SPARE * len(slices) * limit / size)))


def _size(packed: Iterable[Slice]) -> float:
    """Bytes of base64 of packed slices."""
    return sum(len(stream) for one in packed for stream in one.values()) * 4 / 3


def _spread(n: int, most: int) -> list[int]:
    """At most so many slice numbers, at least one, evenly over all."""
    if n <= most:
        return list(range(n))
    return [int((i + 0.5) * n / most) for i in range(max(1, most))]
