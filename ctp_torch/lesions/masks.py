"""Masks of lesions tidied: specks and holes, low flow that is late in part, a core among its like, under vessels."""

from __future__ import annotations

import torch
from torch import Tensor

from ctp_torch import ops
from ctp_torch.lesions.survey import Survey
from ctp_torch.lesions.thresholds import Thresholds

__all__ = ["cleaned", "core_of", "touched", "under_vessels"]

_LATE_SHARE = 0.25
"""Of a region of low flow, the share that must be late for all of it to count as hypoperfused."""
_VESSEL_REACH_MM = 2.0
"""Gaussian in which the tissue around a vessel votes on what it hides [mm]; nothing further than twice this counts."""


def cleaned(mask: Tensor, tissue: Tensor, limits: Thresholds, voxel_ml: float) -> Tensor:
    """A hypoperfusion ``(z, y, x)`` without specks and small holes."""
    mask = ops.remove_small(mask, limits.min_hypoperfusion_ml / voxel_ml)
    return tissue & ops.fill_holes(mask, max_voxels=limits.hole_ml / voxel_ml)


def core_of(slow: Tensor, low: Tensor, surveyed: Survey, limits: Thresholds, voxel_ml: float) -> Tensor:
    """Low flow within the hypoperfusion ``(z, y, x)``, where most of the tissue around is so too."""
    core = ops.remove_small(slow & low, limits.min_core_ml / voxel_ml)
    if not (limits.core_mm and bool(core.any())):
        return core
    share = ops.smooth_inside(core.to(torch.float32), surveyed.tissue, surveyed.maps.geometry.spacing, limits.core_mm)
    return ops.remove_small(slow & (share > 0.5), limits.min_core_ml / voxel_ml)


def under_vessels(mask: Tensor, surveyed: Survey) -> Tensor:
    """Voxels of large vessels ``(z, y, x)`` most of whose tissue around is in the mask."""
    if not bool(mask.any()):
        return mask
    spacing, tissue = surveyed.maps.geometry.spacing, surveyed.tissue
    share = ops.smooth_inside(mask.to(torch.float32), tissue, spacing, _VESSEL_REACH_MM)
    return surveyed.hidden & (share > 0.5) & ops.dilate(mask, 2.0 * _VESSEL_REACH_MM, spacing)


def touched(low: Tensor, late: Tensor) -> Tensor:
    """The regions of low flow ``(z, y, x)`` of which a good part is late."""
    region = ops.connected_components(low)
    size = torch.bincount(region.flatten())
    shared = torch.bincount(region[late & low], minlength=len(size))
    keep = (shared > 0) & (shared >= _LATE_SHARE * size)
    keep[0] = False
    return keep[region]
