"""What lesions are read from before any threshold: living tissue, its smoothed maps, and its mirror image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ctp_torch import ops
from ctp_torch.errors import CTPError
from ctp_torch.lesions.normal import TISSUE_MM, NormalShare, normal_share

if TYPE_CHECKING:
    from ctp_torch.data.maps import PerfusionMaps

__all__ = ["BESIDE_MIDLINE_MM", "FEW_ML", "Survey", "survey", "uneven_ml"]

Spacing = tuple[float, float, float]

FEW_ML = 20.0
"""Less normal tissue than this is no reference [mL]."""
BESIDE_MIDLINE_MM = 5.0
"""Tissue closer to the midline than this belongs to neither side [mm]."""
_MIRRORED_SHARE = 0.3
"""Of the mirrored neighbourhood, the least share that must be tissue to compare with."""
_WIDE_SHARE = 0.9
"""Of the largest slice of the brain, the share from which a slice counts for the midline."""
_LEAST_WIDE_MM = 40.0
"""At least as many slices count as lie in this [mm]."""
_VESSEL_SHARE = 3.2
"""Large vessels hold this many times the median CBV, 9 mL/100 g in most scans: CBV itself is as wrong as the scale of
the arterial input is, which no other step here depends on."""
_LATE_S = 3.0
"""Tissue that much later than the median of the earlier side teaches nothing about what is normal [s]."""
_UNEVEN_RCBF, _UNEVEN_ML = 0.5, 3.0
"""Flow below half of that at the mirrored place is uneven, in regions from this size on [mL]."""
_METAL_HU = 2000.0
"""Denser than any bone within the skull [HU]."""
_MISSING_SHARE = 0.6
"""A side with less than this of the other's tissue lacks a part."""


class Survey(NamedTuple):
    """What doesn't depend on thresholds: the tissue, its smoothed maps, the midline, and the ratios across it."""

    maps: PerfusionMaps
    """As given."""
    tissue: Tensor
    """``(z, y, x)`` bool: the brain without fluid, old infarcts and large vessels."""
    hidden: Tensor
    """``(z, y, x)`` bool: the large vessels, which hide what tissue they run through."""
    cbf: Tensor
    """``(z, y, x)`` smoothed within the tissue [mL/100 g/min]."""
    cbv: Tensor | None
    """``(z, y, x)`` smoothed within the tissue [mL/100 g]; None without a CBV map."""
    tmax: Tensor
    """``(z, y, x)`` smoothed within the tissue [s]."""
    side: Tensor
    """``(z, y, x)`` distance from the midline [mm], negative towards the first column."""
    usual_tmax: float
    """Median Tmax of the side where it is lower [s]: of normal tissue, unless both sides are late."""
    cbf_ratio: Tensor
    """``(z, y, x)`` CBF over that of the mirrored place, both smoothed; NaN where no tissue lies there."""
    cbv_ratio: Tensor | None
    """``(z, y, x)`` as ``cbf_ratio``, of CBV; None without a CBV map."""
    shares: dict[str, NormalShare]
    """CBF, and CBV where there is one, as a share of what normal tissue of the same density holds."""
    warnings: tuple[str, ...]
    """What suffers, in sentences."""


