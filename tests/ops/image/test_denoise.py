"""Noise goes, edges and boluses stay; by laws and by a plain loop."""

import math

import pytest
import torch

from ctp_torch.ops.image.denoise import denoise_bilateral, denoise_by_itself, denoise_low_rank

SPACING = (5.0, 1.0, 1.0)


def scene(noise=2.0, frames=20, n=24):
    """Two tissues side by side with their boluses, and noise."""
    t = torch.arange(frames, dtype=torch.float64)
    bolus = [h * torch.exp(-0.5 * ((t - m) / 3.0) ** 2) for h, m in ((10.0, 8.0), (4.0, 11.0))]
    clean = torch.empty(frames, 2, n, n, dtype=torch.float64)
    clean[..., : n // 2], clean[..., n // 2 :] = (
        35.0 + bolus[0][:, None, None, None],
        30.0 + bolus[1][:, None, None, None],
    )
    drawn = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return clean, clean + noise * drawn


def error(result, clean, inner=slice(4, -4)):
    return float((result - clean)[..., inner, inner].square().mean().sqrt())


def test_bilateral_is_the_plain_loop():
    """Mutations seen red: the frames' distances not summed; the Gaussian in pixels taken for millimetres."""
    _, noisy = scene(n=12, frames=6)
    result = denoise_bilateral(noisy, (5.0, 2.0, 1.0), noise=2.0, sigma_mm=1.5, strength=0.7)
    y, x, z = 6, 5, 1
    total, weight = 0.0, 0.0
    for dy in range(-2, 3):  # 2 * 1.5 / 2 -> 2, 2 * 1.5 -> 3
        for dx in range(-3, 4):
            there, here = noisy[:, z, y + dy, x + dx], noisy[:, z, y, x]
            apart = math.exp(-0.5 * ((dy / 0.75) ** 2 + (dx / 1.5) ** 2))
            unlike = math.exp(-float((there - here).square().sum()) / (2 * 2 * 6 * (0.7 * 2.0) ** 2))
            total, weight = total + apart * unlike * there, weight + apart * unlike
    torch.testing.assert_close(result[:, z, y, x], total / weight)


def test_noise_falls_and_the_border_of_two_tissues_stays():
    clean, noisy = scene()
    mask = torch.ones(clean.shape[1:], dtype=torch.bool)
    before = error(noisy, clean)
    results = {
        "bilateral": denoise_bilateral(noisy, SPACING, noise=2.0),
        "low rank": denoise_low_rank(noisy, mask, noise=2.0),
        "itself": denoise_by_itself(noisy.float(), mask, steps=120).double(),
    }
    assert error(results["bilateral"], clean) < 0.45 * before
    assert error(results["low rank"], clean) < 0.45 * before
    assert error(results["itself"], clean) < 0.75 * before
    for name in ("bilateral", "low rank"):  # the step between the tissues is as high as it was
        step = lambda v: float((v[:, :, 6:18, 9] - v[:, :, 6:18, 14]).mean())  # noqa: E731
        assert step(results[name]) == pytest.approx(step(clean), abs=0.4)


def test_low_rank_leaves_what_has_no_noise():
    """Mutation seen red: patches not averaged by how often a voxel was in one."""
    clean, _ = scene()
    mask = torch.ones(clean.shape[1:], dtype=torch.bool)
    torch.testing.assert_close(denoise_low_rank(clean, mask, noise=0.05), clean, atol=0.02, rtol=0)
    none = torch.zeros_like(mask)
    assert torch.equal(denoise_low_rank(clean, none, noise=1.0), clean)


def test_pure_noise_is_left_out_by_low_rank():
    drawn = torch.randn(30, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    result = denoise_low_rank(drawn, torch.ones(1, 16, 16, dtype=torch.bool), noise=1.05)
    assert float(result.abs().max()) < 1e-9 or float(result.square().mean()) < 0.05


def test_the_network_sees_only_neighbours():
    """A frame of its own noise alone changes nothing of what it is told; the same seed gives the same network."""
    clean, noisy = scene(frames=8, n=16)
    mask = torch.ones(clean.shape[1:], dtype=torch.bool)
    first = denoise_by_itself(noisy.float(), mask, steps=0)
    changed = noisy.clone()
    changed[4] += 100.0
    second = denoise_by_itself(changed.float(), mask, steps=0)
    torch.testing.assert_close(first[4], second[4], atol=1e-3, rtol=1e-5)
    expected = (-noisy[2] + 4 * noisy[3] + 4 * noisy[5] - noisy[6]) / 6
    torch.testing.assert_close(first[4].double(), expected, atol=1e-3, rtol=1e-4)
    again = [denoise_by_itself(noisy.float(), mask, steps=3, seed=s) for s in (0, 0, 1)]
    assert torch.equal(again[0], again[1])
    assert not torch.equal(again[0], again[2])


def test_what_can_not_be_meant_is_refused():
    _, noisy = scene(frames=4, n=12)
    mask = torch.ones(2, 12, 12, dtype=torch.bool)
    with pytest.raises(ValueError, match="positive"):
        denoise_bilateral(noisy, SPACING, noise=0.0)
    with pytest.raises(ValueError, match="patch"):
        denoise_low_rank(noisy, mask, noise=1.0, patch=13)
    with pytest.raises(ValueError, match="5 at least"):
        denoise_by_itself(noisy, mask)
