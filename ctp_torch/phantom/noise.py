"""CT noise: its texture, how it shrinks with the matrix, and where in the head it is larger."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ctp_torch.ops.image.median import median_filter

__all__ = ["noise_after_median", "noise_amplitude", "noise_images", "noise_profile"]

_REFERENCE_SIZE = 512
_REFERENCE_THICKNESS_MM = 5.0


def noise_amplitude(size: int, fov_mm: float) -> Tensor:
    """Fourier amplitude ``(size, size // 2 + 1)`` of noise whose sd is 1 at 512 x 512 pixels.

    NPS(f) ~ f exp(-(f / .35)^2) (1 - exp(-(f / .05)^2)), f in cycles per mm. A coarser matrix averages the pixels of
    the 512 one: the spectrum is multiplied by that box and folded, as if noise were made at 512 and averaged.

    Parameters
    ----------
    size
        rows and columns of the image
    fov_mm
        width of the image [mm]
    """
    k = max(1, math.ceil(_REFERENCE_SIZE / size))
    fine = fov_mm / (size * k)
    f = torch.fft.fftfreq(size * k, d=fine, dtype=torch.float64)
    radius = torch.sqrt(f[:, None] ** 2 + f[None, :] ** 2)
    power = radius * torch.exp(-((radius / 0.35) ** 2)) * -torch.expm1(-((radius / 0.05) ** 2))
    power = power / power.sum()
    box = _averaging_response(f, fine, k)
    power = power * box[:, None] * box[None, :]
    power = power.reshape(k, size, k, size).sum((0, 2))  # aliases fold onto the coarse frequencies
    return (power.sqrt() * size).float()[:, : size // 2 + 1]


def _averaging_response(f: Tensor, fine: float, k: int) -> Tensor:
    """Squared frequency response of the mean of k samples ``fine`` mm apart."""
    phase = math.pi * f * fine
    steep = torch.sin(phase)
    response: Tensor = torch.where(
        steep.abs() < 1e-12, 1.0, torch.sin(k * phase) / (k * steep.where(steep.abs() >= 1e-12, steep + 1))
    )
    return response.square()


def noise_images(n: int, amplitude: Tensor, generator: torch.Generator) -> Tensor:
    """``(n, size, size)`` independent textured noise images; sd 1 at 512 x 512, less on coarser matrices.

    Parameters
    ----------
    n
        number of images
    amplitude
        from ``noise_amplitude``
    generator
        source of randomness
    """
    size = amplitude.shape[0]
    white = torch.randn(n, size, size, generator=generator)
    images: Tensor = torch.fft.irfft2(torch.fft.rfft2(white) * amplitude, s=(size, size))
    return images


def noise_profile(size: int, fov_mm: float, heights: Tensor, *, thickness_mm: float, dose: float) -> Tensor:
    """Factor ``(z, size, size)`` on the noise: slice thickness, dose, the bowl inside the head and the skull base.

    sd ~ dose^-1/2 (thickness / 5 mm)^-1/2 [1 + .25 (1 - (r / R)^2)], up to 30 % more at the level of the petrous bone.

    Parameters
    ----------
    size
        rows and columns
    fov_mm
        width of the image [mm]
    heights
        (z,), template heights of the slices [mm]
    thickness_mm
        slice thickness
    dose
        relative to the reference of 5 HU at 512 x 512 and 5 mm
    """
    x = (torch.arange(size) - (size - 1) / 2) * (fov_mm / size) / 95.0
    bowl = 1.0 + 0.25 * (1.0 - (x[:, None] ** 2 + x[None, :] ** 2)).clamp_min(0.0)
    base = 1.0 + 0.3 * torch.sigmoid((-heights - 20.0) / 5.0)
    level = math.sqrt(_REFERENCE_THICKNESS_MM / thickness_mm / dose)
    return level * base[:, None, None] * bowl


def noise_after_median(size: int, fov_mm: float, *, n: int = 6) -> float:
    """What a 3 x 3 median leaves of noise of sd 1 at 512 x 512, measured on ``n`` images.

    Parameters
    ----------
    size
        rows and columns
    fov_mm
        width of the image [mm]
    n
        number of noise images
    """
    images = noise_images(n, noise_amplitude(size, fov_mm), torch.Generator().manual_seed(0))
    return float(median_filter(images, 3).std())
