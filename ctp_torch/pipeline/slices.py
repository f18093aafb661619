"""Features of voxels as slices of pixels that all scans share, and answers back on the scan's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import interpolate

if TYPE_CHECKING:
    from ctp_torch.models.base import Regressor

__all__ = ["PIXEL_MM", "answers", "from_slices", "to_slices"]

PIXEL_MM = 1.75
"""Edge of a pixel that models of whole slices see [mm]: their convolutions count pixels, lesions are as large as they
are."""
_ALIKE = 1.25
"""Pixels larger or smaller by no more than this stay as they are."""

Spacing = tuple[float, float, float]


def answers(model: Regressor, features: Tensor, mask: Tensor, spacing: Spacing) -> Tensor:
    """What a model says of scaled features ``(voxels, n)`` of the masked voxels: ``(voxels, targets)``.

    Parameters
    ----------
    model
        of voxels or of slices
    features
        of the mask's voxels, row-major, as the model's recipe scales them
    mask
        ``(z, y, x)`` bool
    spacing
        distance between voxel centres along z, y, x [mm]
    """
    if model.sees == "voxels":
        return model.predict(features)
    return from_slices(model.predict(to_slices(features, mask, spacing)), mask, spacing)


def to_slices(values: Tensor, mask: Tensor, spacing: Spacing) -> Tensor:
    """Values ``(voxels, n)`` of the masked voxels as ``(slices, rows, columns, n)`` of `PIXEL_MM`, 0 outside."""
    volume = values.new_zeros(*mask.shape, values.shape[1])
    volume[mask] = values
    size = _size(mask, spacing)
    if size == tuple(mask.shape[1:]):
        return volume
    inside = mask[..., None].to(values.dtype)
    both = torch.cat([volume, inside], dim=-1).movedim(-1, 1)  # (slices, n + 1, rows, columns)
    both = interpolate(both, size=size, mode="bilinear", antialias=True, align_corners=False).movedim(1, -1)
    share = both[..., -1:]
    return torch.where(share >= 0.5, both[..., :-1] / share.clamp_min(0.5), 0.0)


def from_slices(slices: Tensor, mask: Tensor, spacing: Spacing) -> Tensor:
    """Values ``(voxels, n)`` of the masked voxels of what lies on the grid of `to_slices`; 0 is outside there."""
    if tuple(slices.shape[1:3]) == tuple(mask.shape[1:]):
        return slices[mask]
    known = (slices != 0).any(dim=-1, keepdim=True).to(slices.dtype)
    both = torch.cat([slices * known, known], dim=-1).movedim(-1, 1)
    both = interpolate(both, size=mask.shape[1:], mode="bilinear", antialias=True, align_corners=False).movedim(1, -1)
    found: Tensor = both[mask]  # (voxels, n + 1)
    return found[:, :-1] / found[:, -1:].clamp_min(1e-3)


def _size(mask: Tensor, spacing: Spacing) -> tuple[int, int]:
    """Rows and columns of the shared grid; the scan's own where its pixels are about as large."""
    if all(1 / _ALIKE <= edge / PIXEL_MM <= _ALIKE for edge in spacing[1:]):
        return mask.shape[1], mask.shape[2]
    rows, columns = (max(1, round(n * edge / PIXEL_MM)) for n, edge in zip(mask.shape[1:], spacing[1:], strict=True))
    return rows, columns
