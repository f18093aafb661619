"""One patient's scan, maps and lesions to the compact payload that the page's viewer opens."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ctp_torch import pipeline
from ctp_torch.maps import QUANTITIES
from ctp_torch.report.packing import Chunk, pack, quantize, round_step, shrink
from ctp_torch.report.viewer_facts import curves_of, flat, map_values, motion_of, orientation, quality_of

if TYPE_CHECKING:
    from ctp_torch.lesion import Lesions
    from ctp_torch.maps import PerfusionMaps
    from ctp_torch.ops import RigidMotion
    from ctp_torch.pipeline import Anatomy
    from ctp_torch.quality import Quality
    from ctp_torch.series import CTPSeries

__all__ = ["PatientView", "patient_view"]

SERIES_EDGE = 128
"""Rows and columns of the time series in a page."""
FLOOR_HU = -250.0
"""Air is shown as this [HU]: its noise would be most of the file."""
_SERIES_STEP_HU, _CT_STEP_HU = 0.5, 1.0
_MANY_SLICES, _TRIED_SLICES = 32, 6
_PAGE_SHARE = 0.98
"""Of the limit, for the voxels; the rest is for words."""


class PatientView(NamedTuple):
    """What the viewer shows of one patient: numbers as JSON, voxels as deflated arrays."""

    name: str
    """As the page calls the patient."""
    header: Mapping[str, object]
    """Shapes, steps, times, curves, lesion numbers, quality, motion, settings; JSON-able."""
    chunks: Mapping[str, Chunk]
    """``ct`` and ``lesion/N`` ``(z, y, x)``, ``series`` ``(z, time, y, x)``, ``map/N/QUANTITY`` ``(z, y, x)``."""

    @property
    def n_bytes(self) -> int:
        """Bytes of the voxels in a page, as base64."""
        return sum(4 * -(-len(chunk.data) // 3) for chunk in self.chunks.values())


def patient_view(
    *,
    name: str,
    series: CTPSeries,
    maps: Mapping[str, PerfusionMaps],
    lesions: Mapping[str, Lesions] | None = None,
    anatomy: Anatomy | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    motion: RigidMotion | None = None,
    quality: Quality | None = None,
    settings: Mapping[str, object] | None = None,
    limit_mb: float = 15.0,
) -> PatientView:
    """The payload of one patient for `ctp_torch.report.page.report_page`.

    Maps and CT keep the matrix of the series, the frames shrink to 128 x 128 by averaging. All are rounded to a step
    that the page states. Where ``limit_mb`` would be passed, only slices spread evenly over the volume are taken.

    Parameters
    ----------
    name
        as the page calls the patient; never an identity
    series
        ``(time, z, y, x)`` [HU], aligned
    maps
        label of the set (``"cSVD"``, ``"truth"``, ``"Random forest"``) to maps on the grid of the series; the first is
        shown first. Arterial and venous curves come from the first set whose notes hold them, else they are found
    lesions
        label of the set to what `ctp_torch.lesion.find_lesions` found in it; sets may be left out
    anatomy
        of the series; found when None
    ranges
        quantity to display range; that of ``QUANTITIES`` where left out
    motion
        about the patient's axes (LPS), as from `ctp_torch.ops.patient_axes`
    quality
        the checks of the series
    settings
        nested names to values, shown as they are; never an identity
    limit_mb
        most that the voxels take in the page [MB]

    Returns
    -------
    PatientView

    Raises
    ------
    ValueError
        there are no maps, a set lies on another grid than the series, or lesions belong to no set
    """
    lesions = lesions or {}
    _check(series, maps, lesions)
    anatomy = anatomy or pipeline.locate(series)
    limits = {q: tuple((ranges or {}).get(q, QUANTITIES[q].display)) for q in QUANTITIES if _holds(maps, q)}
    turned = orientation(series.geometry.direction)
    chunks, slices = _within(
        lambda chosen: _chunks(series, maps, lesions, anatomy.baseline, limits, chosen, turned.axes),
        series.geometry.shape[0],
        limit_mb * 1e6 * _PAGE_SHARE,
    )
    frames = chunks["series"].shape
    header = {
        "name": name,
        "shape": [len(slices), *series.geometry.shape[1:]],
        "slices": slices,
        "slices_in_all": series.geometry.shape[0],
        "spacing_mm": list(series.geometry.spacing),
        "orientation": turned.as_dict(),
        "times_s": [[round(t, 3) for t in series.times[:, z].tolist()] for z in slices],
        "series": {"frames": frames[1], "shape": list(frames[2:]), "floor_hu": FLOOR_HU},
        "steps": {key: chunk.step for key, chunk in chunks.items()},
        "quantities": {q: _quantity(q, limits[q]) for q in limits},
        "sets": [_described(label, found, lesions.get(label)) for label, found in maps.items()],
        "n_baseline": anatomy.n_baseline,
        "curves": curves_of(series, maps, anatomy),
        "motion": None if motion is None else motion_of(motion, series.times),
        "quality": None if quality is None else quality_of(quality),
        "settings": flat(settings or {}),
    }
    return PatientView(name, header, chunks)


def _check(series: CTPSeries, maps: Mapping[str, PerfusionMaps], lesions: Mapping[str, Lesions]) -> None:
    """Refuse parts that don't belong together."""
    if not maps:
        raise ValueError("a patient's view needs at least one set of maps")
    for label, found in maps.items():
        if found.geometry.shape != series.geometry.shape:
            raise ValueError(
                f"the maps {label!r} lie on the grid {found.geometry.shape}, the series on {series.geometry.shape}"
            )
    strange = sorted(set(lesions) - set(maps))
    if strange:
        raise ValueError(f"lesions of {', '.join(strange)}, but the maps are called {', '.join(maps)}")


