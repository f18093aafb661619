"""The random forest against brute force in fractions, scikit-learn, and its own laws."""

import pytest
import torch
from oracles import trees
from regressor_contract import RegressorContract

from ctp_torch.models import RandomForest, load_model

STATE = ("roots_", "feature_", "threshold_", "left_", "value_", "weight_", "decrease_")


class TestRandomForest(RegressorContract):
    independent_targets = False

    def make(self):
        return RandomForest(20)


class TestRandomThresholds(RegressorContract):
    independent_targets = False

    def make(self):
        return RandomForest(20, splitter="random", bootstrap=False)


def nested(model, node):
    """A fitted tree in the oracle's form."""
    feature = int(model.feature_[node])
    if feature < 0:
        return (tuple(model.value_[node].tolist()),)
    left = int(model.left_[node])
    return feature, float(model.threshold_[node]), nested(model, left), nested(model, left + 1)


def assert_same_tree(mine, true, path="root"):
    assert len(mine) == len(true), f"leaf or not at {path}: {mine[:2]} and {true[:2]}"
    if len(true) == 1:
        assert mine[0] == pytest.approx([float(v) for v in true[0]], rel=1e-12, abs=1e-12)
        return
    assert mine[0] == true[0], f"feature at {path}"
    assert mine[1] == pytest.approx(float(true[1]), rel=1e-12), f"threshold at {path}"
    assert_same_tree(mine[2], true[2], path + ".left")
    assert_same_tree(mine[3], true[3], path + ".right")


def assert_same_forest(one, other):
    for name in STATE:
        assert torch.equal(getattr(one, name), getattr(other, name)), name


def data(n, d, t, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    X = torch.rand(n, d, generator=generator, dtype=dtype)
    Y = torch.stack([(7 * X[:, k % d]).sin() + X[:, (k + 1) % d] for k in range(t)], 1)
    return X, Y + 0.1 * torch.randn(n, t, generator=generator, dtype=dtype)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("n", "levels", "options", "oracle"),
    [
        (23, 3, {}, {}),  # few values: ties everywhere
        (40, 1000, {}, {}),
        (61, 7, {"min_samples_leaf": 3}, {"leaf": 3}),
        (61, 7, {"min_samples_split": 9, "max_depth": 4}, {"at_least": 9, "depth": 4}),
    ],
)
def test_tree_is_the_brute_force_tree_ties_included(seed, n, levels, options, oracle):
    """Red when `argmax` is replaced by the last of equal gains, or tied codes may be split."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randint(0, levels, (n, 4), generator=generator).double()
    Y = torch.randint(0, 5, (n, 2), generator=generator).double()
    model = RandomForest(1, bootstrap=False, **{"max_depth": None, **options}).fit(X, Y)
    assert_same_tree(nested(model, 0), trees.grow(X.tolist(), Y.tolist(), **oracle))


@pytest.mark.slow
def test_large_nodes_are_the_brute_force_tree_too():
    """More samples than are sorted at once: the counted nodes. Red when a bin with one empty side isn't forbidden."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randint(0, 40, (300, 3), generator=generator).double()
    Y = (X[:, :1] * 3 + torch.randint(0, 30, (300, 1), generator=generator)).double()
    for leaf in (1, 20):
        model = RandomForest(1, bootstrap=False, max_depth=4, min_samples_leaf=leaf).fit(X, Y)
        assert_same_tree(nested(model, 0), trees.grow(X.tolist(), Y.tolist(), depth=4, leaf=leaf))


@pytest.mark.parametrize("splitter", ["best", "random"])
@pytest.mark.parametrize(("n", "d", "n_bins"), [(3000, 1, 255), (2000, 3, 7), (500, 60, 255), (700, 2, 1000)])
def test_one_full_tree_gives_its_samples_back(n, d, n_bins, splitter):
    """More distinct values than bins: red when nodes that share all bins stay leaves."""
    X, Y = data(n, d, 2, dtype=torch.float32)
    model = RandomForest(1, bootstrap=False, max_depth=None, n_bins=n_bins, splitter=splitter).fit(X, Y)
    assert torch.equal(model.predict(X), Y)


def test_splits_without_gain_are_taken_on_the_way_to_pure_leaves():
    X = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    Y = torch.tensor([0.0, 1.0, 1.0, 0.0])
    assert torch.equal(RandomForest(1, bootstrap=False).fit(X, Y).predict(X), Y)


@pytest.mark.parametrize("options", [{}, {"splitter": "random"}, {"max_features": 0.4}], ids=str)
def test_same_seed_same_forest_whatever_the_threads_and_groups(options, monkeypatch):
    """Red when a tree's key holds its place in the group instead of its number."""
    from ctp_torch.models.forest import training

    X, Y = data(400, 5, 2)
    n_threads = torch.get_num_threads()
    forests = []
    for threads, groups in ((1, 1), (1, 7), (3, 3), (2, 5)):
        monkeypatch.setattr(training, "_n_groups", lambda *_, groups=groups: groups)
        torch.set_num_threads(threads)
        try:
            forests.append(RandomForest(7, **options).fit(X, Y))
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(n_threads)
    for other in forests[1:]:
        assert_same_forest(forests[0], other)
    with pytest.raises(AssertionError):
        assert_same_forest(forests[0], RandomForest(7, **options, seed=1).fit(X, Y))


