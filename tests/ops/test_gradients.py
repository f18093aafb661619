"""Whoever trains through ops gets the gradient, by finite differences, or an error: never zeros."""

import pytest
import torch

from ctp_torch import ops

FOLLOWED = (
    "csvd", "ssvd", "osvd", "tikhonov", "gaussian_process_deconvolution", "expectation_maximization", "max_slope",
)  # fmt: skip
REFUSED = ("delay_corrected_ssvd", "bayesian", "vascular_model", "box_nlr")


def curves():
    t = torch.arange(24, dtype=torch.float64)
    u = (t - 4).clamp_min(0)
    aif = 20 * u**3 * torch.exp(-u / 1.5)
    later = torch.stack([0.02 * torch.cat((torch.zeros(n, dtype=torch.float64), aif[:-n])) for n in (3, 5)])
    noise = torch.rand(2, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return (later + 0.1 * noise).requires_grad_(), aif


@pytest.mark.parametrize("name", FOLLOWED)
@pytest.mark.filterwarnings("ignore")
def test_deconvolutions(name):
    values, aif = curves()

    def maps(c):
        result = getattr(ops, name)(c, aif, 1.0)
        return result.cbf, result.cbv, result.mtt, result.tmax

    assert torch.autograd.gradcheck(maps, (values,), atol=1e-4)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore")
def test_those_that_can_not_be_followed_say_so(name):
    values, aif = curves()
    with pytest.raises(RuntimeError, match=r"differentiation|inplace"):
        getattr(ops, name)(values, aif, 1.0).cbf.sum().backward()


def test_what_compiled_loops_do_is_refused(loops):
    """Mutation seen red: the refusals taken out, whose results then say that nothing depends on anything."""
    image = torch.rand(12, 12, requires_grad=True)
    values, aif = curves()
    for compute in (
        lambda: ops.median_filter(image),
        lambda: ops.ssim_map(image, image.detach(), data_range=1.0),
        lambda: ops.seen_share(ops.Passage(values.float(), aif.float(), 1.0)),
    ):
        with pytest.raises(RuntimeError, match="differentiation"):
            compute()
    with torch.no_grad():
        assert ops.median_filter(image).shape == (12, 12)


def test_maps_without_residues_are_followed_too():
    values, aif = curves()
    assert torch.autograd.gradcheck(lambda c: ops.csvd(c, aif, 1.0, residues=False).cbf, (values,), atol=1e-4)
    assert ops.csvd(values, aif, 1.0, residues=False).k is None


def test_smoothing():
    mask = torch.ones(2, 12, 12, dtype=torch.bool)
    mask[:, :3] = False
    volume = torch.rand(2, 12, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: ops.smooth_inside(v, mask, (5.0, 1.0, 1.0), 1.0), (volume,))
    assert torch.autograd.gradcheck(lambda v: ops.gaussian_smooth(v, 1.0), (volume,))
    assert torch.autograd.gradcheck(ops.smooth_in_time, (volume,))


def test_kernels():
    """Mutation seen red: the compiled loops taken where a gradient is asked for, which answer 0."""
    X, Z, W = (torch.rand(n, m, dtype=torch.float64, requires_grad=True) for n, m in ((8, 3), (5, 3), (5, 2)))
    gamma = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, z, g: ops.gaussian_kernel(x, z, gamma=g), (X, Z, gamma))
    assert torch.autograd.gradcheck(lambda x, z, w: ops.gaussian_kernel_matmul(x, z, w, gamma=0.7), (X, Z, W))
    plain = ops.gaussian_kernel_matmul(X.detach(), Z.detach(), W.detach(), gamma=0.7)
    torch.testing.assert_close(ops.gaussian_kernel_matmul(X, Z, W, gamma=0.7).detach(), plain)
