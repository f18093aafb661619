"""Random forests on tensors: the paper's second model, trained and used wherever torch runs."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ctp_torch.models.base import Regressor
from ctp_torch.ops.forest_bins import bin_codes, quantile_edges
from ctp_torch.ops.forest_frontier import Frontier, Samples
from ctp_torch.ops.forest_growth import GrowthLimits, grow_trees
from ctp_torch.ops.forest_predict import leaves
from ctp_torch.ops.forest_random import bootstrap_counts, feature_orders, tree_keys
from ctp_torch.ops.forest_scoring import SplitRules

__all__ = ["RandomForest"]


class RandomForest(Regressor):
    def __init__(
        self,
        n_estimators: int = 90,
        *,
        max_depth: int | None = 55,
        min_samples_leaf: int = 1,
        min_samples_split: int = 2,
        max_features: float | int | Literal["sqrt", "log2"] | None = 1.0,
        splitter: Literal["best", "random"] = "best",
        bootstrap: bool = True,
        n_bins: int = 255,
        max_samples: float | int | None = None,
        seed: int = 0,
    ) -> None:
        self.n_estimators = n_estimators
        self.max_depth = max_depth
        self.min_samples_leaf = min_samples_leaf
        self.min_samples_split = min_samples_split
        self.max_features = max_features
        self.splitter = splitter
        self.bootstrap = bootstrap
        self.n_bins = n_bins
        self.max_samples = max_samples
        self.seed = seed

    def _fit(self, X, Y):
        X = X.contiguous()
        n, F = X.shape
        codes = bin_codes(X, quantile_edges(X, self.n_bins))
        k = F if self.max_features is None else max(1, int(self.max_features * F))
        bits = min(40, 62 - n.bit_length() - 1)
        mid = (Y.amax(0) + Y.amin(0)).double() / 2
        rng = (Y.double() - mid).abs().amax(0)
        unit = torch.ldexp(torch.ones_like(rng), torch.frexp(rng).exponent - bits)
        fixed = ((Y.double() - mid) / unit).round().long()
        s = Samples(X, codes, Y, fixed, unit.expand_as(fixed), mid.expand_as(fixed))
        keys = tree_keys(torch.arange(self.n_estimators), seed=self.seed)
        w = bootstrap_counts(keys, n, n) if self.bootstrap else torch.ones(self.n_estimators, n, dtype=torch.int32)
        tree, rows = w.nonzero(as_tuple=True)
        fr = Frontier(
            rows,
            w[tree, rows].long(),
            (w > 0).sum(1),
            torch.arange(len(keys)),
            torch.arange(len(keys)),
            keys,
            torch.zeros_like(keys),
        )
        orders = None if k == F else feature_orders(F, 8192, seed=self.seed, device=X.device)
        nodes = grow_trees(
            s,
            fr,
            GrowthLimits(self.max_depth or 10**9, self.min_samples_split, bits),
            SplitRules(self.splitter, self.n_bins, self.min_samples_leaf, k, orders),
        )
        order = nodes.tree.argsort(stable=True)
        new = torch.empty_like(order)
        new[order] = torch.arange(len(order))
        self.feature_ = nodes.feature[order].int()
        self.threshold_ = nodes.threshold[order]
        self.left_ = new[nodes.left[order]].int()
        self.value_ = nodes.value[order]
        self.roots_ = new[: len(keys)]
        self.decrease_ = nodes.decrease[order]
        return self

    def _predict(self, X):
        out = []
        for b in X.split(4096):
            l = leaves(b, self.roots_, self.feature_, self.threshold_, self.left_)
            out.append(self.value_[l].mean(0))
        return torch.cat(out)
