"""Voxels to whole slices and back: what comes back is what went in, on grids of any pixel."""

import pytest
import torch

from ctp_torch.data.geometry import Geometry
from ctp_torch.learning.prepared import PreparedPatient
from ctp_torch.learning.slices import draw_slices
from ctp_torch.learning.training import recipe_for
from ctp_torch.models import UNet
from ctp_torch.pipeline.recipe import View
from ctp_torch.pipeline.slices import PIXEL_MM, answers, from_slices, to_slices

VIEW = View("residue", median_size=1, smoothing_mm=(2.0,))


def smooth(n):
    """A disc in three slices and two smooth features of its voxels."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, n), torch.linspace(-1, 1, n), indexing="ij")
    mask = (y**2 + x**2 < 0.7).expand(3, n, n)
    volume = torch.stack([1 + 0.3 * x, 2 + 0.2 * torch.cos(2 * y)], dim=-1).expand(3, n, n, 2)
    return volume[mask], mask


def test_a_grid_of_that_pixel_is_kept_as_it_is():
    values, mask = smooth(32)
    spacing = (5.0, PIXEL_MM, 1.1 * PIXEL_MM)
    made = to_slices(values, mask, spacing)
    assert made.shape == (3, 32, 32, 2)
    assert float(made[~mask].abs().max()) == 0
    assert torch.equal(from_slices(made, mask, spacing), values)


@pytest.mark.parametrize("edge", [0.5, 3.5])
def test_other_pixels_go_there_and_back(edge):
    """Mutation seen red: values that weren't divided by the share of the pixel inside fade at the rim."""
    values, mask = smooth(96)
    spacing = (5.0, edge, edge)
    made = to_slices(values, mask, spacing)
    assert made.shape[1] == round(96 * edge / PIXEL_MM)
    assert made[made[..., 0] > 0].min() > 0.7
    torch.testing.assert_close(from_slices(made, mask, spacing), values, rtol=0.03, atol=0.01)


def test_a_network_of_slices_learns_from_prepared_patients(tmp_path):
    """From files to answers on another matrix; slices without a pixel to learn from are left out."""
    files = []
    for name, n in (("A", 20), ("B", 24)):
        values, mask = smooth(n)
        targets = torch.full((1, 3, n, n), torch.nan)
        targets[0][mask] = values.sum(1)
        targets[0, 2] = torch.nan
        one = PreparedPatient(
            name, "train", values, mask, mask, targets, ("cbf",), 1.0, view=VIEW, facts={"reach_s": 40.0},
            geometry=Geometry((3, n, n), (5.0, PIXEL_MM, PIXEL_MM)),
        )  # fmt: skip
        files.append(tmp_path / f"{name}.safetensors")
        one.save(files[-1])
    data = draw_slices(files)
    assert data.curves.shape == (4, 24, 24, 2)
    assert {name: part.tolist() for name, part in data.pixels.items()} == {"A": [0, 1], "B": [0, 1]}
    assert data.bounds == {"reach_s": (40.0, 40.0)}
    recipe = recipe_for(data, {"cbf": (0.0, 9.0)}, view=VIEW, physical=True)
    assert float(data.scaled(recipe)[(data.curves == 0).all(-1)].abs().max()) == 0
    model = UNet(width=4, levels=2, steps=200, learning_rate=1e-2, held_out=0.0).fit(data.scaled(recipe), data.targets)
    values, mask = smooth(64)
    said = answers(model, recipe.scale(values), mask, (5.0, 0.6, 0.6))
    assert said.shape == (len(values), 1)
    assert float((said[:, 0] - values.sum(1)).abs().mean()) < 0.1
