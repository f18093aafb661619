"""Rescale and window, against numpy written out."""

import numpy as np
import pytest
import torch

from ctp_torch.ops import hounsfield, window


def test_each_image_has_its_own_rescale(device):
    """Mutation seen red: using the first image's slope for all."""
    stored = torch.arange(24, dtype=torch.int16, device=device).reshape(2, 3, 4)
    result = hounsfield(stored, torch.tensor([1.0, 2.0]), torch.tensor([-1024.0, 10.0]))
    expected = stored.cpu().numpy().astype(np.float64) * [[[1]], [[2]]] + [[[-1024]], [[10]]]
    np.testing.assert_allclose(result.cpu().numpy(), expected)
    assert result.dtype == torch.float32
    assert result.device.type == device.type


def test_unsigned_values_above_the_signed_range_survive():
    stored = torch.tensor([[40000]], dtype=torch.int32)
    assert hounsfield(stored, 1.0, -8192.0).item() == 31808.0


def test_one_slope_per_image_or_none():
    with pytest.raises(ValueError, match=r"slope must be one number or one per image \(2,\)"):
        hounsfield(torch.zeros(2, 3, 4), torch.ones(3), 0.0)


def test_the_paper_window(dtype, device):
    hu = torch.tensor([-1000.0, 0.0, 150.0, 600.0, 3000.0], dtype=dtype, device=device)
    expected = torch.tensor([0.0, 0.0, 0.25, 1.0, 1.0], dtype=dtype, device=device)
    torch.testing.assert_close(window(hu), expected)
    assert window(torch.tensor([-5, 300], dtype=torch.int16)).tolist() == [0.0, 0.5]


def test_the_window_is_not_empty():
    with pytest.raises(ValueError, match="low < high"):
        window(torch.zeros(3), 5.0, 5.0)
