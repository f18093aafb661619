"""Networks that read a curve sample by sample: the paper's "LSTM could be considered", and its smaller sister."""

from __future__ import annotations

from typing import Literal, Unpack, get_args

from torch import Tensor, nn

from ctp_torch.models.network.base import NeuralNetwork, TrainingOptions
from ctp_torch.models.network.convolution import as_curves, check_channels, check_positive

__all__ = ["Recurrent"]

Cell = Literal["gru", "lstm"]


class Recurrent(NeuralNetwork):
    """A GRU or LSTM along time, its last state to the targets; ``(samples, features)`` to ``(samples, targets)``.

    Parameters
    ----------
    channels
        curves of equal length that the features hold, one after another; their values of one moment are read together
    cell
        ``gru`` or ``lstm``
    units
        of the state
    training
        ``steps``, ``batch_size``, ``learning_rate``, ``weight_decay``, ``loss``, ``held_out``, ``seed``, as of
        `ctp_torch.models.network.base.NeuralNetwork`

    References
    ----------
    Hochreiter, Schmidhuber: Long short-term memory. Neural Comput 1997;9:1735-1780. doi:10.1162/neco.1997.9.8.1735;
    Cho et al.: Learning phrase representations using RNN encoder-decoder. arXiv:1406.1078
    """

    def __init__(
        self,
        channels: int = 1,
        *,
        cell: Cell = "gru",
        units: int = 32,
        **training: Unpack[TrainingOptions],
    ) -> None:
        super().__init__(**training)
        self.channels = channels
        self.cell: Cell = cell
        self.units = units

    def _module(self, n_features: int, n_targets: int) -> nn.Module:
        """The cell along time, and a linear layer on where it ends."""
        return _Layers(self.channels, self.cell, self.units, n_targets)

    def _fit(self, X: Tensor, Y: Tensor) -> None:
        """As the base, for features that are whole curves."""
        check_channels(self, X.shape[1])
        super()._fit(X, Y)

    def _check_parameters(self) -> None:
        """As the base, with a cell that is known."""
        super()._check_parameters()
        check_positive(self, "channels", "units")
        if self.cell not in get_args(Cell):
            raise ValueError(f"Recurrent.cell must be one of {', '.join(get_args(Cell))}, got {self.cell!r}")


class _Layers(nn.Module):
    """The layers, on flat features."""

    def __init__(self, channels: int, cell: Cell, units: int, n_targets: int) -> None:
        super().__init__()
        self.channels = channels
        self.cell = {"gru": nn.GRU, "lstm": nn.LSTM}[cell](channels, units, batch_first=True)
        self.last = nn.Linear(units, n_targets)

    def forward(self, X: Tensor) -> Tensor:
        """``(samples, features)`` to ``(samples, targets)``."""
        states, _ = self.cell(as_curves(X, self.channels).mT)  # (samples, time, units)
        values: Tensor = self.last(states[:, -1])
        return values
