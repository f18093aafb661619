"""Kernel ridge regression against its textbook formula, scikit-learn, and its neighbours in theory."""

import pytest
import torch
from oracles import kernels as oracle
from regressor_contract import RegressorContract

from ctp_torch.errors import ConvergenceWarning, NumericalError
from ctp_torch.models import KernelRidge, Ridge
from ctp_torch.models.kernel.solvers.iterative import nystrom_preconditioner
from ctp_torch.models.kernel.solvers.plan import planned


class TestKernelRidge(RegressorContract):
    def make(self):
        return KernelRidge(alpha=0.1, gamma=2.0)


def _curves(n=60, features=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    X = 0.1 + 0.05 * torch.randn(n, features, generator=generator, dtype=torch.float64).cumsum(1)
    Y = 100 + 400 * X[:, :2].sin() + 10 * torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return X, Y, X[:9] + 0.02


@pytest.mark.parametrize("gamma", [1.0 / 128.0, 8.0])
@pytest.mark.parametrize("center", [True, False])
def test_equals_the_textbook(gamma, center, dtype):
    """Mutation seen red: the intercept forgotten in predict; alpha multiplied by the number of samples."""
    X, Y, new = (values.to(dtype) for values in _curves())
    expected = oracle.kernel_ridge(X, Y, new, alpha=0.1, gamma=gamma, center=center)
    actual = KernelRidge(0.1, gamma, center=center).fit(X, Y).predict(new)
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=1e-4 * float(Y.std()))


def test_equals_scikit_learn():
    theirs = pytest.importorskip("sklearn.kernel_ridge").KernelRidge(alpha=0.1, kernel="rbf", gamma=8.0)
    X, Y, new = _curves()
    expected = torch.from_numpy(theirs.fit(X.numpy(), Y.numpy()).predict(new.numpy()))
    actual = KernelRidge(center=False).fit(X, Y).predict(new)
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-6)


EXACT = ["cholesky", "cg", "blocked_cg", "pivoted", "auto"]


class TestConjugateGradients(RegressorContract):
    def make(self):
        return KernelRidge(alpha=0.1, gamma=2.0, solver="cg", tolerance=1e-9)


class TestLowRank(RegressorContract):
    def make(self):
        return KernelRidge(alpha=0.1, gamma=2.0, n_centers=15)


class TestPivoted(RegressorContract):
    def make(self):
        return KernelRidge(alpha=0.1, gamma=2.0, solver="pivoted")


class TestSketchAndProject(RegressorContract):
    target_tolerance = 1e-5  # the iteration stops when the worst of the targets is done

    def make(self):
        return KernelRidge(alpha=0.1, gamma=2.0, solver="askotch", tolerance=1e-6)


@pytest.mark.parametrize("solver", EXACT)
def test_every_exact_solver_gives_the_same_model(solver, dtype):
    """Mutation seen red: no float64 refinement (one float32 round) for alpha = 1e-3."""
    X, Y, new = (values.to(dtype) for values in _curves(700))
    for alpha in (1.0, 1e-3):
        expected = oracle.kernel_ridge(X, Y, new, alpha=alpha, gamma=8.0)
        tolerance = 1e-5 if solver == "pivoted" else 1e-7
        model = KernelRidge(alpha, 8.0, solver=solver, tolerance=tolerance).fit(X, Y)
        torch.testing.assert_close(model.predict(new).double(), expected, rtol=0, atol=1e-4 * float(Y.std()))
        assert model.plan_["approximate"] is False
        assert model.residual_ is None or model.residual_ <= tolerance


@pytest.mark.slow
@pytest.mark.parametrize(("solver", "tolerance"), [("cholesky", 1e-8), ("askotch", 1e-4)])
def test_large_solvers_give_the_same_model(solver, tolerance, monkeypatch):
    """float32 blocks with refinement, and sketch and project over several blocks."""
    monkeypatch.setattr("ctp_torch.models.kernel.solvers.direct.SMALL", 100)
    X, Y, new = (values.float() for values in _curves(2500))
    expected = oracle.kernel_ridge(X, Y, new, alpha=0.5, gamma=8.0)
    model = KernelRidge(0.5, 8.0, solver=solver, tolerance=tolerance).fit(X, Y)
    assert model.residual_ <= tolerance
    torch.testing.assert_close(
        model.predict(new).double(), expected, rtol=0, atol=20 * tolerance * float(Y.std()) + 1e-3
    )


