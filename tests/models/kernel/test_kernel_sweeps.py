"""Learning curves and left-out residuals against honest refits."""

import pytest
import torch
from oracles import kernels as oracle

from ctp_torch.models import KernelRidge, learning_curve, leave_one_out, load_model


def _curves(n=60, features=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    X = 0.1 + 0.05 * torch.randn(n, features, generator=generator, dtype=torch.float64).cumsum(1)
    Y = 100 + 400 * X[:, :2].sin() + 10 * torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return X, Y, X[:9] + 0.02


@pytest.mark.parametrize("center", [True, False])
def test_every_size_equals_a_fit_of_its_own(center, dtype):
    """Mutation seen red: the mean of all samples instead of each size's own."""
    X, Y, new = (values.to(dtype) for values in _curves(120))
    sizes = [40, 77, 120]
    model = learning_curve(X, Y, sizes, alpha=0.1, gamma=8.0, center=center)
    predictions = model.predict(new)
    assert predictions.shape == (3, 9, 2)
    for size, actual in zip(sizes, predictions, strict=True):
        expected = oracle.kernel_ridge(X[:size], Y[:size], new, alpha=0.1, gamma=8.0, center=center)
        torch.testing.assert_close(actual.double(), expected, rtol=0, atol=1e-4 * float(Y.std()))


@pytest.mark.slow
def test_sizes_beyond_one_float64_factor_are_refined(monkeypatch):
    """The float32 factor alone is off by more than the tolerance; the shared refinement brings every size below it."""
    monkeypatch.setattr("ctp_torch.models.kernel.solvers.direct.SMALL", 100)
    monkeypatch.setattr("ctp_torch.ops.kernel.blocked_cholesky._BLOCK", 128)
    X, Y, new = _curves(700)
    model = learning_curve(X.float(), Y.float(), [300, 500, 700], alpha=1e-3, tolerance=1e-7)
    assert model.residual_ <= 1e-7
    for size, actual in zip([300, 500, 700], model.predict(new.float()), strict=True):
        expected = oracle.kernel_ridge(X[:size].float(), Y[:size].float(), new.float(), alpha=1e-3, gamma=8.0)
        torch.testing.assert_close(actual.double(), expected, rtol=0, atol=1e-4 * float(Y.std()))


def test_learning_curve_is_a_model_like_any_other(tmp_path):
    X, Y, new = _curves()
    model = learning_curve(X, Y[:, 0], [20, 60])
    assert model.predict(new).shape == (2, 9)
    model.save(tmp_path / "sizes.safetensors")
    assert torch.equal(load_model(tmp_path / "sizes.safetensors").predict(new), model.predict(new))


@pytest.mark.parametrize("sizes", [[], [0, 10], [10, 61]])
def test_impossible_sizes_are_refused(sizes):
    X, Y, _ = _curves()
    with pytest.raises(ValueError, match="between 1 and the 60 samples"):
        learning_curve(X, Y, sizes)


def test_left_out_residuals_are_those_of_refits():
    """Mutation seen red: the diagonal of K + alpha I instead of that of its inverse."""
    X, Y, _ = _curves(25)
    missed = leave_one_out(X, Y, alphas=[0.1, 1.0], gamma=8.0, center=False)
    assert missed.shape == (2, 25, 2)
    for alpha, residual in zip([0.1, 1.0], missed, strict=True):
        for i in (0, 7, 24):
            rest = [j for j in range(25) if j != i]
            refit = oracle.kernel_ridge(X[rest], Y[rest], X[i : i + 1], alpha=alpha, gamma=8.0, center=False)
            torch.testing.assert_close(residual[i], Y[i] - refit[0], rtol=1e-8, atol=1e-8)


def test_left_out_groups_are_those_of_refits():
    X, Y, _ = _curves(25)
    groups = torch.arange(25) // 7
    (missed,) = leave_one_out(X, Y, alphas=[0.1], gamma=8.0, center=False, groups=groups)
    for group in range(4):
        inside, rest = groups == group, groups != group
        refit = KernelRidge(0.1, 8.0, center=False).fit(X[rest], Y[rest]).predict(X[inside])
        torch.testing.assert_close(missed[inside], Y[inside] - refit, rtol=1e-7, atol=1e-7)


def test_centred_residuals_hold_the_mean():
    X, Y, _ = _curves(25)
    centred = leave_one_out(X, Y, alphas=[0.1])
    torch.testing.assert_close(centred, leave_one_out(X, Y - Y.mean(0), alphas=[0.1], center=False))


def test_bad_penalties_and_shapes_are_refused():
    X, Y, _ = _curves(25)
    with pytest.raises(ValueError, match="alphas must be positive"):
        leave_one_out(X, Y, alphas=[0.1, 0.0])
    with pytest.raises(ValueError, match="X must be"):
        leave_one_out(X, Y[:, 0], alphas=[0.1])
