"""Random forests on tensors: the paper's second model, trained and used wherever torch runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Literal, Self

import torch
from torch import Tensor

from ctp_torch.models.arrays import Samples, as_samples
from ctp_torch.models.base import Regressor
from ctp_torch.models.checks import working_dtype
from ctp_torch.models.file_checks import check_floats, check_trees
from ctp_torch.models.forest.parameters import (
    check_parameters,
    checked_weight,
    count_of,
    drawn_samples,
    tried_features,
)
from ctp_torch.models.forest.predict import leaves, pack_trees
from ctp_torch.models.forest.processes import shared_out
from ctp_torch.models.forest.random import feature_orders
from ctp_torch.models.forest.scoring import SplitRules
from ctp_torch.models.forest.sklearn import exported, imported_nodes, imported_parameters
from ctp_torch.models.forest.training import grow_forest
from ctp_torch.ops.compute.threads import in_threads

if TYPE_CHECKING:
    from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor

__all__ = ["RandomForest"]

_ROWS, _TREES = 8192, 30  # predicted at once: 245,760 walks
_DEEPEST = 2**31 - 1


class RandomForest(Regressor):
    """The mean of regression trees, each grown on a bootstrap sample: Breiman's forest, as in scikit-learn.

    Every node is split where the weighted sum of squared errors of all targets falls most. Features are compared in
    quantile bins; a threshold lies halfway between the neighbouring values of the node's own samples, and a node whose
    samples share all bins gets finer ones. All sums are exact, so that the same seed gives the same forest on any
    device, with any number of threads or processes. Under ``torchrun`` (an initialised process group, the same samples
    in every process) the trees are shared out among the processes, and each ends up with the whole forest.

    X may have leading batch dimensions, (..., samples, features), with Y (..., samples, targets): one forest for each
    batch, as if they were fitted one by one.

    Parameters
    ----------
    n_estimators
        trees
    max_depth
        of the leaves, the root at 0; None: until the leaves are pure
    min_samples_leaf
        samples that a leaf needs at least: a count, or a fraction of the samples
    min_samples_split
        samples that a node needs to be split: a count, or a fraction of the samples
    max_features
        features that each node tries, drawn at random: a fraction, a count, ``"sqrt"``, ``"log2"``, or None for all
    splitter
        ``"best"`` searches all thresholds of a feature, ``"random"`` draws one uniformly (extremely randomised trees):
        faster, and often no worse on noisy curves
    bootstrap
        whether each tree draws its samples with replacement; otherwise it has them all
    n_bins
        bins for each feature, 2 to 32767 (up to 256 is fastest); ``splitter="random"`` needs none
    max_samples
        draws for each tree: a count, or a fraction of the samples; None: as many as samples
    seed
        of everything drawn

    References
    ----------
    Breiman L. Random forests. Machine Learning 2001;45:5-32. doi:10.1023/A:1010933404324

    Examples
    --------
    >>> X = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> RandomForest(1, bootstrap=False).fit(X, torch.tensor([5.0, 5.0, 9.0, 9.0])).predict(torch.tensor([[1.4]]))
    tensor([5.])
    """

    _batched = True

    roots_: Tensor
    """(..., trees), int64: where each tree begins."""
    feature_: Tensor
    """(nodes,), int32: the feature that a node asks for, -1 in a leaf."""
    threshold_: Tensor
    """(nodes,), in the dtype of X: ``x <= threshold`` goes to the left child."""
    left_: Tensor
    """(nodes,), int32 or int64: the left child, followed by the right one; a leaf points at itself."""
    value_: Tensor
    """(nodes, targets): weighted mean of the samples."""
    weight_: Tensor
    """(nodes,), float32: sum of the samples' weights; up to one common factor where these are no whole numbers."""
    decrease_: Tensor
    """(nodes,), float32: by how much the split lowers the weighted squared errors of all targets, with that factor."""

    def __init__(
        self,
        n_estimators: int = 90,
        *,
        max_depth: int | None = 55,
        min_samples_leaf: float = 1,
        min_samples_split: float = 2,
        max_features: float | Literal["sqrt", "log2"] | None = 1.0,
        splitter: Literal["best", "random"] = "best",
        bootstrap: bool = True,
        n_bins: int = 255,
        max_samples: float | None = None,
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

    def fit(self, X: Samples, y: Samples, sample_weight: Samples | None = None) -> Self:
        """The forest itself, grown on these samples alone.

        Parameters
        ----------
        X
            (..., samples, features); integers and half precision are computed in float32
        y
            (..., samples, targets) or (..., samples)
        sample_weight
            (..., samples), none negative; a weight of 2 counts like the sample twice, 0 like no sample

        Raises
        ------
        ValueError
            if shapes, devices or a parameter don't fit, or a value is NaN or infinite
        TypeError
            if an argument is not a real tensor
        """
        check_parameters(self.get_params())
        X = as_samples(X, "X")
        weight = None if sample_weight is None else as_samples(sample_weight, "sample_weight")
        self._weight = None if weight is None else checked_weight(weight, X)
        try:
            return super().fit(X, y)
        finally:
            del self._weight

    def predict_std(self, X: Tensor) -> Tensor:
        """Standard deviation of the trees' predictions: how far they disagree, in the shape of ``predict(X)``.

        It is the spread over trees (divisor: their number), not a confidence interval.

        Raises
        ------
        NotFittedError, ValueError
            as ``predict``
        """
        shape = self.predict(X).shape
        return self._over_trees(X, _spread).to(working_dtype(X)).view(shape)

    @property
    def feature_importances_(self) -> Tensor:
        """Share of each feature in the fall of the squared error, (..., features) float64, as in scikit-learn.

        Each tree's shares sum to 1 and count equally. Over the time points of a curve: which moments of the bolus
        matter. A forest of single leaves has zeros.

        Raises
        ------
        NotFittedError
            before ``fit``
        """
        self._check_fitted()
        inner = self.feature_ >= 0
        n_trees = self.roots_.numel()
        tree = torch.bucketize(inner.nonzero().squeeze(1), self.roots_.view(-1), right=True) - 1
        share = self.decrease_[inner].double().new_zeros(n_trees * self.n_features_in_)
        share.index_add_(0, tree * self.n_features_in_ + self.feature_[inner], self.decrease_[inner].double())
        shares = share.view(*self.roots_.shape, -1)  # (..., trees, features)
        total = shares.sum(-1, keepdim=True)
        shares = shares / total.where(total > 0, torch.ones_like(total))
        mean = shares.mean(-2)
        total = mean.sum(-1, keepdim=True)
        return mean / total.where(total > 0, torch.ones_like(total))

    @classmethod
    def from_sklearn(cls, forest: RandomForestRegressor | ExtraTreesRegressor) -> Self:
        """The same forest on tensors: it predicts what a fitted scikit-learn forest predicts, on any device.

        Parameters
        ----------
        forest
            fitted, minimising the squared error

        Raises
        ------
        ValueError
            if it isn't fitted, no regression, or doesn't predict means
        """
        model = cls(**imported_parameters(forest))
        for name, column in imported_nodes(forest).items():
            setattr(model, name, column)
        model.single_target_, model.metadata_ = forest.n_outputs_ == 1, {}
        model.n_features_in_ = int(forest.n_features_in_)
        return model

    def to_sklearn(self) -> RandomForestRegressor:
        """A fitted scikit-learn forest that predicts the same (needs scikit-learn).

        Thresholds of a float64 fit are compared with float32 features there. Impurities count what the splits explain;
        importances are the same.

        Raises
        ------
        NotFittedError
            before ``fit``
        ValueError
            if the forest was fitted in batches
        """
        self._check_fitted()
        if self.roots_.ndim > 1:
            raise ValueError(f"fitted in batches {tuple(self.roots_.shape[:-1])}: scikit-learn has no such forest")
        state = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        return exported(state, self.get_params(), n_features=self.n_features_in_, single=self.single_target_)

    def _fit(self, X: Tensor, Y: Tensor) -> None:
        """Grow the trees of all batches."""
        *batch, n_samples, n_features = X.shape
        X, Y = (v.detach().reshape(-1, n_samples, v.shape[-1]).contiguous() for v in (X, Y))
        weight = None if self._weight is None else self._weight.detach().reshape(-1, n_samples)
        n_tried = tried_features(self.max_features, n_features)
        orders = None
        if n_tried < n_features:
            n_orders = 1 << max(8, min(13, ((1 << 21) // n_features).bit_length() - 1))  # 8,192 up to 256 features
            orders = feature_orders(n_features, n_orders, seed=self.seed, device=X.device)
        leaf = count_of(self.min_samples_leaf, n_samples)
        n_trees = len(X) * self.n_estimators
        nodes = shared_out(
            n_trees,
            lambda only: grow_forest(
                X,
                Y,
                weight,
                n_trees=self.n_estimators,
                n_draws=drawn_samples(self.max_samples, n_samples) if self.bootstrap else None,
                max_depth=_DEEPEST if self.max_depth is None else self.max_depth,
                min_samples_split=max(2, count_of(self.min_samples_split, n_samples)),
                rules=SplitRules(self.splitter, self.n_bins, leaf, n_tried, orders),
                seed=self.seed,
                only=only,
            ),
        )
        self.roots_ = torch.searchsorted(nodes.tree, torch.arange(n_trees, dtype=torch.int32, device=X.device)).view(
            *batch, -1
        )
        self.feature_, self.threshold_, self.left_ = nodes.feature, nodes.threshold, nodes.left
        self.value_, self.weight_, self.decrease_ = nodes.value, nodes.weight, nodes.decrease

    def _check_fit(self) -> int:
        """Trees whose every walk ends in a leaf with a value."""
        check_parameters(self.get_params())
        if self.roots_.shape[-1:] != (self.n_estimators,):
            raise ValueError(f"roots_ is {tuple(self.roots_.shape)} for {self.n_estimators} trees")
        check_trees(self.roots_, self.feature_, self.left_, self.n_features_in_)
        n_nodes, n_targets = self.value_.shape
        of_nodes = {name: (getattr(self, name), (n_nodes,)) for name in ("threshold_", "weight_", "decrease_")}
        check_floats(value_=(self.value_, (len(self.feature_), n_targets)), **of_nodes)
        return n_targets

    def _predict(self, X: Tensor) -> Tensor:
        """Mean over the trees."""
        return self._over_trees(X, _mean)

    def _over_trees(self, X: Tensor, summary: Callable[[Iterator[Tensor]], Tensor]) -> Tensor:
        """A summary of the trees' predictions, (..., samples, targets); it gets (trees, samples, targets) in groups."""
        batch, n_targets = self.roots_.shape[:-1], self.value_.shape[1]
        if batch and X.shape[:-2] != batch:
            raise ValueError(f"X must have the batch dimensions of the fit {tuple(batch)}, got {tuple(X.shape[:-2])}")
        n_rows = X.shape[-2] if batch else math.prod(X.shape[:-1])
        rows = X.detach().to(self.threshold_.dtype).reshape(max(1, math.prod(batch)), n_rows, X.shape[-1])
        trees = pack_trees(self.feature_, self.threshold_, self.left_)
        roots = self.roots_.view(len(rows), -1)
        blocks = [(b, block) for b, values in enumerate(rows) for block in torch.split(values, _ROWS)]

        def answer(work: tuple[int, Tensor]) -> Tensor:
            """The summary for one block of samples."""
            batch, block = work
            groups = (leaves(block, group, trees) for group in torch.split(roots[batch], _TREES))
            return summary(self.value_.index_select(0, leaf.view(-1)).view(*leaf.shape, n_targets) for leaf in groups)

        parts = in_threads(answer, blocks, device=X.device)
        return torch.cat(parts).view(*X.shape[:-1], n_targets)


def _mean(groups: Iterator[Tensor]) -> Tensor:
    """Mean over trees, summed in float64 about the first tree's answer (equal answers keep all their digits)."""
    count, first, total, _ = _sums(groups)
    return first + total / count


def _spread(groups: Iterator[Tensor]) -> Tensor:
    """Standard deviation over trees."""
    count, _, total, squares = _sums(groups)
    return (squares / count - (total / count).square()).clamp_(min=0).sqrt_()


def _sums(groups: Iterator[Tensor]) -> tuple[int, Tensor, Tensor, Tensor]:
    """Number of trees, answer of the first, sums of the differences from it and of their squares (samples, targets)."""
    values = next(groups)
    first, count = values[0].double(), 0
    total, squares = torch.zeros_like(first), torch.zeros_like(first)
    for group in chain([values], groups):
        difference = group.double() - first
        count, total = count + len(group), total.add_(difference.sum(0))
        squares.add_(difference.square_().sum(0))
    return count, first, total, squares
