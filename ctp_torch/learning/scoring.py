"""Predicted maps of colour indices against a reference: one prediction, or many in a fraction of the time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ctp_torch import ops
from ctp_torch.errors import check_type

__all__ = ["SCORES", "Reference", "measure", "measure_inside", "reference_of", "score_maps"]

SCORES = ("ssim_frame", "ssim_brain", "mae", "r")
"""What a slice is scored by, in the order of `measure`."""

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * 255.0) ** 2, (0.03 * 255.0) ** 2
_ERODE_PX = 3.0
_PER_SLICE = 1e6
_WIDEST_PX = 5.0
_MARGIN = 21  # the widest filter reaches 20 pixels, the window of SSIM 5


def score_maps(
    prediction: Tensor, target: Tensor, brain: Tensor, head: Tensor, *, filter_px: float = 0.0
) -> dict[str, Tensor]:
    """Scores of each slice of a predicted map of colour indices.

    Outside the head both maps count as index 0, so that a colour bar plays no part; the prediction is first filtered,
    set to 0 outside the brain and rounded.

    Parameters
    ----------
    prediction
        ``(z, y, x)`` indices 0..255
    target
        ``(z, y, x)`` indices; negative ones (background, invalid) count as 0
    brain, head
        ``(z, y, x)`` bool, from the CT
    filter_px
        standard deviation [pixels] of a Gaussian on the prediction

    Returns
    -------
        ``ssim_frame``, ``ssim_brain``, ``mae`` [index levels] and ``r``, each ``(z,)``; NaN where the (eroded) brain is
        empty or a map is constant
    """
    for name, volume in {"prediction": prediction, "target": target, "brain": brain, "head": head}.items():
        check_type(volume, Tensor, f"score_maps: {name}", "a tensor (z, y, x)")
    smooth = ops.gaussian_smooth(prediction, filter_px)
    first = torch.where(brain, smooth, torch.zeros_like(smooth)).round().clamp(0, 255)
    second = torch.where(head, target, torch.zeros_like(target)).clamp_min(0).to(first.dtype)
    core = ops.erode(brain, _ERODE_PX, (_PER_SLICE, 1.0, 1.0))
    similarity = ops.ssim_map(first, second, data_range=255.0)
    return {
        "ssim_frame": ops.ssim(first, second, data_range=255.0),
        "ssim_brain": _mean(similarity, core),
        "mae": _mean((first - second).abs(), brain),
        "r": _correlation(first, second, brain),
    }


@dataclass(frozen=True)
class Reference:
    """Reference maps, cropped to where they and the brain are, with their half of SSIM."""

    maps: Tensor
    """``(maps, z, y, x)`` float32 indices 0..255, 0 outside the head; y and x of the crop."""
    mean: Tensor
    """Its local mean."""
    spread: Tensor
    """Its local variance."""
    brain: Tensor
    """``(z, y, x)`` bool, of the crop."""
    core: Tensor
    """``(z, y, x)`` bool: the brain eroded by 3 pixels."""
    crop: tuple[slice, slice]
    """Rows and columns of the crop."""
    frame: tuple[int, int]
    """Rows and columns of the whole frame."""


def reference_of(target: Tensor, brain: Tensor, head: Tensor) -> Reference:
    """Everything about a reference that doesn't depend on the prediction.

    Parameters
    ----------
    reference
        ``(maps, z, y, x)`` colour indices; negative ones count as 0
    brain, head
        ``(z, y, x)`` bool, from the CT
    """
    frame = torch.where(head, target, torch.zeros_like(target)).clamp_min(0).float()
    occupied = (brain | (frame > 0).any(0)).any(0)  # (y, x)
    rows, columns = (_span(occupied.any(1 - axis), occupied.shape[axis]) for axis in (0, 1))
    cropped = frame[..., rows, columns].contiguous()
    core = ops.erode(brain, _ERODE_PX, (_PER_SLICE, 1.0, 1.0))
    mean = _local(cropped)
    return Reference(
        maps=cropped,
        mean=mean,
        spread=_local(cropped.square()) - mean.square(),
        brain=brain[..., rows, columns],
        core=core[..., rows, columns],
        crop=(rows, columns),
        frame=(brain.shape[-2], brain.shape[-1]),
    )


def measure(reference: Reference, prediction: Tensor, *, filter_px: float = 0.0) -> Tensor:
    """Scores ``(maps, z, 4)`` of predicted maps, in the order of ``SCORES``; the error in index levels.

    The prediction is filtered, set to 0 outside the brain and rounded, as `score_maps` does it.

    Parameters
    ----------
    reference
        from `reference_of`
    prediction
        ``(maps, z, y, x)`` unrounded indices, 0 outside the brain
    filter_px
        standard deviation [pixels] of a Gaussian on the prediction, at most 5
    """
    first = _as_picture(reference, prediction, filter_px)
    similarity = _similarity(reference, first)
    inside = _interior(reference, similarity)
    cells = reference.frame[0] - 10, reference.frame[1] - 10
    n_outside = cells[0] * cells[1] - inside.shape[-2] * inside.shape[-1]  # both are 0 there: similarity 1
    frame = (inside.sum(dim=(-2, -1)) + n_outside) / (cells[0] * cells[1])
    error = (first - reference.maps).abs()
    parts = [
        frame,
        _mean(similarity, reference.core),
        _mean(error, reference.brain),
        _correlation(first, reference.maps, reference.brain),
    ]
    return torch.stack(parts, dim=-1)


def measure_inside(
    reference: Reference, prediction: Tensor, masks: Sequence[Tensor], *, filter_px: float = 0.0
) -> Tensor:
    """Scores ``(masks, maps, 3)`` over the voxels of each mask in all slices together: SSIM, error [levels] and r.

    Parameters
    ----------
    reference, prediction, filter_px
        as in `measure`
    masks
        each ``(z, y, x)`` bool; NaN where one is empty
    """
    first = _as_picture(reference, prediction, filter_px)
    similarity = _similarity(reference, first)
    scores = []
    for mask in masks:
        chosen = mask[..., reference.crop[0], reference.crop[1]]
        a, b = first[:, chosen].double(), reference.maps[:, chosen].double()  # (maps, voxels)
        error = (a - b).abs().mean(1)
        a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
        spread = (a.square().sum(1) * b.square().sum(1)).sqrt()
        r = (a * b).sum(1) / torch.where(spread > 0, spread, torch.full_like(spread, torch.nan))
        scores.append(torch.stack([similarity[:, chosen].double().mean(1), error, r], dim=-1))
    return torch.stack(scores).float()


def _as_picture(reference: Reference, prediction: Tensor, filter_px: float) -> Tensor:
    """The prediction as a picture: filtered, masked, rounded."""
    if not 0.0 <= filter_px <= _WIDEST_PX:
        raise ValueError(f"filter_px must be 0 to {_WIDEST_PX:g}, got {filter_px}")
    cropped = prediction[..., reference.crop[0], reference.crop[1]].float()
    smooth = _blur(cropped, filter_px, math.ceil(4 * filter_px)) if filter_px else cropped
    return torch.where(reference.brain, smooth, torch.zeros_like(smooth)).round().clamp(0, 255)


def _similarity(reference: Reference, first: Tensor) -> Tensor:
    """SSIM at every pixel of the crop."""
    mean, square, product = _local(torch.stack([first, first.square(), first * reference.maps]))
    spread = square - mean.square() + reference.spread
    both = mean * reference.mean
    likeness = (2 * both + _C1) * (2 * (product - both) + _C2)
    values: Tensor = likeness / ((mean.square() + reference.mean.square() + _C1) * (spread + _C2))
    return values


def _interior(reference: Reference, values: Tensor) -> Tensor:
    """The part of the crop that is further than 5 pixels from the frame's edge, where the window lies inside."""
    (rows, columns), (height, width) = reference.crop, reference.frame
    top, left = max(0, 5 - rows.start), max(0, 5 - columns.start)
    bottom, right = max(0, rows.stop - (height - 5)), max(0, columns.stop - (width - 5))
    return values[..., top : values.shape[-2] - bottom, left : values.shape[-1] - right]


