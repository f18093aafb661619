"""Morphology against loops and scipy, in millimetres.

Mutations that these tests catch: ``radius_mm**2`` -> ``radius_mm`` in ``dilate``; dropping the shift (1, -1) from
``_touching_runs``; leaving the last row out of the rims of ``fill_holes``; one hooking round instead of a loop.
"""

import pytest
import torch
from oracles.morphology import components, dilated, holes_filled

from ctp_torch import ops

SHAPES = [(1, 1, 1), (1, 1, 7), (4, 1, 5), (3, 17, 11), (6, 9, 14)]


def random_mask(shape, density, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < density


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius_mm", [0.0, 1.0, 2.0, 3.3])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.5, 0.7, 1.1)])
def test_dilate_is_the_ball_in_millimetres(shape, radius_mm, spacing, device):
    mask = random_mask(shape, 0.1)
    result = ops.dilate(mask.to(device), radius_mm, spacing).cpu()
    assert torch.equal(result, torch.from_numpy(dilated(mask.numpy(), radius_mm, spacing)))


def test_a_radius_below_the_slice_distance_stays_in_the_slice():
    mask = torch.zeros(3, 9, 9, dtype=torch.bool)
    mask[1, 4, 4] = True
    grown = ops.dilate(mask, 3.0, (5.0, 1.0, 1.0))
    assert not grown[0].any()
    assert int(grown[1].sum()) == 29  # pixels within 3 of the centre


def test_erosion_is_the_dilation_of_the_outside_and_spares_the_border():
    mask = random_mask((5, 12, 13), 0.8)
    spacing = (1.0, 1.0, 0.5)
    assert torch.equal(ops.erode(mask, 1.0, spacing), ~ops.dilate(~mask, 1.0, spacing))
    assert ops.erode(torch.ones(3, 5, 5, dtype=torch.bool), 2.0, spacing).all()


def test_opening_shrinks_closing_grows_and_both_are_idempotent():
    mask = random_mask((4, 20, 21), 0.6)
    spacing = (3.0, 1.0, 1.0)
    opened, closed = ops.opening(mask, 1.5, spacing), ops.closing(mask, 1.5, spacing)
    assert not (opened & ~mask).any()
    assert not (mask & ~closed).any()
    assert torch.equal(ops.opening(opened, 1.5, spacing), opened)
    assert torch.equal(ops.closing(closed, 1.5, spacing), closed)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("density", [0.0, 0.35, 0.6, 1.0])
@pytest.mark.parametrize("per_slice", [False, True])
@pytest.mark.parametrize("diagonal", [False, True])
def test_components_are_scipys(shape, density, per_slice, diagonal, device):
    mask = random_mask(shape, density)
    labels = ops.connected_components(mask.to(device), per_slice=per_slice, diagonal=diagonal).cpu()
    expected, count = components(mask.numpy(), per_slice=per_slice, diagonal=diagonal)
    pairs = set(zip(labels.flatten().tolist(), expected.flatten().tolist(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    assert int(labels.max()) == count
    firsts = [int((labels.flatten() == n).nonzero()[0]) for n in range(1, count + 1)]
    assert firsts == sorted(firsts)


def test_a_snake_is_one_component():
    mask = torch.zeros(1, 101, 101, dtype=torch.bool)
    mask[0, ::2] = True
    mask[0, 1::4, -1] = mask[0, 3::4, 0] = True
    assert int(ops.connected_components(mask, diagonal=False).max()) == 1
    mask[0, 51, 0] = mask[0, 49, -1] = False
    assert int(ops.connected_components(mask, diagonal=False).max()) == 3


def test_a_batch_is_its_volumes():
    masks = random_mask((2, 3, 8, 9), 0.4)
    labels = ops.connected_components(masks)
    first, second = (ops.connected_components(mask) for mask in masks)
    assert torch.equal(labels[0], first)
    assert torch.equal(labels[1], torch.where(second > 0, second + first.max(), 0))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("per_slice", [False, True])
def test_holes_are_scipys(shape, per_slice):
    mask = random_mask(shape, 0.65, seed=3)
    filled = ops.fill_holes(mask, per_slice=per_slice)
    assert torch.equal(filled, torch.from_numpy(holes_filled(mask.numpy(), per_slice=per_slice)))


def test_only_small_holes_are_filled():
    mask = torch.ones(1, 12, 12, dtype=torch.bool)
    mask[0, 2, 2] = False
    mask[0, 5:8, 5:8] = False
    filled = ops.fill_holes(mask, max_voxels=4)
    assert filled[0, 2, 2]
    assert not filled[0, 5:8, 5:8].any()


def test_largest_and_small_regions():
    mask = torch.zeros(2, 6, 10, dtype=torch.bool)
    mask[0, 0, :3] = mask[0, 4, :5] = mask[1, 2, :2] = True
    assert int(ops.largest_component(mask).sum()) == 5
    assert ops.largest_component(mask, per_slice=True).sum(dim=(1, 2)).tolist() == [5, 2]
    assert ops.remove_small(mask, 3).sum(dim=(1, 2)).tolist() == [8, 0]
    nothing = torch.zeros_like(mask)
    for operation in (ops.largest_component, ops.fill_holes, lambda m: ops.remove_small(m, 1)):
        assert not operation(nothing).any()


def test_of_equal_regions_the_first_is_the_largest():
    mask = torch.zeros(1, 3, 3, dtype=torch.bool)
    mask[0, 0, 0] = mask[0, 2, 2] = True
    assert ops.largest_component(mask).nonzero().tolist() == [[0, 0, 0]]


def test_refusals():
    with pytest.raises(ValueError, match="bool"):
        ops.dilate(torch.zeros(2, 3, 4), 1.0, (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match=r"\(3, 4\)"):
        ops.connected_components(torch.zeros(3, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="radius_mm"):
        ops.erode(torch.zeros(2, 3, 4, dtype=torch.bool), -1.0, (1.0, 1.0, 1.0))
