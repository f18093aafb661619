"""Pivoted and blocked Cholesky, conjugate gradients and blocks of rows, against dense linear algebra."""

import pytest
import torch
from oracles.kernels import gaussian_kernel as oracle

from ctp_torch.ops.compute.memory import free_bytes, in_row_blocks
from ctp_torch.ops.kernel.blocked_cholesky import blocked_cholesky_, blocked_cholesky_solve
from ctp_torch.ops.kernel.conjugate_gradients import conjugate_gradients
from ctp_torch.ops.kernel.gaussian import gaussian_gram_matmul, gaussian_kernel, gaussian_kernel_matmul
from ctp_torch.ops.kernel.pivoted_cholesky import pivoted_cholesky


def _samples(n, features=5, seed=0):
    return 0.3 + 0.1 * torch.randn(n, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _positive_definite(n, seed=0):
    A = torch.randn(n, n + 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return A @ A.mT


@pytest.mark.parametrize("gamma", [1.0 / 128.0, 8.0])
def test_pivoted_factor_approximates_from_below(gamma):
    """K - F F' is positive semi-definite with the stated diagonal, zero at the pivots. Mutation seen red: the residual
    diagonal not updated; the columns of earlier pivots not subtracted.
    """
    X = _samples(90)
    found = pivoted_cholesky(X, gamma=gamma, rank=40, generator=torch.Generator().manual_seed(0))
    left = oracle(X, X, gamma) - found.factor @ found.factor.mT
    torch.testing.assert_close(left.diagonal().clamp_min(0.0), found.residual, rtol=0, atol=1e-12)
    assert torch.linalg.eigvalsh(left).min() > -1e-12
    assert left[found.pivots].abs().max() < 1e-9
    assert found.factor[found.pivots].triu(1).abs().max() < 1e-9
    assert len(set(found.pivots.tolist())) == len(found.pivots)


def test_all_pivots_reproduce_the_kernel_and_repeated_samples_add_none():
    X = _samples(30)
    found = pivoted_cholesky(torch.cat([X, X]), gamma=8.0, rank=60, generator=torch.Generator().manual_seed(0))
    assert len(found.pivots) == 30
    K = oracle(torch.cat([X, X]), torch.cat([X, X]), 8.0)
    torch.testing.assert_close(found.factor @ found.factor.mT, K, rtol=0, atol=1e-9)


def test_random_pivots_beat_random_samples():
    """A tight cluster and few outliers: pivots find the outliers that a uniform draw of the same size misses."""
    X = torch.cat([_samples(500) * 0.01, 1.0 + _samples(20)])
    found = pivoted_cholesky(X, gamma=8.0, rank=25, generator=torch.Generator().manual_seed(0))
    chosen = torch.randperm(520, generator=torch.Generator().manual_seed(0))[:25]
    K_nc, K_cc = oracle(X, X[chosen], 8.0), oracle(X[chosen], X[chosen], 8.0)
    uniform = 520 - (K_nc @ torch.linalg.pinv(K_cc) @ K_nc.mT).trace()
    assert found.residual.sum() < 0.1 * uniform


@pytest.mark.parametrize("block", [7, 64, 100])
def test_blocked_cholesky_is_the_factor_and_so_are_its_leading_blocks(block, dtype, tolerance):
    """Mutation seen red: the diagonal block not updated by the columns before it."""
    A = _positive_definite(64).to(dtype)
    factor = A.clone()
    assert blocked_cholesky_(factor, block=block)
    torch.testing.assert_close(factor.tril(), torch.linalg.cholesky(A), **tolerance)
    B = torch.randn(41, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    expected = torch.linalg.solve(A[:41, :41].double(), B.double())
    actual = blocked_cholesky_solve(factor, B, block=block)
    torch.testing.assert_close(actual.double(), expected, rtol=1e-2 if dtype == torch.float32 else 1e-9, atol=1e-3)


def test_indefinite_matrix_is_reported():
    A = torch.eye(20)
    A[13, 13] = -1.0
    assert not blocked_cholesky_(A, block=6)


def test_conjugate_gradients_solve_every_column_with_its_own_shift():
    """Mutation seen red: the shift of the first column used for all."""
    K = _positive_definite(50)
    B = torch.randn(50, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    B[:, 1] = 0.0
    shift = torch.tensor([0.1, 1.0, 50.0], dtype=torch.float64)
    W, n_iter = conjugate_gradients(lambda P: K @ P, B, shift=shift, precondition=lambda R: R, tolerance=1e-10)
    assert 0 < n_iter < 200
    for column in range(3):
        expected = torch.linalg.solve(K + shift[column] * torch.eye(50, dtype=torch.float64), B[:, column])
        torch.testing.assert_close(W[:, column], expected, rtol=1e-6, atol=1e-8)


def test_a_perfect_preconditioner_takes_one_step():
    K = _positive_definite(40)
    B = torch.randn(40, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inverse = torch.linalg.inv(K + 0.5 * torch.eye(40, dtype=torch.float64))
    shift = torch.full((2,), 0.5, dtype=torch.float64)
    _, n_iter = conjugate_gradients(lambda P: K @ P, B, shift=shift, precondition=lambda R: inverse @ R, tolerance=1e-8)
    assert n_iter == 1


@pytest.mark.parametrize("n", [1, 1023, 1025, 2100])
def test_symmetric_product_and_its_shares(n, device, dtype):
    """Mutation seen red: the mirrored half of a block left out."""
    X = _samples(n).to(device, dtype)
    W = torch.randn(n, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(device, dtype)
    expected = oracle(X.cpu(), X.cpu(), 8.0) @ W.cpu().double()
    atol = {torch.float32: 1e-3, torch.float64: 1e-10}[dtype]
    whole = gaussian_gram_matmul(X, W, gamma=8.0)
    torch.testing.assert_close(whole.cpu().double(), expected, rtol=0, atol=atol)
    shares = [gaussian_gram_matmul(X, W, gamma=8.0, share=share, n_shares=3) for share in range(3)]
    torch.testing.assert_close(sum(shares), whole, rtol=1e-4, atol=atol)


@pytest.mark.parametrize("scale", [0.02, 0.1])
def test_large_weights_of_both_signs_cancel_in_float64(scale):
    """Plain float32 loses what is kept here. Mutation seen red: the equal part not split off."""
    X = (0.3 + scale * (_samples(4000) - 0.3) / 0.1).float()
    W = 1e4 * torch.randn(4000, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    expected = oracle(X[:50], X, 8.0) @ W
    plain = (gaussian_kernel(X[:50], X, gamma=8.0) @ W.float()).double()
    found = gaussian_kernel_matmul(X[:50], X, W, gamma=8.0)
    assert found.dtype == torch.float64
    assert (found - expected).norm() < 0.12 * (plain - expected).norm()


def test_rows_far_from_all_others_overflow_nothing():
    """Blocks near the mean and blocks far from it in one product. Mutation seen red: no guard against overflow."""
    X = _samples(3000).float()
    X[2500:] *= 60.0
    W = torch.randn(3000, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = gaussian_kernel_matmul(X, X[:2500], W[:2500], gamma=8.0)
    torch.testing.assert_close(found, oracle(X, X[:2500], 8.0) @ W[:2500], rtol=0, atol=1e-4)


def test_blocks_of_rows_are_halved_when_memory_runs_out():
    calls = []

    def work(start, stop):
        calls.append((start, stop))
        if stop - start > 3:
            raise torch.OutOfMemoryError("no room")
        return torch.arange(start, stop)

    assert torch.equal(torch.cat(in_row_blocks(work, 20, block=12)), torch.arange(20))
    assert calls[0] == (0, 12)
    assert max(stop - start for start, stop in calls[2:]) <= 3

    def hopeless(start, stop):
        raise torch.OutOfMemoryError("no room")

    with pytest.raises(torch.OutOfMemoryError):
        in_row_blocks(hopeless, 5, block=4)


def test_free_memory_is_a_sane_number():
    assert 10**7 < free_bytes("cpu") < 10**14
