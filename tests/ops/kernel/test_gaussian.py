"""The Gaussian kernel and its products against explicit differences."""

import pytest
import torch
from oracles.kernels import gaussian_kernel as oracle

from ctp_torch.ops.compute.threads import n_groups, n_threads
from ctp_torch.ops.kernel.gaussian import gaussian_kernel, gaussian_kernel_matmul, gaussian_rows


def _samples(n, features=5, offset=0.3, seed=0):
    return offset + 0.1 * torch.randn(n, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("gamma", [1.0 / 128.0, 8.0, 50.0])
def test_equals_explicit_differences(gamma, device, dtype):
    """Mutation seen red: no subtraction of the mean of Z (float32, offset 30)."""
    X, Z = _samples(20, offset=30.0).to(device, dtype), _samples(7, offset=30.0, seed=1).to(device, dtype)
    atol = {torch.float32: 2e-6, torch.float64: 1e-13}[dtype]
    torch.testing.assert_close(
        gaussian_kernel(X, Z, gamma=gamma).cpu().double(), oracle(X.cpu(), Z.cpu(), gamma), rtol=0, atol=atol
    )


def test_laws_of_a_kernel(dtype):
    """Symmetric, positive semi-definite, 1 on the diagonal, never above 1, unmoved by a shift."""
    X = _samples(30).to(dtype)
    K = gaussian_kernel(X, X, gamma=8.0)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(K, K.mT, rtol=0, atol=10 * eps)
    torch.testing.assert_close(K.diagonal(), torch.ones_like(K.diagonal()), rtol=0, atol=10 * eps)
    assert K.max() <= 1.0
    assert torch.linalg.eigvalsh(K.double()).min() > -100 * eps
    torch.testing.assert_close(gaussian_kernel(X + 0.25, X + 0.25, gamma=8.0), K, rtol=0, atol=30 * eps)


def test_leading_dimensions_and_widths_go_together():
    X, Z = torch.stack([_samples(6), _samples(6, seed=1)]), torch.stack([_samples(4, seed=2), _samples(4, seed=3)])
    gamma = torch.tensor([2.0, 8.0], dtype=torch.float64)
    K = gaussian_kernel(X, Z, gamma=gamma)
    assert K.shape == (2, 6, 4)
    for item in range(2):
        torch.testing.assert_close(K[item], oracle(X[item], Z[item], float(gamma[item])))


@pytest.mark.parametrize(("n", "m"), [(1, 1), (37, 53), (2049, 1025), (3, 4100)])
def test_product_in_blocks_is_the_product(n, m, device, dtype, loops):
    """Mutations seen red: the last, shorter block of columns left out; z alone turned to its axes."""
    X, Z = _samples(n).to(device, dtype), _samples(m, seed=1).to(device, dtype)
    W = torch.randn(m, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(device, dtype)
    expected = oracle(X.cpu(), Z.cpu(), 8.0) @ W.cpu().double()
    atol = {torch.float32: 1e-3, torch.float64: 1e-10}[dtype]
    torch.testing.assert_close(gaussian_kernel_matmul(X, Z, W, gamma=8.0).cpu().double(), expected, rtol=0, atol=atol)


def test_far_samples_with_weights_in_float64(device, loops):
    """Exponents too large for its growth, several blocks of columns. Mutation seen red: the last one alone."""
    X, Z = _samples(700).float().to(device), _samples(600, seed=1).float().to(device)
    W = torch.randn(600, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(device)
    found = gaussian_kernel_matmul(X, Z, W, gamma=800.0)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.cpu(), oracle(X.cpu(), Z.cpu(), 800.0) @ W.cpu(), rtol=0, atol=1e-3)
    assert float(found.abs().max()) > 0.1


def test_tiles_leave_no_seam():
    """A matrix of many tiles equals explicit differences; its rows are contiguous."""
    X, Z = _samples(4300).float(), _samples(4200, seed=1).float()
    K = gaussian_kernel(X, Z, gamma=8.0)
    assert K.is_contiguous()
    some = torch.tensor([0, 1023, 1024, 2047, 2048, 4299])
    torch.testing.assert_close(K[some].double(), oracle(X[some], Z, 8.0), rtol=0, atol=2e-6)
    torch.testing.assert_close(K[:, some[:-1]].double(), oracle(X, Z[some[:-1]], 8.0), rtol=0, atol=2e-6)


@pytest.mark.parametrize("width", [1.0 / 128.0, 0.5, 2.0])
def test_a_smooth_kernel_loses_nothing_to_large_weights(width, device, loops):
    """Weights of both signs that cancel to a millionth: what is left is right to 1 in 10,000 in float32.

    Exponents up to .004, .25 and 1; without compiled loops the short series, its limit, and powers. Mutations seen
    red: a term of the series left out; powers for all.
    """
    X, Z = _samples(50).float().to(device), _samples(600, seed=1).float().to(device)
    W = torch.randn(600, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(device) * 1e3
    W -= W.mean(0)
    found = gaussian_kernel_matmul(X, Z, W, gamma=width).cpu()
    expected = oracle(X.cpu(), Z.cpu(), width) @ W.cpu()
    scale = 1e-4 if width > 1.0 else 2e-6
    torch.testing.assert_close(found, expected, rtol=0, atol=scale * float(expected.std()))


def test_rows_by_index_are_the_rows(device, dtype):
    X = _samples(40, offset=3.0).to(device, dtype)
    some = torch.tensor([3, 0, 39, 3], device=device)
    torch.testing.assert_close(
        gaussian_rows(X, gamma=8.0)(some), gaussian_kernel(X, X, gamma=8.0)[some], rtol=0, atol=2e-6
    )


@pytest.mark.parametrize("gamma", [1.0 / 128.0, 8.0])
def test_any_number_of_threads_gives_the_same(gamma, loops):
    """Enough rows for three threads, the last share shorter. Mutation seen red: one buffer shared by all threads."""
    X, Z = _samples(30_001).float(), _samples(300, seed=1).float()
    W = torch.randn(300, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    usual, found = torch.get_num_threads(), []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            assert n_threads(X.device, work=len(X) * len(Z)) == n
            assert n_groups(X.device, work=len(X) * len(Z)) == 16
            found.append((gaussian_kernel_matmul(X, Z, W, gamma=gamma), gaussian_kernel(X, Z, gamma=gamma)))
    finally:
        torch.set_num_threads(usual)
    assert n_threads(X.device, work=1000) == n_groups(X.device, work=1000) == 1
    for products, kernels in found[1:]:
        torch.testing.assert_close(products, found[0][0], rtol=0, atol=1e-5)
        torch.testing.assert_close(kernels, found[0][1], rtol=0, atol=1e-6)
