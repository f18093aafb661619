"""Rigid motion: the convention, its inverse, its size, and putting a series back."""

import math

import pytest
import torch
from oracles.images import DigitalHead, rotation_by_steps

from ctp_torch.ops import (
    RigidMotion,
    apply_motion,
    correctable,
    euler_angles,
    mean_displacement,
    patient_axes,
    rotation_matrix,
)
from ctp_torch.ops.motion import rigid
from ctp_torch.ops.motion.rigid import recentred

ANGLES = [
    (0.0, 0.0, 0.0),
    (30.0, 0.0, 0.0),
    (0.0, -20.0, 0.0),
    (0.0, 0.0, 75.0),
    (3.0, -2.0, 5.0),
    (-80.0, 60.0, 170.0),
]


def motion(rotation, translation, dtype=torch.float64):
    rotation, translation = torch.tensor(rotation, dtype=dtype), torch.tensor(translation, dtype=dtype)
    return RigidMotion(rotation, translation, torch.ones(6, dtype=torch.bool))


@pytest.mark.parametrize("angles", ANGLES)
def test_rotation_is_x_first_then_y_then_z(angles, dtype, tolerance, device):
    """Mutation: transpose the matrix; red."""
    matrix = rotation_matrix(torch.tensor(angles, dtype=dtype, device=device)).cpu()
    torch.testing.assert_close(matrix, torch.from_numpy(rotation_by_steps(*angles)).to(dtype), **tolerance)


def test_angles_come_back_from_the_matrix():
    angles = torch.tensor(ANGLES, dtype=torch.float64)
    torch.testing.assert_close(euler_angles(rotation_matrix(angles)), angles)


def test_patient_axes_turn_the_points_themselves(generator):
    """Moving on the grid and then turning to LPS = turning to LPS and then moving there."""
    d = torch.from_numpy(rotation_by_steps(20.0, -10.0, 35.0))
    on_grid = motion([(3.0, -2.0, 5.0)], [(1.0, 2.0, -3.0)])
    in_patient = patient_axes(on_grid, tuple(d.reshape(-1).tolist()))
    points = torch.randn(7, 3, dtype=torch.float64, generator=generator)
    moved = points @ rotation_matrix(on_grid.rotation)[0].T + on_grid.translation[0]
    turned = (points @ d.T) @ rotation_matrix(in_patient.rotation)[0].T + in_patient.translation[0]
    torch.testing.assert_close(moved @ d.T, turned)


def test_another_centre_moves_every_point_as_before(generator):
    """Mutation seen red: the shift with the other sign."""
    about = motion([(3.0, -2.0, 5.0)], [(1.0, 2.0, -3.0)])
    away = torch.tensor([4.0, -7.0, 11.0], dtype=torch.float64)
    other = recentred(about, away.tolist())
    points = torch.randn(7, 3, dtype=torch.float64, generator=generator)
    turn = rotation_matrix(about.rotation)[0].T
    torch.testing.assert_close(
        (points - away) @ turn + away + other.translation[0], points @ turn + about.translation[0]
    )


def test_mean_displacement_of_known_motions(device):
    """A shift moves every point alike; a small turn by w moves a sphere by r w pi/4 on average (the mean of sin)."""
    moves = motion([(0, 0, 0), (0, 0, 0), (0, 0, 0.1), (0.1, 0, 0)], [(0, 0, 0), (2, -1, 2), (0, 0, 0), (0, 0, 0)])
    moves = RigidMotion(*(part.to(device) for part in moves))
    turn = 65.0 * math.radians(0.1) * math.pi / 4
    expected = torch.tensor([0.0, 3.0, turn, turn], dtype=torch.float64)
    torch.testing.assert_close(mean_displacement(moves).cpu(), expected, rtol=2e-3, atol=1e-9)


@pytest.mark.parametrize("rotation", [(0.0, 0.0, 12.0), (8.0, -6.0, 12.0)])
def test_a_linear_image_is_sampled_exactly_where_the_motion_says(rotation, dtype, device):
    """Linear interpolation of a linear ramp is exact, so x_frame = R x + t (about the centre) can be read off.

    Mutation: swap spacing y and x, or sample at R^T; red.
    """
    shape, spacing = (9, 20, 26), (2.5, 1.5, 0.8)
    z, y, x = ((torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True))
    points = torch.stack(torch.meshgrid(z, y, x, indexing="ij")[::-1], dim=-1)
    slope = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    move = motion([rotation], [(0.7, -0.4, 0.0 if rotation[0] == 0 else 0.6)])
    volume = (points @ slope).to(dtype).to(device)
    back = apply_motion(volume[None], move, spacing)[0].cpu()
    moved = points @ rotation_matrix(move.rotation)[0].T + move.translation[0]
    half = torch.tensor([(n - 1) / 2 * s for n, s in zip(shape[::-1], spacing[::-1], strict=True)])
    inside = (moved.abs() <= half).all(dim=-1)
    assert inside.sum() > 500
    torch.testing.assert_close(
        back[inside].double(), (moved @ slope)[inside], rtol=0, atol=2e-4 if dtype == torch.float32 else 1e-9
    )