def survey(
    maps: PerfusionMaps,
    *,
    baseline: Tensor | None = None,
    sigma_mm: float = 1.0,
    mirror_mm: float = 6.0,
    tissue_mm: float = TISSUE_MM,
) -> Survey:
    """The first, slow half of `ctp_torch.lesions.find.find_lesions`: everything that no threshold changes.

    Parameters
    ----------
    maps, baseline
        as in `ctp_torch.lesions.find.find_lesions`
    sigma_mm
        Gaussian on the maps [mm]
    mirror_mm
        Gaussian on both sides before one is divided by the other [mm]: the sides never match exactly
    tissue_mm
        Gaussian on the maps, and on what is normal for tissue of their density, before they are divided [mm]

    Raises
    ------
    CTPError
        a map is missing, or the mask is empty
    """
    warnings: list[str] = []
    spacing = maps.geometry.spacing
    tissue, hidden, midline = _tissue(maps, baseline, warnings)
    finite = {name: torch.nan_to_num(maps[name]) for name in ("cbf", "cbv", "tmax") if name in maps.values}
    side = ops.signed_distance(midline, maps.geometry.shape, spacing, tissue.device)
    _warn_of_damage(maps, tissue, side, baseline, warnings)
    smooth = {name: _smooth(volume, tissue, spacing, sigma_mm) for name, volume in finite.items()}
    ratios = {n: _ratio(finite[n], tissue, midline, spacing, mirror_mm) for n in ("cbf", "cbv") if n in finite}
    half, usual = _earlier_side(smooth["tmax"], tissue, side, maps.geometry.voxel_volume_ml)
    normal = half & (smooth["tmax"] < usual + _LATE_S)
    shares: dict[str, NormalShare] = {
        name: normal_share(finite[name], tissue, normal, midline, spacing, baseline=baseline, sigma_mm=tissue_mm)
        for name in ratios
    }
    return Survey(
        maps=maps,
        tissue=tissue,
        hidden=hidden,
        cbf=smooth["cbf"],
        cbv=smooth.get("cbv"),
        tmax=smooth["tmax"],
        side=side,
        usual_tmax=usual,
        cbf_ratio=ratios["cbf"],
        cbv_ratio=ratios.get("cbv"),
        shares=shares,
        warnings=tuple(warnings),
    )


def uneven_ml(surveyed: Survey) -> float:
    """Volume of the regions with less than half the flow of their mirrored places [mL], whatever their times."""
    voxel_ml = surveyed.maps.geometry.voxel_volume_ml
    low = surveyed.tissue & (surveyed.cbf_ratio < _UNEVEN_RCBF) & (surveyed.side.abs() > BESIDE_MIDLINE_MM)
    return int(ops.remove_small(low, _UNEVEN_ML / voxel_ml).sum()) * voxel_ml


def _warn_of_damage(
    maps: PerfusionMaps, tissue: Tensor, side: Tensor, baseline: Tensor | None, warnings: list[str]
) -> None:
    """Say what is damaged, where metal lies, and when one side of the brain lacks a part."""
    if baseline is not None:
        lost = int((ops.fill_holes(maps.mask) & ~baseline.isfinite()).sum())
        if lost:
            warnings.append(f"{lost} voxels inside the brain are NaN or infinite before the contrast and are left out")
        metal = (torch.nan_to_num(baseline) > _METAL_HU) & ops.dilate(maps.mask, 2.0, maps.geometry.spacing)
        slices = metal.flatten(1).any(dim=1).nonzero().flatten().tolist()
        if slices:
            named = ", ".join(str(z + 1) for z in slices[:8])
            warnings.append(
                f"metal in the brain (above {_METAL_HU:g} HU) in slice {named}: streaks falsify the maps there"
            )
    halves = [int((tissue & half).sum()) for half in (side < 0, side > 0)]
    if min(halves) < _MISSING_SHARE * max(halves):
        share = min(halves) / max(halves)
        warnings.append(
            f"one side holds {share:.0%} of the other's living tissue: what is missing, or old, can't be compared with"
        )


def _earlier_side(tmax: Tensor, tissue: Tensor, side: Tensor, voxel_ml: float) -> tuple[Tensor, float]:
    """The side ``(z, y, x)`` with the lower median Tmax, and that median [s]; all tissue where neither tells enough."""
    halves = [tissue & half for half in (side < -BESIDE_MIDLINE_MM, side > BESIDE_MIDLINE_MM)]
    large = [half for half in halves if int(half.sum()) * voxel_ml >= FEW_ML] or [tissue]
    medians = [float(tmax[part].median()) for part in large]
    usual = min(medians)
    return large[medians.index(usual)], usual


