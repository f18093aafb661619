"""Perfusion maps to what a stroke team reads: core, hypoperfusion, penumbra, their volumes and ratios."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ctp_torch import ops
from ctp_torch.errors import CTPError
from ctp_torch.thresholds import Thresholds

if TYPE_CHECKING:
    from ctp_torch.geometry import Geometry
    from ctp_torch.maps import PerfusionMaps

__all__ = ["Lesions", "find_lesions", "write_lesion_tables"]

Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Lesions:
    """Masks ``(z, y, x)`` bool and the numbers that a stroke team reads."""

    core: Tensor
    """rCBF below its threshold, within the hypoperfusion."""
    hypoperfusion: Tensor
    """Tmax above its threshold."""
    severe: Tensor
    """Tmax above ``severe_tmax``, within the hypoperfusion."""
    reference: Tensor
    """The normal tissue that CBF and CBV are measured against."""
    side: str
    """The patient's side with more hypoperfusion: left, right, or none."""
    reference_cbf: float
    """Median CBF of the reference [mL/100 g/min]."""
    cbv_index: float | None
    """Mean CBV in the hypoperfusion over that of the reference; None without hypoperfusion or CBV."""
    voxel_ml: float
    """Volume of one voxel [mL], from the spacing and ``slice_mm``."""
    slice_mm: float
    """Height given to a slice [mm]."""
    thresholds: Thresholds
    """As applied."""
    warnings: tuple[str, ...]
    """What suffers, in sentences."""

    @property
    def penumbra(self) -> Tensor:
        """Hypoperfusion outside the core ``(z, y, x)``."""
        return self.hypoperfusion & ~self.core

    def volumes(self) -> dict[str, float]:
        """Volumes [mL] of core, hypoperfusion, penumbra and severe hypoperfusion."""
        masks = {
            "core": self.core,
            "hypoperfusion": self.hypoperfusion,
            "penumbra": self.penumbra,
            "severe_hypoperfusion": self.severe,
        }
        return {f"{name}_ml": round(int(mask.sum()) * self.voxel_ml, 3) for name, mask in masks.items()}

    def summary(self) -> dict[str, object]:
        """Everything for JSON: volumes, mismatch, ratios, side, reference, thresholds, spacing, warnings."""
        volumes = self.volumes()
        core, hypoperfusion = volumes["core_ml"], volumes["hypoperfusion_ml"]
        return {
            **volumes,
            "mismatch_ml": volumes["penumbra_ml"],
            "mismatch_ratio": round(hypoperfusion / core, 3) if core else None,
            "hypoperfusion_intensity_ratio": (
                round(volumes["severe_hypoperfusion_ml"] / hypoperfusion, 3) if hypoperfusion else None
            ),
            "cbv_index": None if self.cbv_index is None else round(self.cbv_index, 3),
            "side": self.side,
            "reference_cbf": round(self.reference_cbf, 3),
            "reference_ml": round(int(self.reference.sum()) * self.voxel_ml, 3),
            "slice_mm": self.slice_mm,
            "voxel_ml": round(self.voxel_ml, 6),
            "thresholds": asdict(self.thresholds),
            "warnings": list(self.warnings),
        }


def find_lesions(
    maps: PerfusionMaps,
    *,
    baseline: Tensor | None = None,
    thresholds: Thresholds | None = None,
    slice_mm: float | None = None,
) -> Lesions:
    """Core and hypoperfusion of a set of maps.

    1. Fluid, old infarcts and large vessels are left out; the maps are smoothed within the rest.
    2. Hypoperfusion is Tmax above its threshold, without specks and small holes.
    3. The side with more of it is the affected one; the reference is the median CBF of the tissue with normal Tmax on
       the *other* side of the midline. Where neither side prevails, of all tissue with normal Tmax.
    4. Core is CBF below its fraction of the reference, within the hypoperfusion.

    Parameters
    ----------
    maps
        with ``cbf`` and ``tmax``; ``cbv`` for the CBV index and the vessels
    baseline
        ``(z, y, x)`` [HU] mean of the frames before contrast, which shows fluid and old infarcts; None leaves them in
    thresholds
        conventional when None: rCBF 30 %, Tmax 6 s
    slice_mm
        height given to a slice [mm]; the distance between slices when None, so that gaps count as the slice below

    Returns
    -------
        masks and numbers

    Raises
    ------
    CTPError
        a map is missing, the mask is empty, or no tissue is normal

    References
    ----------
    Albers GW et al. Thrombectomy for stroke at 6 to 16 hours with selection by perfusion imaging. N Engl J Med
    2018;378:708-718. doi:10.1056/NEJMoa1713973 (core, Tmax and mismatch);
    Olivot JM et al. Hypoperfusion intensity ratio predicts infarct progression and functional outcome in the DEFUSE 2
    cohort. Stroke 2014;45:1018-1023. doi:10.1161/STROKEAHA.113.003857
    """
    limits = thresholds or Thresholds()
    spacing = maps.geometry.spacing
    slice_mm = spacing[0] if slice_mm is None else slice_mm
    voxel_ml = slice_mm * spacing[1] * spacing[2] / 1000.0
    warnings: list[str] = []
    tissue, midline = _tissue(maps, baseline, warnings)
    smooth = {
        name: ops.smooth_inside(torch.nan_to_num(maps[name]), tissue, spacing, limits.sigma_mm)
        if limits.sigma_mm
        else torch.nan_to_num(maps[name])
        for name in ("cbf", "tmax")
    }
    slow = tissue & (smooth["tmax"] > limits.tmax)
    slow = ops.remove_small(slow, limits.min_hypoperfusion_ml / voxel_ml)
    slow = tissue & ops.fill_holes(slow, max_voxels=limits.hole_ml / voxel_ml)
    normal = tissue & (smooth["tmax"] < limits.normal_tmax) & ~slow
    reference, positive_side = _reference(slow, normal, midline, spacing, voxel_ml, warnings)
    reference_cbf = float(smooth["cbf"][reference].median())
    core = ops.remove_small(slow & (smooth["cbf"] < limits.rcbf * reference_cbf), limits.min_core_ml / voxel_ml)
    return Lesions(
        core=core,
        hypoperfusion=slow,
        severe=slow & (smooth["tmax"] > limits.severe_tmax),
        reference=reference,
        side=_side_name(positive_side, maps.geometry),
        reference_cbf=reference_cbf,
        cbv_index=_cbv_index(maps, slow, reference),
        voxel_ml=voxel_ml,
        slice_mm=slice_mm,
        thresholds=limits,
        warnings=tuple(warnings),
    )


