"""Volumes read at arbitrary millimetre positions, and smooth random volumes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["gaussian_blur", "sample_volume", "smooth_noise"]


def sample_volume(
    volume: Tensor, points: Tensor, *, origin: tuple[float, float, float], spacing: float = 1.0
) -> Tensor:
    """Trilinear values of ``volume`` at LPS positions; the border value holds outside.

    Parameters
    ----------
    volume
        (z, y, x) or (channels, z, y, x), isotropic with ascending LPS axes
    points
        (..., 3), positions x, y, z [mm]
    origin
        position x, y, z of voxel (0, 0, 0) [mm]
    spacing
        distance of the voxels [mm]

    Returns
    -------
    Tensor
        (...) or (channels, ...)
    """
    field = volume if volume.ndim == 4 else volume[None]
    size = points.new_tensor([field.shape[3] - 1, field.shape[2] - 1, field.shape[1] - 1])
    grid = (points - points.new_tensor(origin)) * (2.0 / (spacing * size)) - 1.0
    flat = grid.reshape(1, 1, 1, -1, 3)
    values = F.grid_sample(field[None], flat, mode="bilinear", padding_mode="border", align_corners=True)
    values = values.reshape(field.shape[0], *points.shape[:-1])
    return values if volume.ndim == 4 else values[0]


def gaussian_blur(volume: Tensor, sigma: float) -> Tensor:
    """``(..., z, y, x)`` smoothed by a Gaussian of ``sigma`` voxels along each axis, borders repeated."""
    out = volume
    for axis in (-3, -2, -1):
        out = torch.tensordot(out, _blur_matrix(out.shape[axis], sigma, out), dims=([axis], [0])).movedim(-1, axis)
    return out.contiguous()


def _blur_matrix(n: int, sigma: float, like: Tensor) -> Tensor:
    """The ``(n, n)`` matrix of a Gaussian blur whose borders are repeated; its columns are the outputs."""
    radius = max(1, math.ceil(3 * sigma))
    offset = torch.arange(-radius, radius + 1, device=like.device)
    kernel = torch.exp(-0.5 * (offset / sigma) ** 2).to(like.dtype)
    source = (torch.arange(n, device=like.device)[:, None] + offset).clamp(0, n - 1)  # (outputs, taps)
    matrix = like.new_zeros(n, n)
    matrix.scatter_add_(1, source, (kernel / kernel.sum()).expand(n, -1).contiguous())
    return matrix.T


def smooth_noise(
    generator: torch.Generator,
    extent: tuple[float, float, float],
    *,
    spacing: float,
    sigma_mm: float,
    channels: int = 1,
) -> Tensor:
    """Fields ``(channels, z, y, x)`` of mean 0, sd 1, smooth by ``sigma_mm``, over ``extent`` (z, y, x) [mm]."""
    shape = [math.ceil(e / spacing) + 1 for e in extent]
    blur = sigma_mm / spacing
    pad = math.ceil(3 * blur)
    white = torch.randn(channels, *[n + 2 * pad for n in shape], generator=generator)
    field = gaussian_blur(white, blur)[:, pad : pad + shape[0], pad : pad + shape[1], pad : pad + shape[2]]
    x = torch.arange(-pad, pad + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (x / blur) ** 2)
    kernel = kernel / kernel.sum()
    sd = float((kernel**2).sum()) ** 1.5  # of a blurred white field
    return torch.div(field, sd)
