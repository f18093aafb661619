"""No method tells a time longer than the scan can show: the artery's half rise to the last frame."""

import pytest
import torch
from deconvolutions import METHODS

from ctp_torch.ops import Passage
from ctp_torch.ops.deconvolution.result import longest_time

TIMES = torch.arange(0.0, 50.0, 2.0)
AIF = 200.0 * torch.exp(-0.5 * ((TIMES - 16.0) / 4.0).square())
HALF_RISE = 16.0 - 4.0 * (2.0 * torch.log(torch.tensor(2.0))).sqrt()


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
@pytest.mark.filterwarnings("ignore::ctp_torch.ops.DeconvolutionWarning")
def test_noise_tells_no_endless_times(method, generator, device):
    """Ramps and noise, where the peak of the residue is next to nothing. Mutation seen red: no ``clamp`` in ``finish``.

    Without it the Gaussian process tells times of hours here, and cSVD of minutes.
    """
    ramps = 0.002 * TIMES + 0.05 * torch.randn(400, len(TIMES), generator=generator)
    result = method(ramps.to(device), AIF.to(device), 2.0)
    for times in (result.mtt, result.tmax, result.delay):
        if times is not None:
            assert float(times.max()) <= result.longest * (1 + 1e-6)
    assert result.longest == pytest.approx(48.0 - float(HALF_RISE), abs=0.2)


@pytest.mark.filterwarnings("ignore::ctp_torch.ops.DeconvolutionWarning")
def test_the_longest_time_counts_from_the_artery_to_the_last_frame_of_all():
    """Slices taken later show more. Mutation seen red: the AIF's own last frame."""
    curves, later = torch.ones(2, len(TIMES)), torch.stack((TIMES, TIMES + 1.5)).double()
    curves[:, 3:6] += 9.0
    passage = Passage(curves, AIF, 2.0, times=later, aif_times=TIMES.double())
    assert longest_time(passage) == pytest.approx(49.5 - float(HALF_RISE), abs=0.2)
