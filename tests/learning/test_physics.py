"""The physics student: what it learns from is reproducible, and it knows tissue it never learned from."""

from pathlib import Path

import pytest
import torch

from ctp_torch.learning.physics import PHYSICS_TARGETS, simulate_set, train_physics
from ctp_torch.models import Network, Ridge, load_model
from ctp_torch.models.load import model_file
from ctp_torch.pipeline.recipe import Recipe


@pytest.fixture(scope="module")
def strangers():
    """Curves of a family of transit times that no student learns from."""
    return simulate_set(10, arteries=3, voxels=150, seed=41, family="linear")


def test_simulated_sets_reproduce():
    first, again, other = (simulate_set(2, arteries=2, voxels=3, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(first.features, again.features)
    assert not torch.equal(first.targets, other.targets)
    assert first.features.shape == (12, 31)
    assert first.targets.shape == (12, len(PHYSICS_TARGETS))
    assert set(first.bounds) == {"reach_s", "bolus_s", "dt_s"}


def test_any_regressor_can_be_the_student(strangers):
    """Its file's recipe turns logarithms back. Mutation seen red: the recipe without them."""
    model = Network([32], steps=400, seed=1)
    recipe = train_physics(simulate_set(12, arteries=2, voxels=60, seed=2), model)
    values = recipe.values(model.predict(recipe.scale(strangers.features)))
    assert list(values) == list(PHYSICS_TARGETS)
    truth = dict(zip(PHYSICS_TARGETS, strangers.targets.unbind(1), strict=True))
    assert float(torch.corrcoef(torch.stack((values["cbf"].log(), truth["cbf"].log())))[0, 1]) > 0.7
    assert float((values["cbf"] / truth["cbf"]).log().median().abs()) < 0.3
    train_physics(simulate_set(2, arteries=1, voxels=30, seed=2), Ridge())


def test_the_model_that_comes_along_knows_strange_tissue(strangers):
    """Against truth, on transit times it never saw and over all prior flows, delays and noise.

    Mutation seen red: features of another Wiener filter than the file's.
    """
    model = load_model("physics")
    recipe = Recipe.of(model)
    values = recipe.values(model.predict(recipe.scale(strangers.features)))
    truth = dict(zip(PHYSICS_TARGETS, strangers.targets.unbind(1), strict=True))
    flowing = truth["cbf"] > 15.0  # below, curves of a millimetre drown in 2 HU of noise

    def error(name):
        return float((values[name] - truth[name])[flowing].abs().median())

    assert error("tmax") < 1.3
    assert error("delay") < 1.3
    assert error("mtt") < 2.5
    assert float((values["cbf"] / truth["cbf"])[flowing].log().abs().median()) < 0.35
    assert float((values["cbv"] / truth["cbv"])[flowing].log().abs().median()) < 0.3


def test_the_model_that_comes_along_is_small_and_packaged():
    """Whatever lies in the package is in the wheel: no rule of git may hide it from the builder."""
    root = Path(__file__).parents[2]  # the sources; the package may be installed elsewhere
    assert model_file("physics").stat().st_size < 5_000_000
    assert "safetensors" not in (root / ".gitignore").read_text(encoding="utf-8")
    assert 'packages = ["ctp_torch"]' in (root / "pyproject.toml").read_text(encoding="utf-8")
    recipe = Recipe.of(load_model("physics"))
    assert recipe.features == "residue"
    assert recipe.units == "physical"
