"""Whether autograd is to follow a computation: compiled loops and memory written twice know no gradient."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["gradient_asked", "refuse_gradient"]


def gradient_asked(*tensors: Tensor) -> bool:
    """Whether a gradient is recorded for any of the tensors."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def refuse_gradient(name: str, *tensors: Tensor) -> None:
    """Raise where a gradient is asked of what has none: a result without it would train nothing, and not say so.

    Raises
    ------
    RuntimeError
        naming the function
    """
    if gradient_asked(*tensors):
        raise RuntimeError(f"{name} doesn't support automatic differentiation: detach() its tensors")
