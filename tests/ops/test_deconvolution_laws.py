"""The laws of deconvolution over all methods, on noise-free analytic curves with tails that have gone."""

import laws
import numpy as np
import pytest
import torch
from oracles.analytic_curves import GammaVariate, tissue_curve

from ctp_torch.ops.svd import csvd, ssvd

METHODS = {"ssvd": ssvd, "csvd": csvd}
RESIDUES = (("exponential", 4.0), ("box", 5.0), ("linear", 3.5))


def curves_and_aif(shift=0.0, frames=80, dt=1.0, dtype=torch.float64):
    t = np.arange(frames) * dt
    aif = GammaVariate(t0=8.0)
    curves = [
        tissue_curve(aif, t, r, cbf=f, mtt=m, delay=d + shift)
        for r, m in RESIDUES
        for f in (20, 55)
        for d in (0.0, 1.5)
    ]
    return torch.tensor(np.stack(curves), dtype=dtype), torch.tensor(aif(t), dtype=dtype)


@pytest.fixture(params=METHODS)
def method(request):
    return METHODS[request.param]


def test_scaling_the_curve(method):
    laws.scaling_the_curve_scales_flow(method, *curves_and_aif(), 1.0)


def test_scaling_both(method):
    laws.scaling_both_changes_nothing(method, *curves_and_aif(), 1.0)


def test_permutation(method, generator):
    laws.permuting_voxels_permutes(method, *curves_and_aif(), 1.0, generator)


def test_chunks(method):
    laws.chunked_is_whole(method, *curves_and_aif(), 1.0)


def test_device_and_dtype(method, device, dtype):
    curves, aif = curves_and_aif(dtype=dtype)
    laws.follows_device_and_dtype(method, curves.to(device), aif.to(device), 1.0)


@pytest.mark.parametrize("name", ["csvd"])
@pytest.mark.parametrize("shift", [1, 3])
def test_delay_law(name, shift):
    """Delaying by whole samples moves Tmax and keeps CBF; dropping the second half of the lags turns this red."""
    (curves, aif), (later, _) = curves_and_aif(), curves_and_aif(shift)
    laws.delay_moves_tmax(METHODS[name], curves, later, aif, 1.0, shift)
    laws.delay_keeps_flow(METHODS[name], curves, later, aif, 1.0)


def test_ssvd_breaks_the_delay_law():
    """Non-vacuity: the same check must fail for a delay-sensitive method."""
    (curves, aif), (later, _) = curves_and_aif(), curves_and_aif(2)
    with pytest.raises(AssertionError):
        laws.delay_keeps_flow(ssvd, curves, later, aif, 1.0)
