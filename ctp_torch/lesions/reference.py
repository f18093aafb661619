"""What lesions are measured against: normal tissue, the affected side, and flow as a share of what is normal."""

from __future__ import annotations

import torch
from torch import Tensor

from ctp_torch import ops
from ctp_torch.errors import CTPError, NoNormalTissueError
from ctp_torch.lesions.survey import BESIDE_MIDLINE_MM, FEW_ML, Survey
from ctp_torch.lesions.thresholds import Thresholds

__all__ = ["late_tissue", "low_flow", "reference_tissue", "tmax_moved"]

_MOST_MOVED_S = 2.0
"""Tmax is moved by no more than this [s]: normal tissue that lies further off isn't normal."""
_BOTH_SIDES = 0.6
"""Of the larger side's lesion, the share on the other side from which both count as affected."""


def tmax_moved(surveyed: Survey, limits: Thresholds, warnings: list[str]) -> float:
    """What is added to Tmax, so that normal tissue has the Tmax that the thresholds belong to [s]."""
    if not limits.usual_tmax:
        return 0.0
    shift = limits.usual_tmax - surveyed.usual_tmax
    if abs(shift) > _MOST_MOVED_S:
        warnings.append(
            f"normal tissue reads a Tmax of {surveyed.usual_tmax:.1f} s, the thresholds belong to "
            f"{limits.usual_tmax:g} s: either both sides are late, or the arterial input is; choose another with --aif"
        )
    return min(max(shift, -_MOST_MOVED_S), _MOST_MOVED_S)


def late_tissue(surveyed: Survey, limits: Thresholds, voxel_ml: float) -> Tensor:
    """Tissue ``(z, y, x)`` that is late: by its Tmax alone, or by a lower Tmax where flow is reduced.

    The mirrored place tells what is normal only where one side is affected: not where tissue is late by Tmax alone on
    both.
    """
    late = surveyed.tissue & (surveyed.tmax > limits.tmax)
    if not limits.reduced_rcbf:
        return late
    both = _on_both(*_sides(surveyed, ops.remove_small(late, limits.min_hypoperfusion_ml / voxel_ml)))
    normal, _ = _early(surveyed, limits, late, voxel_ml)
    flow = _relative(surveyed, "cbf", limits, normal, one_sided=not both)
    return late | (surveyed.tissue & (surveyed.tmax > limits.reduced_tmax) & (flow < limits.reduced_rcbf))


def low_flow(surveyed: Survey, limits: Thresholds, reference: Tensor, side: int) -> Tensor:
    """Tissue ``(z, y, x)`` whose flow (and volume, where asked) is too low to live."""
    low = surveyed.tissue & (_relative(surveyed, "cbf", limits, reference, one_sided=bool(side)) < limits.rcbf)
    if limits.rcbv and surveyed.cbv is not None:
        low &= _relative(surveyed, "cbv", limits, reference, one_sided=bool(side)) < limits.rcbv
    return low


def reference_tissue(
    surveyed: Survey, slow: Tensor, limits: Thresholds, voxel_ml: float, warnings: list[str]
) -> tuple[Tensor, int]:
    """Reference tissue ``(z, y, x)``, and the affected side: +1 for larger x, -1, or 0.

    Raises
    ------
    NoNormalTissueError
        no tissue lies outside ``slow``
    """
    normal, hardly_any = _early(surveyed, limits, slow, voxel_ml)
    if hardly_any:
        warnings.append(f"hardly any tissue has Tmax below {limits.normal_tmax:g} s: the earlier half is the reference")
    up, down = _sides(surveyed, slow)
    if not up + down:
        return normal, 0
    side = 1 if up > down else -1
    if _on_both(up, down):
        warnings.append("hypoperfusion on both sides: the reference is all tissue with normal Tmax")
        return normal, 0
    opposite = normal & (surveyed.side * side < -BESIDE_MIDLINE_MM)
    if int(opposite.sum()) * voxel_ml < FEW_ML:
        warnings.append("hardly any normal tissue on the other side: the reference is all tissue with normal Tmax")
        return normal, side
    return opposite, side


def _early(surveyed: Survey, limits: Thresholds, slow: Tensor, voxel_ml: float) -> tuple[Tensor, bool]:
    """Tissue ``(z, y, x)`` with normal Tmax outside ``slow``; the earlier half, and True, where there is hardly any."""
    normal = surveyed.tissue & (surveyed.tmax < limits.normal_tmax) & ~slow
    if int(normal.sum()) * voxel_ml >= FEW_ML:
        return normal, False
    spared = surveyed.tissue & ~slow
    if not bool(spared.any()):
        raise NoNormalTissueError(
            f"all tissue has Tmax above {limits.tmax:g} s, so there is nothing to compare with: the arterial input "
            "is probably early or noise; choose another with --aif"
        )
    return spared & (surveyed.tmax <= surveyed.tmax[spared].median()), True


def _sides(surveyed: Survey, mask: Tensor) -> tuple[int, int]:
    """Voxels of a mask on the side of larger x, and on the other."""
    return int((mask & (surveyed.side > 0)).sum()), int((mask & (surveyed.side < 0)).sum())


def _on_both(one: int, other: int) -> bool:
    """Whether neither side prevails."""
    return min(one, other) > _BOTH_SIDES * max(one, other)


def _relative(surveyed: Survey, name: str, limits: Thresholds, reference: Tensor, *, one_sided: bool) -> Tensor:
    """CBF or CBV as a share of normal ``(z, y, x)``.

    By the tissue's density where that is asked; else over the mirrored place, where that is asked and only one side is
    affected and something lies opposite; else over the median of the reference.
    """
    if limits.tissue_mm:
        share = surveyed.shares[name]
        return share.balanced if one_sided else share.alone
    volume, ratio = (surveyed.cbf, surveyed.cbf_ratio) if name == "cbf" else (surveyed.cbv, surveyed.cbv_ratio)
    if volume is None:
        raise CTPError("the maps hold no CBV")
    relative = volume / volume[reference].median().clamp_min(1e-6)
    if ratio is None or not (limits.mirror_mm and one_sided):
        return relative
    return torch.where(ratio.isnan(), relative, ratio)
