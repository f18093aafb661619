"""Structural similarity of images: one number per image, and the map it is the mean of."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["ssim", "ssim_map"]

_WINDOW = 11
_SIGMA = 1.5
_K = (0.01, 0.03)


def ssim(prediction: Tensor, target: Tensor, *, data_range: float) -> Tensor:
    """Mean structural similarity of each image.

    ``((2 mx my + C1)(2 cov + C2)) / ((mx² + my² + C1)(vx + vy + C2))`` with ``C1 = (0.01 R)²``, ``C2 = (0.03 R)²``,
    local means under an 11 x 11 Gaussian of standard deviation 1.5, population covariance, averaged over the
    positions where the window lies inside the image (5 pixels cropped on each side).

    Parameters
    ----------
    prediction, target
        ``(y, x)``, ``(n, y, x)`` or ``(n, c, y, x)``, the same shape
    data_range
        ``R``, the range the values can take (255 for 8-bit maps); never guessed

    Returns
    -------
        one value per image: ``()``, or ``(n,)``, averaged over channels

    Raises
    ------
    ValueError
        if the shapes differ, an image is smaller than the window, or the range isn't positive

    References
    ----------
    Wang et al. 2004, IEEE TIP 13:600, doi:10.1109/TIP.2003.819861; computed by pytorch-msssim.
    """
    first, second = _images(prediction, target, data_range)
    from pytorch_msssim import ssim as msssim

    values: Tensor = msssim(
        first, second, data_range=data_range, size_average=False, win_size=_WINDOW, win_sigma=_SIGMA, K=_K
    )
    return values.reshape(()) if prediction.ndim == 2 else values


def ssim_map(prediction: Tensor, target: Tensor, *, data_range: float) -> Tensor:
    """Structural similarity at every pixel, with the window of `ssim`; the edges are reflected.

    Parameters
    ----------
    prediction, target
        ``(y, x)`` or ``(n, y, x)``, the same shape
    data_range
        the range the values can take

    Returns
    -------
        the shape of ``target``; away from the 5-pixel border its mean is `ssim`

    Raises
    ------
    ValueError
        as `ssim`
    """
    first, second = _images(prediction, target, data_range)
    if prediction.ndim == 4:
        raise ValueError(f"ssim_map takes (y, x) or (n, y, x), got {tuple(prediction.shape)}")
    c1, c2 = ((k * data_range) ** 2 for k in _K)
    moments = torch.cat([first, second, first * first, second * second, first * second], dim=1)  # (n, 5, y, x)
    mean_x, mean_y, xx, yy, xy = _local_means(moments).unbind(dim=1)  # each (n, y, x)
    spread = (xx - mean_x**2) + (yy - mean_y**2)
    likeness = (2 * mean_x * mean_y + c1) * (2 * (xy - mean_x * mean_y) + c2)
    values = likeness / ((mean_x**2 + mean_y**2 + c1) * (spread + c2))
    return values.reshape(target.shape)


def _images(prediction: Tensor, target: Tensor, data_range: float) -> tuple[Tensor, Tensor]:
    """Both as ``(n, c, y, x)`` floating point."""
    if prediction.shape != target.shape:
        raise ValueError(f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} differ in shape")
    if prediction.ndim not in (2, 3, 4):
        raise ValueError(f"images must be (y, x), (n, y, x) or (n, c, y, x), got {tuple(prediction.shape)}")
    if min(prediction.shape[-2:]) < _WINDOW:
        raise ValueError(f"images must be at least {_WINDOW} x {_WINDOW} pixels, got {tuple(prediction.shape[-2:])}")
    if not data_range > 0:
        raise ValueError(f"data_range must be positive, got {data_range}")
    shape = prediction.shape if prediction.ndim == 4 else (-1, 1, *prediction.shape[-2:])
    dtype = torch.float64 if torch.float64 in (prediction.dtype, target.dtype) else torch.float32
    return prediction.to(dtype).reshape(shape), target.to(dtype).reshape(shape)


def _local_means(images: Tensor) -> Tensor:
    """Means under the Gaussian window at every pixel of ``(n, c, y, x)``, edges reflected."""
    offsets = torch.arange(_WINDOW, device=images.device, dtype=images.dtype) - _WINDOW // 2
    weights = torch.exp(-(offsets**2) / (2 * _SIGMA**2))
    weights = weights / weights.sum()
    n, c, height, width = images.shape
    padded = torch.nn.functional.pad(images, [_WINDOW // 2] * 4, mode="reflect")
    flat = padded.reshape(n * c, 1, *padded.shape[-2:])
    rows = torch.nn.functional.conv2d(flat, weights.view(1, 1, -1, 1))
    return torch.nn.functional.conv2d(rows, weights.view(1, 1, 1, -1)).reshape(n, c, height, width)
