"""Motion: how large each class is, and that rotations are what they say."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from ctp_torch.phantom.deformation import rotation_matrix
from ctp_torch.phantom.motion import draw_motion, draw_motion_class


def paths(kind, n=40):
    return torch.stack([draw_motion(torch.Generator().manual_seed(seed), 60, kind) for seed in range(n)])


def test_every_path_starts_at_rest():
    for kind in ("none", "negligible", "mild", "severe"):
        assert float(paths(kind, 5)[:, 0].abs().max()) == 0.0


def test_classes_differ_in_size_and_keep_their_limits():
    sizes = {kind: paths(kind) for kind in ("none", "negligible", "mild", "severe")}
    largest = {kind: float(path.abs().amax((1, 2)).median()) for kind, path in sizes.items()}
    assert largest["none"] == 0.0
    assert 0.3 < largest["negligible"] < 0.9
    assert 0.9 < largest["mild"] <= 2.5
    assert float(sizes["severe"].abs().amax((1, 2)).min()) >= 4.0
    assert largest["severe"] <= 8.0
    assert float(sizes["severe"].abs().max()) <= 8.0
    jitter = sizes["negligible"].diff(dim=1).std()
    assert 0.05 < float(jitter) < 0.25


def test_nodding_dominates_among_rotations():
    spread = paths("severe", 200)[:, :, :3].abs().amax(1).mean(0)
    assert spread[0] > spread[2] > spread[1]


def test_negligible_is_the_commoner_class():
    kinds = [draw_motion_class(torch.Generator().manual_seed(seed)) for seed in range(400)]
    assert kinds.count("negligible") / 400 == pytest.approx(58 / 82, abs=0.07)
    assert set(kinds) == {"negligible", "mild"}


def test_unknown_class_is_refused():
    with pytest.raises(ValueError, match="none, negligible, mild, severe"):
        draw_motion(torch.Generator(), 10, "wild")


def test_rotation_matrix_equals_scipy():
    """Red when the order is Rx Ry Rz (tried)."""
    degrees = torch.tensor([[3.0, -7.0, 20.0], [0.0, 0.0, 90.0]])
    expected = Rotation.from_euler("ZYX", degrees.flip(-1).numpy(), degrees=True).as_matrix()
    np.testing.assert_allclose(rotation_matrix(degrees).numpy(), expected, atol=1e-7)
