"""A multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Unpack

from torch import nn

from ctp_torch.models.network.base import NeuralNetwork, TrainingOptions

__all__ = ["Network"]


class Network(NeuralNetwork):
    """A multilayer perceptron, ``(samples, features)`` to ``(samples, targets)``, with SiLU between its layers.

    Parameters
    ----------
    hidden
        units of the hidden layers
    training
        ``steps``, ``batch_size``, ``learning_rate``, ``weight_decay``, ``loss``, ``held_out``, ``seed``, as of
        `ctp_torch.models.network.base.NeuralNetwork`

    References
    ----------
    Kingma, Ba: Adam: a method for stochastic optimization. arXiv:1412.6980.

    Examples
    --------
    >>> X = torch.linspace(-1, 1, 200)[:, None]
    >>> Network(hidden=[32], steps=500).fit(X, X.square()).predict(torch.tensor([[0.5]]))  # doctest: +SKIP
    tensor([[0.2497]])
    """

    def __init__(
        self,
        hidden: Sequence[int] = (96, 96),
        **training: Unpack[TrainingOptions],
    ) -> None:
        super().__init__(**training)
        self.hidden = list(hidden)

    def _module(self, n_features: int, n_targets: int) -> nn.Module:
        """Linear layers with SiLU between them."""
        sizes = [n_features, *self.hidden]
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(sizes):
            layers += [nn.Linear(narrow, wide), nn.SiLU()]
        return nn.Sequential(*layers, nn.Linear(sizes[-1], n_targets))

    def _check_parameters(self) -> None:
        """As the base, with layers that have units."""
        super()._check_parameters()
        if not all(type(units) is int and units > 0 for units in self.hidden):
            raise ValueError(f"hidden must be positive whole numbers, got {self.hidden}")
