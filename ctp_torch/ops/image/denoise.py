"""Noise taken out of a low-dose series before anything is measured: by alike neighbours, by patches, by itself."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["denoise_bilateral", "denoise_by_itself", "denoise_low_rank"]

_BAND = 2**27
"""Values of all windows of a band of rows that are held at once."""
_PATCHES = 4096
"""Decomposed at once."""
_NEIGHBOURS = (-2, -1, 1, 2)
"""Frames that a frame is told from."""
_CROP, _BATCH = 48, 8
_CUBIC = (-1 / 6, 4 / 6, 4 / 6, -1 / 6)
"""Interpolation of a smooth curve from these frames."""


def denoise_bilateral(
    volumes: Tensor, spacing: tuple[float, float, float], *, noise: float, sigma_mm: float = 3.0, strength: float = 0.7
) -> Tensor:
    r"""Every curve as the mean of those around it that run alike: a bilateral filter on time-intensity profiles.

    .. math:: w(x, y) = \exp\!\Big(-\frac{|x-y|^2}{2 \sigma^2}\Big)
              \exp\!\Big(-\frac{\sum_t (c_t(x) - c_t(y))^2}{2 \cdot 2 T (s\,\sigma_n)^2}\Big)

    Two voxels of one tissue differ by :math:`2 T \sigma_n^2` in the sum of squares, by noise alone.

    Parameters
    ----------
    volumes
        ``(time, z, y, x)`` [HU]
    spacing
        distance between voxel centres along z, y, x [mm]
    noise
        standard deviation of a frame's noise :math:`\sigma_n` [HU]
    sigma_mm
        of the Gaussian in the plane [mm]
    strength
        :math:`s`; higher mixes more

    Returns
    -------
        ``(time, z, y, x)``

    Raises
    ------
    ValueError
        for noise, width or strength that is not positive

    Notes
    -----
    kornia's bilateral filter with the frames as channels.

    References
    ----------
    Mendrik AM, Vonken E, van Ginneken B, et al. TIPS bilateral noise reduction in 4D CT perfusion scans produces
    high-quality cerebral blood flow maps. Phys Med Biol 2011;56:3857. doi:10.1088/0031-9155/56/13/008
    """
    from kornia.filters import bilateral_blur

    if not (noise > 0 and sigma_mm > 0 and strength > 0):
        raise ValueError(f"noise, sigma_mm and strength must be positive, got {noise}, {sigma_mm} and {strength}")
    n_frames, n_slices, height, width = volumes.shape
    sigma = (sigma_mm / spacing[1], sigma_mm / spacing[2])
    radius = [
        min(max(1, math.ceil(2 * one)), (side - 1) // 2) for one, side in zip(sigma, (height, width), strict=True)
    ]
    size = (2 * radius[0] + 1, 2 * radius[1] + 1)
    color = strength * noise * math.sqrt(2 * n_frames)
    rows = max(1, _BAND // (n_frames * width * size[0] * size[1]))
    result = torch.empty_like(volumes)
    for z in range(n_slices):
        padded = F.pad(volumes[:, z][None], (0, 0, radius[0], radius[0]), mode="reflect")
        for top in range(0, height, rows):
            bottom = min(height, top + rows)
            band = padded[:, :, top : bottom + 2 * radius[0]]
            smooth = bilateral_blur(band, size, color, sigma, border_type="reflect", color_distance_type="l2")
            result[:, z, top:bottom] = smooth[0, :, radius[0] : radius[0] + bottom - top]
    return result


def denoise_low_rank(volumes: Tensor, mask: Tensor, *, noise: float, patch: int = 8) -> Tensor:
    r"""Patches of curves cut to the rank that stands out of the noise, averaged where they overlap.

    The singular values of pure noise ``(time, pixels)`` end at :math:`\sigma_n (\sqrt{T} + \sqrt{P})`; what lies below
    is left out.

    Parameters
    ----------
    volumes
        ``(time, z, y, x)`` [HU]
    mask
        ``(z, y, x)`` bool: patches that hold none of it are left as they are
    noise
        standard deviation of a frame's noise [HU]; correlated between pixels it counts as higher than it is
    patch
        edge of a patch [pixels]; they overlap by half

    Returns
    -------
        ``(time, z, y, x)``

    Raises
    ------
    ValueError
        for noise that is not positive, or a patch that doesn't fit into the image

    References
    ----------
    Gavish M, Donoho DL. The optimal hard threshold for singular values is 4/sqrt(3). IEEE Trans Inf Theory
    2014;60:5040.
    Veraart J, Novikov DS, Christiaens D, et al. Denoising of diffusion MRI using random matrix theory. NeuroImage
    2016;142:394.
    """
    n_frames, _, height, width = volumes.shape
    if not noise > 0 or not 2 <= patch <= min(height, width):
        raise ValueError(
            f"noise must be positive and a patch 2 to {min(height, width)} pixels, got {noise} and {patch}"
        )
    edge = noise * (math.sqrt(n_frames) + patch)
    step = patch // 2
    total, count = torch.zeros_like(volumes), volumes.new_zeros(mask.shape)
    corners = _corners(mask, patch, step)
    inside = torch.arange(patch, device=mask.device)
    for some in corners.split(_PATCHES):
        z, y, x = some[:, 0, None, None], some[:, 1, None, None], some[:, 2, None, None]
        index = (z, y + inside[:, None], x + inside)  # (patches, patch, patch)
        flat = volumes[:, index[0], index[1], index[2]].flatten(2).movedim(1, 0)  # (patches, time, pixels)
        u, s, vt = torch.linalg.svd(flat, full_matrices=False)
        kept = (u * torch.where(s > edge, s, 0.0)[:, None]) @ vt
        place = tuple(axis.flatten() for axis in torch.broadcast_tensors(*index))
        total.movedim(0, -1).index_put_(place, kept.movedim(1, -1).reshape(-1, n_frames), accumulate=True)
        count.index_put_(place, count.new_ones(len(place[0])), accumulate=True)
    return torch.where(count > 0, total / count.clamp_min(1.0), volumes)


def _corners(mask: Tensor, patch: int, step: int) -> Tensor:
    """First voxels ``(patches, 3)`` of patches that hold some of the mask; the last ones end at the border."""
    height, width = mask.shape[1:]
    ys, xs = (sorted({*range(0, n - patch + 1, step), n - patch}) for n in (height, width))
    held = F.max_pool2d(mask.float()[:, None], patch, stride=1)[:, 0] > 0  # (z, corners y, corners x)
    grid = held[:, ys][:, :, xs].nonzero()
    at_y, at_x = torch.tensor(ys, device=mask.device), torch.tensor(xs, device=mask.device)
    return torch.stack((grid[:, 0], at_y[grid[:, 1]], at_x[grid[:, 2]]), dim=1)


def denoise_by_itself(volumes: Tensor, mask: Tensor, *, steps: int = 300, channels: int = 24, seed: int = 0) -> Tensor:
    """Every frame told from the frames before and after it, by a small network that learned this on the scan itself.

    The noise of a frame is independent of its neighbours', so that nothing about it can be learned from them: what the
    network tells is signal. It corrects a cubic interpolation in time by three convolutions in the plane.

    Parameters
    ----------
    volumes
        ``(time, z, y, x)`` [HU], at least 5 frames
    mask
        ``(z, y, x)`` bool: where it learns
    steps
        of training
    channels
        width of the network
    seed
        of its first weights and of the crops

    Returns
    -------
        ``(time, z, y, x)``; the first and last two frames are told from those on one side

    Raises
    ------
    ValueError
        for fewer than 5 frames

    References
    ----------
    Lehtinen J, Munkberg J, Hasselgren J, et al. Noise2Noise: learning image restoration without clean data. ICML 2018.
    """
    n_frames = len(volumes)
    if n_frames < 5:
        raise ValueError(f"frames are told from two on either side: 5 at least, got {n_frames}")
    generator = torch.Generator().manual_seed(seed)
    known = volumes[:, mask]
    middle, scale = float(known.mean()), float(known.std()) or 1.0
    images = (volumes - middle) / scale
    network = _network(channels, generator).to(volumes)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    voxels = mask.nonzero()
    for _ in range(steps):
        pick = voxels[torch.randint(len(voxels), (_BATCH,), generator=generator).to(voxels.device)]
        frame = torch.randint(n_frames, (_BATCH,), generator=generator)
        given, wanted, weight = _crops(images, mask, pick, frame)
        loss = ((_told(network, given) - wanted).square() * weight).sum() / weight.sum().clamp_min(1.0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    result = torch.empty_like(volumes)
    with torch.no_grad():
        for t in range(n_frames):
            given = torch.stack([images[_mirrored(t + n, n_frames)] for n in _NEIGHBOURS], dim=1)  # (z, 4, y, x)
            result[t] = middle + scale * _told(network, given)
    return result


def _network(channels: int, generator: torch.Generator) -> nn.Sequential:
    """Three convolutions, weights drawn by the generator; the last are 0, so that training begins at interpolation."""
    layers = nn.Sequential(
        nn.Conv2d(len(_NEIGHBOURS), channels, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(channels, 1, 3, padding=1),
    )
    with torch.no_grad():
        for parameter in layers.parameters():
            spread = math.sqrt(2.0 / parameter[0].numel()) if parameter.ndim > 1 else 0.0
            parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
        for parameter in layers[-1].parameters():
            parameter.zero_()
    return layers


def _told(network: nn.Module, given: Tensor) -> Tensor:
    """Frames ``(n, y, x)`` from their neighbours ``(n, 4, y, x)``."""
    plain = (given * given.new_tensor(_CUBIC)[:, None, None]).sum(1)
    corrected: Tensor = plain + network(given)[:, 0]
    return corrected


def _crops(images: Tensor, mask: Tensor, pick: Tensor, frame: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Neighbours ``(n, 4, y, x)``, the frame between them and the mask ``(n, y, x)``, around the voxels picked."""
    height, width = mask.shape[1:]
    h, w = min(_CROP, height), min(_CROP, width)
    given, wanted, weight = [], [], []
    for (z, y, x), t in zip(pick.tolist(), frame.tolist(), strict=True):
        top, left = min(max(0, y - h // 2), height - h), min(max(0, x - w // 2), width - w)
        window = (z, slice(top, top + h), slice(left, left + w))
        given.append(torch.stack([images[(_mirrored(t + n, len(images)), *window)] for n in _NEIGHBOURS]))
        wanted.append(images[(t, *window)])
        weight.append(mask[window])
    return torch.stack(given), torch.stack(wanted), torch.stack(weight).to(images.dtype)


def _mirrored(t: int, n: int) -> int:
    """A frame within the scan; beyond its ends the frames run back."""
    return abs(t) if t < n else 2 * (n - 1) - t
