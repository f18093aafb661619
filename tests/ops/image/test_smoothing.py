"""Gaussian smoothing against scipy; smoothing in time against a loop."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from ctp_torch.ops import gaussian_smooth, smooth_beside, smooth_in_time, smooth_inside


@pytest.mark.parametrize("sigma", [0.7, (1.5, 2.25), (0.0, 1.0)])
def test_equals_scipy_away_from_the_border(sigma, dtype, device, generator, loops):
    """Mutation seen red: swapping sigma y and x. scipy's reflect repeats the edge pixel, kornia's doesn't."""
    images = torch.randn(2, 3, 24, 31, generator=generator, dtype=dtype)
    result = gaussian_smooth(images.to(device), sigma).cpu()
    pair = (sigma, sigma) if isinstance(sigma, float) else sigma
    radius = [int(np.ceil(4 * s)) for s in pair]
    expected = ndimage.gaussian_filter(images.double().numpy(), (0, 0, *pair), mode="mirror", radius=[0, 0, *radius])
    np.testing.assert_allclose(result.numpy(), expected, atol=2e-6)
    assert result.dtype == dtype


def test_zero_width_changes_nothing(generator):
    images = torch.randn(4, 9, 9, generator=generator)
    assert torch.equal(gaussian_smooth(images, 0.0), images)


def test_chunks_do_not_matter(generator, loops):
    images = torch.randn(7, 16, 16, generator=generator)
    torch.testing.assert_close(gaussian_smooth(images, 1.0, chunk=2), gaussian_smooth(images, 1.0))


@pytest.mark.parametrize(("sigma", "message"), [(-1.0, "at least 0"), (9.0, "doesn't fit")])
def test_impossible_widths_are_refused(sigma, message):
    with pytest.raises(ValueError, match=message):
        gaussian_smooth(torch.zeros(2, 20, 20), sigma)


def test_time_smoothing_keeps_constants_and_sums_neighbours(dtype):
    """Mutation seen red: weight 0.3 instead of 0.25."""
    curves = torch.tensor([[1.0, 2.0], [5.0, 2.0], [3.0, 2.0]], dtype=dtype)
    expected = torch.tensor([[2.0, 2.0], [3.5, 2.0], [3.5, 2.0]], dtype=dtype)
    torch.testing.assert_close(smooth_in_time(curves), expected)
    assert torch.equal(smooth_in_time(curves[:1]), curves[:1])


def test_nothing_leaks_in_from_outside_the_mask(dtype, generator):
    """Mutation seen red: dividing by nothing. Garbage outside changes nothing; a constant stays one up to the rim."""
    mask = torch.zeros(2, 24, 20, dtype=torch.bool)
    mask[:, 6:18, 5:16] = True
    inside = torch.randn(3, 2, 24, 20, generator=generator, dtype=dtype)
    garbage = torch.where(mask, inside, 1e4)
    first, second = (smooth_inside(v, mask, (5.0, 1.0, 0.5), 1.0)[:, mask] for v in (inside, garbage))
    torch.testing.assert_close(first, second)
    ones = smooth_inside(torch.where(mask, 1.0, -7.0).to(dtype), mask, (5.0, 1.0, 0.5), 1.0)[mask]
    torch.testing.assert_close(ones, torch.ones_like(ones))


def test_vessels_change_nothing_beside_them_and_keep_their_values(dtype, device, generator):
    """The oracle is a weighted mean by hand. Mutations seen red: ``mask`` for ``tissue``; partial volumes kept."""
    spacing, sigma_mm = (5.0, 1.0, 2.0), 1.5
    volumes = torch.randn(3, 1, 34, 27, generator=generator, dtype=dtype)
    mask = torch.zeros(1, 34, 27, dtype=torch.bool)
    mask[:, 7:25, 4:20] = True
    vessels, partly = torch.zeros_like(mask), torch.zeros_like(mask)
    vessels[0, 12, 12], partly[0, 12, 13], partly[0, 13, 12] = True, True, True
    bright = torch.where(vessels | partly, 1e4, volumes)
    arguments = [t.to(device) for t in (bright, mask, vessels)]
    result = smooth_beside(*arguments, spacing, sigma_mm, partly=partly.to(device)).cpu()
    tissue = mask & ~vessels & ~partly
    y, x = torch.meshgrid(torch.arange(34.0), torch.arange(27.0), indexing="ij")
    for row, column in ((7, 4), (12, 14), (12, 13), (13, 12), (20, 15)):
        near = ((y - row).abs() <= 6) & ((x - column).abs() <= 3) & tissue[0]
        weight = near * torch.exp(-((y - row).square() + ((x - column) * 2.0).square()) / (2.0 * sigma_mm**2))
        expected = (volumes[:, 0] * weight).sum(dim=(1, 2)) / weight.sum()
        torch.testing.assert_close(result[:, 0, row, column].double(), expected.double(), rtol=1e-4, atol=1e-5)
    assert torch.equal(result[:, vessels], bright[:, vessels])
    nothing = torch.zeros_like(mask)
    torch.testing.assert_close(
        smooth_beside(volumes, mask, nothing, spacing, sigma_mm)[:, mask],
        smooth_inside(volumes, mask, spacing, sigma_mm)[:, mask],
    )


