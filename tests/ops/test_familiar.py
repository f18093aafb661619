"""Distances of scans: those of a full covariance where there are directions for all, and who is a stranger."""

import pytest
import torch

from ctp_torch.ops.familiar import distance, fit_familiar, left_out_distances


def test_distance_is_mahalanobis_of_the_model_covariance(device):
    """Against the inverse of axes' var axes + rest outside them. Mutation seen red: the share along the axes kept in
    what lies across."""
    generator = torch.Generator().manual_seed(0)
    values = (torch.randn(40, 6, generator=generator) @ torch.randn(6, 6, generator=generator)).to(device)
    known = fit_familiar(values, n_axes=2)
    across = torch.eye(6, dtype=torch.float64, device=values.device) - known.axes.T @ known.axes
    covariance = known.axes.T @ known.variances.diag() @ known.axes + known.rest * across
    new = torch.randn(5, 6, generator=generator).to(device)
    off = new.double() - known.mean
    expected = torch.einsum("ni,ij,nj->n", off, torch.linalg.inv(covariance), off)
    torch.testing.assert_close(distance(new, known), expected)
    sample = torch.cov(values.double().T)
    assert float(covariance.trace()) == pytest.approx(float(sample.trace())), "no variance gets lost"


def test_strangers_lie_beyond_all_and_the_own_kind_seldom(device):
    """Own scans vary along two directions; strangers along a third. 200 of the own kind: one of 31 or so outside."""
    generator = torch.Generator().manual_seed(1)
    axes = torch.linalg.qr(torch.randn(20, 3, generator=generator)).Q.T

    def scans(n, along):
        spread = torch.randn(n, len(along), generator=generator) @ axes[along]
        return spread + 0.02 * torch.randn(n, 20, generator=generator)

    own, new = scans(30, [0, 1]).to(device), scans(200, [0, 1]).to(device)
    strangers = (scans(50, [0, 1]) + 0.3 * axes[2]).to(device)
    known, limit = fit_familiar(own), left_out_distances(own).max()
    assert float((distance(new, known) > limit).double().mean()) < 0.1
    assert bool((distance(strangers, known) > limit).all())


def test_few_scans_and_constant_numbers():
    generator = torch.Generator().manual_seed(2)
    values = torch.cat([torch.randn(5, 2, generator=generator), torch.ones(5, 4)], 1)
    assert bool(torch.isfinite(left_out_distances(values)).all())
    assert float(distance(values[0] + torch.tensor([0, 0, 0, 0, 0, 1.0]), fit_familiar(values))) > 1e6
    with pytest.raises(ValueError, match="3 scans"):
        fit_familiar(values[:3])
