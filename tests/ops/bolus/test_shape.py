"""The shape of a bolus: alike for all doses and widths, another for another blood.

Mutations seen red: points in seconds instead of widths; no division by the area.
"""

import pytest
import torch

from ctp_torch import ops
from ctp_torch.ops.bolus.shape import SHAPE_POINTS

LAGS = torch.tensor(ops.ARTERIAL_LAGS, dtype=torch.float64)


def gamma(scale, *, power=3.0, late=0.0):
    """A gamma variate that peaks ``power * scale`` after the onset and ``late``."""
    t = (LAGS - late).clamp_min(0.0)
    return t**power * torch.exp(-t / scale)


@pytest.mark.parametrize("scale", [1.3, 1.6])
def test_dose_and_width_leave_it(scale):
    usual = ops.bolus_shape(gamma(1.5), gamma(2.2, late=2.0))
    other = ops.bolus_shape(0.3 * gamma(scale), 40.0 * gamma(2.2 * scale / 1.5, late=2.0 * scale / 1.5))
    assert usual.shape == (2 * SHAPE_POINTS,)
    assert usual.view(2, -1).mean(1).tolist() == pytest.approx([1.0, 1.0])
    assert float((usual - other).abs().max()) < 0.12  # of a peak of 5: samples lie 1 s apart, .103 measured


def test_another_pass_is_another_shape():
    usual = ops.bolus_shape(gamma(1.5), gamma(2.2, late=2.0))
    humps = torch.exp(-(((LAGS - 4) / 1.5) ** 2)) + 0.5 * torch.exp(-(((LAGS - 9) / 2) ** 2))
    assert float((usual - ops.bolus_shape(humps, gamma(2.2, late=2.0))).abs().max()) > 0.4


def test_what_never_rises_has_none():
    with pytest.raises(ValueError, match="vein of 42 lags that rises"):
        ops.bolus_shape(gamma(1.5), torch.zeros(42))
    with pytest.raises(ValueError, match="artery of 42 lags"):
        ops.bolus_shape(torch.ones(40), gamma(1.5))
