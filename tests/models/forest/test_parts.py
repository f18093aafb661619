"""What the forest stands on: random numbers, bins, sorting, splits, partition and prediction, each by its law."""

import pytest
import torch

from ctp_torch.models.forest.bins import bin_codes, local_codes, quantile_edges
from ctp_torch.models.forest.frontier import padded_members, size_classes
from ctp_torch.models.forest.histograms import histogram_splits, node_histograms
from ctp_torch.models.forest.partition import midpoint_thresholds, partition_order, segment_sums
from ctp_torch.models.forest.predict import leaves, pack_trees
from ctp_torch.models.forest.random import bootstrap_counts, feature_orders, hash_bits, tree_keys, uniform
from ctp_torch.models.forest.random_splits import random_splits
from ctp_torch.models.forest.sort import running_sums, sort_columns
from ctp_torch.models.forest.splits import NO_WEIGHT, sorted_splits
from ctp_torch.ops.compute.threads import in_threads


def test_hash_is_splitmix64(device):
    """The first outputs of the published generator for seed 1234567. Red when a shift keeps the sign."""
    gamma = 0x9E3779B97F4A7C15
    states = [(1234567 + k * gamma) % 2**64 for k in range(3)]
    keys = torch.tensor([s - 2**64 if s >= 2**63 else s for s in states], device=device)
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [b % 2**64 for b in hash_bits(keys).tolist()] == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniform_numbers_are_uniform(device, dtype):
    numbers = uniform(torch.arange(20000, device=device), dtype)
    assert numbers.dtype == dtype
    assert 0.0 <= float(numbers.min()) < 1e-3 < 1 - 1e-3 < float(numbers.max()) < 1.0
    counts = torch.histc(numbers, 20, 0.0, 1.0)
    assert float(((counts - 1000).square() / 1000).sum()) < 50.0  # chi square of 19 degrees: above with p < 1e-4


def test_bootstrap_draws_with_replacement_and_depends_on_the_tree_alone(device):
    keys = tree_keys(torch.arange(6, device=device), seed=3)
    counts = bootstrap_counts(keys, 500, 700)
    assert counts.shape == (6, 500)
    assert (counts.sum(1) == 700).all()
    assert float((counts == 0).double().mean()) == pytest.approx(2.718281828 ** (-700 / 500), abs=0.02)
    assert torch.equal(bootstrap_counts(keys[4:5], 500, 700)[0], counts[4])
    assert not torch.equal(counts[0], counts[1])


def test_feature_orders_are_permutations_and_fair():
    orders = feature_orders(7, 4096, seed=1, device=torch.device("cpu"))
    assert torch.equal(orders.sort(1).values, torch.arange(7).expand(4096, 7))
    firsts = orders[:, 0].bincount()
    assert float(((firsts - 4096 / 7).square() / (4096 / 7)).sum()) < 28.0  # 6 degrees of freedom, p < 1e-4


@pytest.mark.parametrize("m", [1, 2, 4, 32, 256])
@pytest.mark.parametrize("dtype", [torch.int16, torch.int32])
def test_columns_are_sorted(m, dtype, generator, device):
    """Red when the second half isn't reversed before it is merged."""
    keys = torch.randint(-30000, 30000, (m, 3, 5), generator=generator).to(device, dtype)
    assert torch.equal(sort_columns(keys.clone()), keys.sort(0).values)


def test_columns_of_another_length_are_refused():
    with pytest.raises(ValueError, match="power of two of keys, got 6"):
        sort_columns(torch.zeros(6, 2, dtype=torch.int16))


@pytest.mark.parametrize("m", [1, 2, 3, 24, 25, 31, 32, 100, 127, 128, 255])
def test_running_sums_are_cumulative(m, generator):
    values = torch.randint(0, 99, (m, 3, 2), generator=generator).double()
    assert torch.equal(running_sums(values.clone()), values.cumsum(0))


