"""Structural similarity of images: one number per image, and the map it is the mean of."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ctp_torch.ops.compute.compiled import fused_library
from ctp_torch.ops.compute.gradients import gradient_asked, refuse_gradient
from ctp_torch.ops.compute.threads import in_threads, n_threads

__all__ = ["ssim", "ssim_map"]

_WINDOW = 11
_SIGMA = 1.5
_K = (0.01, 0.03)
_COMPILED = {torch.float32: "float", torch.float64: "double"}


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
    Wang et al. 2004, IEEE TIP 13:600, doi:10.1109/TIP.2003.819861. Where a gradient is asked for, pytorch-msssim's.
    """
    first, second = _images(prediction, target, data_range)
    if gradient_asked(first, second):
        from pytorch_msssim import ssim as msssim

        values: Tensor = msssim(
            first, second, data_range=data_range, size_average=False, win_size=_WINDOW, win_sigma=_SIGMA, K=_K
        )
    else:
        similarity = _similarity(first.flatten(0, 1), second.flatten(0, 1), data_range)
        values = similarity.mean(dim=(1, 2)).view(first.shape[:2]).mean(dim=1)
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
    RuntimeError
        if a gradient is asked for; `ssim` has one
    """
    refuse_gradient("ssim_map", prediction, target)
    first, second = _images(prediction, target, data_range)
    if prediction.ndim == 4:
        raise ValueError(f"ssim_map takes (y, x) or (n, y, x), got {tuple(prediction.shape)}")
    border = [_WINDOW // 2] * 4
    first, second = (torch.nn.functional.pad(images, border, mode="reflect")[:, 0] for images in (first, second))
    return _similarity(first, second, data_range).reshape(target.shape)


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


def _similarity(first: Tensor, second: Tensor, data_range: float) -> Tensor:
    """Of ``(n, y, x)``, at the ``(n, y - 10, x - 10)`` places where the window lies inside."""
    n, height, width = first.shape
    similarity = first.new_empty((n, height - _WINDOW + 1, width - _WINDOW + 1))
    c1, c2 = ((k * data_range) ** 2 for k in _K)
    centres = second.mean(dim=(1, 2))  # about them sums are small; variances of float32 drown in a large offset
    parts = first.contiguous(), second.contiguous(), centres, similarity
    if first.device.type != "cpu":
        _by_shifting(*parts, c1, c2)
    elif fused_library(first.device) is None:
        for x, y, centre, out in zip(*(tensor.split(1) for tensor in parts), strict=True):  # sums stay in the cache
            _by_shifting(x, y, centre, out, c1, c2)
    else:
        pieces = n_threads(first.device, work=first.numel())
        chunks = [(x, y, centre, out) for x, y, centre, out in zip(*(t.chunk(pieces) for t in parts), strict=True)]
        in_threads(lambda part: _compiled(*part, c1, c2), chunks, device=first.device)
    return similarity


def _compiled(first: Tensor, second: Tensor, centres: Tensor, out: Tensor, c1: float, c2: float) -> None:
    """``out`` by the compiled loops."""
    function = getattr(fused_library(first.device), f"similarity_{_COMPILED[first.dtype]}")
    weights, limits = first.new_tensor(_weights()), first.new_tensor([c1, c2])
    memory = first.new_empty(4 * first.shape[2])
    images = first.data_ptr(), second.data_ptr(), centres.data_ptr()
    function(*images, *first.shape, weights.data_ptr(), limits.data_ptr(), out.data_ptr(), memory.data_ptr())


def _by_shifting(first: Tensor, second: Tensor, centres: Tensor, out: Tensor, c1: float, c2: float) -> None:
    """``out`` by torch."""
    centre = centres[:, None, None]
    x, y = first - centre, second - centre
    mean_x, mean_y = _window_means(x), _window_means(y)
    mean_product = mean_x * mean_y
    covariance = _window_means(x * y).sub_(mean_product)
    spread = _window_means(x.square_().addcmul_(y, y))  # of both variances
    spread.addcmul_(mean_x, mean_x, value=-1).addcmul_(mean_y, mean_y, value=-1)
    mean_x += centre
    mean_y += centre
    torch.mul(mean_x, mean_y, out=out).mul_(2).add_(c1).mul_(covariance.mul_(2).add_(c2))
    out.div_(mean_x.square_().addcmul_(mean_y, mean_y).add_(c1).mul_(spread.add_(c2)))


def _window_means(images: Tensor) -> Tensor:
    """Gaussian means of ``(n, y, x)`` where the window lies inside: along y, then along x, by shifting and adding."""
    weights = _weights()
    for dim in (1, 2):
        size = images.shape[dim] - _WINDOW + 1
        means = images.narrow(dim, 0, size) * weights[0]
        for shift in range(1, _WINDOW):
            means.add_(images.narrow(dim, shift, size), alpha=weights[shift])
        images = means
    return images


def _weights() -> list[float]:
    """Of the window along one axis; they sum to 1."""
    heights = [math.exp(-((i - _WINDOW // 2) ** 2) / (2 * _SIGMA**2)) for i in range(_WINDOW)]
    return [height / sum(heights) for height in heights]
