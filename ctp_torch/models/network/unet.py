"""A U-Net: whole slices of features to whole slices of targets."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor, nn

from ctp_torch.models.arrays import Samples, as_samples
from ctp_torch.models.base import r2_score
from ctp_torch.models.network.base import NeuralNetwork, TrainingOptions, mean_and_sd
from ctp_torch.models.network.convolution import check_positive
from ctp_torch.models.network.training import initial_weights, named_parameters, train_weights

__all__ = ["UNet"]

_BLOCK = 8
"""Slices predicted together."""


class UNet(NeuralNetwork):
    """Convolutions on ever coarser grids and back, ``(slices, rows, columns, features)`` to the same of targets.

    Pixels whose features are all 0 lie outside of the tissue: nothing is learned from them, and the answer there is 0.
    Slices may have any size: they are padded to a multiple of the coarsest grid.

    It sees neighbours, and so needs what a pixel's own curve doesn't: pixels of one size in training and use, and some
    hundred slices of many patients. ``batch_size`` counts slices.

    Parameters
    ----------
    width
        filters of the finest level; each coarser one has twice as many
    levels
        grids, each half as fine as the one before
    training
        ``steps``, ``batch_size``, ``learning_rate``, ``weight_decay``, ``loss``, ``held_out``, ``seed``, as of
        `ctp_torch.models.network.base.NeuralNetwork`

    References
    ----------
    Ronneberger, Fischer, Brox: U-Net: convolutional networks for biomedical image segmentation. MICCAI 2015.
    doi:10.1007/978-3-319-24574-4_28
    """

    sees: ClassVar[Literal["voxels", "slices"]] = "slices"
    _batched: ClassVar[bool] = True

    def __init__(self, width: int = 16, levels: int = 3, **training: Unpack[TrainingOptions]) -> None:
        super().__init__(**TrainingOptions(steps=800, batch_size=8) | training)
        self.width = width
        self.levels = levels

    def _module(self, n_features: int, n_targets: int) -> nn.Module:
        """The levels, on slices whose channels come last."""
        return _Levels(n_features, self.width, self.levels, n_targets)

    def _fit(self, X: Tensor, Y: Tensor) -> None:
        """Standardise by what lies inside, then train on slices."""
        self._check_parameters()
        if X.ndim != 4:
            raise ValueError(f"UNet learns from (slices, rows, columns, features), got shape {tuple(X.shape)}")
        inside = _inside(X)[..., 0]
        if not bool(inside.any()):
            raise ValueError("all features are 0 in all pixels, so that no pixel lies inside the tissue")
        self.feature_mean_, feature_sd = mean_and_sd(X[inside])
        self.feature_sd_ = torch.where(feature_sd > 0, feature_sd, 1.0)
        self.target_mean_, self.target_sd_ = mean_and_sd(Y[inside])
        standard = (Y - self.target_mean_) / torch.where(self.target_sd_ > 0, self.target_sd_, 1.0)
        module = self._empty_module(X.shape[-1], Y.shape[-1])
        self.weights_ = train_weights(
            module,
            initial_weights(module, seed=self.seed).to(X.device),
            self._standard(X),
            (standard * inside[..., None]).float(),
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            loss=self.loss,
            held_out=self.held_out,
            seed=self.seed,
        )

    @torch.no_grad()
    def _predict(self, X: Tensor) -> Tensor:
        """The answers, a few slices at a time, in the unit of the targets; 0 outside."""
        if X.ndim != 4:
            raise ValueError(f"UNet predicts (slices, rows, columns, features), got shape {tuple(X.shape)}")
        module = self._empty_module(X.shape[-1], len(self.target_mean_))
        parameters = named_parameters(module, self.weights_)
        parts = [torch.func.functional_call(module, parameters, self._standard(some)) for some in X.split(_BLOCK)]
        values = torch.cat(parts).to(X.dtype) if parts else X.new_zeros(*X.shape[:-1], len(self.target_mean_))
        values = values * self.target_sd_.to(X.dtype) + self.target_mean_.to(X.dtype)
        return values * _inside(X)

    def _standard(self, X: Tensor) -> Tensor:
        """1 inside and 0 outside, then the features: of mean 0 and deviation 1 inside, 0 outside; float32."""
        inside = _inside(X)
        return torch.cat([inside.float(), super()._standard(X) * inside], dim=-1)

    def score(self, X: Samples, y: Samples) -> float:
        """R2 over all pixels inside, averaged over targets with equal weight."""
        pixels, Y = as_samples(X, "X"), as_samples(y, "y")
        inside = _inside(pixels)[..., 0]
        answers = as_samples(self.predict(X), "X")
        return float(r2_score(answers[inside], Y[inside].to(answers)).mean())

    def _check_parameters(self) -> None:
        """As the base, with levels that have filters."""
        super()._check_parameters()
        check_positive(self, "width", "levels")


class _Levels(nn.Module):
    """Down, up again with what was there, and one linear layer a pixel."""

    def __init__(self, n_features: int, width: int, levels: int, n_targets: int) -> None:
        super().__init__()
        sizes = [width << level for level in range(levels)]
        self.down = nn.ModuleList(map(_twice, [1 + n_features, *sizes[:-1]], sizes))
        self.up = nn.ModuleList(_twice(fine + coarse, fine) for fine, coarse in pairwise(sizes))
        self.last = nn.Conv2d(width, n_targets, 1)

    def forward(self, X: Tensor) -> Tensor:
        """``(slices, rows, columns, 1 + features)`` to ``(slices, rows, columns, targets)``, 0 where the first is 0."""
        rows, columns = X.shape[1:3]
        step = 1 << (len(self.down) - 1)
        values = X.movedim(-1, 1)  # (slices, features, rows, columns)
        values = nn.functional.pad(values, (0, -columns % step, 0, -rows % step))
        seen = []
        for level, layers in enumerate(self.down):
            values = layers(values if level == 0 else nn.functional.avg_pool2d(values, 2))
            seen.append(values)
        for fine, layers in zip(reversed(seen[:-1]), reversed(self.up), strict=True):
            values = layers(torch.cat([fine, nn.functional.interpolate(values, scale_factor=2.0)], dim=1))
        answers: Tensor = self.last(values)[..., :rows, :columns].movedim(1, -1)
        return answers * X[..., :1]


def _inside(X: Tensor) -> Tensor:
    """Pixels with any feature, ``(slices, rows, columns, 1)`` bool."""
    return (X != 0).any(dim=-1, keepdim=True)


def _twice(n_in: int, n_out: int) -> nn.Sequential:
    """Two convolutions of 3 x 3 pixels."""
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, padding=1), nn.SiLU(), nn.Conv2d(n_out, n_out, 3, padding=1), nn.SiLU()
    )