def _span(occupied: Tensor, n: int) -> slice:
    """From the first to the last occupied place, with a margin; everything when there is none."""
    where = occupied.nonzero()
    if not len(where):
        return slice(0, n)
    return slice(max(0, int(where[0]) - _MARGIN), min(n, int(where[-1]) + 1 + _MARGIN))


def _local(images: Tensor) -> Tensor:
    """Means under SSIM's Gaussian window, edges reflected."""
    return _blur(images, _SIGMA, _WINDOW // 2)


def _blur(images: Tensor, sigma: float, radius: int) -> Tensor:
    """A truncated Gaussian on ``(..., y, x)``, edges reflected: two small matrix products, much faster than sums."""
    down, across = (_band(n, sigma, radius).to(images) for n in images.shape[-2:])
    return down @ images @ across.T


def _band(n: int, sigma: float, radius: int) -> Tensor:
    """``(n, n)``: the weights of every place's neighbours, those beyond the ends reflected."""
    offsets = torch.arange(-radius, radius + 1)
    weights = torch.exp(-(offsets.double() ** 2) / (2 * sigma**2))
    places = (torch.arange(n)[:, None] + offsets).abs()
    places = torch.where(places > n - 1, 2 * (n - 1) - places, places)
    band = torch.zeros(n, n, dtype=torch.float64)
    return band.scatter_add_(1, places, (weights / weights.sum()).expand(n, -1))


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the mask, slice by slice ``(maps, z)``; NaN where it is empty."""
    total = torch.where(mask, values, torch.zeros_like(values)).sum(dim=(-2, -1))
    return total / mask.sum(dim=(-2, -1))


def _correlation(first: Tensor, second: Tensor, mask: Tensor) -> Tensor:
    """Pearson's r over the mask, slice by slice; NaN where one side is constant."""
    a, b = (torch.where(mask, t - _mean(t, mask)[..., None, None], torch.zeros_like(t)) for t in (first, second))
    spread = (a.square().sum(dim=(-2, -1)) * b.square().sum(dim=(-2, -1))).sqrt()
    return (a * b).sum(dim=(-2, -1)) / torch.where(spread > 0, spread, torch.full_like(spread, torch.nan))
