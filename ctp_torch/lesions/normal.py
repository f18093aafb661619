"""What flow and volume would be here, were this tissue normal: by its density, and by the mirrored place."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch import ops

__all__ = ["TISSUE_MM", "NormalShare", "normal_share"]

Spacing = tuple[float, float, float]

TISSUE_MM = 4.0
"""Gaussian on a map and on what is normal, before one is divided by the other [mm]."""
_CLASSES = 16
"""Classes of density, each with as many voxels."""
_MIRROR_WEIGHT = 0.5
"""Power of the mirrored place's own share: at 1 its noise would count in full, at 0 no place would be told."""
_MOST = 2.0
"""Of a class, values above this many times its median count as that: vessels."""
_DENSITY_MM = 1.5
"""Gaussian on the density [mm]: grey and white matter lie 6 HU apart, noise as much."""
_MIRROR_MM = 8.0
"""Gaussian on both sides before they are compared [mm]: they never match exactly."""
_MIRRORED_SHARE = 0.3
"""Of the mirrored neighbourhood, the least share that must be tissue to compare with."""
_LEAST, _MOST_APART = 0.25, 4.0
"""Mirrored shares beyond these are no normal tissue."""


class NormalShare(NamedTuple):
    """Flow or volume as a share of normal ``(z, y, x)``."""

    alone: Tensor
    """Against normal tissue of the same density."""
    balanced: Tensor
    """Against that, and half against the mirrored place, where one is."""


def normal_share(
    volume: Tensor,
    tissue: Tensor,
    normal: Tensor,
    midline: ops.Midline,
    spacing: Spacing,
    *,
    baseline: Tensor | None,
    sigma_mm: float,
) -> NormalShare:
    r"""A map over what normal tissue of the same density holds, both smoothed alike.

    Grey matter holds twice the blood of white, and a voxel is anything between: which shows in the CT before contrast.
    The mean of ``volume`` by density, over ``normal``, predicts what each voxel would hold. Both are smoothed and
    divided: :math:`s`. What differs from place to place and not by density (noise of the density, a hemisphere's own
    flow) is halved by the share on the other side, smoothed more: :math:`s / \bar s_\text{mirrored}^{1/2}`.

    Parameters
    ----------
    volume
        ``(z, y, x)``
    tissue
        ``(z, y, x)`` bool: what counts
    normal
        ``(z, y, x)`` bool: the part of it to learn from
    midline
        from `ctp_torch.ops.find_midline`
    spacing
        distance between voxel centres along z, y, x [mm]
    baseline
        ``(z, y, x)`` [HU] mean of the frames before contrast; None takes all tissue for one
    sigma_mm
        Gaussian on the map and on what is normal [mm]
    """
    expected = torch.full_like(volume, float(volume[normal].median()))
    if baseline is not None:
        density = ops.smooth_inside(torch.nan_to_num(baseline).clamp(0.0, 100.0), tissue, spacing, _DENSITY_MM)
        expected = _by_density(volume, density, normal)

    def share(width: float) -> Tensor:
        both = torch.stack((volume, expected)) * tissue
        above, below = ops.smooth_inside(both, tissue, spacing, width) if width else both
        quotient: Tensor = above / below.clamp_min(torch.finfo(volume.dtype).tiny)
        return quotient

    alone, wide = share(sigma_mm), share(_MIRROR_MM)
    held = ops.mirror(tissue.to(volume.dtype), midline, spacing)
    there = ops.mirror(wide * tissue, midline, spacing) / held.clamp_min(_MIRRORED_SHARE)
    there = torch.where(held >= _MIRRORED_SHARE, there.clamp(_LEAST, _MOST_APART), 1.0)
    return NormalShare(alone, alone / there**_MIRROR_WEIGHT)


def _by_density(volume: Tensor, density: Tensor, normal: Tensor) -> Tensor:
    """Mean of the map over normal tissue of each voxel's density ``(z, y, x)``, linear between classes."""
    seen, values = density[normal], volume[normal]
    order = seen.argsort()
    classes = [part for part in order.tensor_split(_CLASSES) if len(part)]
    centres = torch.stack([seen[part].mean() for part in classes])
    means = torch.stack([values[part].clamp_max(_MOST * values[part].median()).mean() for part in classes])
    above = torch.bucketize(density, centres).clamp(1, max(len(centres) - 1, 1))
    if len(centres) == 1:
        return means[0].expand_as(volume)
    low, high = centres[above - 1], centres[above]
    part = ((density - low) / (high - low).clamp_min(1e-6)).clamp(0.0, 1.0)
    return torch.lerp(means[above - 1], means[above], part)
