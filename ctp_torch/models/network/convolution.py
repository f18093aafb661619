"""A one-dimensional convolution along time."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor, nn

from ctp_torch.models.network.base import NeuralNetwork, TrainingOptions

__all__ = ["Convolution", "as_curves"]

_KERNEL = 5
"""Samples that a layer sees at once."""


class Convolution(NeuralNetwork):
    """Three convolutions along time, then one hidden layer; ``(samples, features)`` to ``(samples, targets)``.

    The features are one or several curves of equal length, one after another (tissue at several smoothing widths, the
    artery): each is a channel, so that the same moments of tissue and artery meet in the first layer.

    Parameters
    ----------
    channels
        curves that the features hold
    width
        filters of each convolution
    hidden
        units of the hidden layer
    training
        ``steps``, ``batch_size``, ``learning_rate``, ``weight_decay``, ``loss``, ``held_out``, ``seed``, as of
        `ctp_torch.models.network.base.NeuralNetwork`

    References
    ----------
    Robben, Suetens: Perfusion parameter estimation using neural networks and data augmentation. arXiv:1810.04898
    """

    def __init__(
        self,
        channels: int = 1,
        *,
        width: int = 16,
        hidden: int = 64,
        **training: Unpack[TrainingOptions],
    ) -> None:
        super().__init__(**training)
        self.channels = channels
        self.width = width
        self.hidden = hidden

    def _module(self, n_features: int, n_targets: int) -> nn.Module:
        """Convolutions that keep the length, a hidden layer over all of it."""
        return _Layers(self.channels, self.width, self.hidden, n_features // self.channels, n_targets)

    def _fit(self, X: Tensor, Y: Tensor) -> None:
        """As the base, for features that are whole curves."""
        check_channels(self, X.shape[1])
        super()._fit(X, Y)

    def _check_parameters(self) -> None:
        """As the base, with layers that have filters and units."""
        super()._check_parameters()
        check_positive(self, "channels", "width", "hidden")


class _Layers(nn.Module):
    """The layers, on flat features."""

    def __init__(self, channels: int, width: int, hidden: int, length: int, n_targets: int) -> None:
        super().__init__()
        self.channels = channels
        layers: list[nn.Module] = []
        for narrow in (channels, width, width):
            layers += [nn.Conv1d(narrow, width, _KERNEL, padding=_KERNEL // 2), nn.SiLU()]
        layers += [nn.Flatten(), nn.Linear(width * length, hidden), nn.SiLU(), nn.Linear(hidden, n_targets)]
        self.layers = nn.Sequential(*layers)

    def forward(self, X: Tensor) -> Tensor:
        """``(samples, features)`` to ``(samples, targets)``."""
        values: Tensor = self.layers(as_curves(X, self.channels))
        return values


def as_curves(X: Tensor, channels: int) -> Tensor:
    """Features ``(samples, channels * time)`` as curves ``(samples, channels, time)``."""
    return X.reshape(len(X), channels, X.shape[1] // channels)


def check_channels(model: NeuralNetwork, n_features: int) -> None:
    """Refuse features that aren't so many whole curves.

    Raises
    ------
    ValueError
        naming both numbers
    """
    channels = int(model.get_params()["channels"])
    check_positive(model, "channels")
    if n_features % channels:
        raise ValueError(
            f"{n_features} features are no {channels} curves of equal length; give {type(model).__name__} as many "
            "channels as the features hold curves, and no other features (artery moments)"
        )


def check_positive(model: NeuralNetwork, *names: str) -> None:
    """Refuse sizes that are no positive whole numbers."""
    for name in names:
        size = getattr(model, name)
        if type(size) is not int or size < 1:
            raise ValueError(f"{type(model).__name__}.{name} must be a positive whole number, got {size!r}")
