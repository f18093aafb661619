"""Features of a low-rank model: what they span, what their penalty is, and what their weights mean."""

import pytest
import torch
from oracles.kernels import gaussian_kernel as oracle

from ctp_torch.models import KernelRidge
from ctp_torch.models.kernel.solvers import low_rank
from ctp_torch.models.kernel.solvers.basis import Basis


def _samples(n, seed=0):
    return 0.3 + 0.1 * torch.randn(n, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("white", [False, True])
@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("n_centers", [1, 5, 40])
def test_features_and_weights_are_the_kernels_and_theirs(n_centers, single, white):
    """``phi v`` is ``k(x, C) w`` and ``|root' v|^2`` is ``w' K w``, for any v.

    Mutations seen red: L21 not taken out of the other centres' rows; not turned back in their weights; L11 in place of
    ones in the root.
    """
    centers, X = _samples(n_centers), _samples(30, seed=1)
    K = oracle(centers, centers, 8.0)
    basis = Basis(centers, torch.linalg.cholesky(K), gamma=8.0, single=single, white=white)
    assert len(basis) == n_centers
    assert basis.dtype == (torch.float32 if single and not white else torch.float64)
    phi = basis.rows(X.float() if single else X, torch.empty(30, n_centers, dtype=basis.dtype))
    v = torch.randn(2, n_centers, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    w = basis.of_centers(v)
    atol = 2e-5 if single else 1e-9
    torch.testing.assert_close(phi.double() @ v, oracle(X, centers, 8.0) @ w, rtol=0, atol=atol)
    inside = basis.root.mT @ v
    torch.testing.assert_close(inside.mT @ inside, w.mT @ K @ w, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(basis.penalty, basis.root @ basis.root.mT, rtol=0, atol=1e-12)


def test_nearly_dependent_centres_are_all_whitened_in_float64():
    """A centre twice but for a thousandth: its rows are orthonormal over the centres themselves."""
    centers = _samples(16)
    centers = torch.cat([centers, centers[:1] + 1e-3])
    K = oracle(centers, centers, 8.0)
    basis = Basis(centers, torch.linalg.cholesky(K), gamma=8.0, single=True)
    assert basis.dtype == torch.float64
    white = basis.rows(centers, torch.empty(17, 17, dtype=torch.float64))
    torch.testing.assert_close(white @ white.mT, K, rtol=0, atol=1e-10)
    torch.testing.assert_close(basis.root, torch.eye(17, dtype=torch.float64))


def test_float32_rows_give_the_model_of_float64_rows(monkeypatch):
    """Many centres; and where the weights are too large for it the samples pass once more.

    Mutation seen red: the second pass left out.
    """
    generator = torch.Generator().manual_seed(0)
    X = _samples(3000).float()
    Y = (5.0 * X).sin()[:, :2] + 0.1 * torch.randn(3000, 2, generator=generator)
    made, rows = [], Basis.rows

    def watched(self, *arguments):
        made.append(self.dtype)
        return rows(self, *arguments)

    monkeypatch.setattr(Basis, "rows", watched)

    def predicted():
        made.clear()
        return KernelRidge(0.1, 8.0, n_centers=300).fit(X, Y).predict(X)

    exact = predicted()
    assert set(made) == {torch.float64}  # few centres
    monkeypatch.setattr(low_rank, "_MANY_CENTERS", 300)
    quick = predicted()
    assert set(made) == {torch.float32}
    torch.testing.assert_close(quick, exact, rtol=0, atol=1e-3 * float(Y.std()))
    assert not torch.equal(quick, exact)
    monkeypatch.setattr(low_rank, "_LARGE", 1e-3)
    again = predicted()
    assert set(made) == {torch.float32, torch.float64}
    torch.testing.assert_close(again, exact, rtol=0, atol=1e-6)