@pytest.mark.parametrize(
    ("levels", "n_bins"), [(5, 255), (255, 255), (256, 255), (10**6, 255), (10**6, 4), (900, 1000)]
)
def test_codes_keep_the_order_and_few_values_keep_apart(levels, n_bins, generator):
    X = torch.randint(0, levels, (1500, 3), generator=generator).double()
    X[:, 2] = 7.0
    edges = quantile_edges(X, n_bins)
    codes = bin_codes(X, edges).long()
    assert int(codes.min()) >= 0
    assert int(codes.max()) < n_bins
    for column in range(3):
        order = X[:, column].argsort()
        values, coded = X[order, column], codes[order, column]
        assert (coded[1:] >= coded[:-1]).all()
        distinct = values.unique()
        if len(distinct) <= n_bins:
            assert len(coded.unique()) == len(distinct)
        else:
            assert int(coded.bincount().max()) <= -(-1500 // n_bins) + int(values.unique(return_counts=True)[1].max())
        code = int(coded[700])
        below = X[:, column] <= edges[column, code] if code < n_bins - 1 else torch.ones(1500, dtype=torch.bool)
        assert torch.equal(below, codes[:, column] <= code)


def test_local_codes_are_ranks_within_the_node(generator):
    """Red when ranks go on counting into the next node."""
    X = torch.randint(0, 1000, (90, 2), generator=generator).double()
    size = torch.tensor([1, 60, 29])
    codes = local_codes(X, size, 255)
    for rows, part in zip(codes.split(size.tolist()), X.split(size.tolist()), strict=True):
        for column in range(2):
            assert torch.equal(rows[:, column].long(), part[:, column].unique(return_inverse=True)[1])
    coarse = local_codes(X, size, 8)
    assert int(coarse.max()) == 7
    assert (coarse[1:61, 0].long().diff() * codes[1:61, 0].long().diff() >= 0).all()


def split_problem(generator, m=37, d=4, t=2, levels=6):
    codes = torch.randint(0, levels, (120, d), generator=generator).to(torch.uint8)
    rows = torch.randperm(120, generator=generator)[:m]
    weights = torch.randint(1, 4, (m,), generator=generator).double()
    y = torch.randint(-9, 9, (t, m), generator=generator).double()
    moments = weights * (y * weights.sum() - (weights * y).sum(1, keepdim=True))
    return codes, rows, weights, moments


def brute_force(codes, rows, weights, moments, leaf):
    best = (-1.0, 0, 0)
    for feature in range(codes.shape[1]):
        values = codes[rows, feature]
        for cut in sorted(set(values.tolist()))[:-1]:
            left = values <= cut
            if min(int(left.sum()), int((~left).sum())) < leaf:
                continue
            area = float(weights[left].sum() * weights[~left].sum())
            gain = float(moments[:, left].sum(1).square().sum()) / area
            if gain > best[0]:
                best = gain, feature, cut
    return best


@pytest.mark.parametrize("leaf", [1, 5])
@pytest.mark.parametrize("seed", range(4))
def test_sorting_and_counting_find_the_best_split(seed, leaf):
    """Red when the last of equal gains is taken, or the repeated member counts."""
    generator = torch.Generator().manual_seed(seed)
    codes, rows, weights, moments = split_problem(generator)
    gain, feature, cut = brute_force(codes, rows, weights, moments, leaf)
    at, real = padded_members(torch.tensor([0]), torch.tensor([37]), 64)
    padded = weights[at].masked_fill(~real, NO_WEIGHT)
    by_sorting = sorted_splits(codes, rows[at], padded, moments[:, at] * real, min_samples_leaf=leaf)
    by_counting = histogram_splits(
        codes, rows, torch.zeros_like(rows), weights, moments, n_bins=6, n_nodes=1, min_samples_leaf=leaf
    )
    wide = sorted_splits(codes.short(), rows[at], padded, moments[:, at] * real, min_samples_leaf=leaf)
    for found in (by_sorting, by_counting, wide):
        assert (float(found.gain), int(found.slot), int(found.cut)) == (gain, feature, cut)
    some = torch.tensor([[3, 1]])
    gain, feature, cut = brute_force(codes[:, [3, 1]], rows, weights, moments, leaf)
    by_sorting = sorted_splits(codes, rows[at], padded, moments[:, at] * real, features=some, min_samples_leaf=leaf)
    by_counting = histogram_splits(
        codes, rows, torch.zeros_like(rows), weights, moments, n_bins=6, n_nodes=1, features=some, min_samples_leaf=leaf
    )
    for found in (by_sorting, by_counting):
        assert (float(found.gain), int(found.slot), int(found.cut)) == (gain, feature, cut)


def test_nodes_that_cannot_be_split_have_negative_gain(generator):
    codes, rows, weights, moments = split_problem(generator)
    codes.fill_(3)
    found = histogram_splits(codes, rows, torch.zeros_like(rows), weights, moments, n_bins=6, n_nodes=1)
    assert float(found.gain) < 0
    at, real = padded_members(torch.tensor([0]), torch.tensor([37]), 64)
    padded = weights[at].masked_fill(~real, NO_WEIGHT)
    assert float(sorted_splits(codes, rows[at], padded, moments[:, at] * real).gain) < 0


def test_rounded_moments_allow_no_empty_side(generator):
    """Moments rounded to a unit need not sum to 0. Red when only 1 is taken off where one side is empty."""
    codes, rows, weights, moments = split_problem(generator)
    codes.fill_(3)
    moments += 5.0
    found = histogram_splits(codes, rows, torch.zeros_like(rows), weights, moments, n_bins=6, n_nodes=1)
    assert float(found.gain) < 0


def test_histograms_hold_every_member(generator):
    codes, rows, weights, moments = split_problem(generator)
    node = (torch.arange(37) >= 20).long()
    sums = node_histograms(codes, rows, node, torch.cat([weights[None], moments]), 6, 2, None)
    assert sums.shape == (3, 4, 2, 6)
    assert torch.equal(sums[0].sum(-1), torch.stack([weights[:20].sum(), weights[20:].sum()]).expand(4, 2))
    assert float(sums[0, 1, 0, 2]) == float(weights[:20][codes[rows[:20], 1] == 2].sum())


def test_pieces_of_a_node_give_the_split_of_the_whole(generator):
    """Red when low and high of the pieces aren't joined."""
    X = torch.rand(64, 5, generator=generator)
    weights = torch.randint(1, 4, (64,), generator=generator).double()
    moments = torch.randint(-99, 99, (1, 64), generator=generator).double()
    moments[0, 0] -= moments.sum()
    keys = torch.tensor([11])
    rows = torch.arange(64)
    whole = random_splits(X, rows[:, None], torch.tensor([0]), weights[:, None], moments[:, :, None], keys)
    pieces = random_splits(
        X,
        rows.view(4, 16).T.contiguous(),
        torch.zeros(4, dtype=torch.int64),
        weights.view(4, 16).T.contiguous(),
        moments.view(1, 4, 16).mT.contiguous(),
        keys,
    )
    for one, other in zip(whole, pieces, strict=True):
        assert torch.equal(one, other)
    left = X[:, int(whole.slot)] <= whole.cut
    area = weights[left].sum() * weights[~left].sum()
    assert float(whole.gain) == pytest.approx(float(moments[0, left].sum().square() / area))


def test_partition_is_stable_and_keeps_nodes_together():
    left = torch.tensor([1, 0, 1, 0, 0, 0, 1], dtype=torch.bool)
    node = torch.tensor([0, 0, 0, 0, 1, 1, 1])
    order, n_left = partition_order(left, torch.tensor([4, 3]), node)
    assert order.tolist() == [0, 2, 1, 3, 6, 4, 5]
    assert n_left.tolist() == [2, 1]
    values = torch.tensor([1.0, 8.0, 2.0, 4.0, 7.0, 9.0, 3.0])
    assert midpoint_thresholds(values, left, node, 2).tolist() == [3.0, 5.0]


def test_segment_sums_are_sums_of_segments():
    values = torch.arange(10).view(5, 2)
    assert segment_sums(values, torch.tensor([2, 1, 2])).tolist() == [[2, 4], [4, 5], [14, 16]]
    assert segment_sums(torch.tensor([True, True, False]), torch.tensor([1, 2])).tolist() == [1, 1]


def test_size_classes_hold_every_node_once():
    size = torch.tensor([2, 3, 4, 5, 8, 9, 256, 257, 1000])
    classes = {m: nodes.tolist() for m, nodes in size_classes(size)}
    assert classes == {2: [0], 4: [1, 2], 8: [3, 4], 16: [5], 256: [6], 512: [7], 1024: [8]}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_sample_reaches_its_leaf(dtype, device):
    """Two trees by hand: one split twice, and a single leaf. Red when x equal to a threshold goes right."""
    feature = torch.tensor([1, -1, 0, -1, -1, -1], device=device)
    threshold = torch.tensor([0.5, 0.0, 2.0, 0.0, 0.0, 0.0], device=device, dtype=dtype)
    left = torch.tensor([1, 1, 3, 3, 4, 5], device=device)
    X = torch.tensor([[0.0, 0.5], [2.0, 0.6], [2.1, 9.0]], device=device, dtype=dtype)
    found = leaves(X, torch.tensor([0, 5], device=device), pack_trees(feature, threshold, left))
    assert found.tolist() == [[1, 3, 4], [5, 5, 5]]


def test_threads_give_back_their_number_and_their_errors():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        inside = in_threads(lambda _: torch.get_num_threads(), range(5), device=torch.device("cpu"))
        assert inside == [1] * 5
        assert torch.get_num_threads() == 3
        with pytest.raises(ZeroDivisionError):
            in_threads(lambda k: 1 / k, range(2), device=torch.device("cpu"))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(n_threads)
