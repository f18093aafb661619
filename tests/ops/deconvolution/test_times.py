"""Uneven frames and slices taken at different moments, over all methods."""

from functools import partial

import numpy as np
import pytest
import torch
from deconvolutions import METHODS
from oracles.analytic_curves import CLINICAL, GammaVariate, tissue_curve

from ctp_torch import ops
from ctp_torch.ops.bolus.resample import regular_times, resample_curves
from ctp_torch.ops.deconvolution.passage import Passage, by_timing, is_regular, on_regular_grid
from ctp_torch.ops.deconvolution.svd import csvd

AIF = GammaVariate(**CLINICAL)
UNEVEN = np.concatenate((np.arange(0, 28, 1.0), np.arange(28, 40, 2.0), np.arange(40, 66, 3.0)))


def tissue(times, delay=1.0):
    curves = [
        tissue_curve(AIF, times, r, cbf=45.0, mtt=m, delay=delay) for r, m in (("exponential", 6.0), ("box", 5.0))
    ]
    return torch.tensor(np.stack(curves))


@pytest.fixture(params=METHODS)
def method(request):
    return METHODS[request.param]


def test_uneven_frames(method):
    """Frames 1, 2, then 3 s apart against 1 s all along: CBF within 5 %, CBV 1.5 %. Ignoring times turns this red."""
    even = np.arange(0, 66, 1.0)
    expected = method(tissue(even), torch.tensor(AIF(even)), 1.0)
    found = method(tissue(UNEVEN), torch.tensor(AIF(UNEVEN)), 1.0, times=torch.tensor(UNEVEN))
    torch.testing.assert_close(found.cbf, expected.cbf, rtol=0.05, atol=0)
    torch.testing.assert_close(found.cbv, expected.cbv, rtol=0.015, atol=0)
    torch.testing.assert_close(found.tmax, expected.tmax, rtol=0, atol=0.3)


def test_each_slice_its_own_moments(method, generator):
    """Two slices half a frame apart, voxels mixed: each gets what it gets on time; the AIF has times of its own."""
    early = np.arange(0, 66, 1.5)
    late = early + 0.75
    times = torch.tensor(np.stack((early, early, late, late)))
    curves = torch.cat((tissue(early), tissue(late)))
    order = torch.tensor([0, 2, 1, 3])
    aif = torch.tensor(AIF(early))
    found = method(curves[order], aif, 1.5, times=times[order], aif_times=torch.tensor(early))
    together = method(tissue(early), aif, 1.5, times=torch.tensor(early))
    torch.testing.assert_close(found.cbf, together.cbf.repeat_interleave(2), rtol=0.04, atol=0)
    torch.testing.assert_close(found.cbv, together.cbv.repeat_interleave(2), rtol=0.01, atol=0)
    torch.testing.assert_close(found.tmax, together.tmax.repeat_interleave(2), rtol=0, atol=0.3)


def test_even_times_are_dt(method):
    """Times that say what dt says change nothing, whenever the scan began."""
    t = np.arange(60.0)
    curves, aif = tissue(t), torch.tensor(AIF(t))
    found, expected = method(curves, aif, 1.0, times=torch.tensor(t) + 7), method(curves, aif, 1.0)
    for name in ("cbf", "cbv", "mtt", "tmax"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore::ctp_torch.ops.deconvolution.passage.LateAIFWarning")
def test_by_timing_puts_voxels_back(generator):
    """Five voxels of three slices in any order; sorting by slice without undoing it turns this red."""
    t = torch.arange(60, dtype=torch.float64)
    shift = torch.tensor([0.5, 0.0, 0.25, 0.0, 0.5], dtype=torch.float64)
    curves = torch.rand(5, 60, generator=generator, dtype=torch.float64)
    curves[:, 30:] *= 0.1
    passage = Passage(curves, torch.tensor(AIF(t.numpy())), 1.0, times=t + shift[:, None], aif_times=t)
    calls = []

    def solve(part, times):
        calls.append(len(part))
        return part[:, 0], times[0].expand(len(part))

    first, begin = by_timing(passage, solve)
    assert sorted(calls) == [1, 2, 2]
    torch.testing.assert_close(first, curves[:, 0])
    torch.testing.assert_close(begin, shift)


def test_what_counts_as_even():
    """Jitter below 5 % of the spacing is even; drift that adds up is not."""
    t = torch.arange(60, dtype=torch.float64)
    curves, aif = tissue(t.numpy()), torch.tensor(AIF(t.numpy()))
    jitter = 0.04 * (-1) ** t
    assert is_regular(Passage(curves, aif, 1.0, times=t + jitter))
    assert not is_regular(Passage(curves, aif, 1.0, times=t + 2 * jitter))
    assert not is_regular(Passage(curves, aif, 1.0, times=t + 0.03 * (t - 30).clamp(min=0)))


def test_step():
    """Coarse frames are resampled to the step, dense ones are kept, None keeps all."""
    t = torch.arange(0, 60, 1.5, dtype=torch.float64)
    passage = Passage(tissue(t.numpy()), torch.tensor(AIF(t.numpy())), 1.5)
    assert on_regular_grid(passage, 1.0).curves.shape == (2, 59)
    assert on_regular_grid(passage, None) is passage
    assert on_regular_grid(passage, 1.5) is passage
    assert on_regular_grid(passage, 3.0) is passage
    with pytest.raises(ValueError, match="step must be a positive number"):
        csvd(tissue(t.numpy()), torch.tensor(AIF(t.numpy())), 1.5, step=0.0)


UNEVEN_2 = torch.tensor(UNEVEN)
EVEN_2 = torch.arange(0, 60, 2.0, dtype=torch.float64)


@pytest.mark.parametrize(
    ("method", "times", "route"),
    [
        (ops.csvd, torch.arange(60.0), "as acquired"),
        (ops.csvd, EVEN_2, "resampled every 1 s by monotone cubics"),
        (ops.csvd, UNEVEN_2, "resampled every 1 s by monotone cubics"),
        (lambda *given, **options: ops.csvd(*given, **options), UNEVEN_2, "resampled every 1 s by monotone cubics"),
        (partial(ops.csvd, step=None), EVEN_2, "as acquired"),
        (partial(ops.csvd, step=0.5), torch.arange(60.0), "resampled every 0.5 s by monotone cubics"),
        (ops.vascular_model, UNEVEN_2, "exact: every curve at its own moments"),
        (ops.vascular_model, EVEN_2, "as acquired"),
    ],
)
def test_routes(method, times, route):
    """Mutations seen red: a grid that keeps the passage's route; a route by the method's name, wrong for the lambda."""
    curves, aif = tissue(times.numpy()), torch.tensor(AIF(times.numpy()))
    assert method(curves, aif, float(times[1] - times[0]), times=times).route == route


@pytest.mark.parametrize("name", [name for name in METHODS if name != "delay_corrected_ssvd"])
def test_the_route_is_the_one_taken(name):
    """Who says "resampled" gives the flow of frames resampled by hand, who says "exact" doesn't.

    (The delay-corrected method resamples after it has found the delay on the frames as they are.)
    """
    curves, aif = tissue(UNEVEN), torch.tensor(AIF(UNEVEN))
    result = METHODS[name](curves, aif, 1.0, times=UNEVEN_2)
    even = regular_times(UNEVEN_2, 1.0)
    by_hand = METHODS[name](*(resample_curves(part, UNEVEN_2, even) for part in (curves, aif)), 1.0, times=even)
    same = torch.allclose(result.cbf, by_hand.cbf, rtol=1e-9)
    assert same == result.route.startswith("resampled")
    assert same != result.route.startswith("exact")
