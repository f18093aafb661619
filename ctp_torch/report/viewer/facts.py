"""The numbers beside the pictures: vessel curves, motion, quality, orientation, map values, settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ctp_torch import ops
from ctp_torch.errors import QualityError
from ctp_torch.report.viewer.packing import shrink

if TYPE_CHECKING:
    from ctp_torch.data.anatomy import Anatomy
    from ctp_torch.data.maps import PerfusionMaps
    from ctp_torch.data.provenance import Vessel
    from ctp_torch.data.series import CTPSeries
    from ctp_torch.lesions.find import Lesions
    from ctp_torch.ops import RigidMotion
    from ctp_torch.quality import Quality

__all__ = ["Orientation", "curves_of", "flat", "head_box", "map_values", "motion_of", "orientation", "quality_of"]

_LETTERS = (("L", "R"), ("P", "A"), ("H", "F"))
"""What lies at the positive and the negative end of LPS x, y and z."""
_SEARCH_EDGE = 128


class Orientation(NamedTuple):
    """How the images are turned so that the patient's right is on the left and the front is up."""

    axes: tuple[int, ...]
    """Axes of ``(z, y, x)`` to flip."""
    left: str
    """What lies at the left edge: R, L, A, P, H or F."""
    top: str
    """What lies at the upper edge."""

    def as_dict(self) -> dict[str, object]:
        """For JSON; letters of all four edges."""
        opposite = {end: other for pair in _LETTERS for end, other in (pair, pair[::-1])}
        return {
            "flip_x": 2 in self.axes,
            "flip_y": 1 in self.axes,
            "left": self.left,
            "right": opposite[self.left],
            "top": self.top,
            "bottom": opposite[self.top],
        }


def orientation(direction: tuple[float, ...]) -> Orientation:
    """Which axes of a volume to flip for the radiological view, and what lies at the edges then.

    Parameters
    ----------
    direction
        nine row-major cosines; the columns are the unit vectors of the x, y and z index axes (LPS)
    """
    axes, ends = [], []
    for column, volume_axis in ((0, 2), (1, 1)):
        along = [direction[3 * row + column] for row in range(3)]
        main = max(range(3), key=lambda row: abs(along[row]))
        flipped = along[main] > 0 if main == 2 else along[main] < 0  # feet are below, right and front come first
        axes += [volume_axis] if flipped else []
        ends.append(_LETTERS[main][0] if main == 2 else _LETTERS[main][1])
    return Orientation(tuple(sorted(axes)), ends[0], ends[1])


def head_box(head: Tensor, spacing: tuple[float, float, float], *, margin_mm: float = 6.0) -> list[float]:
    """The square in the plane that holds the head of all slices: first row, column, number of rows, columns.

    Parameters
    ----------
    head
        ``(z, y, x)`` bool; the whole image where it is empty
    spacing
        distance between voxel centres along z, y, x [mm]
    margin_mm
        around the head [mm]
    """
    rows, columns = head.shape[1:]
    seen = head.any(dim=0)
    if not bool(seen.any()):
        return [0, 0, rows, columns]
    ends = []
    for profile, step in ((seen.any(dim=1), spacing[1]), (seen.any(dim=0), spacing[2])):
        inside = profile.nonzero()
        ends.append((float(inside[0]) - margin_mm / step, float(inside[-1]) + 1 + margin_mm / step))
    edge_mm = max((high - low) * step for (low, high), step in zip(ends, spacing[1:], strict=True))
    box = []
    for (low, high), step, n in zip(ends, spacing[1:], (rows, columns), strict=True):
        length = min(float(n), edge_mm / step)
        box.append((min(max(0.0, (low + high - length) / 2), n - length), length))
    (top, height), (left, width) = box
    return [round(v, 2) for v in (top, left, height, width)]


def curves_of(
    series: CTPSeries, maps: Mapping[str, PerfusionMaps], anatomy: Anatomy
) -> dict[str, dict[str, object] | None]:
    """Arterial input and venous outflow as the maps used them, else as they are found: curve, times, voxels, source."""
    for one in maps.values():
        used = one.provenance
        if used.aif is not None and len(used.aif.curve) == series.n_frames:
            vessels = {"aif": used.aif, "vof": used.vof}
            return {name: None if v is None else _as_used(v, series) for name, v in vessels.items()}
    return _search(series, anatomy)


