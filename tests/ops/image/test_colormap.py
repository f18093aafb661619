"""JET is exact, and every colour finds the entry that a loop finds."""

import pytest
import torch
from oracles.images import nearest_color_by_loops

from ctp_torch.ops import apply_lut, jet_lut, nearest_color_index, paint


def test_jet_follows_its_published_rows():
    """Rows worked out by hand from R = min(4i-382, 1148-4i), G = min(4i-127, 893-4i), B = min(4i+128, 638-4i)."""
    lut = jet_lut()
    assert lut.dtype == torch.uint8
    assert lut.shape == (256, 3)
    expected = {0: (0, 0, 128), 31: (0, 0, 252), 32: (0, 1, 255), 96: (2, 255, 254), 127: (126, 255, 130)}
    expected |= {128: (130, 255, 126), 159: (254, 255, 2), 223: (255, 1, 0), 255: (128, 0, 0)}
    for index, color in expected.items():
        assert tuple(lut[index].tolist()) == color
    assert len({tuple(color) for color in lut.tolist()}) == 256
    assert int(lut.amax(-1).min()) == 128


def test_all_256_colors_survive_the_round_trip(device):
    """Mutation: swap red and blue in the colour code; red."""
    index = torch.arange(256, device=device).reshape(4, 64)
    rgb = apply_lut(index, jet_lut())
    assert rgb.shape == (4, 64, 3)
    assert torch.equal(nearest_color_index(rgb, jet_lut()), index.short())


@pytest.mark.parametrize("n_colors", [1, 2, 13, 256, 300])
@pytest.mark.parametrize(("max_distance", "background"), [(40.0, 64), (12.5, 0), (1e9, 0)])
def test_any_table_agrees_with_a_loop_over_its_entries(n_colors, max_distance, background, generator):
    """Mutation: ``>=`` for ``>`` at the distance limit, or the last of equals; red."""
    lut = torch.randint(0, 256, (n_colors, 3), generator=generator, dtype=torch.uint8)
    lut[n_colors // 2] = lut[0]  # an entry that is there twice: the lower index wins
    rgb = torch.randint(0, 256, (7, 29, 3), generator=generator, dtype=torch.uint8)
    rgb[0] = lut[torch.randint(0, n_colors, (29,), generator=generator)]
    index = nearest_color_index(rgb, lut, max_distance=max_distance, background=background)
    table = lut.tolist()
    expected = [nearest_color_by_loops(c, table, max_distance, background) for c in rgb.reshape(-1, 3).tolist()]
    assert index.dtype == torch.int16
    assert index.reshape(-1).tolist() == expected


def test_ties_go_to_the_lowest_index():
    lut = torch.tensor([[100, 100, 110], [100, 100, 90], [100, 90, 100]], dtype=torch.uint8)
    assert nearest_color_index(torch.tensor([100, 100, 100], dtype=torch.uint8), lut).item() == 0
    assert nearest_color_index(torch.tensor([100, 95, 95], dtype=torch.uint8), lut).item() == 1


def test_the_distance_limit_is_inclusive():
    lut = torch.tensor([[100, 100, 100]], dtype=torch.uint8)
    rgb = torch.tensor([[140, 100, 100], [141, 100, 100], [124, 132, 100]], dtype=torch.uint8)
    assert nearest_color_index(rgb, lut).tolist() == [0, -2, 0]


def test_background_and_text_are_not_perfusion():
    """Black is nearest to index 0 and grey to 127; neither may become one."""
    rgb = torch.tensor([[0, 0, 0], [63, 63, 63], [128, 128, 128], [255, 255, 255]], dtype=torch.uint8)
    assert nearest_color_index(rgb, jet_lut()).tolist() == [-1, -1, -2, -2]


def test_pieces_of_pixels_and_colors_join_without_a_seam(generator):
    """More pixels, and more colours, than are looked at together. Mutation seen red: the last piece left out."""
    rgb = torch.randint(0, 256, (720, 731, 3), generator=generator, dtype=torch.uint8)
    whole = nearest_color_index(rgb, jet_lut())
    for rows in (slice(0, 4), slice(358, 362), slice(716, 720)):
        assert torch.equal(whole[rows], nearest_color_index(rgb[rows], jet_lut()))


def test_strided_colors_and_no_colors(generator):
    planes = torch.randint(0, 256, (3, 6, 5), generator=generator, dtype=torch.uint8)
    rgb = planes.permute(1, 2, 0)
    assert torch.equal(nearest_color_index(rgb, jet_lut()), nearest_color_index(rgb.contiguous(), jet_lut()))
    assert nearest_color_index(rgb[:0], jet_lut()).shape == (0, 5)


def test_negative_indices_are_black():
    assert apply_lut(torch.tensor([-2, -1, 0], dtype=torch.int16), jet_lut()).tolist() == [
        [0] * 3,
        [0] * 3,
        [0, 0, 128],
    ]
    assert apply_lut(torch.empty(0, dtype=torch.uint8), jet_lut()).shape == (0, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: apply_lut(torch.tensor([256]), jet_lut()), ValueError, r"index reaches 256, the table has 256"),
        (lambda: apply_lut(torch.tensor([1.0]), jet_lut()), TypeError, "must be integers, got torch.float32"),
        (lambda: apply_lut(torch.tensor([0]), jet_lut().int()), ValueError, "lut must be uint8"),
        (lambda: nearest_color_index(torch.zeros(2, 3), jet_lut()), TypeError, "must be uint8"),
        (lambda: nearest_color_index(torch.zeros(2, 4, dtype=torch.uint8), jet_lut()), ValueError, r"\(2, 4\)"),
        (lambda: nearest_color_index(jet_lut(), jet_lut()[:0]), ValueError, "1 to 32767 colours"),
    ],
)
def test_what_is_no_color_or_table_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_painted_maps_invert():
    """Mutation seen red: low and high exchanged."""
    values = torch.linspace(-1, 9, 200).reshape(10, 20)
    mask = torch.ones(10, 20, dtype=torch.bool)
    mask[0, 0] = False
    index = nearest_color_index(paint(values, (0.0, 8.0), mask), jet_lut())
    expected = (values.clamp(0, 8) / 8 * 255).round().to(torch.int16)
    expected[0, 0] = -1
    assert torch.equal(index, expected)
    with pytest.raises(ValueError, match="low < high"):
        paint(values, (8.0, 0.0), mask)
