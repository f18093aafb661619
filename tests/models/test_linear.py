"""Linear and ridge regression against scikit-learn, and their laws."""

import pytest
import torch
from regressor_contract import RegressorContract

from ctp_torch.models import LinearRegression, Ridge

linear_model = pytest.importorskip("sklearn.linear_model")


class TestLinearRegression(RegressorContract):
    def make(self):
        return LinearRegression()


class TestRidge(RegressorContract):
    def make(self):
        return Ridge(alpha=0.3)


def _curves(n_samples, n_features, seed=0):
    generator = torch.Generator().manual_seed(seed)
    X = 0.1 + 0.02 * torch.randn(n_samples, n_features, generator=generator).cumsum(1)
    Y = 100 + 50 * torch.randn(n_samples, 2, generator=generator)
    return X, Y + 300 * X[:, :2]


@pytest.mark.parametrize("alpha", [0.0, 0.1, 10.0])
@pytest.mark.parametrize("shape", [(200, 7), (5, 9), (30, 1)], ids=["tall", "wide", "one feature"])
def test_equals_scikit_learn(alpha, shape, dtype):
    """Mutation seen red: the intercept taken without centring; the penalty added to s instead of s^2."""
    X, Y = (values.to(dtype) for values in _curves(*shape))
    ours = Ridge(alpha) if alpha else LinearRegression()
    theirs = linear_model.Ridge(alpha, solver="svd") if alpha else linear_model.LinearRegression()
    expected = theirs.fit(X.double().numpy(), Y.double().numpy()).predict(X.double().numpy())
    torch.testing.assert_close(ours.fit(X, Y).predict(X).double(), torch.from_numpy(expected), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("model", [LinearRegression(), Ridge(1e-6)])
def test_repeated_and_constant_features_do_no_harm(model, dtype):
    """Rank-deficient X: the predictions are those of the distinct features, and the weights stay small."""
    X, Y = (values.to(dtype) for values in _curves(50, 4))
    padded = torch.cat([X, X[:, :1], X[:, 1:2] + X[:, 2:3], torch.ones_like(X[:, :1])], dim=1)
    expected = model.fit(X, Y).predict(X)
    actual = model.fit(padded, Y).predict(padded)
    assert model.coef_.abs().max() < 1e5
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-2)  # a copied feature halves its tiny penalty


def test_ridge_without_penalty_is_least_squares():
    X, Y = _curves(50, 4)
    assert torch.equal(Ridge(0.0).fit(X, Y).coef_, LinearRegression().fit(X, Y).coef_)


def test_blocks_of_samples_do_not_show():
    """More samples than are summed at once, by the normal equations. Mutation seen red: the last block left out."""
    X, Y = (values.double() for values in _curves(70_000, 4))
    X += torch.arange(70_000.0)[:, None] / 5e5
    x, y = X - X.mean(dim=0), Y - Y.mean(dim=0)
    expected = torch.linalg.solve(x.T @ x + 0.5 * torch.eye(4), x.T @ y)
    torch.testing.assert_close(Ridge(0.5).fit(X, Y).predict(X[::1000]) - Y.mean(dim=0), x[::1000] @ expected)


def test_shifting_the_features_changes_nothing_but_the_intercept():
    X, Y = (values.double() for values in _curves(60, 5))
    model = Ridge(0.5).fit(X, Y)
    shifted = Ridge(0.5).fit(X + 7.0, Y)
    torch.testing.assert_close(shifted.coef_, model.coef_)
    torch.testing.assert_close(shifted.predict(X + 7.0), model.predict(X))


@pytest.mark.parametrize("alpha", [-0.1, float("nan")])
def test_negative_penalty_is_refused(alpha):
    X, Y = _curves(10, 2)
    with pytest.raises(ValueError, match="alpha must not be negative"):
        Ridge(alpha).fit(X, Y)
