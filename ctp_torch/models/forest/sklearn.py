"""Forests to and from scikit-learn: a trained forest moves to another device, or into another's pipeline."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor

__all__ = ["exported", "imported_nodes", "imported_parameters"]


def imported_parameters(forest: RandomForestRegressor | ExtraTreesRegressor) -> dict[str, Any]:
    """Our names for the settings of a scikit-learn forest.

    Raises
    ------
    ValueError
        if it isn't a fitted regression forest that minimises the squared error
    """
    if not hasattr(forest, "estimators_") or not hasattr(forest, "n_outputs_") or hasattr(forest, "classes_"):
        raise ValueError(f"expected a fitted regression forest of scikit-learn, got {type(forest).__name__}")
    if forest.criterion not in ("squared_error", "friedman_mse"):
        raise ValueError(
            f"only forests that predict means can be imported, this one has criterion {forest.criterion!r}"
        )
    settings = forest.get_params()
    names = ("n_estimators", "max_depth", "min_samples_leaf", "min_samples_split", "max_features", "bootstrap")
    seed = settings["random_state"]
    return {name: settings[name] for name in (*names, "max_samples")} | {
        "splitter": "random" if type(forest).__name__.startswith("Extra") else "best",
        "seed": seed if isinstance(seed, int) else 0,
        "n_estimators": len(forest.estimators_),
    }


def imported_nodes(forest: RandomForestRegressor | ExtraTreesRegressor) -> dict[str, Tensor]:
    """The trees of a fitted scikit-learn forest as our packed nodes, tree by tree, level by level.

    Thresholds are rounded down to float32: scikit-learn compares float32 features, so that no answer changes.
    """
    columns: dict[str, list[Tensor]] = {
        name: [] for name in ("feature", "threshold", "left", "value", "weight", "decrease")
    }
    roots, count = [], 0
    for estimator in forest.estimators_:
        tree = estimator.tree_
        left, right = torch.from_numpy(tree.children_left.copy()), torch.from_numpy(tree.children_right.copy())
        order = _by_level(left, right)
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order))
        inner = left >= 0
        weight = torch.from_numpy(tree.weighted_n_node_samples.copy())
        squares = torch.from_numpy(tree.impurity.copy()) * weight * forest.n_outputs_
        decrease = torch.where(inner, squares - squares[left] - squares[right], 0.0)
        nodes = {
            "feature": torch.where(inner, torch.from_numpy(tree.feature.copy()), -1).int(),
            "threshold": _down_to_float32(torch.from_numpy(tree.threshold.copy())),
            "left": torch.where(inner, place[left], place) + count,
            "value": torch.from_numpy(tree.value[:, :, 0].copy()),
            "weight": weight.float(),
            "decrease": decrease.float(),
        }
        for name, column in nodes.items():
            columns[name].append(column[order])
        roots.append(count)
        count += len(order)
    nodes = {f"{name}_": torch.cat(parts) for name, parts in columns.items()}
    return nodes | {"roots_": torch.tensor(roots), "left_": nodes["left_"].int()}


def exported(
    state: dict[str, Tensor], parameters: dict[str, Any], *, n_features: int, single: bool
) -> RandomForestRegressor:
    """A fitted scikit-learn forest with these nodes.

    Its impurities are what the splits below a node explain (leaves count as pure), which gives the same importances.
    """
    import numpy as np
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.tree import DecisionTreeRegressor
    from sklearn.tree._tree import Tree

    state = {name: value.detach().cpu() for name, value in state.items()}
    n_outputs = state["value_"].shape[1]
    names = ("n_estimators", "max_depth", "min_samples_leaf", "min_samples_split", "max_features", "bootstrap")
    settings = {name: parameters[name] for name in names}
    forest = RandomForestRegressor(**settings, max_samples=parameters["max_samples"], random_state=parameters["seed"])
    forest.n_features_in_, forest.n_outputs_ = n_features, n_outputs
    forest.estimator_ = DecisionTreeRegressor()
    forest._n_samples, forest._n_samples_bootstrap = int(state["weight_"][0]), int(state["weight_"][0])
    forest.estimators_ = []
    bounds = [*state["roots_"].tolist(), len(state["feature_"])]
    for first, end in pairwise(bounds):
        feature, left = state["feature_"][first:end].long(), state["left_"][first:end].long() - first
        inner, weight = feature >= 0, state["weight_"][first:end].double()
        depth = _depths(left, inner)
        explained = state["decrease_"][first:end].double()
        for level in range(int(depth.max()) - 1, -1, -1):
            at_level = (inner & (depth == level)).nonzero().squeeze(1)
            explained[at_level] += explained[left[at_level]] + explained[left[at_level] + 1]
        tree = Tree(n_features, np.ones(n_outputs, dtype=np.intp), n_outputs)
        empty = tree.__getstate__()["nodes"]
        nodes = np.zeros(end - first, dtype=empty.dtype)
        nodes["left_child"] = torch.where(inner, left, -1).numpy()
        nodes["right_child"] = torch.where(inner, left + 1, -1).numpy()
        nodes["feature"] = torch.where(inner, feature, -2).numpy()
        nodes["threshold"] = torch.where(inner, state["threshold_"][first:end].double(), -2.0).numpy()
        nodes["impurity"] = (explained / weight / n_outputs).numpy()
        nodes["n_node_samples"] = weight.round().long().clamp(min=1).numpy()
        nodes["weighted_n_node_samples"] = weight.numpy()
        values = np.ascontiguousarray(state["value_"][first:end].double().numpy()[:, :, None])
        tree.__setstate__({"max_depth": int(depth.max()), "node_count": end - first, "nodes": nodes, "values": values})
        estimator = DecisionTreeRegressor(max_depth=parameters["max_depth"])
        estimator.tree_, estimator.n_features_in_, estimator.n_outputs_ = tree, n_features, n_outputs
        estimator.max_features_ = n_features
        forest.estimators_.append(estimator)
    if single:
        forest.n_outputs_ = 1
    return forest


def _by_level(left: Tensor, right: Tensor) -> Tensor:
    """Nodes level by level, siblings side by side."""
    level, levels = torch.zeros(1, dtype=torch.int64), []
    while len(level):
        levels.append(level)
        inner = level[left[level] >= 0]
        level = torch.stack([left[inner], right[inner]], 1).view(-1)
    return torch.cat(levels)


def _depths(left: Tensor, inner: Tensor) -> Tensor:
    """Depth of every node of one tree, the root (node 0) at 0."""
    depth, level, at = torch.zeros_like(left), torch.zeros(1, dtype=torch.int64), 0
    while len(level):
        depth[level] = at
        parents = level[inner[level]]
        level, at = torch.cat([left[parents], left[parents] + 1]), at + 1
    return depth


def _down_to_float32(threshold: Tensor) -> Tensor:
    """The largest float32 that isn't above."""
    rounded = threshold.float()
    below = torch.nextafter(rounded, torch.full_like(rounded, -torch.inf))
    return torch.where(rounded.double() > threshold, below, rounded)
