"""Motion through the plane of thick slices: what its path explains leaves the curves, contrast stays."""

import math

import pytest
import torch
from oracles.images import rotation_by_steps

from ctp_torch.ops import RigidMotion, remove_through_plane

SHAPE, SPACING, FRAMES = (4, 24, 20), (8.0, 2.0, 1.5), 48


def wandering(generator, *, frames=FRAMES, mm=0.5, degrees=0.4):
    """A head that nods, tilts, rises and falls from frame to frame."""
    rotation = degrees * torch.randn(frames, 3, dtype=torch.float64, generator=generator)
    translation = mm * torch.randn(frames, 3, dtype=torch.float64, generator=generator)
    return RigidMotion(rotation, translation, torch.tensor([False, False, True, True, True, False]))


def rise(motion):
    """How far every voxel's tissue is moved along z ``(time, z, y, x)`` [mm], point by point."""
    z, y, x = ((torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * s for n, s in zip(SHAPE, SPACING, strict=True))
    points = torch.stack(torch.meshgrid(z, y, x, indexing="ij")[::-1], dim=-1)
    moved = []
    for angles, shift in zip(motion.rotation.tolist(), motion.translation, strict=True):
        matrix = torch.from_numpy(rotation_by_steps(*angles))
        moved.append((points @ matrix.T + shift - points)[..., 2])
    return torch.stack(moved)


def enhancing(dt=1.0, frames=FRAMES):
    """Density 35 HU and a bolus, later and wider towards the right: ``(time, z, y, x)`` [HU]."""
    time = dt * torch.arange(frames, dtype=torch.float64)[:, None]
    delay = torch.linspace(0.0, 3.0, SHAPE[2], dtype=torch.float64)
    since = (time - 10.0 - delay).clamp_min(0.0)
    bolus = 6.0 * (since / 6.0).square() * torch.exp(2.0 * (1.0 - since / 6.0))
    return 35.0 + bolus[:, None, None, :].expand(-1, *SHAPE)


def alternating(hu):
    """A gradient of one sign in every other slice ``(z, 1, 1)``: brains have as many of either."""
    return hu * torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)[:, None, None]


def since_start(frames):
    return frames - frames[:6].mean(dim=0)


def rms(frames):
    return float(frames.square().mean().sqrt())


def brain():
    inside = torch.zeros(SHAPE, dtype=torch.bool)
    inside[:, 2:-2, 2:-2] = True
    return inside


@pytest.mark.parametrize("bend", [0.0, 0.8], ids=["gradient", "bent"])
def test_what_the_path_explains_is_gone(generator, device, bend):
    """Mutations: the path without rotations, mirrored, its square left out, its mixed products counted once; red."""
    motion, inside = wandering(generator, mm=1.0, degrees=2.5), brain()
    w, still = rise(motion), enhancing()
    moved = (still + alternating(3.0) * w + alternating(bend) * w.square()).to(device)
    found = remove_through_plane(moved, RigidMotion(*(p.to(device) for p in motion)), inside.to(device), SPACING, 1.0)
    before, after = (rms((since_start(x.cpu()) - since_start(still))[:, inside]) for x in (moved, found))
    assert before > 3.0
    assert after < 0.08 * before
    assert torch.equal(found[:, ~inside.to(device)], moved[:, ~inside.to(device)])


def test_a_path_like_contrast_takes_no_contrast_away():
    """Mutation: fit without the shapes of enhancement; red (the bolus goes with the path)."""
    still, inside = enhancing(), brain()
    shift = torch.zeros(FRAMES, 3, dtype=torch.float64)
    shift[:, 2] = since_start(still)[:, inside].mean(dim=1) / 6.0
    motion = RigidMotion(torch.zeros_like(shift), shift, torch.zeros(6, dtype=torch.bool))
    found = remove_through_plane(still, motion, inside, SPACING, 1.0)
    lost = (since_start(found) - since_start(still))[:, inside]
    assert rms(lost) < 0.02 * rms(since_start(still)[:, inside])


def test_a_head_that_lies_still_keeps_its_pixels(generator):
    frames = enhancing() + torch.randn(FRAMES, *SHAPE, dtype=torch.float64, generator=generator)
    zeros = torch.zeros(FRAMES, 3, dtype=torch.float64)
    lies = RigidMotion(zeros, zeros + torch.tensor([0.3, -0.2, 0.7]), torch.zeros(6, dtype=torch.bool))
    torch.testing.assert_close(remove_through_plane(frames, lies, brain(), SPACING, 1.0), frames, rtol=0, atol=1e-9)


def test_a_rough_path_of_a_still_head_takes_no_more_than_noise(generator):
    """Estimates are off by hundredths of a millimetre. Mutation: no ridge; more is taken than noise explains."""
    noise = 3.0
    frames = enhancing() + noise * torch.randn(FRAMES, *SHAPE, dtype=torch.float64, generator=generator)
    found = remove_through_plane(frames, wandering(generator, mm=0.02, degrees=0.0), brain(), SPACING, 1.0)
    averaged = noise / math.sqrt(4.0 * math.pi * 2.0**2 / (2.0 * 1.5))
    assert 0.0 < rms((found - frames)[:, brain()]) < 0.1 * averaged


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_voxel_that_is_not_finite_stays_and_spoils_no_other(generator, bad):
    """Mutation: NaN taken as 0; red."""
    motion, inside = wandering(generator), brain()
    moved = enhancing() + alternating(3.0) * rise(motion)
    hurt = moved.clone()
    hurt[9, 1, 12, 10] = bad
    found = remove_through_plane(hurt, motion, inside, SPACING, 1.0)
    assert torch.equal(found[:, 1, 12, 10].isfinite(), hurt[:, 1, 12, 10].isfinite())
    others = inside.clone()
    others[1, 12, 10] = False
    wanted = remove_through_plane(moved, motion, others, SPACING, 1.0)
    torch.testing.assert_close(found[:, others], wanted[:, others])


def test_float32_is_as_good(generator):
    motion, inside = wandering(generator), brain()
    moved = enhancing() + alternating(3.0) * rise(motion)
    wanted = remove_through_plane(moved, motion, inside, SPACING, 1.0)
    found = remove_through_plane(moved.float(), motion, inside, SPACING, 1.0)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=2e-3)


def test_only_when_asked_are_the_frames_themselves_changed(generator):
    """Mutation: no copy; red."""
    motion, moved = wandering(generator), enhancing() + alternating(3.0) * rise(wandering(generator))
    given = moved.clone()
    wanted = remove_through_plane(given, motion, brain(), SPACING, 1.0)
    assert torch.equal(given, moved)
    assert remove_through_plane(given, motion, brain(), SPACING, 1.0, in_place=True) is given
    torch.testing.assert_close(given, wanted)


def test_few_frames_or_no_brain_are_left_alone(generator):
    few = enhancing(frames=20)
    assert remove_through_plane(few, wandering(generator, frames=20), brain(), SPACING, 1.0) is few
    frames = enhancing()
    nowhere = torch.zeros(SHAPE, dtype=torch.bool)
    assert remove_through_plane(frames, wandering(generator), nowhere, SPACING, 1.0) is frames


def test_motion_of_another_series_is_refused(generator):
    with pytest.raises(ValueError, match="the 20 frames of the motion"):
        remove_through_plane(enhancing(), wandering(generator, frames=20), brain(), SPACING, 1.0)
    with pytest.raises(ValueError, match="a mask of one"):
        remove_through_plane(enhancing(), wandering(generator), brain()[:2], SPACING, 1.0)
