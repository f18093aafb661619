"""scikit-learn's own tools as the oracle: its checks of an estimator, its clone, its grid search, its pipelines."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from ctp_torch import models
from ctp_torch.models import leave_one_out
from ctp_torch.models.base import r2_score

sklearn = pytest.importorskip("sklearn")

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "scikit-learn.md"
_MODELS = {
    "LinearRegression": lambda: models.LinearRegression(),
    "Ridge": lambda: models.Ridge(),
    "KernelRidge": lambda: models.KernelRidge(),
    "RandomForest": lambda: models.RandomForest(8),
}


def _data(n=90, features=4, targets=2, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, features))
    return X, np.sin(X @ rng.normal(size=(features, targets))) + 0.1 * rng.normal(size=(n, targets))


@pytest.mark.parametrize("name", _MODELS)
@pytest.mark.filterwarnings("ignore")
def test_keeps_scikit_learns_contract(name):
    """Everything but what the page lists, each with its reason."""
    from sklearn.utils.estimator_checks import check_estimator

    page = PAGE.read_text(encoding="utf-8")
    listed = set(re.findall(rf"^\| {name} \| `(\w+)` \| \w", page, re.MULTILINE))
    failed = {row["check_name"] for row in check_estimator(_MODELS[name](), on_fail=None) if row["status"] == "failed"}
    assert failed == listed, "python docs/generate/scikit_learn.py writes the page again"


@pytest.mark.parametrize("name", _MODELS)
def test_arrays_are_answered_by_arrays_with_the_values_of_tensors(name):
    X, y = _data()
    model = _MODELS[name]()
    answers = model.fit(X, y).predict(X)
    assert isinstance(answers, np.ndarray)
    tensors = _MODELS[name]().fit(torch.as_tensor(X), torch.as_tensor(y)).predict(torch.as_tensor(X))
    np.testing.assert_array_equal(answers, tensors.numpy())
    assert model.score(X, y) == pytest.approx(model.score(torch.as_tensor(X), torch.as_tensor(y)), abs=1e-12)
    assert isinstance(model.predict(X.tolist()), np.ndarray)


def test_arrays_that_torch_refuses_are_copied():
    X, y = _data()
    expected = models.Ridge().fit(X, y).predict(X)
    for odd in (X[::-1][::-1], X.astype(">f8"), np.asfortranarray(X), X.astype(np.longdouble)):
        np.testing.assert_allclose(models.Ridge().fit(odd, y).predict(odd), expected, atol=1e-12)
    frozen = X.copy()
    frozen.setflags(write=False)
    np.testing.assert_array_equal(models.Ridge().fit(frozen, y).predict(frozen), expected)


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (np.array([["a", "b"]] * 90, dtype=object), ValueError, "could not convert"),
        (np.ones((90, 4), dtype=complex), ValueError, "Complex"),
        (np.ones(90), ValueError, "Reshape your data"),
        (np.full((90, 4), np.nan), ValueError, "NaN"),
        (None, ValueError, "requires X to be passed"),
    ],
)
def test_what_holds_no_samples_is_refused(bad, error, words):
    with pytest.raises(error, match=words):
        models.Ridge().fit(bad, _data()[1])


def test_clone_and_set_params():
    model = models.KernelRidge(alpha=0.3, gamma=2.0).fit(*_data())
    copy = sklearn.clone(model)
    assert copy.get_params() == model.get_params()
    assert not copy.__sklearn_is_fitted__()
    assert model.set_params(alpha=5.0) is model
    assert model.alpha == 5.0
    with pytest.raises(ValueError, match="no parameter 'sigma'; it has alpha, gamma"):
        model.set_params(sigma=1.0)


def test_grid_search_agrees_with_leaving_groups_out_in_closed_form():
    """``ctp-torch tune`` never refits; scikit-learn does, fold by fold: the same squared errors."""
    from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut

    X, y = _data(72)
    y = y - y.mean(0)
    patients = np.repeat(np.arange(6), 12)
    alphas, gammas = [0.01, 0.1, 1.0], [0.05, 0.2]
    search = GridSearchCV(
        models.KernelRidge(center=False),
        {"alpha": alphas, "gamma": gammas},
        cv=LeaveOneGroupOut(),
        scoring="neg_mean_squared_error",
    ).fit(X, y, groups=patients)
    scores = dict(
        zip(
            [(row["gamma"], row["alpha"]) for row in search.cv_results_["params"]],
            search.cv_results_["mean_test_score"],
            strict=True,
        )
    )
    for gamma in gammas:
        missed = leave_one_out(
            torch.as_tensor(X), torch.as_tensor(y), alphas=alphas, gamma=gamma, groups=torch.as_tensor(patients)
        )
        for alpha, residual in zip(alphas, missed, strict=True):
            assert -float(residual.square().mean()) == pytest.approx(scores[gamma, alpha], rel=1e-5)
    best = search.best_estimator_
    assert float(r2_score(torch.as_tensor(best.predict(X)), torch.as_tensor(y)).mean()) > 0.5


def test_in_a_pipeline_and_in_cross_validation():
    """Beside scikit-learn's own kernel ridge, which has no intercept."""
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, y = _data()
    ours = make_pipeline(StandardScaler(), models.KernelRidge(alpha=1.0, gamma=0.1, center=False))
    theirs = make_pipeline(StandardScaler(), KernelRidge(kernel="rbf", alpha=1.0, gamma=0.1))
    scores = cross_val_score(ours, X, y, cv=3)
    np.testing.assert_allclose(scores, cross_val_score(theirs, X, y, cv=3), atol=1e-5)
    assert ours.set_params(kernelridge__alpha=0.001).fit(X, y).score(X, y) > 0.9
