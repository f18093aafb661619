"""What goes wrong with curves, over all methods from one table: a right answer with a warning, or a refusal."""

import numpy as np
import pytest
import torch
from deconvolutions import METHODS
from oracles.analytic_curves import GammaVariate, tissue_curve

from ctp_torch.ops.deconvolution.passage import (
    CoarseSamplingWarning,
    FlatCurveWarning,
    LateAIFWarning,
    NonFiniteCurveWarning,
    TruncatedCurveWarning,
)

MAPS = ("cbf", "cbv", "mtt", "tmax", "delay", "sd")


def study(frames=60, dt=1.0, delay=1.0, voxels=3, dtype=torch.float64):
    t = np.arange(frames) * dt
    aif = GammaVariate()
    curves = [tissue_curve(aif, t, "exponential", cbf=cbf, mtt=5.0, delay=delay) for cbf in np.linspace(20, 60, voxels)]
    return torch.tensor(np.stack(curves), dtype=dtype), torch.tensor(aif(t), dtype=dtype)


@pytest.fixture(params=METHODS)
def method(request):
    return METHODS[request.param]


def parts(result):
    return {name: getattr(result, name) for name in MAPS if getattr(result, name) is not None}


@pytest.mark.parametrize("level", [0.0, 5.0])
def test_flat_curves_are_zero(method, level):
    """All-zero and constant curves: zeros everywhere, a warning with the count, the neighbours unharmed."""
    curves, aif = study()
    mixed = curves.clone()
    mixed[1] = level
    with pytest.warns(FlatCurveWarning, match="1 of 3 curves never change"):
        found = method(mixed, aif, 1.0)
    whole = method(curves, aif, 1.0)
    for name, part in parts(found).items():
        assert float(part[1]) == 0.0, name
        torch.testing.assert_close(part[[0, 2]], getattr(whole, name)[[0, 2]], msg=name)


def test_only_flat_curves(method):
    _, aif = study()
    with pytest.warns(FlatCurveWarning, match="4 of 4"):
        found = method(torch.zeros(4, 60, dtype=torch.float64), aif, 1.0)
    assert all(bool((part == 0).all()) for part in parts(found).values())


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_non_finite_curves_are_nan(method, value):
    """One bad sample: that voxel is NaN, the others are what they are without it."""
    curves, aif = study()
    mixed = curves.clone()
    mixed[1, 7] = value
    with pytest.warns(NonFiniteCurveWarning, match="1 of 3 curves hold NaN or infinity"):
        found = method(mixed, aif, 1.0)
    whole = method(curves, aif, 1.0)
    for name, part in parts(found).items():
        assert bool(part[1].isnan()), name
        torch.testing.assert_close(part[[0, 2]], getattr(whole, name)[[0, 2]], msg=name)


def test_one_voxel(method):
    curves, aif = study()
    alone, together = method(curves[1:2], aif, 1.0), method(curves, aif, 1.0)
    for name, part in parts(alone).items():
        torch.testing.assert_close(part, getattr(together, name)[1:2], msg=name)


def test_no_voxels(method):
    _, aif = study()
    found = method(torch.zeros(0, 60, dtype=torch.float64), aif, 1.0)
    assert all(part.shape == (0,) for part in parts(found).values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, a: (c[:, :2], a[:2], 1.0), "at least 5 frames, got 2"),
        (lambda c, a: (c, torch.zeros_like(a), 1.0), "the AIF has no bolus"),
        (lambda c, a: (c, -a, 1.0), "the AIF has no bolus"),
        (lambda c, a: (c, a.index_fill(0, torch.tensor([3]), torch.nan), 1.0), "the AIF holds NaN"),
        (lambda c, a: (c, a[:-1], 1.0), r"the AIF must be \(time,\) = \(60,\)"),
        (lambda c, a: (c[0], a, 1.0), r"curves must be \(voxels, time\)"),
        (lambda c, a: (c.long(), a, 1.0), "float32 or float64, got .*int64"),
        (lambda c, a: (c, a, 0.0), "dt must be a positive number"),
        (lambda c, a: (c, a, float("nan")), "dt must be a positive number"),
    ],
    ids=[
        "two frames",
        "AIF of zeros",
        "negative AIF",
        "AIF with NaN",
        "lengths",
        "one curve",
        "integers",
        "dt 0",
        "dt NaN",
    ],
)
def test_refusals(method, change, message):
    with pytest.raises(ValueError, match=message):
        method(*change(*study()))


@pytest.mark.parametrize(
    ("times", "aif_times", "message"),
    [
        (torch.arange(60.0).flip(0), None, "times must ascend"),
        (torch.arange(59.0), None, r"one entry per frame \(60\)"),
        (torch.arange(60.0).repeat(3, 1), None, "pass aif_times"),
        (torch.arange(60.0), torch.arange(60.0) // 2, "aif_times must ascend"),
    ],
)
def test_refused_times(method, times, aif_times, message):
    with pytest.raises(ValueError, match=message):
        method(*study(), 1.0, times=times, aif_times=aif_times)


def test_late_aif(method):
    """Tissue 4 s before the AIF: Tmax is 0, never negative, the delay says so where there is one, and a warning."""
    curves, aif = study(delay=-4.0)
    with pytest.warns(LateAIFWarning, match=r"the mean curve rises 2\.\d s before the AIF"):
        found = method(curves, aif, 1.0)
    assert bool((found.tmax >= 0).all())
    if found.delay is not None:
        assert bool((found.delay < 0).all())
    elif float(found.lags[0]) < -3:
        assert bool((found.lags[found.k.argmax(dim=1)] < 0).all())
        assert bool((found.tmax == 0).all())


def test_early_aif_is_silent(method):
    """Warnings are errors here: an ordinary study raises none."""
    method(*study(delay=3.0), 1.0)


def test_frames_three_seconds_apart(method):
    """CBV stays within 10 % (worst: the box), CBF within a factor of 2.2, and the warning names the spacing."""
    curves, aif = study(frames=20, dt=3.0)
    with pytest.warns(CoarseSamplingWarning, match="3 s apart"):
        found = method(curves, aif, 3.0)
    truth = torch.linspace(20, 60, 3, dtype=torch.float64)
    torch.testing.assert_close(found.cbv, truth * 5 / 60, rtol=0.1, atol=0)
    assert bool(((found.cbf > truth / 2.2) & (found.cbf < truth * 2.2)).all())


def test_cut_off_at_the_peak(method):
    """Blood volume reads low (or is extrapolated by a model) and the warning says that the scan is short."""
    curves, aif = study()
    end = int(curves[0].argmax()) + 1
    with pytest.warns(TruncatedCurveWarning, match="3 of 3 curves and the AIF end above half"):
        found = method(curves[:, :end], aif[:end], 1.0)
    assert all(bool(part.isfinite().all()) for part in parts(found).values())
    assert bool((found.cbf > 0).all())
    whole = method(curves, aif, 1.0)
    assert bool((found.cbv < 1.6 * whole.cbv).all())


def test_aif_cut_off(method):
    curves, aif = study(delay=0.0)
    end = int(aif.argmax()) + 2
    with pytest.warns(TruncatedCurveWarning, match="the AIF end"):
        method(curves[:, :end], aif[:end], 1.0)
