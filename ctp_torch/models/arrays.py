"""Arrays, lists and data frames as tensors: what numpy and scikit-learn's tools hand to a regressor."""

from __future__ import annotations

from typing import Any, overload

import torch
from torch import Tensor

__all__ = ["Samples", "answered", "as_samples"]

Samples = Any
"""A tensor, or what ``numpy.asarray`` turns into real numbers; predictions come back as what X was."""


def as_samples(values: Samples, name: str) -> Tensor:
    """The values as a tensor; a tensor stays what it is, an array shares its memory where it may be written to.

    Parameters
    ----------
    values
        tensor, or numpy array, list, data frame
    name
        for messages

    Raises
    ------
    TypeError
        for a sparse matrix, or what holds no numbers
    ValueError
        for complex numbers, text that is no number, or nothing at all
    """
    if isinstance(values, Tensor):
        return values
    if values is None:
        raise ValueError(f"it requires {name} to be passed, but the target {name} is None")
    if hasattr(values, "toarray"):
        raise TypeError(f"{name} is a sparse matrix, dense data is required: use {name}.toarray()")
    import numpy as np

    array = np.asarray(values)
    if array.dtype.kind == "c":
        raise ValueError(f"{name}: Complex data not supported")
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        try:
            array = array.astype(np.float64)
        except TypeError as error:
            raise TypeError(f"{name} holds no numbers; {error}") from error
    shared = array.flags.writeable and array.dtype.isnative and min(array.strides, default=0) >= 0
    return torch.from_numpy(array) if shared else torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))


@overload
def answered(predictions: Tensor, X: Tensor) -> Tensor: ...
@overload
def answered(predictions: Tensor, X: Samples) -> Any: ...
def answered(predictions: Tensor, X: Samples) -> Any:
    """Predictions as what X was: a tensor for a tensor, a numpy array for anything else."""
    return predictions if isinstance(X, Tensor) else predictions.cpu().numpy()
