"""Registration finds known motion of heads given by formulas, and none where there is none."""

import pytest
import torch
from oracles.images import DigitalHead, registration_error

from ctp_torch.ops import RigidMotion, apply_motion, mean_displacement, register_rigid

THIN = (12, 128, 128), (2.0, 1.8, 1.8)
THICK = (6, 128, 128), (8.0, 1.8, 1.8)


def moving_head(grid, rotation, translation, *, seed=5, bolus=(), noise_hu=5.0, thin=2):
    """Frames of a digital head in the given poses, the first one still, with noise; its brain."""
    head = DigitalHead(seed)
    bolus = bolus or [0.0] * len(rotation)
    frames = [
        head.volume(*grid, rotation=r, translation=t, bolus=b, thin=thin)
        for r, t, b in zip(rotation, translation, bolus, strict=True)
    ]
    volumes = torch.stack(frames)
    noise = torch.randn(volumes.shape, generator=torch.Generator().manual_seed(seed))
    return volumes + noise_hu * noise, head.brain(*grid)


def poses(n, seed, *, in_plane, angle=3.0, shift=3.0):
    generator = torch.Generator().manual_seed(seed)
    rotation, translation = (2 * torch.rand(2, n, 3, generator=generator, dtype=torch.float64) - 1).unbind()
    rotation, translation = angle * rotation, shift * translation
    if in_plane:
        rotation[:, :2] = translation[:, 2] = 0.0
    rotation[0] = translation[0] = 0.0
    return rotation, translation


def error(motion, truth, mask, spacing):
    return registration_error((motion.rotation.cpu(), motion.translation.cpu()), truth, mask, spacing)


@pytest.mark.parametrize("seed", [1, 2])
def test_thick_slices_moving_in_their_plane(seed, device):
    """Mutation: update the pose with the inverse on the wrong side (Delta^-1 R); red."""
    truth = poses(7, seed, in_plane=True)
    volumes, brain = moving_head(THICK, *truth, seed=seed, bolus=[0, 0, 40, 150, 250, 120, 30], thin=1)
    motion = register_rigid(volumes.to(device), THICK[1], 1)
    tre = error(motion, truth, brain, THICK[1])
    assert tre[1:].mean() < 0.1
    assert tre.max() < 0.25


@pytest.mark.parametrize("seed", [3, 4])
def test_thin_slices_moving_in_space(seed):
    """Mutation: take the slope along z per slice instead of per millimetre; red."""
    truth = poses(4, seed, in_plane=False)
    volumes, brain = moving_head(THIN, *truth, seed=seed, bolus=[0, 30, 250, 120])
    motion = register_rigid(volumes, THIN[1], 1)
    assert error(motion, truth, brain, THIN[1])[1:].mean() < 0.3
    assert motion.estimated.all()


def test_a_still_head_stays_still_under_bolus_and_noise():
    still = torch.zeros(8, 3, dtype=torch.float64)
    volumes, _ = moving_head(THICK, still, still, bolus=[0, 0, 0, 60, 200, 300, 150, 50], noise_hu=7.0, thin=1)
    motion = register_rigid(volumes, THICK[1], 3)
    assert motion.translation.abs().max() < 0.1
    assert motion.rotation.abs().max() < 0.1


def test_reference_frames_that_moved_are_aligned_with_each_other():
    """A mean of moved frames is blurred; after the second look all frames still fit together.

    Mutation: leave the second look out; the spread grows, red.
    """
    rotation, translation = poses(6, 8, in_plane=True, angle=1.0)
    translation[1] = torch.tensor([2.5, -2.0, 0.0])
    volumes, brain = moving_head(THICK, rotation, translation, thin=1)
    motion = register_rigid(volumes, THICK[1], 4)
    offset = motion.translation - translation
    assert (offset - offset.mean(dim=0)).abs().max() < 0.12
    turn = motion.rotation - rotation
    assert (turn - turn.mean(dim=0)).abs().max() < 0.12
    assert brain.any()


def test_large_motion_is_caught_from_coarse_to_fine():
    rotation = torch.tensor([[0, 0, 0], [0, 0, 9.0], [0, 0, -7.0]], dtype=torch.float64)
    translation = torch.tensor([[0, 0, 0], [-8.0, 6.0, 0], [5.0, 9.0, 0]], dtype=torch.float64)
    volumes, brain = moving_head(THICK, rotation, translation, thin=1)
    motion = register_rigid(volumes, THICK[1], 1)
    assert error(motion, (rotation, translation), brain, THICK[1]).max() < 0.3