def test_trees_are_halved_when_memory_runs_out(monkeypatch):
    from ctp_torch.models.forest import training

    X, Y = data(60, 3, 1)
    whole, grown = RandomForest(6).fit(X, Y), training.grow_trees

    def scarce(samples, roots, *rest):
        if len(roots.size) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 byte")
        return grown(samples, roots, *rest)

    monkeypatch.setattr(training, "grow_trees", scarce)
    assert_same_forest(RandomForest(6).fit(X, Y), whole)
    monkeypatch.setattr(training, "grow_trees", lambda *_: (_ for _ in ()).throw(RuntimeError("another")))
    with pytest.raises(RuntimeError, match="another"):
        RandomForest(6).fit(X, Y)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "peer", "their"),
    [
        ({}, "RandomForestRegressor", {}),
        ({"max_features": 1 / 3}, "RandomForestRegressor", {"max_features": 1 / 3}),
        ({"splitter": "random"}, "ExtraTreesRegressor", {"bootstrap": True}),
        (
            {"min_samples_leaf": 5, "max_samples": 0.5},
            "RandomForestRegressor",
            {"min_samples_leaf": 5, "max_samples": 0.5},
        ),
    ],
    ids=str,
)
def test_r2_is_that_of_scikit_learn(options, peer, their):
    ensemble = pytest.importorskip("sklearn.ensemble")
    X, Y = data(1300, 8, 2, dtype=torch.float32)
    mine, others = [], []
    for seed in range(4):
        mine.append(RandomForest(40, seed=seed, **options).fit(X[:500], Y[:500]).score(X[500:], Y[500:]))
        forest = getattr(ensemble, peer)(40, max_depth=55, random_state=seed, **their)
        others.append(forest.fit(X[:500].numpy(), Y[:500].numpy()).score(X[500:].numpy(), Y[500:].numpy()))
    assert sum(mine) / 4 == pytest.approx(sum(others) / 4, abs=0.01)


@pytest.mark.parametrize("splitter", ["best", "random"])
def test_whole_weights_are_repeated_samples(splitter):
    """Red when the moments leave the weights out."""
    generator = torch.Generator().manual_seed(1)
    X = torch.randint(0, 9, (50, 3), generator=generator).double()
    Y = torch.randint(0, 9, (50, 2), generator=generator).double()
    weight = torch.randint(0, 4, (50,), generator=generator)
    options = {"bootstrap": False, "max_depth": 5, "splitter": splitter}
    weighted = RandomForest(3, **options).fit(X, Y, sample_weight=weight)
    repeated = RandomForest(3, **options).fit(X.repeat_interleave(weight, 0), Y.repeat_interleave(weight, 0))
    assert torch.equal(weighted.feature_, repeated.feature_)
    torch.testing.assert_close(weighted.threshold_, repeated.threshold_)
    torch.testing.assert_close(weighted.value_, repeated.value_)


