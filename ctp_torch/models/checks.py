"""What a regressor refuses to learn from or to predict on, and the dtype it computes in."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["check_finite", "check_tensor", "working_dtype"]


def working_dtype(values: Tensor) -> torch.dtype:
    """float64 for float64, float32 for everything shorter."""
    return torch.float64 if values.dtype == torch.float64 else torch.float32


def check_tensor(values: Tensor, name: str) -> None:
    """Refuse what is no real tensor."""
    if not isinstance(values, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(values).__name__}: use torch.as_tensor")
    if values.is_complex():
        raise TypeError(f"{name} must be real, got {values.dtype}")


def check_finite(values: Tensor, name: str) -> None:
    """Refuse NaN and infinity, without a copy of the values."""
    if values.numel() and values.is_floating_point():
        low, high = torch.aminmax(values)
        if not bool(torch.isfinite(low) & torch.isfinite(high)):
            raise ValueError(f"{name} holds NaN or infinity: mask those samples out first")