def test_smooth_kernel_is_solved_by_pivots(monkeypatch):
    """auto takes the low-rank way where it is the same answer, says so, and leaves it where it isn't."""
    monkeypatch.setattr("ctp_torch.models.kernel.solvers.plan._SMALL", 100)
    monkeypatch.setattr("ctp_torch.models.kernel.kernel_ridge._PILOT_RANK", 400)
    X, Y, new = _curves(600)
    smooth = KernelRidge(0.1, 1.0 / 128.0).fit(X, Y)
    assert smooth.plan_["solver"] == "pivoted"
    assert smooth.plan_["n_centers"] < 300
    assert "smooth" in smooth.plan_["reason"]
    assert not smooth.plan_["approximate"]
    expected = oracle.kernel_ridge(X, Y, new, alpha=0.1, gamma=1.0 / 128.0)
    torch.testing.assert_close(smooth.predict(new), expected, rtol=0, atol=1e-4 * float(Y.std()))
    rough = KernelRidge(0.1, 500.0).fit(X, Y)
    assert rough.plan_["solver"] == "cg"
    torch.testing.assert_close(
        rough.predict(new), oracle.kernel_ridge(X, Y, new, alpha=0.1, gamma=500.0), rtol=0, atol=1e-4 * float(Y.std())
    )


@pytest.mark.parametrize("width", [0.01, 0.1])
def test_preconditioner_inverts_its_own_matrix(width, device):
    """With every sample for a centre it undoes ``K + alpha I``, also where K is a million times alpha.

    Float64 features for dependent centres (width .01), float32 ones for independent ones (.1). Mutation seen red: the
    leading directions not treated apart.
    """
    generator = torch.Generator().manual_seed(0)
    X = (0.3 + width * torch.randn(250, 12, generator=generator, dtype=torch.float64)).to(device)
    alphas = torch.tensor([3e-4, 1.0], dtype=torch.float64, device=device)
    K = oracle.gaussian_kernel(X.cpu(), X.cpu(), 8.0).to(device)
    apply = nystrom_preconditioner(X, alphas=alphas, gamma=8.0, n_targets=1, seed=0)
    top = torch.linalg.eigh(K).eigenvectors[:, -1:]
    values = torch.cat([top, torch.randn(250, 1, generator=generator, dtype=torch.float64).to(device)], dim=1)
    found = apply((K @ values + alphas * values).float()).double()
    # rounding of what is given is magnified by 1 / alpha in other directions than this one
    torch.testing.assert_close(found[:, :1].mT @ top, torch.ones_like(found[:1, :1]), rtol=0, atol=2e-3)
    torch.testing.assert_close(found[:, 1], values[:, 1], rtol=0, atol=2e-3)


@pytest.mark.parametrize("well_conditioned", [0.0, 2.0], ids=["as they are", "whitened"])
def test_low_rank_is_the_model_on_its_centres(well_conditioned, dtype, monkeypatch):
    """Against the subset-of-regressors formula, with rows as they are and whitened by the centres' factor.

    Mutations seen red: alpha I in place of alpha K_cc; weights of whitened rows not turned back.
    """
    monkeypatch.setattr("ctp_torch.models.kernel.solvers.basis._WELL_CONDITIONED", well_conditioned)
    X, Y, new = (values.to(dtype) for values in _curves(300))
    model = KernelRidge(0.1, 8.0, n_centers=20).fit(X, Y)
    assert model.plan_["approximate"]
    assert model.centers_.shape == (20, 7)
    C = model.centers_
    K_nc, K_cc = oracle.gaussian_kernel(X, C, 8.0), oracle.gaussian_kernel(C, C, 8.0)
    y = Y.double()
    w = torch.linalg.solve(K_nc.mT @ K_nc + 0.1 * K_cc, K_nc.mT @ (y - y.mean(0)))
    expected = oracle.gaussian_kernel(new, C, 8.0) @ w + y.mean(0)
    torch.testing.assert_close(model.predict(new).double(), expected, rtol=0, atol=1e-4 * float(Y.std()))
    A = K_nc @ torch.linalg.solve(K_cc, K_nc.mT)
    dof = torch.linalg.solve(A + 0.1 * torch.eye(300, dtype=torch.float64), A).trace()
    assert float(model.effective_dof_) == pytest.approx(float(dof), rel=1e-6)