def test_scaled_weights_change_nothing_and_zero_weights_are_no_samples():
    X, Y = data(80, 3, 1)
    weight = torch.rand(80, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    model = RandomForest(4).fit(X, Y, sample_weight=weight)
    scaled = RandomForest(4).fit(X, Y, sample_weight=8 * weight)
    assert torch.equal(model.feature_, scaled.feature_)
    torch.testing.assert_close(model.value_, scaled.value_)
    weight[::3] = 0.0
    wild = Y.clone()
    wild[::3] = 1e6
    assert float(RandomForest(4).fit(X, wild, sample_weight=weight).predict(X).max()) < 10.0
    only = torch.zeros(80)
    only[7] = 1.0
    torch.testing.assert_close(RandomForest(9).fit(X, Y, sample_weight=only).predict(X), Y[7].expand(80, 1))


@pytest.mark.parametrize("options", [{}, {"splitter": "random", "max_features": 2}], ids=str)
def test_batches_are_forests_of_their_own(options):
    """Red when the bins or the units of one batch are used for another."""
    X, Y = data(6 * 50, 4, 2)
    X, Y = X.view(2, 3, 50, 4), (Y * torch.arange(1, 601, 1.0).view(300, 2)).view(2, 3, 50, 2)
    model = RandomForest(5, **options).fit(X, Y)
    assert model.roots_.shape == (2, 3, 5)
    assert model.feature_importances_.shape == (2, 3, 4)
    for i, j in ((0, 0), (1, 2)):
        single = RandomForest(5, **options).fit(X[i, j], Y[i, j])
        assert torch.equal(model.predict(X)[i, j], single.predict(X[i, j]))
        torch.testing.assert_close(model.feature_importances_[i, j], single.feature_importances_)
    with pytest.raises(ValueError, match="batch dimensions of the fit"):
        model.predict(X[0])


def test_a_single_forest_predicts_batches():
    X, Y = data(60, 3, 2)
    model = RandomForest(5).fit(X, Y)
    assert torch.equal(model.predict(X.view(4, 15, 3)), model.predict(X).view(4, 15, 2))


def test_spread_is_that_of_the_trees_one_by_one():
    X, Y = data(70, 4, 2)
    model = RandomForest(6).fit(X, Y)
    single = []
    for tree in range(6):
        one = RandomForest(6).fit(X, Y)
        one.roots_ = one.roots_[tree : tree + 1]
        single.append(one.predict(X))
    torch.testing.assert_close(model.predict(X), torch.stack(single).mean(0))
    torch.testing.assert_close(model.predict_std(X), torch.stack(single).std(0, correction=0))
    flat = RandomForest(6).fit(X, Y[:, 0])
    assert flat.predict_std(X).shape == (70,)


def test_importances_find_the_feature_and_are_scikit_learns():
    ensemble = pytest.importorskip("sklearn.ensemble")
    X, _ = data(300, 4, 1)
    Y = 3 * X[:, 2] + 0.5 * X[:, 0]
    model = RandomForest(1, bootstrap=False).fit(X.float(), Y.float())
    forest = ensemble.RandomForestRegressor(1, bootstrap=False, max_depth=55, random_state=0)
    forest.fit(X.float().numpy(), Y.float().numpy())
    assert model.feature_importances_.sum() == pytest.approx(1.0)
    assert model.feature_importances_.tolist() == pytest.approx(forest.feature_importances_.tolist(), abs=5e-3)  # ties
    constant = RandomForest(2).fit(X, torch.ones(300))
    assert constant.feature_importances_.tolist() == [0.0] * 4


def test_constant_features_are_never_asked():
    X, Y = data(60, 3, 1)
    X[:, 1] = 0.5
    for options in ({}, {"splitter": "random"}, {"max_features": 1}):
        model = RandomForest(5, max_depth=None, **options).fit(X, Y)
        assert not (model.feature_ == 1).any()
        assert (model.feature_ >= 0).any()
    flat = RandomForest(5).fit(torch.ones(60, 3), Y.float())
    assert (flat.feature_ == -1).all()


def test_two_equal_samples_share_a_leaf():
    X = torch.tensor([[1.0, 2.0], [1.0, 2.0]])
    Y = torch.tensor([3.0, 5.0])
    assert RandomForest(1, bootstrap=False).fit(X, Y).predict(X).tolist() == [4.0, 4.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_neighbouring_numbers_are_told_apart(dtype):
    one = torch.ones((), dtype=dtype)
    X = torch.stack([one, torch.nextafter(one, 2 * one)])[:, None]
    Y = torch.tensor([0.0, 1.0], dtype=dtype)
    for splitter in ("best", "random"):
        assert torch.equal(RandomForest(1, bootstrap=False, splitter=splitter).fit(X, Y).predict(X), Y)


def test_huge_and_tiny_targets_keep_their_digits():
    X, Y = data(50, 3, 1)
    plain = RandomForest(1, bootstrap=False).fit(X, Y).predict(X)
    for scale in (1e-30, 1e30):
        torch.testing.assert_close(RandomForest(1, bootstrap=False).fit(X, scale * Y).predict(X), scale * plain)


def test_file_keeps_forest_and_parameters(tmp_path):
    X, Y = data(50, 3, 2)
    model = RandomForest(4, max_features="sqrt", max_depth=None).fit(X, Y)
    model.save(tmp_path / "forest.safetensors")
    assert_same_forest(load_model(tmp_path / "forest.safetensors"), model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_estimators": 0}, "n_estimators must be a whole number of at least 1"),
        ({"max_depth": -1}, "max_depth"),
        ({"n_bins": 1}, "n_bins"),
        ({"min_samples_leaf": 0}, "min_samples_leaf"),
        ({"min_samples_split": 1}, "min_samples_split"),
        ({"splitter": "worst"}, "'best' or 'random'"),
        ({"max_features": 0.0}, "max_features"),
        ({"max_features": 4}, "count of 1 to 3"),
        ({"max_samples": 1.5}, "max_samples"),
        ({"seed": 0.5}, "seed"),
    ],
    ids=str,
)
def test_parameters_without_meaning_are_refused(options, message):
    X, Y = data(9, 3, 1)
    with pytest.raises(ValueError, match=message):
        RandomForest(**options).fit(X, Y)


def test_weights_that_do_not_fit_are_refused():
    X, Y = data(9, 3, 1)
    for weight, message in (
        (torch.ones(8), "one for each sample"),
        (-torch.ones(9), "not negative"),
        (torch.full((9,), torch.nan), "finite"),
        (torch.zeros(9), "zero everywhere"),
    ):
        with pytest.raises(ValueError, match=message):
            RandomForest(2).fit(X, Y, sample_weight=weight)
    with pytest.raises(TypeError, match="must be real"):
        RandomForest(2).fit(X, Y, sample_weight=torch.ones(9) + 0j)