def _smooth(volume: Tensor, tissue: Tensor, spacing: Spacing, sigma_mm: float) -> Tensor:
    """A volume smoothed within the tissue, or as it is."""
    return ops.smooth_inside(volume, tissue, spacing, sigma_mm) if sigma_mm else volume


def _ratio(volume: Tensor, tissue: Tensor, midline: ops.Midline, spacing: Spacing, sigma_mm: float) -> Tensor:
    """A volume over its mirror image ``(z, y, x)``, both smoothed within the tissue; NaN beside the mirrored tissue."""
    here = _smooth(volume, tissue, spacing, sigma_mm)
    share = ops.mirror(tissue.to(here.dtype), midline, spacing)
    there = ops.mirror(here * tissue, midline, spacing) / share.clamp_min(_MIRRORED_SHARE)
    ratio = here / there.clamp_min(torch.finfo(here.dtype).tiny)
    return torch.where((share >= _MIRRORED_SHARE) & (there > 0), ratio, torch.nan)


def _tissue(maps: PerfusionMaps, baseline: Tensor | None, warnings: list[str]) -> tuple[Tensor, Tensor, ops.Midline]:
    """Voxels of living tissue ``(z, y, x)``, those that vessels hide, and the midline."""
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
    midline = ops.find_midline(
        _widest_slices(maps.mask, spacing[0]) * _symmetric_image(maps.mask, baseline, spacing), spacing
    )
    tissue = mask
    if baseline is None:
        warnings.append("no baseline CT was given: fluid and old infarcts are not left out")
    else:
        tissue = tissue & ~ops.csf_mask(baseline, maps.mask, spacing)
        tissue = tissue & ~ops.dilate(ops.old_infarct_mask(baseline, maps.mask, spacing, midline), 2.0, spacing)
    hidden = torch.zeros_like(tissue)
    if "cbv" in maps.values:
        hidden = tissue & _large_vessels(torch.nan_to_num(maps["cbv"]) * mask, spacing)
    tissue = tissue & ~hidden
    if not bool(tissue.any()):
        raise CTPError("no tissue is left inside the mask after fluid and vessels were taken out; check the mask")
    return tissue, hidden, midline


def _large_vessels(cbv: Tensor, spacing: Spacing) -> Tensor:
    """Voxels ``(z, y, x)`` with far more blood than the median of those that hold any, with a margin."""
    holding = cbv[cbv > 0]
    if not holding.numel():
        return torch.zeros_like(cbv, dtype=torch.bool)
    return ops.vessel_mask(cbv, spacing, threshold=_VESSEL_SHARE * float(holding.median()))


def _widest_slices(mask: Tensor, step_mm: float) -> Tensor:
    """1 on the slices where the brain is nearly as large as anywhere, 0 elsewhere ``(z, 1, 1)``.

    No head is symmetric about one plane from its base to its top: that of the slices most of the brain lies in counts,
    whether a scan covers 5 cm or 16. At least 4 cm are left, which a sideways tilt is told from.
    """
    area = mask.flatten(1).sum(dim=1)
    least = area.sort(descending=True).values[: math.ceil(_LEAST_WIDE_MM / step_mm)][-1]
    return (area >= torch.minimum(_WIDE_SHARE * area.max(), least))[:, None, None].to(torch.float32)


def _symmetric_image(mask: Tensor, baseline: Tensor | None, spacing: Spacing) -> Tensor:
    """The head weighted by its density, which the skull dominates; without a CT, the mask of the maps."""
    if baseline is None or not bool((head := ops.head_mask(baseline, spacing)).any()):
        return mask.to(torch.float32)
    return torch.where(head, (torch.nan_to_num(baseline) + 300.0).clamp(0.0, 1300.0) / 1300.0, 0.0)
