"""Forests that move between scikit-learn and tensors predict the same."""

import pytest
import torch

from ctp_torch.models import RandomForest, load_model

ensemble = pytest.importorskip("sklearn.ensemble")


def data(n_targets, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(130, 4, generator=generator, dtype=dtype)
    Y = torch.stack([X[:, 0] * (k + 1) + X[:, k + 1].square() for k in range(n_targets)], 1)
    return X, Y + 0.1 * torch.randn(130, n_targets, generator=generator, dtype=dtype)


@pytest.mark.parametrize("name", ["RandomForestRegressor", "ExtraTreesRegressor"])
@pytest.mark.parametrize("n_targets", [1, 3])
def test_imported_forest_predicts_the_same(name, n_targets, tmp_path):
    """Red when siblings aren't put side by side, or thresholds are rounded up."""
    X, Y = data(n_targets)
    peer = getattr(ensemble, name)(7, random_state=0).fit(X.numpy(), Y.squeeze(1).numpy())
    model = RandomForest.from_sklearn(peer)
    expected = torch.from_numpy(peer.predict(X.numpy())).float()
    torch.testing.assert_close(model.predict(X), expected)
    assert model.feature_importances_.tolist() == pytest.approx(peer.feature_importances_.tolist(), abs=1e-5)
    model.save(tmp_path / "model.safetensors")
    torch.testing.assert_close(load_model(tmp_path / "model.safetensors").predict(X), expected)
    assert model.get_params()["splitter"] == ("best" if name.startswith("Random") else "random")


@pytest.mark.parametrize("n_targets", [1, 3])
def test_exported_forest_predicts_the_same(n_targets):
    X, Y = data(n_targets)
    model = RandomForest(6).fit(X, Y)
    peer = model.to_sklearn()
    expected = torch.from_numpy(peer.predict(X.numpy())).float().view(130, n_targets)
    torch.testing.assert_close(model.predict(X), expected)
    assert peer.feature_importances_.tolist() == pytest.approx(model.feature_importances_.tolist(), abs=1e-5)
    again = RandomForest.from_sklearn(peer)
    torch.testing.assert_close(again.predict(X).view(130, -1), model.predict(X))


def test_what_is_no_fitted_regression_forest_is_refused():
    X, Y = data(1)
    with pytest.raises(ValueError, match="fitted regression forest"):
        RandomForest.from_sklearn(ensemble.RandomForestRegressor(2))
    with pytest.raises(ValueError, match="fitted regression forest"):
        RandomForest.from_sklearn(ensemble.RandomForestClassifier(2).fit(X.numpy(), Y[:, 0].numpy() > 1))
    absolute = ensemble.RandomForestRegressor(2, criterion="absolute_error").fit(X.numpy(), Y[:, 0].numpy())
    with pytest.raises(ValueError, match="absolute_error"):
        RandomForest.from_sklearn(absolute)
    with pytest.raises(ValueError, match="batches"):
        RandomForest(2).fit(X.view(2, 65, 4), Y.view(2, 65, 1)).to_sklearn()
