"""Gaussian smoothing of images and of time curves."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ctp_torch.ops.compute.compiled import fused_library
from ctp_torch.ops.compute.gradients import gradient_asked
from ctp_torch.ops.compute.threads import in_threads, n_threads

__all__ = ["gaussian_smooth", "smooth_beside", "smooth_in_time", "smooth_inside"]

_COMPILED = {torch.float32: "float", torch.float64: "double"}
_THIN_MM = 3.0
"""Slices closer than this are smoothed together."""
_SLICE_MM = 5.0
"""As far as a slice of this thickness averages [mm], whatever is asked for within the plane."""
_LEAST_SHARE = 0.02
"""Of the Gaussian, the share that must be tissue for a mean of it to be one."""


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
    By compiled loops on a processor; else rows and columns by a matrix product each, which outruns a convolution many
    times over at these sizes. The kernel reaches 4 standard deviations, as ``scipy.ndimage.gaussian_filter``'s. Where a
    gradient is asked for, kornia's separable filter, which autograd follows.
    """
    sigma_y, sigma_x = (sigma, sigma) if isinstance(sigma, int | float) else sigma
    if min(sigma_y, sigma_x) < 0:
        raise ValueError(f"a Gaussian needs a standard deviation of at least 0 pixels, got {sigma}")
    if max(sigma_y, sigma_x) == 0:
        return images
    height, width = images.shape[-2:]
    if math.ceil(4 * sigma_y) >= height or math.ceil(4 * sigma_x) >= width:
        raise ValueError(f"a Gaussian of {sigma} pixels doesn't fit into an image of {height} x {width}")
    flat = images.reshape(-1, height, width)
    if gradient_asked(images):
        return _followed(flat, (sigma_y, sigma_x), chunk).reshape(images.shape)
    result = torch.empty_like(flat, memory_format=torch.contiguous_format)
    if flat.dtype in _COMPILED and fused_library(flat.device) is not None:
        parts = n_threads(flat.device, work=flat.numel() * math.ceil(4 * (sigma_y + sigma_x)))
        pairs = list(zip(flat.contiguous().chunk(parts), result.chunk(parts), strict=True))
        in_threads(lambda pair: _compiled(*pair, (sigma_y, sigma_x)), pairs, device=flat.device)
        return result.reshape(images.shape)
    down, across = (_gaussian_matrix(n, s).to(images) for n, s in ((height, sigma_y), (width, sigma_x)))
    for part, out in zip(flat.split(chunk), result.split(chunk), strict=True):
        torch.matmul(down, part @ across.T, out=out)
    return result.reshape(images.shape)


def _compiled(images: Tensor, out: Tensor, sigma: tuple[float, float]) -> None:
    """``out`` by the compiled loops."""
    function = getattr(fused_library(images.device), f"gaussian_{_COMPILED[images.dtype]}")
    down, across = (_weights(one)[math.ceil(4 * one) :].to(images.dtype) for one in sigma)
    memory = images.new_empty(images.shape[2] + 2 * len(across))
    kernels = down.data_ptr(), len(down) - 1, across.data_ptr(), len(across) - 1
    function(images.data_ptr(), *images.shape, *kernels, out.data_ptr(), memory.data_ptr())


def _weights(sigma: float) -> Tensor:
    """Of a Gaussian, ``4 sigma`` to both sides, in float64; they sum to 1."""
    radius = math.ceil(4 * sigma)
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1).double() / max(sigma, 1e-3)).square())
    return weights / weights.sum()


def _followed(images: Tensor, sigma: tuple[float, float], chunk: int) -> Tensor:
    """The same of ``(n, y, x)`` by operations that autograd follows."""
    from kornia.filters import gaussian_blur2d

    size = (2 * math.ceil(4 * sigma[0]) + 1, 2 * math.ceil(4 * sigma[1]) + 1)
    widths = (max(sigma[0], 1e-3), max(sigma[1], 1e-3))
    parts = [gaussian_blur2d(part[:, None], size, widths, border_type="reflect") for part in images.split(chunk)]
    return torch.cat(parts)


