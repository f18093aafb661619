"""Gaussian smoothing of images and of time curves."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["gaussian_smooth", "smooth_in_time", "smooth_inside"]

_THIN_MM = 3.0
"""Slices closer than this are smoothed together."""
_SLICE_MM = 5.0
"""As far as a slice of this thickness averages [mm], whatever is asked for within the plane."""


def gaussian_smooth(images: Tensor, sigma: float | tuple[float, float], *, chunk: int = 64) -> Tensor:
    """Images convolved with a Gaussian, edges reflected.

    Parameters
    ----------
    images
        ``(..., y, x)``, floating point
    sigma
        standard deviation [pixels], one number or (y, x); 0 returns the images unchanged. From millimetres:
        ``sigma_mm / spacing``.
    chunk
        images convolved together, which bounds the memory

    Returns
    -------
        ``(..., y, x)``

    Raises
    ------
    ValueError
        if ``sigma`` is negative, or wider than a third of the image

    Notes
    -----
    kornia's separable filter; the kernel reaches 4 standard deviations, as in ``scipy.ndimage.gaussian_filter``.
    """
    sigma_y, sigma_x = (sigma, sigma) if isinstance(sigma, int | float) else sigma
    if min(sigma_y, sigma_x) < 0:
        raise ValueError(f"a Gaussian needs a standard deviation of at least 0 pixels, got {sigma}")
    if max(sigma_y, sigma_x) == 0:
        return images
    height, width = images.shape[-2:]
    radius_y, radius_x = math.ceil(4 * sigma_y), math.ceil(4 * sigma_x)
    if radius_y >= height or radius_x >= width:
        raise ValueError(f"a Gaussian of {sigma} pixels doesn't fit into an image of {height} x {width}")
    from kornia.filters import gaussian_blur2d

    flat = images.reshape(-1, 1, height, width)  # (images, 1, y, x)
    size = (2 * radius_y + 1, 2 * radius_x + 1)
    widths = (max(sigma_y, 1e-3), max(sigma_x, 1e-3))
    parts = [gaussian_blur2d(part, size, widths, border_type="reflect") for part in flat.split(chunk)]
    return torch.cat(parts).reshape(images.shape)


def smooth_inside(volumes: Tensor, mask: Tensor, spacing: tuple[float, float, float], sigma_mm: float) -> Tensor:
    r"""A Gaussian that looks at masked voxels alone, so that nothing leaks in at the rim.

    In the plane; through slices too where they are at most 3 mm apart, or thin ones would be that much noisier: by
    ``sigma_mm``, but no further than a slice of 5 mm averages: :math:`\sqrt{(5^2 - d^2) / 12}` mm for slices ``d`` mm
    apart. More would mix early tissue into a lesion, whose Tmax would read shorter than in thick slices of the same
    head. Bone that moves by a tenth of a millimetre outshines the bolus; smoothed across the skull, it would be
    perfusion.

    Parameters
    ----------
    volumes
        ``(..., z, y, x)``
    mask
        ``(z, y, x)`` bool: the voxels that count
    spacing
        distance between voxel centres along z, y, x [mm]
    sigma_mm
        standard deviation [mm]

    Returns
    -------
        ``(..., z, y, x)``, also for voxels beside the mask as far as the Gaussian reaches; 0 beyond
    """
    sigma = (sigma_mm / spacing[1], sigma_mm / spacing[2])
    values = volumes if volumes.is_floating_point() else volumes.to(torch.float32)
    masked = gaussian_smooth(torch.where(mask, values, 0.0), sigma)
    share = gaussian_smooth(mask.to(values.dtype), sigma)
    if spacing[0] <= _THIN_MM and values.shape[-3] > 1:
        through = min(sigma_mm, math.sqrt((_SLICE_MM**2 - spacing[0] ** 2) / 12.0))  # [mm]
        masked, share = (_smooth_through(part, through / spacing[0]) for part in (masked, share))
    return masked / share.clamp_min(1e-6)


def _smooth_through(volumes: Tensor, sigma: float, *, chunk: int = 8) -> Tensor:
    """Volumes ``(..., z, y, x)`` convolved along z with a Gaussian of ``sigma`` slices; beyond the ends they are 0."""
    radius = math.ceil(4 * sigma)
    offsets = torch.arange(-radius, radius + 1, device=volumes.device, dtype=volumes.dtype)
    weights = torch.exp(-0.5 * (offsets / max(sigma, 1e-3)).square())
    weights = (weights / weights.sum())[None, None, :, None]
    flat = volumes.reshape(-1, 1, volumes.shape[-3], volumes.shape[-2] * volumes.shape[-1])
    parts = [F.conv2d(part, weights, padding=(radius, 0)) for part in flat.split(chunk)]
    return torch.cat(parts).reshape(volumes.shape)


def smooth_in_time(curves: Tensor) -> Tensor:
    """Curves convolved with ``[1/4, 1/2, 1/4]`` along the first axis, the ends repeated.

    Parameters
    ----------
    curves
        ``(time, ...)``

    Returns
    -------
        ``(time, ...)``
    """
    if curves.shape[0] < 2:
        return curves
    smooth = curves * 0.5
    smooth[1:] += 0.25 * curves[:-1]
    smooth[:-1] += 0.25 * curves[1:]
    smooth[0] += 0.25 * curves[0]
    smooth[-1] += 0.25 * curves[-1]
    return smooth
