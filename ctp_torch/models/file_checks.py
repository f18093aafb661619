"""What a model file must hold before it predicts: finite tensors of the shapes that its class and numbers tell."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["check_features", "check_floats", "check_state", "check_trees"]


def check_state(state: Mapping[str, object], n_targets: int) -> None:
    """Refuse what no fit leaves behind.

    Parameters
    ----------
    state
        the fitted attributes
    n_targets
        outputs, as the tensors tell

    Raises
    ------
    ValueError
        naming what is wrong
    """
    check_features(state.get("n_features_in_"))
    single, metadata = state.get("single_target_"), state.get("metadata_")
    if not isinstance(single, bool) or (single and n_targets != 1):
        raise ValueError(f"single_target_ is {single!r} with {n_targets} targets")
    if not isinstance(metadata, dict):
        raise ValueError(f"metadata_ is {type(metadata).__name__}, not a table of names")
    if n_targets < 1:
        raise ValueError("it has no targets")


def check_features(n_features: object) -> None:
    """Refuse what is no number of features."""
    if not isinstance(n_features, int) or isinstance(n_features, bool) or n_features < 1:
        raise ValueError(f"n_features_in_ is {n_features!r}")


def check_floats(**tensors: tuple[Tensor, tuple[int, ...]]) -> None:
    """Refuse tensors of another shape than the one wanted, of integers, or with NaN or infinity."""
    for name, (values, shape) in tensors.items():
        if values.dtype not in (torch.float32, torch.float64) or tuple(values.shape) != shape:
            raise ValueError(f"{name} is {tuple(values.shape)} {values.dtype}, {shape} of floating point is needed")
        if values.numel() and not bool(torch.stack(torch.aminmax(values)).isfinite().all()):
            raise ValueError(f"{name} holds NaN or infinity")


def check_trees(roots: Tensor, feature: Tensor, left: Tensor, n_features: int) -> None:
    """Refuse nodes that lead out of the forest, to an unknown feature, or back: a walk would never end.

    Parameters
    ----------
    roots
        (..., trees), where the trees begin
    feature
        (nodes,), -1 for a leaf
    left
        (nodes,), the left child, followed by the right one
    n_features
        of the samples
    """
    n_nodes = len(feature) if feature.ndim == 1 else 0
    if not n_nodes or left.shape != feature.shape or roots.ndim < 1 or not roots.numel():
        raise ValueError(f"roots_ {tuple(roots.shape)}, feature_ {tuple(feature.shape)}, left_ {tuple(left.shape)}")
    if any(values.is_floating_point() or values.is_complex() for values in (roots, feature, left)):
        raise ValueError("roots_, feature_ and left_ must be whole numbers")
    inner = feature >= 0
    child, parent = left[inner].long(), inner.nonzero().squeeze(1)
    within = bool((roots >= 0).all() and (roots < n_nodes).all() and (feature < n_features).all())
    if not within or not bool(((child > parent) & (child + 1 < n_nodes)).all()):
        raise ValueError("a tree leads out of the forest, back to its root, or to a feature that no sample has")