def write_lesion_tables(lesions: Lesions, folder: Path, *, facts: Mapping[str, object] | None = None) -> None:
    """Write ``lesion.json`` (everything) and ``lesion.csv`` (one row of it for a spreadsheet) into a folder."""
    summary = lesions.summary()
    (folder / "lesion.json").write_text(json.dumps({**summary, **(facts or {})}, indent=2) + "\n", encoding="utf-8")
    row: dict[str, object] = {k: v for k, v in summary.items() if not isinstance(v, dict | list)}
    row |= {f"threshold_{name}": value for name, value in asdict(lesions.thresholds).items()}
    row["warnings"] = "; ".join(lesions.warnings)
    with (folder / "lesion.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        writer.writeheader()
        writer.writerow(row)


def _tissue(maps: PerfusionMaps, baseline: Tensor | None, warnings: list[str]) -> tuple[Tensor, ops.Midline]:
    """Voxels of living tissue ``(z, y, x)``, and the midline."""
    for name in ("cbf", "tmax"):
        if name not in maps.values:
            raise CTPError(f"lesions need a {name} map, the maps hold {', '.join(maps.values) or 'none'}")
    spacing = maps.geometry.spacing
    finite = maps["cbf"].isfinite() & maps["tmax"].isfinite()
    mask = maps.mask & finite
    if not bool(mask.any()):
        raise CTPError("the mask of the maps is empty: there is no brain to look for lesions in")
    lost = int((maps.mask & ~finite).sum())
    if lost:
        warnings.append(f"{lost} voxels of the brain have no finite CBF or Tmax and are left out")
    midline = ops.find_midline(_symmetric_image(maps.mask, baseline, spacing), spacing)
    tissue = mask
    if baseline is None:
        warnings.append("no baseline CT was given: fluid and old infarcts are not left out")
    else:
        tissue = tissue & ~ops.csf_mask(baseline, maps.mask, spacing)
        tissue = tissue & ~ops.dilate(ops.old_infarct_mask(baseline, maps.mask, spacing, midline), 2.0, spacing)
    if "cbv" in maps.values:
        tissue = tissue & ~ops.vessel_mask(torch.nan_to_num(maps["cbv"]) * mask, spacing)
    if not bool(tissue.any()):
        raise CTPError("no tissue is left inside the mask after fluid and vessels were taken out; check the mask")
    return tissue, midline


def _symmetric_image(mask: Tensor, baseline: Tensor | None, spacing: Spacing) -> Tensor:
    """The head weighted by its density, which the skull dominates; without a CT, the mask of the maps."""
    if baseline is None or not bool((head := ops.head_mask(baseline, spacing)).any()):
        return mask.to(torch.float32)
    return torch.where(head, (torch.nan_to_num(baseline) + 300.0).clamp(0.0, 1300.0) / 1300.0, 0.0)


def _reference(
    slow: Tensor, normal: Tensor, midline: ops.Midline, spacing: Spacing, voxel_ml: float, warnings: list[str]
) -> tuple[Tensor, int]:
    """Reference tissue ``(z, y, x)``, and the affected side: +1 for larger x, -1, or 0."""
    if not bool(normal.any()):
        raise CTPError(
            "no tissue has a normal Tmax, so there is nothing to compare with: the arterial input is probably late; "
            "choose another with --aif"
        )
    shape = (slow.shape[0], slow.shape[1], slow.shape[2])
    distance = ops.signed_distance(midline, shape, spacing, slow.device)
    up, down = (int((slow & side).sum()) for side in (distance > 0, distance < 0))
    if not up + down:
        return normal, 0
    side = 1 if up > down else -1
    opposite = normal & (distance * side < -5.0)
    if min(up, down) > 0.6 * max(up, down):
        warnings.append("hypoperfusion on both sides: the reference is all tissue with normal Tmax")
        return normal, 0
    if int(opposite.sum()) * voxel_ml < 20.0:
        warnings.append("under 20 mL of normal tissue on the other side: the reference is all tissue with normal Tmax")
        return normal, side
    return opposite, side


def _side_name(side: int, geometry: Geometry) -> str:
    """The patient's side of a sign along the rows' direction; the first cosine points to the left when positive."""
    if side == 0:
        return "none"
    return "left" if side * geometry.direction[0] > 0 else "right"


def _cbv_index(maps: PerfusionMaps, slow: Tensor, reference: Tensor) -> float | None:
    """Mean CBV in the hypoperfusion over that of the reference."""
    if "cbv" not in maps.values or not bool(slow.any()):
        return None
    usual = float(torch.nan_to_num(maps["cbv"])[reference].mean())
    return float(torch.nan_to_num(maps["cbv"])[slow].mean()) / usual if usual > 0 else None