def test_a_moved_head_comes_back(device):
    """The frame is evaluated from formulas at the moved position, so a wrong sign or order cannot cancel."""
    head, shape, spacing = DigitalHead(3), (12, 96, 96), (2.5, 2.3, 2.3)
    rotation, translation = (1.5, -2.0, 4.0), (2.0, -3.0, 1.5)
    still = head.volume(shape, spacing, thin=2)
    moved = head.volume(shape, spacing, rotation=rotation, translation=translation, thin=2)
    back = apply_motion(
        torch.stack([still, moved]).to(device), motion([(0, 0, 0), rotation], [(0, 0, 0), translation]), spacing
    )
    inner = slice(2, -2)
    before, after = (float((v - still)[inner].abs().mean()) for v in (moved, back[1].cpu()))
    assert after < 0.25 * before
    assert torch.equal(back[0].cpu(), still)


def test_mixing_slices_equals_sampling_in_three_dimensions(generator, monkeypatch, dtype, tolerance):
    """Mutation: weights of the upper and the lower slice exchanged; red."""
    volume = torch.randn(1, 7, 19, 23, generator=generator, dtype=dtype)
    move = motion([(3.0, -4.0, 5.0)], [(1.0, -2.0, 1.5)])
    results = []
    for most in (0, 100):
        monkeypatch.setattr(rigid, "_MOST_SLICES", most)
        results.append(apply_motion(volume, move, (4.0, 1.1, 0.9)))
    torch.testing.assert_close(*results, rtol=0, atol=10 * tolerance["atol"])


def test_still_frames_are_copied_unchanged(generator):
    volumes = torch.randn(3, 4, 8, 9, generator=generator)
    move = motion([(0, 0, 0), (0, 0, 0.05), (0, 0, 4.0)], [(0, 0, 0), (0.05, 0, 0), (0, 0, 0)])
    back = apply_motion(volumes, move, (5.0, 1.0, 1.0))
    assert torch.equal(back[:2], volumes[:2])
    assert not torch.equal(back[2], volumes[2])
    assert back.data_ptr() != volumes.data_ptr()


def test_beyond_the_edge_the_edge_goes_on():
    volume = torch.ones(1, 3, 5, 5)
    back = apply_motion(volume, motion([(5.0, 0, 10.0)], [(40.0, 0, 3.0)]), (5.0, 1.0, 1.0))
    torch.testing.assert_close(back, volume)


def test_a_single_slice_moves_in_its_plane(generator):
    volume = torch.randn(1, 1, 8, 9, generator=generator)
    back = apply_motion(volume, motion([(0, 0, 0)], [(1.0, 0, 0)]), (5.0, 1.0, 1.0))
    torch.testing.assert_close(back[..., :-1], volume[..., 1:])


def test_motion_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"with the 1 frames of the motion, got \(2, 3, 4, 5\)"):
        apply_motion(torch.zeros(2, 3, 4, 5), motion([(0, 0, 0)], [(0, 0, 0)]), (1.0, 1.0, 1.0))


def _moving(through_mm, tilt_deg, *, n_jerks, determined):
    """Twenty frames that turn and shift in the plane, of which the last also move through it."""
    rotation, translation = torch.zeros(20, 3, dtype=torch.float64), torch.zeros(20, 3, dtype=torch.float64)
    rotation[:, 2], translation[:, 0], translation[:, 1] = 3.0, 4.0, -5.0
    translation[20 - n_jerks :, 2], rotation[20 - n_jerks :, 0] = through_mm, tilt_deg
    estimated = torch.ones(6, dtype=torch.bool)
    estimated[[0, 1, 5]] = determined
    return RigidMotion(rotation, translation, estimated)


@pytest.mark.parametrize(
    ("moving", "kept"),
    [
        (_moving(2.0, 0.0, n_jerks=20, determined=False), False),
        (_moving(0.5, 1.0, n_jerks=20, determined=False), False),  # 65 mm tilted by a degree move 1.1 mm
        (_moving(0.5, 2.0, n_jerks=20, determined=False), True),
        (_moving(3.0, 0.0, n_jerks=20, determined=False), True),
        (_moving(-3.0, 0.0, n_jerks=20, determined=False), True),
        (_moving(3.0, 0.0, n_jerks=1, determined=False), False),
        (_moving(3.0, 0.0, n_jerks=4, determined=False), True),
        (_moving(2.0, 0.0, n_jerks=20, determined=True), True),
    ],
)
def test_slices_far_apart_are_not_mixed_for_little(moving, kept):
    """Eight millimetres apart: what moves less than a third of it through the plane is left, in the plane nothing is.

    Mutations seen red: the largest frame decides; a sign lost; the tilt passed over; thin slices treated alike.
    """
    found = correctable(moving, (8.0, 1.0, 1.0))
    assert torch.equal(found.rotation[:, 2], moving.rotation[:, 2])
    assert torch.equal(found.translation[:, :2], moving.translation[:, :2])
    expected = moving if kept else _moving(0.0, 0.0, n_jerks=0, determined=False)
    assert torch.equal(found.rotation, expected.rotation)
    assert torch.equal(found.translation, expected.translation)