def test_centres_cover_what_is_rare_and_are_different_samples():
    """All of ten outliers among 450, of which a uniform draw of 60 finds one or two.

    Mutation seen red: all centres drawn by a diagonal that no pivot has reduced.
    """
    X, Y, _ = _curves(450)
    X *= 0.2
    X[::45] += 3.0 + torch.arange(10, dtype=torch.float64)[:, None]
    model = KernelRidge(0.1, 8.0, n_centers=60).fit(X, Y)
    assert model.centers_.shape == (60, 7)
    assert len(model.centers_.unique(dim=0)) == 60
    assert int((model.centers_.mean(1) > 2.0).sum()) == 10
    few = KernelRidge(0.1, 8.0, n_centers=60).fit(X[:7].repeat(20, 1), Y[:7].repeat(20, 1))
    assert few.centers_.shape == (7, 7)  # there are no others


@pytest.mark.parametrize("pool", [200, 4000], ids=["pivots of a few", "pivots of all"])
def test_pivots_of_a_pool_or_of_all_samples_solve_a_smooth_kernel(pool, monkeypatch):
    """Mutation seen red: the factor's rows of all samples taken in another order."""
    monkeypatch.setattr("ctp_torch.models.kernel.solvers.low_rank._PIVOT_ROWS", pool)
    X, Y, new = _curves(1500)
    model = KernelRidge(0.1, 1.0 / 128.0, solver="pivoted").fit(X, Y)
    assert model.residual_ <= model.tolerance
    expected = oracle.kernel_ridge(X, Y, new, alpha=0.1, gamma=1.0 / 128.0)
    torch.testing.assert_close(model.predict(new), expected, rtol=0, atol=1e-4 * float(Y.std()))


def test_threads_with_sums_of_their_own_give_the_model_of_one_sum(monkeypatch):
    """Mutation seen red: the targets' sums of the first thread alone."""
    X, Y, new = _curves(10_000)
    usual, found = torch.get_num_threads(), []
    try:
        for n, most in ((1, 2**27), (3, 2**27), (3, 0)):
            torch.set_num_threads(n)
            monkeypatch.setattr("ctp_torch.models.kernel.solvers.normal_equations._MANY", most)
            found.append(KernelRidge(0.1, 8.0, n_centers=600).fit(X, Y).predict(new))
    finally:
        torch.set_num_threads(usual)
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(found[2], found[0], rtol=0, atol=1e-5)


def test_all_samples_as_centres_is_the_exact_model():
    X, Y, new = _curves(80)
    expected = KernelRidge(0.1, 8.0).fit(X, Y).predict(new)
    torch.testing.assert_close(
        KernelRidge(0.1, 8.0, n_centers=80).fit(X, Y).predict(new), expected, rtol=1e-6, atol=1e-5
    )


def test_blocks_and_memory_mapped_files_give_the_model_of_the_whole(tmp_path):
    """Mutation seen red: the mean of y taken from the last block."""
    X, Y, new = (values.float() for values in _curves(500))
    whole = KernelRidge(0.1, 8.0, n_centers=500).fit(X, Y)
    blocks = [(X[i : i + 77], Y[i : i + 77]) for i in range(0, 500, 77)]
    streamed = KernelRidge(0.1, 8.0, n_centers=500).fit_blocks(blocks)
    torch.testing.assert_close(streamed.predict(new), whole.predict(new), rtol=1e-4, atol=1e-2)
    again = KernelRidge(0.1, 8.0, n_centers=30).fit_blocks(blocks)
    assert again.centers_.shape == (30, 7)
    assert {tuple(row) for row in again.centers_.tolist()} <= {tuple(row) for row in X.tolist()}

    X, Y, new = (values.float() for values in _curves(2500))
    X.numpy().tofile(tmp_path / "x")
    mapped = torch.from_file(str(tmp_path / "x"), size=X.numel(), dtype=torch.float32).view(2500, 7)
    from_file = KernelRidge(0.1, 8.0, n_centers=40).fit(mapped, Y)
    torch.testing.assert_close(
        from_file.predict(new), KernelRidge(0.1, 8.0, n_centers=40).fit(X, Y).predict(new), rtol=1e-5, atol=1e-3
    )


