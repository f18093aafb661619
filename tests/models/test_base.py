"""Model files: whole or not at all, and one clear message for each way a file can be wrong."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from ctp_torch.errors import ModelMismatchError, NotFittedError, OutputExistsError, UnreadableFileError
from ctp_torch.models import KernelRidge, Ridge, load_model
from ctp_torch.models.base import Regressor, r2_score


@pytest.fixture
def fitted():
    X = torch.rand(20, 4, generator=torch.Generator().manual_seed(0))
    return Ridge(0.3).fit(X, X[:, :2] * 10.0)


def _rewritten(path, out, **changes):
    """A copy of the model file with a changed header."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["ctp_torch"])
    for key, value in changes.items():
        if value is None:
            del header[key]
        else:
            header[key] = value
    save_file(load_file(path), out, metadata={"ctp_torch": json.dumps(header)})
    return out


def test_header_tells_what_the_model_is(fitted, tmp_path):
    from safetensors import safe_open

    fitted.save(tmp_path / "m.safetensors", metadata={"frames": 60, "dt": 1.0})
    with safe_open(tmp_path / "m.safetensors", framework="pt") as file:
        header = json.loads(file.metadata()["ctp_torch"])
    assert header["class"] == "Ridge"
    assert header["parameters"] == {"alpha": 0.3}
    assert header["state"]["metadata_"] == {"frames": 60, "dt": 1.0}
    assert header["version"]


def test_saving_again_keeps_the_metadata(fitted, tmp_path):
    fitted.save(tmp_path / "a.safetensors", metadata={"dt": 2.0})
    load_model(tmp_path / "a.safetensors").save(tmp_path / "b.safetensors")
    assert load_model(tmp_path / "b.safetensors").metadata_ == {"dt": 2.0}


def test_wrong_files_are_named(fitted, tmp_path):
    """Mutation seen red: SafetensorError let through; format not compared."""
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    with pytest.raises(UnreadableFileError, match=r"nowhere.*no such file"):
        load_model(tmp_path / "nowhere.safetensors")
    with pytest.raises(UnreadableFileError, match="not a model file"):
        load_model(tmp_path)
    (tmp_path / "text").write_text("hello, this is no model")
    with pytest.raises(UnreadableFileError, match=r"text: not a model file, or cut short"):
        load_model(tmp_path / "text")
    for size in (0, 5, 100, path.stat().st_size - 3):
        (tmp_path / "short").write_bytes(path.read_bytes()[:size])
        with pytest.raises(UnreadableFileError, match="cut short"):
            load_model(tmp_path / "short")
    save_file({"weight": torch.ones(3)}, tmp_path / "foreign")
    with pytest.raises(ModelMismatchError, match=r"foreign: a safetensors file, but not of ctp_torch"):
        load_model(tmp_path / "foreign")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99, "version": "7.0"}, r"format 99, written by ctp_torch 7\.0; this is .* upgrade"),
        ({"class": "Perceptron"}, "holds a 'Perceptron'"),
        ({"class": None}, "header is damaged"),
        ({"state": {}}, "no fitted state"),
        ({"parameters": {"beta": 1.0}}, "other parameters"),
        ({"state": {"n_features_in_": 4, "fit": 1}}, "damaged"),
    ],
)
def test_wrong_headers_are_named(fitted, tmp_path, changes, message):
    fitted.save(tmp_path / "m.safetensors")
    _rewritten(tmp_path / "m.safetensors", tmp_path / "changed", **changes)
    with pytest.raises(ModelMismatchError, match=message):
        load_model(tmp_path / "changed")


def test_failed_writing_leaves_the_old_file(fitted, tmp_path, monkeypatch):
    """Mutation seen red: writing to the final name at once."""
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    before = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OutputExistsError, match="No space left on device"):
        fitted.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]
    with pytest.raises(OutputExistsError, match="can't write a model here"):
        fitted.save(tmp_path / "no" / "such" / "folder.safetensors")
    with pytest.raises(TypeError, match="JSON"):
        fitted.save(path, metadata={"tensor": torch.ones(1)})


def test_batched_models_come_back(tmp_path):
    X = torch.rand(3, 20, 4, generator=torch.Generator().manual_seed(0))
    model = KernelRidge([0.1, 1.0, 2.0], gamma=2.0).fit(X, X[..., 0])
    model.save(tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors")
    assert loaded.alpha == [0.1, 1.0, 2.0]
    assert loaded.plan_ == model.plan_
    assert torch.equal(loaded.predict(X), model.predict(X))


def test_leading_dimensions_are_refused_where_they_mean_nothing(fitted):
    X = torch.rand(2, 5, 4)
    with pytest.raises(ValueError, match="samples, features"):
        fitted.predict(X)
    with pytest.raises(ValueError, match="y must be"):
        KernelRidge().fit(X, torch.rand(3, 5))


def test_r2_follows_scikit_learn_on_constant_targets():
    r2 = pytest.importorskip("sklearn.metrics").r2_score
    truth = torch.tensor([[1.0, 2.0, 5.0], [2.0, 2.0, 5.0], [4.0, 2.0, 5.0]])
    guess = torch.tensor([[1.5, 2.0, 4.0], [2.0, 2.0, 5.0], [3.0, 2.0, 5.0]])
    expected = torch.from_numpy(r2(truth.numpy(), guess.numpy(), multioutput="raw_values"))
    torch.testing.assert_close(r2_score(guess, truth), expected.double())


def test_a_regressor_without_hooks_says_so():
    with pytest.raises(TypeError, match="doesn't say how to fit"):
        Regressor().fit(torch.ones(2, 2), torch.ones(2))
    with pytest.raises(NotFittedError):
        Regressor().device  # noqa: B018
