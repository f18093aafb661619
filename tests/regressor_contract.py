"""The contract of ``models.Regressor`` as tests: a regressor's test class inherits them all.

class TestRidge(RegressorContract):
    def make(self):
        return Ridge(alpha=0.3)
"""

import pytest
import torch

from ctp_torch.errors import NotFittedError
from ctp_torch.models import load_model


class RegressorContract:
    """Inherit, and say how to ``make`` a fresh, unfitted model."""

    independent_targets = True
    """Whether every target is fitted as if it were alone (a forest that shares its splits says False)."""

    target_tolerance = 1e-8
    """How closely a target fitted alone equals the same target fitted among others, relative and absolute."""

    def make(self):
        raise AssertionError("the inheriting class makes the model")

    def samples(self, device="cpu", dtype=torch.float32, seed=0):
        """20 x 5 features in 0..1 and 3 targets that depend on them, plus 7 samples to predict."""
        generator = torch.Generator().manual_seed(seed)
        X = torch.rand(27, 5, generator=generator, dtype=torch.float64)
        weights = torch.randn(5, 3, generator=generator, dtype=torch.float64)
        Y = 50.0 + 20.0 * (X - 0.5) @ weights + torch.randn(27, 3, generator=generator, dtype=torch.float64)
        X, Y = X.to(device, dtype), Y.to(device, dtype)
        return X[:20], Y[:20], X[20:]

    def test_shape_device_and_dtype_follow_the_input(self, device, dtype):
        X, Y, new = self.samples(device, dtype)
        model = self.make()
        assert model.fit(X, Y) is model
        predictions = model.predict(new)
        assert predictions.shape == (7, 3)
        assert predictions.dtype == dtype
        assert predictions.device == X.device
        assert model.fit(X, Y[:, 0]).predict(new).shape == (7,)
        assert model.fit(X, Y[:, :1]).predict(new).shape == (7, 1)
        assert model.predict(new[:0]).shape == (0, 1)

    def test_score_is_the_mean_r2_of_scikit_learn(self):
        r2_score = pytest.importorskip("sklearn.metrics").r2_score
        X, Y, _ = self.samples()
        model = self.make().fit(X, Y)
        assert model.score(X, Y) == pytest.approx(r2_score(Y.numpy(), model.predict(X).numpy()), abs=1e-6)
        model.fit(X, Y[:, 0])
        assert model.score(X, Y[:, 0]) == pytest.approx(r2_score(Y[:, 0].numpy(), model.predict(X).numpy()), abs=1e-6)
        with pytest.raises(ValueError, match="shape of the predictions"):
            model.score(X, Y)

    def test_learns_something(self):
        X, Y, _ = self.samples()
        assert self.make().fit(X, Y).score(X, Y) > 0.5

    def test_predict_before_fit_is_refused(self):
        X, _, _ = self.samples()
        with pytest.raises(NotFittedError, match="isn't fitted"):
            self.make().predict(X)

    def test_failed_fit_leaves_no_model(self):
        X, Y, new = self.samples()
        model = self.make().fit(X, Y)
        with pytest.raises(ValueError, match="NaN"):
            model.fit(X * torch.nan, Y)
        with pytest.raises(NotFittedError):
            model.predict(new)

    def test_refit_forgets(self):
        X, Y, new = self.samples()
        other_X, other_Y, _ = self.samples(seed=1)
        fresh = self.make().fit(X, Y)
        again = self.make().fit(other_X[:11, :4], other_Y[:11, 0]).fit(X, Y)
        torch.testing.assert_close(again.predict(new), fresh.predict(new), rtol=0, atol=0)
        assert set(vars(again)) == set(vars(fresh))

    def test_same_input_same_model(self):
        X, Y, new = self.samples()
        torch.manual_seed(1)
        first = self.make().fit(X, Y).predict(new)
        torch.manual_seed(2)
        state = torch.get_rng_state()
        second = self.make().fit(X, Y).predict(new)
        torch.testing.assert_close(first, second, rtol=0, atol=0)
        assert torch.equal(torch.get_rng_state(), state), "the global generator was touched"

    def test_many_targets_are_one_at_a_time(self):
        if not self.independent_targets:
            pytest.skip("this regressor shares its structure among targets")
        X, Y, new = self.samples(dtype=torch.float64)
        together = self.make().fit(X, Y).predict(new)
        for target in range(3):
            alone = self.make().fit(X, Y[:, target]).predict(new)
            tolerance = self.target_tolerance
            torch.testing.assert_close(alone, together[:, target], rtol=tolerance, atol=tolerance)

    def test_input_is_left_alone(self):
        X, Y, new = self.samples()
        copies = X.clone(), Y.clone(), new.clone()
        model = self.make().fit(X, Y)
        before = model.predict(new)
        X.zero_(), Y.zero_()
        torch.testing.assert_close(model.predict(new), before, rtol=0, atol=0)
        X.copy_(copies[0]), Y.copy_(copies[1])
        self.make().fit(X, Y).predict(new)
        for values, copy in zip((X, Y, new), copies, strict=True):
            assert torch.equal(values, copy)

    def test_non_contiguous_input(self):
        X, Y, new = self.samples()
        expected = self.make().fit(X, Y).predict(new)
        strided = self.make().fit(X.repeat_interleave(2, 1)[:, ::2], Y.mT.contiguous().mT)
        torch.testing.assert_close(strided.predict(new.mT.contiguous().mT), expected, rtol=1e-5, atol=1e-3)

    def test_gradients_are_not_followed(self):
        X, Y, new = self.samples()
        model = self.make().fit(X.requires_grad_(), Y)
        assert not model.predict(new.requires_grad_()).requires_grad

    def test_float16_and_integers_are_computed_in_float32(self):
        X, Y, new = self.samples()
        X, new = X.half(), new.half()
        Y = Y.round().to(torch.int16)
        predictions = self.make().fit(X, Y).predict(new)
        assert predictions.dtype == torch.float32
        torch.testing.assert_close(predictions, self.make().fit(X.float(), Y.float()).predict(new.float()))

    def test_one_sample_predicts_its_target(self):
        X, Y, _ = self.samples()
        torch.testing.assert_close(self.make().fit(X[:1], Y[:1]).predict(X[:1]), Y[:1], rtol=1e-4, atol=1e-3)

    def test_constant_target_is_predicted_everywhere(self):
        X, Y, new = self.samples()
        predictions = self.make().fit(X, torch.full_like(Y, 42.0)).predict(new)
        torch.testing.assert_close(predictions, torch.full_like(predictions, 42.0), rtol=1e-5, atol=1e-4)

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
    def test_nan_and_infinity_are_refused(self, bad):
        X, Y, new = self.samples()
        dirty_X, dirty_Y, dirty = X.clone(), Y.clone(), new.clone()
        dirty_X[3, 2] = dirty_Y[4, 1] = dirty[5, 0] = bad
        with pytest.raises(ValueError, match="X holds NaN or infinity"):
            self.make().fit(dirty_X, Y)
        with pytest.raises(ValueError, match="y holds NaN or infinity"):
            self.make().fit(X, dirty_Y)
        with pytest.raises(ValueError, match="X holds NaN or infinity"):
            self.make().fit(X, Y).predict(dirty)

    def test_wrong_shapes_are_refused(self):
        X, Y, new = self.samples()
        model = self.make().fit(X, Y)
        with pytest.raises(ValueError, match=r"4 features, .* expecting 5 features"):
            model.predict(new[:, :4])
        with pytest.raises(ValueError, match="samples, features"):
            model.predict(new[:, 0])
        with pytest.raises(ValueError, match="y must be"):
            model.fit(X, Y[:19])
        with pytest.raises(ValueError, match="nothing to fit"):
            model.fit(X[:0], Y[:0])
        with pytest.raises(TypeError, match="real"):
            model.fit(X + 0j, Y)

    @pytest.mark.cuda
    def test_another_device_is_refused(self):
        X, Y, new = self.samples()
        model = self.make().fit(X, Y)
        with pytest.raises(ValueError, match=r"model\.to"):
            model.predict(new.cuda())
        torch.testing.assert_close(
            model.to("cuda").predict(new.cuda()).cpu(), model.to("cpu").predict(new), rtol=1e-3, atol=1e-2
        )

    def test_moving_moves_every_learned_tensor(self):
        X, Y, _ = self.samples()
        model = self.make().fit(X, Y).to("meta")
        assert model.device.type == "meta"
        assert {t.device.type for t in vars(model).values() if isinstance(t, torch.Tensor)} == {"meta"}
        with pytest.raises(ValueError, match="X is on cpu and the model on meta"):
            model.predict(X)

    def test_file_gives_the_model_back(self, tmp_path):
        X, Y, new = self.samples()
        model = self.make().fit(X, Y)
        model.save(tmp_path / "model.safetensors", metadata={"dt": 1.5, "targets": ["cbv", "cbf"]})
        loaded = load_model(tmp_path / "model.safetensors")
        assert type(loaded) is type(model)
        assert loaded.get_params() == model.get_params()
        assert loaded.metadata_ == {"dt": 1.5, "targets": ["cbv", "cbf"]}
        torch.testing.assert_close(loaded.predict(new), model.predict(new), rtol=0, atol=0)
        assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]
        model.fit(X, Y[:, 0]).save(tmp_path / "one.safetensors")
        assert load_model(tmp_path / "one.safetensors").predict(new).shape == (7,)

    def test_unfitted_model_is_not_written(self, tmp_path):
        with pytest.raises(NotFittedError):
            self.make().save(tmp_path / "model.safetensors")
        assert not list(tmp_path.iterdir())

    def test_parameters_make_the_same_model(self):
        model = self.make()
        assert type(model)(**model.get_params()).get_params() == model.get_params()
        assert type(model).__name__ in repr(model)
