"""Networks that read features as curves: the contract of regressors, and what their layers must know."""

import pytest
import torch
from regressor_contract import RegressorContract
from torch import nn

from ctp_torch.models import Convolution, Recurrent


class TestConvolution(RegressorContract):
    independent_targets = False  # the layers are shared

    def make(self):
        return Convolution(width=4, hidden=16, steps=120, learning_rate=2e-2)


class TestGru(RegressorContract):
    independent_targets = False

    def make(self):
        return Recurrent(units=12, steps=60, learning_rate=4e-2)


class TestLstm(TestGru):
    def make(self):
        return Recurrent(cell="lstm", units=12, steps=60, learning_rate=4e-2)


def test_convolution_is_torchs_own_with_the_learned_weights(generator):
    """Two channels meet in the first layer. Mutation seen red: samples of both curves taken in turn as one channel."""
    X, Y = torch.randn(40, 18, generator=generator), torch.randn(40, 2, generator=generator)
    model = Convolution(2, width=3, hidden=4, steps=5).fit(X, Y)
    shapes = [(3, 2, 5), (3,), (3, 3, 5), (3,), (3, 3, 5), (3,), (4, 27), (4,), (2, 4), (2,)]
    sizes = [torch.Size(shape).numel() for shape in shapes]
    parts = [part.view(shape) for part, shape in zip(model.weights_.split(sizes), shapes, strict=True)]
    values = ((X - model.feature_mean_) / model.feature_sd_).float().reshape(40, 2, 9)
    for weight, bias in zip(parts[0:6:2], parts[1:6:2], strict=True):
        values = nn.functional.silu(nn.functional.conv1d(values, weight, bias, padding=2))
    values = nn.functional.silu(values.flatten(1) @ parts[6].T + parts[7]) @ parts[8].T + parts[9]
    expected = (values * model.target_sd_ + model.target_mean_).float()
    torch.testing.assert_close(model.predict(X), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("cell", "theirs"), [("gru", nn.GRU), ("lstm", nn.LSTM)])
def test_recurrent_prediction_is_torchs_own_with_the_learned_weights(cell, theirs, generator):
    """Two channels read together. Mutation seen red: the first state in place of the last."""
    X, Y = torch.randn(60, 10, generator=generator), torch.randn(60, 2, generator=generator)
    model = Recurrent(2, cell=cell, units=3, steps=5).fit(X, Y)
    layers, last = theirs(2, 3, batch_first=True), nn.Linear(3, 2)
    nn.utils.vector_to_parameters(model.weights_, [*layers.parameters(), *last.parameters()])
    z = ((X - model.feature_mean_) / model.feature_sd_).float()
    states, _ = layers(z.reshape(60, 2, 5).transpose(1, 2))
    expected = last(states[:, -1]) * model.target_sd_ + model.target_mean_
    torch.testing.assert_close(model.predict(X), expected.detach().float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [Convolution, Recurrent])
def test_features_that_are_no_whole_curves_are_refused(make, generator):
    X, Y = torch.randn(9, 7, generator=generator), torch.randn(9, generator=generator)
    with pytest.raises(ValueError, match=r"7 features are no 2 curves.*artery moments"):
        make(2).fit(X, Y)
    with pytest.raises(ValueError, match="channels must be a positive whole number"):
        make(0).fit(X, Y)


def test_unknown_cells_and_empty_layers_are_refused(generator):
    X, Y = torch.randn(9, 6, generator=generator), torch.randn(9, generator=generator)
    with pytest.raises(ValueError, match="cell must be one of gru, lstm"):
        Recurrent(cell="rnn").fit(X, Y)
    with pytest.raises(ValueError, match="width must be a positive whole number"):
        Convolution(width=0).fit(X, Y)
