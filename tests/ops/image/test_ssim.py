"""SSIM against two independent implementations, and its laws."""

import pytest
import torch
from pytorch_msssim import ssim as msssim
from skimage.metrics import structural_similarity

from ctp_torch.ops import ssim, ssim_map


@pytest.fixture
def pair(generator):
    target = torch.rand(3, 40, 52, generator=generator) * 200
    target = torch.nn.functional.avg_pool2d(target, 5, stride=1, padding=2)
    return target + 12 * torch.randn(target.shape, generator=generator), target


def test_equals_pytorch_msssim(pair, loops):
    expected = msssim(pair[0][:, None], pair[1][:, None], data_range=255, size_average=False)
    torch.testing.assert_close(ssim(*pair, data_range=255), expected)


def test_equals_scikit_image(pair):
    """Mutation seen red: data_range 1 instead of 255."""
    values = ssim(*pair, data_range=255)
    for value, prediction, target in zip(values, *pair, strict=True):
        expected = structural_similarity(
            prediction.numpy(),
            target.numpy(),
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert value.item() == pytest.approx(expected, abs=5e-3)


def test_the_map_averages_to_the_value(pair, device, loops):
    """Mutation seen red: dropping the square of the mean from the variance."""
    prediction, target = (t.to(device).double() for t in pair)
    inner = ssim_map(prediction, target, data_range=255)[:, 5:-5, 5:-5].mean(dim=(1, 2))
    torch.testing.assert_close(inner, ssim(prediction, target, data_range=255))


def test_a_large_offset_changes_means_alone(pair, loops):
    """In float32 as in float64. Mutation seen red: the image's mean not taken out (off by .01)."""
    prediction, target = (t + 1e5 for t in pair)
    exact = ssim(prediction.double(), target.double(), data_range=255)
    torch.testing.assert_close(ssim(prediction, target, data_range=255).double(), exact, rtol=0, atol=1e-5)


def test_a_gradient_is_followed_by_pytorch_msssim(pair, monkeypatch):
    """It leads to the target. Mutation seen red: the loops, which know no gradient."""
    prediction = pair[0].clone().requires_grad_()
    start = ssim(prediction, pair[1], data_range=255)
    (slope,) = torch.autograd.grad(start.sum(), prediction)
    assert (ssim(pair[0] + 10_000 * slope, pair[1], data_range=255) > start + 1e-3).all()
    monkeypatch.setattr("pytorch_msssim.ssim", lambda *_, **__: torch.full((3,), -2.0))
    assert (ssim(prediction, pair[1], data_range=255) == -2.0).all()
    assert (ssim(pair[0], pair[1], data_range=255) > -1.0).all()


def test_identical_images_have_similarity_one(pair):
    torch.testing.assert_close(ssim(pair[1], pair[1], data_range=255), torch.ones(3))
    torch.testing.assert_close(ssim_map(pair[1], pair[1], data_range=255), torch.ones(3, 40, 52))


def test_constant_offset_has_its_closed_form():
    a, b = torch.full((20, 20), 100.0), torch.full((20, 20), 130.0)
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 130 + c1) / (100**2 + 130**2 + c1)
    assert ssim(a, b, data_range=255).item() == pytest.approx(expected, rel=1e-4)


def test_shapes_give_one_value_per_image(pair):
    prediction, target = pair
    assert ssim(prediction[0], target[0], data_range=255).shape == ()
    assert ssim(prediction, target, data_range=255).shape == (3,)
    channels = ssim(prediction[None], target[None], data_range=255)
    assert channels.shape == (1,)
    assert channels.item() == pytest.approx(ssim(prediction, target, data_range=255).mean().item(), rel=1e-5)


def test_integers_are_taken_as_numbers(pair):
    prediction, target = (t.clamp(0, 255).to(torch.uint8) for t in pair)
    torch.testing.assert_close(
        ssim(prediction, target, data_range=255), ssim(prediction.float(), target.float(), data_range=255)
    )


def test_background_lifts_the_score(pair, generator):
    """Identical background around a crop lifts the frame score towards 1 by its share."""
    crop = ssim(*pair, data_range=255).mean()
    framed = [torch.nn.functional.pad(t, [40] * 4) for t in pair]
    assert ssim(*framed, data_range=255).mean() > crop + 0.1


@pytest.mark.parametrize(
    ("shapes", "data_range", "message"),
    [
        (((20, 20), (20, 21)), 255, "differ in shape"),
        (((10, 20), (10, 20)), 255, "at least 11"),
        (((20,), (20,)), 255, r"must be \(y, x\)"),
        (((20, 20), (20, 20)), 0, "positive"),
    ],
)
def test_refusals(shapes, data_range, message):
    with pytest.raises(ValueError, match=message):
        ssim(torch.zeros(shapes[0]), torch.zeros(shapes[1]), data_range=data_range)
