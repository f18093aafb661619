"""CT noise: how large at which matrix, how it looks, and where."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from ctp_torch.phantom.noise import noise_after_median, noise_amplitude, noise_images, noise_profile

FOV = 230.0


def independent_noise(n, seed=0):
    """(n, 512, 512) noise of sd 1 made with numpy at full resolution from the formula."""
    rng = np.random.default_rng(seed)
    f = np.fft.fftfreq(512, FOV / 512)
    r = np.hypot(f[:, None], f[None, :])
    nps = r * np.exp(-((r / 0.35) ** 2)) * (1 - np.exp(-((r / 0.05) ** 2)))
    images = np.fft.ifft2(np.fft.fft2(rng.standard_normal((n, 512, 512))) * np.sqrt(nps)).real
    return images / images.std()


@pytest.mark.parametrize(("size", "published"), [(512, 1.0), (256, 0.845), (128, 0.53)])
def test_coarser_matrices_average_the_noise_of_512(size, published):
    """Red when the spectrum is cut, not folded, at the coarse matrix' limit (tried at 256: .818 instead of .839)."""
    images = noise_images(24, noise_amplitude(size, FOV), torch.Generator().manual_seed(0))
    k = 512 // size
    pooled = independent_noise(12).reshape(12, size, k, size, k).mean((2, 4))
    assert float(images.std()) == pytest.approx(pooled.std(), rel=0.015)
    assert float(images.std()) == pytest.approx(published, rel=0.03)


@pytest.mark.parametrize("size", [512, 256, 128])
def test_what_the_median_leaves(size):
    k = 512 // size
    pooled = independent_noise(6, seed=1).reshape(6, size, k, size, k).mean((2, 4))
    expected = np.stack([ndimage.median_filter(image, 3, mode="reflect") for image in pooled]).std()
    assert noise_after_median(size, FOV) == pytest.approx(expected, rel=0.03)


def test_texture_has_the_spectrum_it_should():
    """Radial power: nothing at frequency 0, most between 0.1 and 0.35 cycles/mm, none at the pixel's limit."""
    images = noise_images(8, noise_amplitude(256, FOV), torch.Generator().manual_seed(2)).double()
    power = torch.fft.fft2(images).abs().square().mean(0)
    f = torch.fft.fftfreq(256, FOV / 256, dtype=torch.float64)
    r = torch.sqrt(f[:, None] ** 2 + f[None, :] ** 2)

    def band(low, high):
        return float(power[(r >= low) & (r < high)].mean())

    assert band(0.0, 0.02) < 0.05 * band(0.15, 0.3)
    assert band(0.5, 0.56) < 0.35 * band(0.15, 0.3)


def test_other_sizes_than_powers_of_two_and_larger_ones():
    for size in (96, 100, 300, 768):
        images = noise_images(3, noise_amplitude(size, FOV), torch.Generator().manual_seed(0))
        assert images.shape == (3, size, size)
        assert torch.isfinite(images).all()
        assert 0.3 < float(images.std()) < 1.05


def test_frames_are_independent():
    images = noise_images(2, noise_amplitude(256, FOV), torch.Generator().manual_seed(3))
    assert abs(float((images[0] * images[1]).mean())) < 0.02


def test_profile_follows_dose_thickness_bowl_and_base():
    heights = torch.tensor([-40.0, 20.0])
    reference = noise_profile(64, FOV, heights, thickness_mm=5.0, dose=1.0)
    assert reference.shape == (2, 64, 64)
    torch.testing.assert_close(noise_profile(64, FOV, heights, thickness_mm=5.0, dose=0.25), 2 * reference)
    torch.testing.assert_close(noise_profile(64, FOV, heights, thickness_mm=1.25, dose=1.0), 2 * reference)
    assert float(reference[1, 32, 32] / reference[1, 0, 0]) == pytest.approx(1.25, abs=0.01)
    assert float(reference[0, 32, 32] / reference[1, 32, 32]) == pytest.approx(1.3, abs=0.01)
