"""The contract of regressors, kept by a perceptron; what its training promises."""

import pytest
import torch
from regressor_contract import RegressorContract

from ctp_torch.models import Network


class TestNetwork(RegressorContract):
    independent_targets = False  # the hidden layers are shared

    def make(self):
        return Network([24], steps=150, learning_rate=2e-2)


def _bump(n, generator):
    X = torch.rand(n, 2, generator=generator)
    return X, torch.stack(((6 * X[:, 0]).sin() * X[:, 1], 100.0 + 40.0 * X[:, 0]), dim=1)


def test_a_curved_function_is_learned(generator, device):
    """Mutation seen red: the targets' deviation left out of the prediction."""
    X, Y = (values.to(device) for values in _bump(3000, generator))
    model = Network([48, 48], steps=1500, learning_rate=5e-3).fit(X[:2500], Y[:2500])
    assert model.score(X[2500:], Y[2500:]) > 0.995
    assert model.predict(X).device == X.device


def test_medians_and_means_are_told_apart(generator):
    """Noise that is exponential has the median ln 2 and the mean 1.

    Mutation seen red: the squared loss whatever is asked for.
    """
    X = torch.rand(8000, 1, generator=generator)
    Y = -torch.rand(8000, generator=generator).log()
    mean, median = (
        float(Network([8], steps=800, loss=loss).fit(X, Y).predict(X).mean()) for loss in ("squared", "absolute")
    )
    assert mean == pytest.approx(1.0, abs=0.08)
    assert median == pytest.approx(0.693, abs=0.08)


def test_held_out_samples_stop_what_overfits(generator):
    """40 samples of noise: the weights kept predict other noise no worse than their mean does.

    Mutation seen red: the last weights kept instead of the best.
    """
    X, Y = torch.randn(50, 8, generator=generator), torch.randn(50, generator=generator)
    new = torch.randn(500, 8, generator=generator)
    kept, last = (
        float(Network([64, 64], steps=800, held_out=share, weight_decay=0.0).fit(X, Y).predict(new).std())
        for share in (0.3, 0.0)
    )
    assert kept < 0.5 * last


def test_seeds_differ_and_the_order_of_devices_does_not_matter(generator):
    X, Y = _bump(200, generator)
    first, again, other = (Network([8], steps=50, seed=seed).fit(X, Y).predict(X) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    "bad", [{"hidden": [0]}, {"steps": 0}, {"learning_rate": -1.0}, {"held_out": 1.0}, {"loss": "cubic"}]
)
def test_impossible_parameters_are_refused(bad, generator):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Network(**bad).fit(*_bump(20, generator))
