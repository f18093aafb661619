"""The paper's 25,000 and 10,000 pixels: equal shares, no repeats, only valid pixels."""

from collections import Counter

import pytest
import torch

from ctp_torch.errors import CTPError
from ctp_torch.learning.sampling import allocate, sample_pixels


@pytest.mark.parametrize(
    ("cells", "n", "counts"),
    [(180, 25_000, {138: 20, 139: 160}), (48, 10_000, {208: 32, 209: 16})],
)
def test_the_papers_shares(cells, n, counts):
    """Mutation seen red: giving the remainder to one cell."""
    assert Counter(allocate([10_000] * cells, n)) == counts


def test_a_poor_cell_gives_all_it_has_and_the_others_make_up():
    shares = allocate([3, 100, 100], 90)
    assert shares[0] == 3
    assert sum(shares) == 90
    assert abs(shares[1] - shares[2]) <= 1


def test_everything_can_be_asked_for():
    assert allocate([2, 0, 5], 7) == [2, 0, 5]


def test_the_later_cells_give_the_remainder():
    """Mutation seen red: the first cells."""
    assert allocate([10] * 4, 6) == [1, 1, 2, 2]


def test_more_than_there_is_names_both_numbers():
    with pytest.raises(CTPError, match=r"1,000 samples .* only 7 valid"):
        allocate([3, 4], 1000)


def test_pixels_are_valid_distinct_and_spread(generator):
    """Mutation seen red: drawing with randint (replacement)."""
    valid = [torch.rand(3, 20, 21, generator=generator) > 0.5 for _ in range(4)]
    chosen = sample_pixels(valid, 1_000, seed=3)
    assert sum(len(c) for c in chosen) == 1_000
    for volume, pixels in zip(valid, chosen, strict=True):
        assert volume.flatten()[pixels].all()
        assert len(pixels.unique()) == len(pixels)
        per_slice = Counter((pixels // (20 * 21)).tolist())
        assert max(per_slice.values()) - min(per_slice.values()) <= 1


def test_the_seed_decides():
    valid = [torch.ones(2, 9, 9, dtype=torch.bool)]
    first, again, other = (sample_pixels(valid, 50, seed=s)[0] for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first[:25].diff() < 0).any()  # in random order within a slice


def test_two_thirds_are_late():
    """Mutations seen red: a third; late pixels drawn again among the others."""
    valid = [torch.ones(2, 30, 30, dtype=torch.bool) for _ in range(2)]
    late = [torch.zeros_like(v) for v in valid]
    late[0][0, :20], late[1][1, :20] = True, True
    chosen = sample_pixels(valid, 300, seed=0, late=late)
    assert sum(len(c) for c in chosen) == 300
    assert sum(int(w.flatten()[c].sum()) for w, c in zip(late, chosen, strict=True)) == 200
    assert all(len(c.unique()) == len(c) for c in chosen)


def test_few_late_pixels_are_all_taken():
    valid, late = [torch.ones(1, 20, 20, dtype=torch.bool)], [torch.zeros(1, 20, 20, dtype=torch.bool)]
    late[0][0, 0, :7] = True
    (chosen,) = sample_pixels(valid, 100, seed=0, late=late)
    assert len(chosen) == 100
    assert int(late[0].flatten()[chosen].sum()) == 7
