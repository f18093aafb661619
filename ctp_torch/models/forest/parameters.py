"""What a forest's parameters mean for given samples, and which of them are refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

__all__ = ["check_parameters", "checked_weight", "count_of", "drawn_samples", "tried_features"]


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Refuse what no forest can be grown with.

    Raises
    ------
    ValueError
        naming the parameter, its value, and what it may be
    """
    limits = {"n_estimators": (1, None), "max_depth": (0, None), "n_bins": (2, 32767)}
    for name, (low, high) in limits.items():
        value = parameters[name]
        if name == "max_depth" and value is None:
            continue
        if not _is_count(value) or value < low or (high is not None and value > high):
            upper = "" if high is None else f" and at most {high}"
            raise ValueError(f"RandomForest.{name} must be a whole number of at least {low}{upper}, got {value!r}")
    for name in ("min_samples_leaf", "min_samples_split"):
        value = parameters[name]
        least = 2 if name == "min_samples_split" else 1
        if not ((_is_count(value) and value >= least) or (isinstance(value, float) and 0.0 < value <= 1.0)):
            raise ValueError(f"RandomForest.{name} must be a count of at least {least} or a fraction, got {value!r}")
    if parameters["splitter"] not in ("best", "random"):
        raise ValueError(f"RandomForest.splitter must be 'best' or 'random', got {parameters['splitter']!r}")
    if not _is_count(parameters["seed"]) or not -(2**63) <= parameters["seed"] < 2**63:
        raise ValueError(f"RandomForest.seed must be a whole number of 64 bits, got {parameters['seed']!r}")


def tried_features(max_features: float | Literal["sqrt", "log2"] | None, n_features: int) -> int:
    """How many features each node tries, as scikit-learn reads ``max_features``."""
    if max_features is None:
        return n_features
    if max_features == "sqrt":
        return max(1, int(math.sqrt(n_features)))
    if max_features == "log2":
        return max(1, int(math.log2(n_features)))
    if _is_count(max_features) and 1 <= max_features <= n_features:
        return int(max_features)
    if isinstance(max_features, float) and 0.0 < max_features <= 1.0:
        return max(1, int(max_features * n_features))
    raise ValueError(
        f"RandomForest.max_features must be a fraction in (0, 1], a count of 1 to {n_features} features, 'sqrt', "
        f"'log2' or None, got {max_features!r}"
    )


def drawn_samples(max_samples: float | None, n_samples: int) -> int:
    """How many samples each tree draws, as scikit-learn reads ``max_samples``."""
    if max_samples is None:
        return n_samples
    if _is_count(max_samples) and 1 <= max_samples <= n_samples:
        return int(max_samples)
    if isinstance(max_samples, float) and 0.0 < max_samples <= 1.0:
        return max(round(n_samples * max_samples), 1)
    raise ValueError(
        f"RandomForest.max_samples must be a fraction in (0, 1] or a count of 1 to {n_samples} samples, got "
        f"{max_samples!r}"
    )


def count_of(value: float, n_samples: int) -> int:
    """A count, or that fraction of the samples, rounded up."""
    return int(value) if _is_count(value) else math.ceil(value * n_samples)


def checked_weight(weight: Tensor, X: Tensor) -> Tensor:
    """The sample weights of X (..., samples, features), if they fit.

    Raises
    ------
    TypeError
        if they are complex
    ValueError
        if shape or device don't fit, or one is negative, NaN or infinite, or all are 0
    """
    if weight.is_complex():
        raise TypeError("sample_weight must be real, got complex numbers")
    if weight.shape != X.shape[:-1] or weight.device != X.device:
        raise ValueError(
            f"sample_weight must be {tuple(X.shape[:-1])} on {X.device}, one for each sample, got "
            f"{tuple(weight.shape)} on {weight.device}"
        )
    if not bool((torch.isfinite(weight) & (weight >= 0)).all()):
        raise ValueError("sample_weight must be finite and not negative")
    if not bool((weight > 0).any(-1).all()):
        raise ValueError("sample_weight is zero everywhere: nothing to fit")
    return weight


def _is_count(value: object) -> bool:
    """Whether it is a whole number (True and False aren't)."""
    return isinstance(value, int) and not isinstance(value, bool)
