"""The kept half of a kernel matrix against all of it."""

import pytest
import torch
from oracles.kernels import gaussian_kernel as oracle

from ctp_torch.ops.kernel.symmetric_gram import SymmetricGram


@pytest.mark.parametrize("n", [1, 1023, 1024, 1025, 3100])
def test_product_and_shares_equal_the_whole_matrix(n, device, dtype, loops):
    """Mutations seen red: the mirrored half left out; the diagonal tile used twice; the tiles of a share counted anew
    in every row."""
    generator = torch.Generator().manual_seed(0)
    X = (0.3 + 0.1 * torch.randn(n, 5, generator=generator, dtype=torch.float64)).to(device, dtype)
    W = torch.randn(n, 3, generator=generator, dtype=torch.float64).to(device, dtype)
    expected = oracle(X.cpu(), X.cpu(), 8.0) @ W.cpu().double()
    atol = {torch.float32: 1e-3, torch.float64: 1e-10}[dtype]
    whole = SymmetricGram(X, gamma=8.0) @ W
    assert whole.dtype == dtype
    torch.testing.assert_close(whole.cpu().double(), expected, rtol=0, atol=atol)
    for n_shares in (2, 3):
        shares = [SymmetricGram(X, gamma=8.0, share=share, n_shares=n_shares) @ W for share in range(n_shares)]
        torch.testing.assert_close(sum(shares).cpu().double(), expected, rtol=0, atol=atol)