def _within(make: Callable[[list[int]], dict[str, Chunk]], n: int, limit: float) -> tuple[dict[str, Chunk], list[int]]:
    """Chunks of as many slices as the limit [bytes of base64] allows, at least one."""

    def size(chunks: Mapping[str, Chunk]) -> float:
        return sum(len(chunk.data) for chunk in chunks.values()) * 4 / 3 + 4 * len(chunks)

    most = n
    if n > _MANY_SLICES:
        tried = _spread(n, _TRIED_SLICES)
        most = max(1, min(n, int(limit / (size(make(tried)) / len(tried)))))
    while True:
        slices = _spread(n, most)
        chunks = make(slices)
        if size(chunks) <= limit or most == 1:
            return chunks, slices
        most = max(1, min(most - 1, int(most * limit / size(chunks))))


def _spread(n: int, most: int) -> list[int]:
    """At most so many slice numbers, evenly over all."""
    if n <= most:
        return list(range(n))
    return sorted({int((i + 0.5) * n / most) for i in range(most)})


def _chunks(
    series: CTPSeries,
    maps: Mapping[str, PerfusionMaps],
    lesions: Mapping[str, Lesions],
    baseline: Tensor,
    limits: Mapping[str, tuple[float, ...]],
    slices: Sequence[int],
    axes: tuple[int, ...],
) -> dict[str, Chunk]:
    """Everything with voxels, turned as a radiologist looks at it."""
    chosen = torch.tensor(slices)

    def taken(volume: Tensor) -> Tensor:
        return volume.index_select(0, chosen.to(volume.device)).flip([axis - 3 for axis in axes])  # (z, y, x)

    chunks = {"ct": pack(quantize(taken(baseline).clamp_min(FLOOR_HU), _CT_STEP_HU), _CT_STEP_HU)}
    for i, (label, found) in enumerate(maps.items()):
        mask = taken(found.mask)
        for quantity, volume in found.values.items():
            step = round_step((limits[quantity][0], limits[quantity][1]))
            chunks[f"map/{i}/{quantity}"] = pack(quantize(taken(volume), step, mask), step)
        if label in lesions:
            marked = lesions[label].hypoperfusion.to(torch.int16) + lesions[label].core  # 1 penumbra, 2 core
            chunks[f"lesion/{i}"] = pack(taken(marked).to(torch.int16), 1.0)
    whole = chosen.numel() == series.geometry.shape[0]
    hu = series.hu if whole else series.hu.index_select(1, chosen.to(series.hu.device))
    frames = quantize(shrink(hu, SERIES_EDGE).clamp_min(FLOOR_HU), _SERIES_STEP_HU)  # (time, z, y, x)
    frames = frames.flip([axis - 3 for axis in axes]).transpose(0, 1)  # (z, time, y, x)
    chunks["series"] = pack(frames, _SERIES_STEP_HU, axis=1)
    return chunks


def _holds(maps: Mapping[str, PerfusionMaps], quantity: str) -> bool:
    """Whether any set has that map."""
    return any(quantity in found.values for found in maps.values())


def _quantity(name: str, limits: tuple[float, ...]) -> dict[str, object]:
    """How a map is labelled, coloured and rounded."""
    step = round_step((limits[0], limits[1]))
    return {
        "label": QUANTITIES[name].label,
        "unit": QUANTITIES[name].unit,
        "low": limits[0],
        "high": limits[1],
        "step": step,
        "decimals": max(0, -math.floor(math.log10(step))),
    }


def _described(label: str, found: PerfusionMaps, lesions: Lesions | None) -> dict[str, object]:
    """Of one set: its maps, what they measure in the brain, and the lesion's numbers."""
    return {
        "label": label,
        "maps": [q for q in QUANTITIES if q in found.values],
        "lesion": None if lesions is None else lesions.summary(),
        "values": map_values(found, lesions),
    }
