"""Stored pixel values to Hounsfield units, and Hounsfield units to what a model sees."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["hounsfield", "window"]


def hounsfield(stored: Tensor, slope: Tensor | float, intercept: Tensor | float) -> Tensor:
    """Hounsfield units of stored pixel values, ``HU = slope * stored + intercept``.

    Parameters
    ----------
    stored
        ``(..., y, x)``, stored pixel values of any type
    slope, intercept
        a number, or one value per image ``(...)``: DICOM's Rescale Slope and Intercept differ from image to image

    Returns
    -------
        ``(..., y, x)`` [HU], float32, or float64 when ``stored`` is float64

    Raises
    ------
    ValueError
        if ``slope`` or ``intercept`` has neither one value nor one per image

    References
    ----------
    DICOM PS3.3 C.7.6.16.2.9 (Pixel Value Transformation)
    """
    dtype = torch.float64 if stored.dtype == torch.float64 else torch.float32
    return stored.to(dtype) * _per_image(slope, stored, "slope", dtype) + _per_image(
        intercept, stored, "intercept", dtype
    )


def window(hu: Tensor, low: float = 0.0, high: float = 600.0) -> Tensor:
    """Hounsfield units clipped to a window and scaled to 0..1, ``(clip(hu, low, high) - low) / (high - low)``.

    Parameters
    ----------
    hu
        any shape [HU]
    low, high
        ends of the window [HU]; the paper's are 0 and 600

    Returns
    -------
        the shape of ``hu``, in 0..1; NaN stays NaN

    Raises
    ------
    ValueError
        if the window is empty
    """
    if not low < high:
        raise ValueError(f"a window needs low < high, got {low} and {high} HU")
    floating = hu if hu.is_floating_point() else hu.to(torch.float32)
    return (floating.clamp(low, high) - low) / (high - low)


def _per_image(value: Tensor | float, stored: Tensor, name: str, dtype: torch.dtype) -> Tensor:
    """The value as a tensor that broadcasts over the pixels of each image."""
    tensor = torch.as_tensor(value, dtype=dtype, device=stored.device)
    if tensor.ndim == 0:
        return tensor
    if tensor.shape != stored.shape[:-2]:
        raise ValueError(
            f"{name} must be one number or one per image {tuple(stored.shape[:-2])}, got shape {tuple(tensor.shape)}"
        )
    return tensor[..., None, None]