def test_blocks_are_checked():
    X, Y, _ = _curves(50)
    model = KernelRidge(n_centers=10)
    with pytest.raises(ValueError, match="walked more than once"):
        model.fit_blocks((X, Y) for _ in range(2))
    with pytest.raises(ValueError, match="block 1 must be"):
        model.fit_blocks([(X, Y), (X[:, :3], Y)])
    with pytest.raises(ValueError, match="X of block 0 holds NaN"):
        model.fit_blocks([(X * torch.nan, Y)])
    with pytest.raises(ValueError, match="no sample"):
        model.fit_blocks([])
    with pytest.raises(ValueError, match="solver='auto' or 'nystrom'"):
        KernelRidge(solver="cg").fit_blocks([(X, Y)])


def test_a_batch_is_its_models(dtype):
    """Leading dimensions, and alpha and gamma that broadcast against them. Mutation seen red: one gamma for all."""
    sets = [_curves(40, seed=seed) for seed in range(3)]
    X, Y, new = (torch.stack(values).to(dtype) for values in zip(*sets, strict=True))
    model = KernelRidge(alpha=[0.1, 1.0, 10.0], gamma=[[2.0], [8.0]]).fit(X, Y)
    predictions = model.predict(new)
    assert predictions.shape == (2, 3, 9, 2)
    for g, gamma in enumerate([2.0, 8.0]):
        for item, alpha in enumerate([0.1, 1.0, 10.0]):
            expected = oracle.kernel_ridge(X[item], Y[item], new[item], alpha=alpha, gamma=gamma)
            torch.testing.assert_close(predictions[g, item].double(), expected, rtol=0, atol=1e-3)
    assert model.fit(X, Y[..., 0]).predict(new[0]).shape == (2, 3, 9)


@pytest.mark.parametrize("solver", ["cholesky", "cg", "nystrom", "pivoted"])
def test_all_penalties_share_one_fit(solver):
    X, Y, new = _curves(80)
    alphas = [0.05, 0.5, 5.0]
    predictions = KernelRidge(alphas, 8.0, solver=solver, tolerance=1e-8).fit(X, Y).predict(new)
    assert predictions.shape == (3, 9, 2)
    for alpha, actual in zip(alphas, predictions, strict=True):
        torch.testing.assert_close(actual, oracle.kernel_ridge(X, Y, new, alpha=alpha, gamma=8.0), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("solver", ["auto", "pivoted", "nystrom"])
def test_repeated_samples_and_no_penalty(solver, recwarn):
    """alpha = 0 with every sample twice: the mean of the two targets, never NaN (a warning names the jitter)."""
    X, Y, _ = _curves(15)
    predictions = KernelRidge(0.0, 8.0, solver=solver).fit(torch.cat([X, X]), torch.cat([Y - 5.0, Y + 5.0])).predict(X)
    torch.testing.assert_close(predictions, Y, rtol=0, atol=0.5)
    if solver == "auto":
        assert [w.category for w in recwarn.list] == [ConvergenceWarning] * len(recwarn.list) != []


def test_vanishing_penalty_interpolates():
    X, Y, _ = _curves(30)
    torch.testing.assert_close(KernelRidge(1e-9, 8.0).fit(X, Y).predict(X), Y, rtol=0, atol=1e-2)


def test_one_feature():
    X = torch.linspace(0, 1, 50, dtype=torch.float64)[:, None]
    expected = oracle.kernel_ridge(X, X.sin(), X + 0.01, alpha=0.1, gamma=8.0)
    torch.testing.assert_close(KernelRidge().fit(X, X.sin()).predict(X + 0.01), expected)


def test_stopping_early_is_a_warning_with_the_residual():
    """A tolerance below what float64 can tell."""
    X, Y, _ = _curves(300)
    with pytest.warns(ConvergenceWarning, match=r"relative residual of \d\.\de-\d+"):
        KernelRidge(1e-2, 8.0, solver="cg", tolerance=1e-20).fit(X, Y)


def test_running_into_nan_is_an_error(monkeypatch):
    monkeypatch.setattr(
        "ctp_torch.models.kernel.solvers.iterative.conjugate_gradients", lambda *a, **k: (a[1].double() * torch.nan, 1)
    )
    X, Y, _ = _curves(30)
    with pytest.raises(NumericalError, match="NaN"):
        KernelRidge(solver="cg").fit(X, Y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"alpha": -1.0}, "alpha must be finite"),
        ({"alpha": [0.1, float("nan")]}, "alpha must be finite"),
        ({"gamma": float("inf")}, "gamma must be finite"),
        ({"solver": "magic"}, "solver must be one of auto, cholesky"),
        ({"n_centers": 0}, "n_centers must be positive"),
        ({"tolerance": 0.0}, "tolerance must be positive"),
        ({"alpha": 0.0, "solver": "cg"}, "needs alpha > 0"),
        ({"gamma": [1.0, 2.0], "solver": "cg"}, "need solver='cholesky'"),
    ],
)
def test_impossible_parameters_are_refused_by_fit(parameters, message):
    X, Y, _ = _curves(20)
    with pytest.raises(ValueError, match=message):
        KernelRidge(**parameters).fit(X, Y)


