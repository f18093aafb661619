"""The running median equals scipy's and a loop's, at every size, type and border."""

import pytest
import torch
from oracles.images import median_by_loops
from scipy import ndimage

from ctp_torch.ops import median_filter

TYPES = [torch.float32, torch.float64, torch.int16, torch.uint8, torch.int32, torch.int64]
SHAPES = [(1, 1), (1, 9), (2, 2), (7, 1), (3, 3), (2, 5, 4), (2, 3, 31, 17)]


def noise(shape, dtype, generator):
    return (torch.randn(shape, generator=generator, dtype=torch.float64) * 40 + 110).to(dtype)


def by_scipy(images, size):
    flat = images.reshape(-1, *images.shape[-2:])
    filtered = [torch.from_numpy(ndimage.median_filter(i.numpy(), size, mode="reflect")) for i in flat]
    return torch.stack(filtered).reshape(images.shape)


@pytest.mark.parametrize("size", [1, 3, 5, 9])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", TYPES)
def test_median_filter_equals_scipy_everywhere(kind, shape, size, generator, device, loops):
    """Mutation: clamp to the middle of the wrong neighbours (``mid[2:]`` for ``mid[1:-1]``); red."""
    images = noise(shape, kind, generator)
    filtered = median_filter(images.to(device), size)
    assert filtered.dtype == kind
    assert filtered.device.type == device.type
    assert torch.equal(filtered.cpu(), by_scipy(images, size))


@pytest.mark.parametrize("size", [3, 5])
def test_median_filter_equals_plain_loops(size, generator):
    image = noise((6, 8), torch.float64, generator)
    assert torch.equal(median_filter(image, size), torch.from_numpy(median_by_loops(image.numpy(), size)))


def test_images_of_several_pieces_equal_scipy(generator, loops):
    """Pieces must join without a seam. Mutation: start each piece one pixel late; red."""
    images = noise((3, 631, 557), torch.float32, generator)
    assert torch.equal(median_filter(images), by_scipy(images, 3))


def test_the_sorting_path_joins_its_row_blocks(generator):
    """More windows than are laid out at once. Mutation seen red: each block one row late."""
    image = noise((300, 1000), torch.float32, generator)
    assert torch.equal(median_filter(image, 5), by_scipy(image, 5))


def test_infinite_values_are_ordered_like_any_other(generator, loops):
    image = noise((12, 13), torch.float32, generator)
    image[3:5, 3:7], image[8, 2] = torch.inf, -torch.inf
    assert torch.equal(median_filter(image), by_scipy(image, 3))


@pytest.mark.parametrize("size", [3, 5])
def test_a_nan_takes_exactly_the_windows_that_hold_it(size, generator, device, loops):
    image = noise((20, 30), torch.float32, generator)
    clean = median_filter(image, size)
    image[0, 7] = image[9, 12] = torch.nan
    filtered = median_filter(image.to(device), size).cpu()
    half = size // 2
    expected = torch.zeros(20, 30, dtype=torch.bool)
    expected[: half + 1, 7 - half : 8 + half] = True
    expected[9 - half : 10 + half, 12 - half : 13 + half] = True
    assert torch.equal(filtered.isnan(), expected)
    assert torch.equal(filtered[~expected], clean[~expected])


def test_strided_images_give_the_same_as_contiguous_ones(generator):
    images = noise((14, 11, 4), torch.float32, generator)
    assert torch.equal(median_filter(images.permute(2, 0, 1)), by_scipy(images.permute(2, 0, 1).contiguous(), 3))


def test_the_input_is_left_alone_and_never_shared(generator):
    image = noise((9, 9), torch.float32, generator)
    before = image.clone()
    for size in (1, 3, 5):
        assert median_filter(image, size).data_ptr() != image.data_ptr()
    assert torch.equal(image, before)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_the_result_goes_where_it_is_asked_to(size, generator, loops):
    images = noise((9, 60, 50), torch.int16, generator)
    out = torch.empty_like(images)
    assert median_filter(images, size, out=out) is out
    assert torch.equal(out, by_scipy(images, size))
    with pytest.raises(ValueError, match="out must be contiguous"):
        median_filter(images, size, out=out.float())


def test_no_images_give_no_images():
    assert median_filter(torch.empty(0, 5, 5)).shape == (0, 5, 5)


@pytest.mark.cuda
def test_the_fused_kernel_equals_scipy(generator):
    images = noise((3, 65, 47), torch.float32, generator).cuda()
    assert torch.equal(median_filter(images).cpu(), by_scipy(images.cpu(), 3))


@pytest.mark.parametrize("size", [0, 2, -3])
def test_an_even_or_empty_window_is_refused(size):
    with pytest.raises(ValueError, match=f"positive odd number of pixels, got {size}"):
        median_filter(torch.zeros(4, 4), size)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.zeros(4), ValueError, r"\(\.\.\., y, x\), got shape \(4,\)"),
        (torch.zeros(4, 4, dtype=torch.bool), TypeError, "got torch.bool"),
        (torch.zeros(4, 4, dtype=torch.complex64), TypeError, "got torch.complex64"),
    ],
)
def test_what_is_no_image_is_refused(images, error, message):
    with pytest.raises(error, match=message):
        median_filter(images)
