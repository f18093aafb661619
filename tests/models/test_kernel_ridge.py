"""Kernel ridge regression against its textbook formula, scikit-learn, and its neighbours in theory."""

import pytest
import torch
from oracles import kernels as oracle
from regressor_contract import RegressorContract

from ctp_torch.models import KernelRidge


class TestKernelRidge(RegressorContract):
    def make(self):
        return KernelRidge(alpha=0.1, gamma=2.0)


def _curves(n=60, features=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    X = 0.1 + 0.05 * torch.randn(n, features, generator=generator, dtype=torch.float64).cumsum(1)
    Y = 100 + 400 * X[:, :2].sin() + 10 * torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return X, Y, X[:9] + 0.02


@pytest.mark.parametrize("gamma", [1.0 / 128.0, 8.0])
@pytest.mark.parametrize("center", [True, False])
def test_equals_the_textbook(gamma, center, dtype):
    """Mutation seen red: the intercept forgotten in predict; alpha multiplied by the number of samples."""
    X, Y, new = (values.to(dtype) for values in _curves())
    expected = oracle.kernel_ridge(X, Y, new, alpha=0.1, gamma=gamma, center=center)
    actual = KernelRidge(0.1, gamma, center=center).fit(X, Y).predict(new)
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=1e-4 * float(Y.std()))


def test_equals_scikit_learn():
    theirs = pytest.importorskip("sklearn.kernel_ridge").KernelRidge(alpha=0.1, kernel="rbf", gamma=8.0)
    X, Y, new = _curves()
    expected = torch.from_numpy(theirs.fit(X.numpy(), Y.numpy()).predict(new.numpy()))
    actual = KernelRidge(center=False).fit(X, Y).predict(new)
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-6)


def test_effective_dof_is_the_trace():
    X, Y, _ = _curves()
    model = KernelRidge(alpha=0.1, gamma=8.0).fit(X, Y)
    assert model.effective_dof_ == pytest.approx(oracle.effective_dof(X, alpha=0.1, gamma=8.0), rel=1e-8)


def test_effective_dof_of_many_samples_is_close_to_the_trace(monkeypatch):
    X, Y, _ = _curves(900)
    model = KernelRidge(alpha=0.1, gamma=8.0).fit(X, Y)
    monkeypatch.setattr("ctp_torch.models.solvers.effective_dof._EXACT", 100)
    assert model.effective_dof_ == pytest.approx(oracle.effective_dof(X, alpha=0.1, gamma=8.0), rel=0.05)