@pytest.mark.parametrize(
    ("n", "free", "more", "solver"),
    [
        (1000, 10**10, {}, "cholesky"),
        (25_000, 2 * 10**10, {}, "cg"),
        (25_000, 2 * 10**9, {}, "blocked_cg"),
        (100_000, 2 * 10**10, {}, "blocked_cg"),
        (1_000_000, 2 * 10**10, {}, "nystrom"),
        (25_000, 2 * 10**10, {"n_centers": 2000}, "pivoted"),
        (1000, 10**10, {"n_models": 6}, "cholesky"),
        (25_000, 2 * 10**10, {"penalised": False}, "pivoted"),
    ],
)
def test_auto_takes_what_fits(n, free, more, solver):
    given = {"n_models": 1, "n_centers": None, "n_preconditioner": min(n, 2000), "free": free, "penalised": True} | more
    plan = planned("auto", n, **given)
    assert plan["solver"] == solver
    assert plan["bytes"] <= free
    assert plan["reason"]
    assert ("approximation" in plan["reason"]) == (n == 1_000_000)


def test_rounding_of_huge_weights_is_kept_out_of_predictions():
    """Small alpha, large weights of both signs: the model stores what needs it in float64."""
    X, Y, new = (values.float() for values in _curves(400))
    model = KernelRidge(1e-7, 1.0).fit(X, Y)
    assert model.dual_coef_.dtype == torch.float64
    expected = oracle.kernel_ridge(X, Y, new, alpha=1e-7, gamma=1.0)
    torch.testing.assert_close(model.predict(new).double(), expected, rtol=0, atol=1e-3 * float(Y.std()))


def test_linear_limit_is_ridge():
    """A very wide kernel with a matching penalty is ridge regression on centred features."""
    X, Y, new = _curves(60)
    gamma = 1e-6
    ridge = Ridge(0.5).fit(X, Y).predict(new)
    torch.testing.assert_close(KernelRidge(0.5 * 2 * gamma, gamma).fit(X, Y).predict(new), ridge, rtol=1e-3, atol=0.05)


def test_effective_dof_is_the_trace():
    X, Y, _ = _curves()
    model = KernelRidge(alpha=0.1, gamma=8.0).fit(X, Y)
    assert float(model.effective_dof_) == pytest.approx(oracle.effective_dof(X, alpha=0.1, gamma=8.0), rel=1e-8)


def test_effective_dof_of_many_samples_is_close_to_the_trace(monkeypatch):
    X, Y, _ = _curves(900)
    model = KernelRidge(alpha=0.1, gamma=8.0).fit(X, Y)
    monkeypatch.setattr("ctp_torch.models.kernel.solvers.effective_dof._EXACT", 100)
    assert float(model.effective_dof_) == pytest.approx(oracle.effective_dof(X, alpha=0.1, gamma=8.0), rel=0.05)
