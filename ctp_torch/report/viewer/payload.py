"""One patient's scan, maps and lesions to the compact payload that the page's viewer opens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from ctp_torch.data.maps import in_order, named_quantity
from ctp_torch.report.lesions import conventional_numbers
from ctp_torch.report.viewer.facts import curves_of, flat, head_box, map_values, motion_of, orientation, quality_of
from ctp_torch.report.viewer.packing import Chunk
from ctp_torch.report.viewer.voxels import FLOOR_HU, Voxels, pack_slices

if TYPE_CHECKING:
    from ctp_torch.data.anatomy import Anatomy
    from ctp_torch.data.maps import PerfusionMaps
    from ctp_torch.data.series import CTPSeries
    from ctp_torch.lesions.find import Lesions
    from ctp_torch.ops import RigidMotion
    from ctp_torch.quality import Quality

__all__ = ["PatientView", "patient_view"]

_PAGE_SHARE = 0.98
"""Of the limit, for the voxels; the rest is for words."""


class PatientView(NamedTuple):
    """What the viewer shows of one patient: numbers as JSON, voxels as deflated arrays."""

    name: str
    """As the page calls the patient."""
    header: Mapping[str, object]
    """Shapes, steps, times, curves, lesion numbers, quality, motion, settings; JSON-able."""
    chunks: Mapping[str, Chunk]
    """``ct``, ``lesion/N`` and ``map/N/QUANTITY`` of slices ``(y, x)``, ``series`` of slices ``(time, y, x)``."""

    @property
    def n_bytes(self) -> int:
        """Bytes of the voxels in a page, as base64."""
        return sum(4 * -(-sum(chunk.lengths) // 3) for chunk in self.chunks.values())


def patient_view(
    *,
    name: str,
    series: CTPSeries,
    maps: Mapping[str, PerfusionMaps],
    lesions: Mapping[str, Lesions] | None = None,
    conventional: Mapping[str, Lesions] | None = None,
    no_volumes: Mapping[str, str] | None = None,
    anatomy: Anatomy,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    motion: RigidMotion | None = None,
    quality: Quality | None = None,
    settings: Mapping[str, object] | None = None,
    limit_mb: float = 15.0,
) -> PatientView:
    """The payload of one patient for `ctp_torch.report.viewer.page.report_page`.

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
        shown first. Arterial and venous curves come from the first set whose provenance holds them, else they are found
    lesions
        label of the set to what `ctp_torch.lesions.find.find_lesions` found in it; sets may be left out
    conventional
        label of the set to the same by conventional thresholds, whose volumes stand beside
    no_volumes
        label of the set to why it has no lesions
    anatomy
        of the series
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
    names = in_order(name for one in maps.values() for name in one.values)
    limits = {name: (ranges or {}).get(name, named_quantity(name).display) for name in names}
    turned = orientation(series.geometry.direction)
    voxels = Voxels(series, maps, lesions, anatomy.baseline, limits, turned.axes)
    chunks, slices = pack_slices(voxels, limit_mb * 1e6 * _PAGE_SHARE)
    frames = chunks["series"].shape
    header = {
        "name": name,
        "shape": [len(slices), *series.geometry.shape[1:]],
        "slices": slices,
        "slices_in_all": series.geometry.shape[0],
        "spacing_mm": list(series.geometry.spacing),
        "orientation": turned.as_dict(),
        "head": head_box(anatomy.head.flip([axis - 3 for axis in turned.axes]), series.geometry.spacing),
        "times_s": [[round(t, 3) for t in series.times[:, z].tolist()] for z in slices],
        "series": {"frames": frames[0], "shape": list(frames[1:]), "floor_hu": FLOOR_HU},
        "steps": {key: chunk.step for key, chunk in chunks.items()},
        "lengths": {key: chunk.lengths for key, chunk in chunks.items()},
        "quantities": {q: _quantity(q, limits[q], chunks) for q in limits},
        "sets": [
            _described(label, map_set, lesions.get(label), conventional or {}, no_volumes or {})
            for label, map_set in maps.items()
        ],
        "n_baseline": anatomy.n_baseline,
        "curves": curves_of(series, maps, anatomy),
        "motion": None if motion is None else motion_of(motion, series.times),
        "quality": None if quality is None else quality_of(quality),
        "warnings": _warnings(series, maps, lesions),
        "settings": flat(settings or {}),
    }
    return PatientView(name, header, chunks)


def _warnings(series: CTPSeries, maps: Mapping[str, PerfusionMaps], lesions: Mapping[str, Lesions]) -> list[str]:
    """What reading, maps and lesions warned of, once each."""
    lines = [*series.provenance.warnings, *(line for one in maps.values() for line in one.provenance.warnings)]
    return list(dict.fromkeys([*lines, *(line for one in lesions.values() for line in one.warnings)]))


def _check(series: CTPSeries, maps: Mapping[str, PerfusionMaps], lesions: Mapping[str, Lesions]) -> None:
    """Refuse parts that don't belong together."""
    if not maps:
        raise ValueError("a patient's view needs at least one set of maps")
    for label, map_set in maps.items():
        if map_set.geometry.shape != series.geometry.shape:
            raise ValueError(
                f"the maps {label!r} lie on the grid {map_set.geometry.shape}, the series on {series.geometry.shape}"
            )
    unmatched = sorted(set(lesions) - set(maps))
    if unmatched:
        raise ValueError(f"lesions of {', '.join(unmatched)}, but the maps are called {', '.join(maps)}")


def _quantity(name: str, limits: tuple[float, float], chunks: Mapping[str, Chunk]) -> dict[str, object]:
    """How a map is labelled, coloured and rounded."""
    step = next(chunk.step for key, chunk in chunks.items() if key.endswith(f"/{name}"))
    return {
        "label": named_quantity(name).label,
        "unit": named_quantity(name).unit,
        "low": limits[0],
        "high": limits[1],
        "step": step,
        "decimals": max(0, -math.floor(math.log10(step))),
    }


def _described(
    label: str,
    maps: PerfusionMaps,
    lesions: Lesions | None,
    conventional: Mapping[str, Lesions],
    no_volumes: Mapping[str, str],
) -> dict[str, object]:
    """Of one set: its maps, what they measure in the brain, and the lesion's numbers, or why there are none."""
    return {
        "label": label,
        "maps": in_order(maps.values),
        "lesion": None if lesions is None else {**lesions.summary(), **conventional_numbers(conventional.get(label))},
        "no_volumes": no_volumes.get(label, "not measured"),
        "values": map_values(maps, lesions),
    }
