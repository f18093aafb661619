"""A second stage on the answers of a first: the contract of regressors, and that the first is used as it is."""

import pytest
import torch
from regressor_contract import RegressorContract

from ctp_torch.models import KernelRidge, Ridge, Stack, load_model


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A ridge model of two targets and two features."""
    path = tmp_path_factory.mktemp("first") / "first.safetensors"
    X = torch.randn(50, 2, generator=torch.Generator().manual_seed(9))
    Ridge(0.1).fit(X, torch.stack((X[:, 0] + X[:, 1], X[:, 0] - X[:, 1]), dim=1)).save(path)
    return path


@pytest.fixture(scope="module", autouse=True)
def _share(first, request):
    request.module.FIRST = first


class TestStack(RegressorContract):
    def make(self):
        return Stack(str(FIRST), "Ridge", {"alpha": 0.3})  # noqa: F821 - the fixture above

    def samples(self, device="cpu", dtype=torch.float32, seed=0):
        X, Y, new = super().samples(device, dtype, seed)
        return torch.cat((X, X[:, :1]), dim=1), Y, torch.cat((new, new[:, :1]), dim=1)  # three widths

    def test_wrong_shapes_are_refused(self):
        X, Y, _ = self.samples()
        with pytest.raises(ValueError, match="needs 2 at each width"):
            self.make().fit(X[:, :3], Y)

    def test_refit_forgets(self):
        X, Y, new = self.samples()
        fresh = self.make().fit(X, Y)
        again = self.make().fit(X[:11], Y[:11, 0]).fit(X, Y)
        torch.testing.assert_close(again.predict(new), fresh.predict(new), rtol=0, atol=0)
        assert set(vars(again)) == set(vars(fresh))


def test_it_is_the_second_on_the_first(first, tmp_path):
    """Mutation seen red: the widths' answers in one order in training and in another in prediction."""
    generator = torch.Generator().manual_seed(1)
    X, Y = torch.randn(60, 6, generator=generator), torch.randn(60, 2, generator=generator)
    stack = Stack(str(first), "KernelRidge", {"alpha": 0.2, "gamma": 0.1}).fit(X, Y)
    model = load_model(first)
    answers = torch.cat([model.predict(X[:, i : i + 2]) for i in (0, 2, 4)], dim=1)
    expected = KernelRidge(0.2, 0.1).fit(answers, Y).predict(answers)
    torch.testing.assert_close(stack.predict(X), expected)
    stack.save(tmp_path / "stack.safetensors", metadata={"a": 1})
    first.rename(first.with_suffix(".gone"))  # the file needs no other
    try:
        torch.testing.assert_close(load_model(tmp_path / "stack.safetensors").predict(X), expected)
    finally:
        first.with_suffix(".gone").rename(first)


def test_a_stage_must_be_one_of_ours(first):
    with pytest.raises(ValueError, match="not 'Stack'"):
        Stack(str(first), "Stack").fit(torch.randn(5, 2), torch.randn(5))


def test_what_passes_the_first_stage_reaches_the_second(first):
    """Mutation seen red: the first of the features passed instead of the last."""
    generator = torch.Generator().manual_seed(1)
    X, Y = torch.randn(60, 5, generator=generator), torch.randn(60, 2, generator=generator)
    model = load_model(first)
    both = torch.cat([model.predict(X[:, :2]), model.predict(X[:, 2:4]), X[:, 4:]], dim=1)
    stack = Stack(str(first), "Ridge", {"alpha": 0.3}, passed=1).fit(X, Y)
    torch.testing.assert_close(stack.predict(X), Ridge(0.3).fit(both, Y).predict(both))
    stack.passed = 2
    with pytest.raises(ValueError, match="answers, the second stage takes"):
        stack.n_targets  # noqa: B018 - it checks
