"""What every network shares: one file without pickle, seeded training that stops by samples held out."""

from __future__ import annotations

import math
from typing import TypedDict, get_args

import torch
from torch import Tensor, nn

from ctp_torch.models.base import Regressor
from ctp_torch.models.file_checks import check_floats
from ctp_torch.models.network.training import Loss, initial_weights, named_parameters, train_weights

__all__ = ["NeuralNetwork", "TrainingOptions", "mean_and_sd"]

_BLOCK = 16_384
"""Samples predicted together: their activations stay in a processor's cache."""


class TrainingOptions(TypedDict, total=False):
    """How a network is trained: every network's constructor takes these, meant and set as in `NeuralNetwork`."""

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    loss: Loss
    held_out: float
    seed: int


class NeuralNetwork(Regressor):
    """A network on standardised features and targets, trained by Adam with a falling step.

    A subclass writes one hook, ``_module(n_features, n_targets)``, which makes the torch module; all learned numbers
    of it are kept in one tensor, in the order of the module's parameters. Modules with buffers (running means) don't
    fit.

    Parameters
    ----------
    steps
        updates of the weights
    batch_size
        samples an update
    learning_rate
        of the first tenth of the steps; it falls to 0 by half a cosine
    weight_decay
        how much the weights shrink a step, times the learning rate
    loss
        ``squared``, or ``absolute``, which asks for medians
    held_out
        share of the samples that tells which weights are best; 0 keeps the last
    seed
        of first weights, held-out samples and batches
    """

    weights_: Tensor
    """All parameters of the module, one after another, float32."""
    feature_mean_: Tensor
    """``(features,)``, subtracted."""
    feature_sd_: Tensor
    """``(features,)``, divided by."""
    target_mean_: Tensor
    """``(targets,)``, added."""
    target_sd_: Tensor
    """``(targets,)``, multiplied by; 0 for a constant."""

    def __init__(
        self,
        *,
        steps: int = 4000,
        batch_size: int = 512,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-4,
        loss: Loss = "squared",
        held_out: float = 0.1,
        seed: int = 0,
    ) -> None:
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.loss = loss
        self.held_out = held_out
        self.seed = seed

    @classmethod
    def _parameter_names(cls) -> list[str]:
        """The constructor's own arguments, and those of the training."""
        own = [name for name in super()._parameter_names() if name not in TrainingOptions.__annotations__]
        return [name for name in own if name != "training"] + list(TrainingOptions.__annotations__)

    def _module(self, n_features: int, n_targets: int) -> nn.Module:
        """The untrained module, ``(samples, features) -> (samples, targets)``; a subclass's hook."""
        raise TypeError(f"{type(self).__name__} doesn't say what its module is")

    def _fit(self, X: Tensor, Y: Tensor) -> None:
        """Standardise, then train."""
        self._check_parameters()
        self.feature_mean_, feature_sd = mean_and_sd(X)
        self.feature_sd_ = torch.where(feature_sd > 0, feature_sd, 1.0)
        self.target_mean_, self.target_sd_ = mean_and_sd(Y)
        module = self._empty_module(X.shape[1], Y.shape[1])
        self.weights_ = train_weights(
            module,
            initial_weights(module, seed=self.seed).to(X.device),
            self._standard(X),
            ((Y - self.target_mean_) / torch.where(self.target_sd_ > 0, self.target_sd_, 1.0)).float(),
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
        """The module's answers, block by block, in the unit of the targets."""
        module = self._empty_module(X.shape[1], len(self.target_mean_))
        parameters = named_parameters(module, self.weights_)
        parts = [torch.func.functional_call(module, parameters, self._standard(rows)) for rows in X.split(_BLOCK)]
        values = torch.cat(parts).to(X.dtype)
        return values * self.target_sd_.to(X.dtype) + self.target_mean_.to(X.dtype)

    def _standard(self, X: Tensor) -> Tensor:
        """Features of mean 0 and deviation 1, float32."""
        return ((X - self.feature_mean_.to(X.dtype)) / self.feature_sd_.to(X.dtype)).float()

    def _empty_module(self, n_features: int, n_targets: int) -> nn.Module:
        """The module without memory for its parameters: they are handed in at each call."""
        with torch.device("meta"):
            return self._module(n_features, n_targets)

    def _check_parameters(self) -> None:
        """Refuse training that can't be meant."""
        if self.loss not in get_args(Loss):
            raise ValueError(
                f"{type(self).__name__}.loss must be one of {', '.join(get_args(Loss))}, got {self.loss!r}"
            )
        if type(self.steps) is not int or type(self.batch_size) is not int or min(self.steps, self.batch_size) < 1:
            raise ValueError(f"steps and batch_size must be whole and positive, got {self.steps}, {self.batch_size}")
        if not (0 < self.learning_rate < math.inf and 0 <= self.weight_decay < math.inf and 0 <= self.held_out < 1):
            raise ValueError(
                "learning_rate must be positive, weight_decay not negative, held_out in 0..1, got "
                f"{self.learning_rate}, {self.weight_decay}, {self.held_out}"
            )

    def _check_fit(self) -> int:
        """As many weights as the module has, and a scale for every feature and target."""
        self._check_parameters()
        n_features, n_targets = self.n_features_in_, len(self.target_mean_)
        count = sum(parameter.numel() for parameter in self._empty_module(n_features, n_targets).parameters())
        check_floats(
            weights_=(self.weights_, (count,)),
            feature_mean_=(self.feature_mean_, (n_features,)),
            feature_sd_=(self.feature_sd_, (n_features,)),
            target_mean_=(self.target_mean_, (n_targets,)),
            target_sd_=(self.target_sd_, (n_targets,)),
        )
        if self.weights_.device.type != "meta" and not bool((self.feature_sd_ > 0).all()):
            raise ValueError("feature_sd_ must be positive")
        return n_targets


def mean_and_sd(values: Tensor) -> tuple[Tensor, Tensor]:
    """Of each column, in float64; 0 is the deviation of what varies by no more than rounding."""
    mean = values.double().mean(dim=0)
    sd = (values.double() - mean).square().mean(dim=0).sqrt()
    varies = sd > 1e-6 * mean.abs().clamp_min(torch.finfo(torch.float32).tiny)
    return mean, torch.where(varies, sd, 0.0)
