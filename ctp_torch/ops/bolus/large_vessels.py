"""Enhancement to the voxels that hold a large vessel, or a part of one: before any smoothing and any deconvolution."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.ops.bolus.concentration import curve_noise
from ctp_torch.ops.image.morphology import opening
from ctp_torch.ops.image.smoothing import smooth_in_time

__all__ = ["LargeVessels", "find_large_vessels"]

_PARTLY, _MOSTLY = 2.4, 10.0
"""Times the blood of normal tissue. Blood alone reaches 15 to 30 times: the first is a twentieth of a voxel, more than
grey matter has over white; the second is close to half of one."""
_TISSUE, _ABOVE_NOISE = 1.6, 3.5
"""A vessel stands above 1.6 times normal tissue, as grey matter may hold, by this many standard deviations of noise."""
_WIDE_MM = 4.0
"""No partial volume of a vessel is wider than twice this [mm]: what is, is tissue with much blood, such as a tumour."""
_CHUNK = 2**20


class LargeVessels(NamedTuple):
    """Voxels with far more blood than tissue holds."""

    mostly: Tensor
    """``(z, y, x)`` bool: filled by a vessel for the larger part."""
    partly: Tensor
    """``(z, y, x)`` bool: tissue beside a vessel that reaches into the voxel, none of ``mostly``."""

    @property
    def any(self) -> Tensor:
        """``(z, y, x)`` bool: both."""
        return self.mostly | self.partly


def find_large_vessels(enhancement: Tensor, mask: Tensor, spacing: tuple[float, float, float]) -> LargeVessels:
    r"""The large vessels of a scan, told from tissue by the height of each curve.

    The height of a curve is its projection on the median curve of the mask, :math:`\langle c, m \rangle / \langle m,
    m \rangle` with :math:`m` less its mean: close to its blood volume over that of normal tissue, and of all linear
    measures the one with least noise. Normal is the median of what holds blood at all, so that neither the scale of the
    arterial input nor the size of the ventricles counts. A voxel is partly a vessel from 2.4 times that, and mostly
    from 10 times; above what noise adds to grey matter in either case: noise makes no vessels, it hides them.

    Parameters
    ----------
    enhancement
        ``(time, z, y, x)`` [HU], not smoothed in space
    mask
        ``(z, y, x)`` bool, the brain
    spacing
        distance between voxel centres along z, y, x [mm]

    Returns
    -------
    LargeVessels
        none where no bolus is seen
    """
    mostly, partly = torch.zeros_like(mask), torch.zeros_like(mask)
    index = torch.nonzero(mask.flatten()).squeeze(-1)
    if not index.numel():
        return LargeVessels(mostly, partly)
    flat = enhancement.flatten(1)
    few = torch.nan_to_num(flat[:, index[:: max(1, len(index) // 100_000)]])  # an even subset is plenty for medians
    typical = few.median(dim=1).values
    shape = smooth_in_time(typical)
    shape = shape - shape.mean()
    scale = shape @ typical
    if not float(scale) > 0:
        return LargeVessels(mostly, partly)
    height = torch.cat([torch.nan_to_num(shape @ flat[:, rows] / scale) for rows in index.split(_CHUNK)])  # (voxels,)
    some = height[:: max(1, len(height) // 100_000)]
    normal = some[some >= some.quantile(0.75) / 2.0].median()
    noise = curve_noise(few.T) * shape.norm() / scale  # of a height; the baseline's cancels, since the shape sums to 0
    least = torch.maximum(_PARTLY * normal, _TISSUE * normal + _ABOVE_NOISE * noise)
    mostly.view(-1)[index] = height >= torch.maximum(_MOSTLY * normal, least)
    partly.view(-1)[index] = height >= least
    partly &= ~mostly
    return LargeVessels(mostly, partly & ~opening(partly, _WIDE_MM, spacing))
