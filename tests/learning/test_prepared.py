"""What may train and test, and what is predicted of it, on a patient small enough to write down."""

import pytest
import torch

from ctp_torch.learning.evaluate import predict_indices, score_patient, score_points
from ctp_torch.learning.prepared import PreparedPatient
from ctp_torch.models import Ridge
from ctp_torch.pipeline.recipe import Recipe


def patient(curves, targets):
    """One slice of one row, all but the last pixel brain."""
    shape = (1, 1, targets.shape[1])
    brain = torch.ones(shape, dtype=torch.bool)
    brain[..., -1] = False
    head = torch.ones_like(brain)
    return PreparedPatient("a", "test", curves, brain, head, targets.view(-1, *shape).short(), ("cbv", "cbf"), 1.0)


def test_a_pixel_trains_where_every_map_is_painted():
    """Mutations seen red: where any map is; index 0 taken for background; where the scan is empty too."""
    curves = torch.tensor([[0.1, 0.2]]).repeat(6, 1)
    curves[5] = 0.0
    targets = torch.tensor([[0, 7, -1, 255, -2, 9, 9], [3, -1, 5, 255, 8, 9, 9]])
    assert patient(curves, targets).valid.flatten().tolist() == [True, False, False, True, False, False, False]


def test_predicted_indices_end_at_0_and_255(tmp_path):
    """Mutations seen red: `predict_indices` as they come; `score_points` likewise."""
    curves = torch.linspace(0.05, 1.0, 6)[:, None].repeat(1, 2)
    targets = torch.tensor([[0, 0, 100, 255, 255, 255, 9], [255, 255, 100, 0, 0, 0, 9]])
    model = Ridge(alpha=1e-9).fit(curves, torch.stack([2000 * curves[:, 0] - 900, 900 - 2000 * curves[:, 0]], dim=1))
    model.metadata_ = {"recipe": Recipe(2, 1.0, {"cbv": (0.0, 8.0), "cbf": (0.0, 60.0)}).as_metadata()}
    one = patient(curves, targets)
    for volume, expected in zip(predict_indices(one, model).values(), targets, strict=True):
        assert torch.equal(volume[0, 0, [0, 1, 3, 4, 5]], expected[[0, 1, 3, 4, 5]].float())
        assert float(volume[..., -1]) == 0.0
    one.save(tmp_path / "a.safetensors")
    points = score_points([tmp_path / "a.safetensors"], {"wild": model}, 6)
    assert max(points.rmse.values()) < 255.0 / 6**0.5  # but for the third all are right
    assert points.r2["wild", "cbv"] == pytest.approx(points.r2["wild", "cbf"], abs=0.3)


def test_a_score_is_of_the_map_it_names_in_its_unit(tmp_path):
    """A model of the second map alone, ten levels off.

    Mutations seen red: the error in levels; the range's top for its width; points against the first map.
    """
    brain = torch.zeros(1, 24, 24, dtype=torch.bool)
    brain[:, 4:20, 4:20] = True
    targets = torch.stack([torch.full((1, 24, 24), 7), torch.full((1, 24, 24), 100)]).short()
    curves = torch.rand(256, 2, generator=torch.Generator().manual_seed(0)) + 0.1
    one = PreparedPatient("a", "test", curves, brain, torch.ones_like(brain), targets, ("cbv", "tmax"), 1.0)
    model = Ridge().fit(curves, torch.full((256, 1), 110.0))
    model.metadata_ = {"recipe": Recipe(2, 1.0, {"tmax": (2.0, 12.0)}).as_metadata()}
    (row,) = score_patient(one, {"ridge": model})
    assert (row.map, row.mae) == ("tmax", pytest.approx(10 * 10 / 255, rel=1e-3))
    one.save(tmp_path / "a.safetensors")
    points = score_points([tmp_path / "a.safetensors"], {"ridge": model}, 50)
    assert points.rmse == {("ridge", "tmax"): pytest.approx(10.0, rel=1e-3)}