def _gaussian_matrix(n: int, sigma: float) -> Tensor:
    """A Gaussian along ``n`` samples, the ends mirrored, as a matrix ``(n, n)`` in float64."""
    radius = math.ceil(4 * sigma)
    at = (torch.arange(n)[:, None] + torch.arange(-radius, radius + 1)).abs()  # (n, offsets)
    at = (n - 1) - ((n - 1) - at).abs()
    return torch.zeros(n, n, dtype=torch.float64).scatter_add_(1, at, _weights(sigma).expand(n, -1))


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
    values = volumes if volumes.is_floating_point() else volumes.to(torch.float32)
    result, _ = _masked_mean(values, mask, spacing, sigma_mm)
    return result


def smooth_beside(
    volumes: Tensor,
    mask: Tensor,
    vessels: Tensor,
    spacing: tuple[float, float, float],
    sigma_mm: float,
    *,
    partly: Tensor | None = None,
) -> Tensor:
    """Tissue smoothed by the tissue around it as `smooth_inside` does, vessels left out of it.

    A vessel holds twenty times the blood of the tissue beside it: a Gaussian across it spreads flow over several
    millimetres that isn't there, and what it takes from the vessel nobody needs. Vessels keep their values. A voxel
    that a vessel reaches into is left out as well; it takes on the tissue beside it, where some is in reach.

    Parameters
    ----------
    volumes
        ``(..., z, y, x)``
    mask
        ``(z, y, x)`` bool: tissue and vessels; nothing else counts
    vessels
        ``(z, y, x)`` bool: left out, and left as they are
    spacing
        distance between voxel centres along z, y, x [mm]
    sigma_mm
        standard deviation [mm]
    partly
        ``(z, y, x)`` bool: left out, and filled with the tissue beside

    Returns
    -------
        ``(..., z, y, x)``

    References
    ----------
    Wack DS, Snyder KV, Seals KF, Siddiqui AH. Masked smoothing using separable kernels for CT perfusion images. BMC Med
    Imaging 2014;14:28. doi:10.1186/1471-2342-14-28
    """
    values = volumes if volumes.is_floating_point() else volumes.to(torch.float32)
    tissue = mask & ~vessels if partly is None else mask & ~vessels & ~partly
    result, share = _masked_mean(values, tissue, spacing, sigma_mm)
    alone = mask & (vessels | (share < _LEAST_SHARE))
    result[..., alone] = values[..., alone]
    return result


def _masked_mean(
    values: Tensor, mask: Tensor, spacing: tuple[float, float, float], sigma_mm: float
) -> tuple[Tensor, Tensor]:
    """Values smoothed within the mask ``(..., z, y, x)``, and the mask's share of the Gaussian ``(z, y, x)``."""
    sigma = (sigma_mm / spacing[1], sigma_mm / spacing[2])
    box = _box(mask, [math.ceil(4 * one) for one in sigma])  # half of a picture is air, which takes as long as a brain
    inner = mask[:, box[0], box[1]]
    masked = gaussian_smooth(torch.where(inner, values[..., box[0], box[1]], 0.0), sigma)
    part = gaussian_smooth(inner.to(values.dtype), sigma)
    if spacing[0] <= _THIN_MM and values.shape[-3] > 1:
        through = min(sigma_mm, math.sqrt((_SLICE_MM**2 - spacing[0] ** 2) / 12.0))  # [mm]
        masked, part = (_smooth_through(one, through / spacing[0]) for one in (masked, part))
    if inner.shape == mask.shape:
        return masked / part.clamp_min(1e-6), part
    result, share = torch.zeros_like(values), values.new_zeros(mask.shape)
    result[..., box[0], box[1]] = masked / part.clamp_min(1e-6)
    share[:, box[0], box[1]] = part
    return result, share


def _box(mask: Tensor, margin: list[int]) -> list[slice]:
    """Rows and columns that hold a mask ``(z, y, x)`` and a margin (y, x) around it, as far as the image goes."""
    box = []
    for axis, extra, length in zip((1, 2), margin, mask.shape[1:], strict=True):
        held = mask.any(dim=3 - axis).any(dim=0).nonzero().flatten()
        ends = (int(held[0]) - extra, int(held[-1]) + 1 + extra) if held.numel() else (0, length)
        box.append(slice(max(0, ends[0]), min(length, ends[1])))
    return box


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
