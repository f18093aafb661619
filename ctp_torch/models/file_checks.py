"""What a model file must hold before it predicts: finite tensors of the shapes that its class and numbers tell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["check_floats", "check_kernel", "check_recipe", "check_state", "check_trees"]


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
    ValueError, TypeError
        naming what is wrong
    """
    if type(state.get("n_features_in_")) is not int:  # true and false are none
        raise ValueError(f"n_features_in_ is {state.get('n_features_in_')!r}")
    single, metadata = state.get("single_target_"), state.get("metadata_")
    if not isinstance(single, bool) or (single and n_targets != 1):
        raise ValueError(f"single_target_ is {single!r} with {n_targets} targets")
    if not isinstance(metadata, dict):
        raise TypeError(f"metadata_ is {type(metadata).__name__}, not a table of names")
    if n_targets < 1:
        raise ValueError("it has no targets")


def check_floats(**tensors: tuple[Tensor, tuple[int, ...]]) -> None:
    """Refuse tensors of another shape than the one wanted, of integers, or with NaN or infinity."""
    for name, (values, shape) in tensors.items():
        if values.dtype not in (torch.float32, torch.float64) or tuple(values.shape) != shape:
            raise ValueError(f"{name} is {tuple(values.shape)} {values.dtype}, {shape} of floating point is needed")
        if values.numel() and not bool(torch.stack(torch.aminmax(values)).isfinite().all()):
            raise ValueError(f"{name} holds NaN or infinity")


def check_kernel(state: Mapping[str, Any], models: torch.Size) -> int:
    """The number of targets, once every centre of a kernel model has a weight for each of them.

    Parameters
    ----------
    state
        the fitted attributes: ``centers_`` (..., centers, features), ``dual_coef_`` (..., centers, targets),
        ``intercept_`` (..., targets)
    models
        leading dimensions that the parameters ask for
    """
    centers, weights, intercept = state["centers_"], state["dual_coef_"], state["intercept_"]
    *batch, n_centers, n_targets = weights.shape
    check_floats(
        dual_coef_=(weights, (*batch, n_centers, n_targets)),
        centers_=(centers, (*centers.shape[:-2], n_centers, state["n_features_in_"])),
        intercept_=(intercept, (*batch, n_targets)),
    )
    centers.expand(*batch, *centers.shape[-2:])  # fits, or says that it doesn't
    if torch.broadcast_shapes(models, batch) != torch.Size(batch):
        raise ValueError(f"dual_coef_ is {tuple(weights.shape)}, the parameters tell {tuple(models)} models")
    return int(n_targets)


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


def check_recipe(recipe: Mapping[str, Any], *, n_features: int | None = None, n_targets: int | None = None) -> None:
    """Refuse numbers that no training writes, and with them features and targets that aren't the model's.

    Parameters
    ----------
    recipe
        frames, dt [s], targets and window (low, high), median_size [pixels], feature_mean and feature_sd; and, since
        features may know the artery, features, components, units and bounds (low, high)
    n_features, n_targets
        of the model; None doesn't ask

    Raises
    ------
    ValueError
        naming what is wrong
    """
    frames, dt, targets = recipe["frames"], recipe["dt"], recipe["targets"]
    for low, high in [*targets.values(), recipe["window"]]:
        if not -math.inf < low < high < math.inf:
            raise ValueError(f"ranges must be finite and rise, got {low} to {high}")
    if not 0 < dt < math.inf or type(frames) is not int or frames < 1 or not targets:
        raise ValueError(f"{frames} frames {dt} s apart to {len(targets)} maps")
    if recipe["median_size"] < 1 or recipe["median_size"] % 2 != 1:
        raise ValueError(f"a median of {recipe['median_size']} pixels")
    means, deviations = recipe["feature_mean"], recipe["feature_sd"]
    if (
        len(means) != len(deviations)
        or not all(map(math.isfinite, means))
        or not all(0 < v < math.inf for v in deviations)
    ):
        raise ValueError(f"features of mean {means} and deviation {deviations}")
    components = recipe.get("components", ())
    if any(len(row) != len(means) or not all(map(math.isfinite, row)) for row in components):
        raise ValueError(f"components of {len(means)} features that aren't as long, or not finite")
    if recipe.get("units", "display") not in ("display", "physical"):
        raise ValueError(f"units {recipe['units']!r}")
    if any(not 0 <= low <= high < math.inf for low, high in recipe.get("bounds", {}).values()):
        raise ValueError(f"bounds must be finite and rise, got {recipe['bounds']}")
    if recipe.get("features", "raw") == "raw":
        if n_features not in (None, frames) or (n_features is not None and len(means) not in (0, frames)):
            raise ValueError(f"{frames} frames and {len(means)} means for {n_features} features")
    elif not len(means) or n_features not in (None, len(components) or len(means)):
        raise ValueError(f"{len(means)} means and {len(components)} components for {n_features} features")
    if n_targets not in (None, len(targets)):
        raise ValueError(f"{len(targets)} maps for {n_targets} targets")