def test_a_head_rest_that_stays_does_not_hold_the_head():
    """Mutation: pick landmarks everywhere instead of in the head; red."""
    truth = poses(4, 6, in_plane=True)
    grid = (6, 128, 128), (8.0, 2.1, 2.1)
    volumes, brain = moving_head(grid, *truth, seed=6, thin=1)
    y, x = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    radius = ((y - 60.0) ** 2 + (x - 63.0) ** 2).sqrt()
    shell = ((radius - 59.0).abs() < 1.5) & (y > 64)
    volumes[..., shell] = 700.0
    motion = register_rigid(volumes, grid[1], 1)
    assert error(motion, truth, brain, grid[1]).max() < 0.25


def test_one_slice_moves_in_its_plane_only():
    truth = poses(3, 9, in_plane=True)
    volumes, brain = moving_head(((1, 128, 128), (5.0, 1.8, 1.8)), *truth, thin=1)
    motion = register_rigid(volumes, (5.0, 1.8, 1.8), 1)
    assert error(motion, truth, brain, (5.0, 1.8, 1.8)).max() < 0.2
    assert motion.estimated.tolist() == [False, False, True, True, True, False]
    assert not motion.rotation[:, :2].any()
    assert not motion.translation[:, 2].any()


def test_thick_slices_say_that_through_plane_motion_is_rough():
    still = torch.zeros(2, 3, dtype=torch.float64)
    volumes, _ = moving_head(THICK, still, still, thin=1)
    assert register_rigid(volumes, THICK[1], 1).estimated.tolist() == [False, False, True, True, True, False]


def test_estimated_and_applied_motion_bring_the_frames_together():
    truth = poses(4, 11, in_plane=False, angle=2.0, shift=2.0)
    volumes, _ = moving_head(THIN, *truth, noise_hu=0.0)
    aligned = apply_motion(volumes, register_rigid(volumes, THIN[1], 1), THIN[1])
    inner = (slice(1, None), slice(3, -3))
    before, after = ((v - volumes[0])[inner].abs().mean() for v in (volumes, aligned))
    assert after < 0.3 * before


def test_integer_and_double_volumes_and_odd_sizes():
    truth = poses(3, 12, in_plane=True)
    grid = (5, 117, 131), (6.0, 1.9, 1.7)
    volumes, brain = moving_head(grid, *truth, thin=1)
    by_float = register_rigid(volumes, grid[1], 1)
    assert error(by_float, truth, brain, grid[1]).max() < 0.25
    for kind in (torch.int16, torch.float64):
        motion = register_rigid(volumes.round().to(kind), grid[1], 1)
        torch.testing.assert_close(motion.translation, by_float.translation, rtol=0, atol=0.02)


def test_a_volume_without_any_structure_does_not_move():
    motion = register_rigid(torch.zeros(3, 4, 32, 32), (5.0, 2.0, 2.0), 2)
    assert torch.equal(motion.rotation, torch.zeros(3, 3, dtype=torch.float64))
    assert torch.equal(mean_displacement(motion), torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize("frames", [0, 4])
def test_a_reference_of_no_or_too_many_frames_is_refused(frames):
    with pytest.raises(ValueError, match=f"n_reference_frames must be 1 to 3, got {frames}"):
        register_rigid(torch.zeros(3, 4, 32, 32), (5.0, 2.0, 2.0), frames)


def test_what_is_no_series_is_refused():
    with pytest.raises(ValueError, match=r"\(time, z, y, x\), got shape \(4, 32, 32\)"):
        register_rigid(torch.zeros(4, 32, 32), (5.0, 2.0, 2.0), 1)


@pytest.mark.slow
def test_simpleitk_agrees_within_its_own_accuracy():
    from ctp_torch.ops import register_simpleitk

    truth = poses(3, 5, in_plane=True)
    volumes, brain = moving_head(THICK, *truth, seed=5, thin=1)
    ours = register_rigid(volumes, THICK[1], 1)
    theirs = register_simpleitk(volumes, THICK[1], 1, samples=0.3)
    assert isinstance(theirs, RigidMotion)
    assert error(theirs, truth, brain, THICK[1])[1:].mean() < 0.3
    assert error(ours, truth, brain, THICK[1])[1:].mean() <= error(theirs, truth, brain, THICK[1])[1:].mean()


def test_simpleitk_refuses_a_single_slice():
    from ctp_torch.ops import register_simpleitk

    with pytest.raises(ValueError, match="at least two slices"):
        register_simpleitk(torch.zeros(3, 1, 32, 32), (5.0, 2.0, 2.0), 1)