def test_a_partial_volume_out_of_reach_of_tissue_keeps_its_value(generator):
    """Mutation seen red: without the least share, it becomes 0."""
    volumes = torch.randn(2, 1, 30, 30, generator=generator)
    partly = torch.ones(1, 30, 30, dtype=torch.bool)
    partly[:, :, :3] = False
    result = smooth_beside(
        volumes, torch.ones_like(partly), torch.zeros_like(partly), (5.0, 1.0, 1.0), 1.0, partly=partly
    )
    assert torch.equal(result[..., 10:], volumes[..., 10:])
    assert not torch.equal(result[..., 3], volumes[..., 3])


def test_thin_slices_are_smoothed_together_and_thick_ones_apart(dtype, device, generator):
    """Against scipy along z on values and mask, in float64."""
    volumes = torch.randn(2, 12, 16, 18, generator=generator, dtype=dtype)
    mask = torch.rand(12, 16, 18, generator=generator) > 0.2
    thin = smooth_inside(volumes.to(device), mask.to(device), (0.8, 2.0, 1.0), 1.2).cpu()
    expected = []
    for part in (volumes.double() * mask, mask.double().expand(2, -1, -1, -1)):
        plane = ndimage.gaussian_filter(part.numpy(), (0, 0, 0.6, 1.2), mode="mirror", radius=[0, 0, 3, 5])
        expected.append(ndimage.gaussian_filter1d(plane, 1.5, axis=1, mode="constant", radius=6))
    np.testing.assert_allclose(thin.numpy(), expected[0] / expected[1], atol=2e-5)
    thick = smooth_inside(volumes, mask, (5.0, 2.0, 1.0), 1.2)
    alone = torch.stack(
        [smooth_inside(volumes[:, z : z + 1], mask[z : z + 1], (0.8, 2.0, 1.0), 1.2)[:, 0] for z in range(12)], 1
    )
    torch.testing.assert_close(thick, alone)


@pytest.mark.parametrize(("sigma_mm", "expected_mm"), [(1.0, 1.0), (4.0, 1.436)])
def test_thin_slices_are_smoothed_no_further_than_a_thick_one_averages(sigma_mm, expected_mm):
    """The width of what one bright slice becomes. Mutation seen red: ``max`` instead of ``min``."""
    mask = torch.ones(61, 64, 64, dtype=torch.bool)
    slices = torch.zeros(61, 64, 64)
    slices[30] = 1.0
    height = 0.5 * (torch.arange(61) - 30)  # [mm]
    spread = smooth_inside(slices, mask, (0.5, 2.0, 2.0), sigma_mm)[:, 32, 32]
    assert float((spread * height.square()).sum() / spread.sum()) ** 0.5 == pytest.approx(expected_mm, rel=0.01)


def test_gradients_are_followed_through_kornia(monkeypatch):
    """The same values either way."""
    from kornia import filters

    calls, whole = [], filters.gaussian_blur2d
    monkeypatch.setattr(filters, "gaussian_blur2d", lambda *a, **k: calls.append(1) or whole(*a, **k))
    images = torch.rand(3, 20, 24, dtype=torch.float64)
    plain = gaussian_smooth(images, (1.5, 0.7))
    assert calls == []
    followed = gaussian_smooth(images.clone().requires_grad_(), (1.5, 0.7))
    assert calls == [1]
    torch.testing.assert_close(followed.detach(), plain)
    assert followed.requires_grad