def motion_of(motion: RigidMotion, times: Tensor) -> dict[str, object]:
    """Of every frame: time [s], rotation [degree] and translation [mm] along x, y, z (LPS), mean displacement [mm]."""

    def rounded(values: Tensor) -> list[object]:
        return [[round(v, 4) for v in row] for row in values.tolist()]

    return {
        "times_s": [round(t, 3) for t in times.median(dim=1).values.tolist()],
        "rotation_deg": rounded(motion.rotation),
        "translation_mm": rounded(motion.translation),
        "displacement_mm": [round(v, 4) for v in ops.mean_displacement(motion).tolist()],
    }


def quality_of(quality: Quality) -> list[dict[str, object]]:
    """One entry a check: flag, name, result (flagged, passed or not measured), message."""
    rows = []
    for check in quality.checks:
        entry = check.as_dict()
        measured = bool(check.reason) or any(value is not None for value in check.values.values())
        result = "flagged" if check.raised else "passed" if measured else "not measured"
        rows.append({"flag": check.flag, "name": entry["name"], "result": result, "message": entry["message"]})
    return rows


def map_values(maps: PerfusionMaps, lesions: Lesions | None) -> list[dict[str, object]]:
    """Mean, standard deviation and median of every map in the brain, the core and the penumbra."""
    regions = {"brain": maps.mask}
    if lesions is not None:
        regions |= {"core": lesions.core, "penumbra": lesions.penumbra}
    rows: list[dict[str, object]] = []
    for quantity, volume in maps.values.items():
        for region, mask in regions.items():
            values = volume[mask.to(volume.device)]
            values = values[values.isfinite()].float()
            numbers = (values.mean(), values.std(correction=0), values.median()) if len(values) else ()
            row = dict(zip(("mean", "sd", "median"), (float(f"{float(v):.6g}") for v in numbers), strict=False))
            rows.append({"map": quantity, "region": region, "voxels": len(values), **row})
    return rows


def flat(settings: Mapping[str, object], prefix: str = "") -> list[list[str]]:
    """Nested settings as pairs of a dotted name and words; None is told as a dash."""
    pairs: list[list[str]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            pairs += flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            pairs.append([prefix + str(name), ", ".join(map(str, value))])
        else:
            pairs.append([prefix + str(name), "-" if value is None else str(value)])
    return pairs


def _as_used(vessel: Vessel, series: CTPSeries) -> dict[str, object]:
    """A vessel that maps rest on."""
    return _vessel(vessel.curve.tolist(), vessel.mask.nonzero().flip(1).tolist(), series, "as used for the maps")


def _vessel(curve: list[float], voxels: list[list[int]], series: CTPSeries, source: str) -> dict[str, object]:
    """A curve with the times of the slices it was taken in."""
    slices = sorted({z for _, _, z in voxels}) or list(range(series.geometry.shape[0]))
    times = series.times[:, slices].mean(dim=1).tolist()
    return {
        "curve_hu": [round(v, 3) for v in curve],
        "times_s": [round(t, 3) for t in times],
        "voxels_xyz": voxels,
        "source": source,
    }


def _search(series: CTPSeries, anatomy: Anatomy) -> dict[str, dict[str, object] | None]:
    """Vessels of a scan whose maps needed none, on small images: for the plot alone."""
    hu = torch.stack([shrink(slab, _SEARCH_EDGE) for slab in series.hu.unbind(1)], dim=1)
    rows, columns = series.geometry.shape[1:]
    scale = (rows / hu.shape[2], columns / hu.shape[3])
    spacing = (series.geometry.spacing[0], series.geometry.spacing[1] * scale[0], series.geometry.spacing[2] * scale[1])
    brain = shrink(anatomy.brain.float(), _SEARCH_EDGE) > 0.99
    if not bool(brain.any()):
        return {"aif": None, "vof": None}
    change = ops.enhancement(hu, anatomy.n_baseline)
    try:
        aif = ops.select_aif(change, brain, series.dt, spacing=spacing)
    except QualityError:
        return {"aif": None, "vof": None}
    vof = ops.select_vof(change, brain, series.dt, spacing=spacing, aif=aif.curve)
    curves: dict[str, dict[str, object] | None] = {}
    for name, vessel in (("aif", aif), ("vof", vof)):
        if vessel is None:
            curves[name] = None
            continue
        cells = vessel.mask.nonzero().tolist()
        voxels = [[int((x + 0.5) * scale[1]), int((y + 0.5) * scale[0]), z] for z, y, x in cells]
        curves[name] = _vessel(vessel.curve.tolist(), voxels, series, "found for this page; the maps used none")
    return curves
