"""The analytic curves against published numbers, brute force, and the laws of a tracer."""

import numpy as np
import pytest
import torch
from oracles import phantom_curves as oracle

from ctp_torch.phantom import (
    CLINICAL,
    TEXTBOOK,
    Bolus,
    arterial_curve,
    box_tissue_curve,
    exponential_tissue_curve,
    gamma_tissue_curve,
    gamma_venous_curve,
    linear_tissue_curve,
)

TIMES = torch.tensor([12.0, 14, 15, 16, 18, 20, 24, 28, 32, 40])
FLOW = 60.0 * 1.04 / (6000.0 * 0.55 / 0.75)  # CBF 60 mL/100 g/min
CURVES = {
    "box": (box_tissue_curve, [1.3244, 7.9351, 12.0251, 14.8132, 14.2458, 9.4737, 2.3966, 0.4118, 0.0574, 0.0008]),
    "linear": (
        linear_tissue_curve,
        [1.2450, 6.7912, 9.7635, 11.9638, 13.1585, 10.6473, 3.5765, 0.7201, 0.1106, 0.0017],
    ),
    "exponential": (
        exponential_tissue_curve,
        [1.1795, 6.0618, 8.4622, 10.0979, 10.7882, 9.1695, 4.6974, 1.9512, 0.7485, 0.1031],
    ),
    "gamma": (gamma_tissue_curve, [1.3006, 7.1468, 10.1431, 12.1553, 12.6132, 9.9009, 3.7319, 0.9476, 0.1887, 0.0048]),
}


def width(bolus):
    t = torch.arange(0.0, 80.0, 0.001, dtype=torch.float64)
    above = t[arterial_curve(t, bolus) >= bolus.peak / 2]
    return float(above[-1] - above[0])


def test_boluses_have_the_published_area_width_and_values():
    assert TEXTBOOK.kappa == pytest.approx(66.1252244, abs=1e-6)
    assert TEXTBOOK.area == pytest.approx(2008.55369, abs=1e-4)
    assert CLINICAL.area == pytest.approx(3685.375, abs=1e-3)
    assert TEXTBOOK._replace(b=2.7).area == pytest.approx(3615.397, abs=1e-3)
    assert width(TEXTBOOK) == pytest.approx(6.197, abs=2e-3)
    assert width(CLINICAL) == pytest.approx(11.41, abs=5e-3)
    assert width(TEXTBOOK._replace(b=2.7)) == pytest.approx(11.15, abs=6e-3)
    expected = [139.4434, 294.0550, 294.8689, 261.6032, 163.4556, 84.1532, 16.0449, 2.3695]
    torch.testing.assert_close(
        arterial_curve(TIMES[:8], TEXTBOOK), torch.tensor(expected, dtype=torch.float64), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("name", CURVES)
def test_tissue_curves_equal_the_published_numbers(name):
    """Red when the box lasts M / 2 instead of M (tried: at 14 s 6.61 instead of 7.94)."""
    curve, expected = CURVES[name]
    found = curve(TIMES, TEXTBOOK, flow=FLOW, mtt=4.0)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-3, rtol=0)


@pytest.mark.parametrize("bolus", [TEXTBOOK, CLINICAL], ids=["textbook", "clinical"])
@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize(("mtt", "delay"), [(2.0, 0.0), (7.3, 1.25), (24.0, -2.0)])
def test_tissue_curves_equal_brute_force(name, bolus, mtt, delay):
    residue = {
        "box": lambda t: oracle.box(t, mtt),
        "linear": lambda t: oracle.linear(t, mtt),
        "exponential": lambda t: oracle.exponential(t, mtt),
        "gamma": lambda t: oracle.gamma(t, mtt, mtt / bolus.b),
    }[name]
    expected = oracle.tissue_curve(
        TIMES.numpy(), lambda t: oracle.gamma_variate(t, **bolus._asdict()), residue, flow=FLOW, delay=delay
    )
    found = CURVES[name][0](TIMES, bolus, flow=FLOW, mtt=mtt, delay=delay)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-3)


@pytest.mark.parametrize("mtt", [0.7, 1.4, 1.5, 1.56, 1.58, 1.7])
def test_exponential_is_continuous_where_its_closed_form_is_singular(mtt):
    expected = oracle.tissue_curve(
        TIMES.numpy(),
        lambda t: oracle.gamma_variate(t, **TEXTBOOK._asdict()),
        lambda t: oracle.exponential(t, mtt),
        flow=1.0,
    )
    np.testing.assert_allclose(
        exponential_tissue_curve(TIMES, TEXTBOOK, flow=1.0, mtt=mtt), expected, rtol=1e-4, atol=2e-4
    )


@pytest.mark.parametrize("name", CURVES)
def test_tracer_is_conserved(name):
    """All that flows in stays for M on average: area of the tissue = f M area of the artery."""
    t = torch.arange(0.0, 400.0, 0.05, dtype=torch.float64)
    area = torch.trapezoid(CURVES[name][0](t, TEXTBOOK, flow=0.01, mtt=6.0), t)
    assert float(area) == pytest.approx(0.01 * 6.0 * TEXTBOOK.area, rel=1e-6)


def test_vein_gets_what_the_artery_brought_later():
    t = torch.arange(0.0, 200.0, 0.05, dtype=torch.float64)
    artery, vein = arterial_curve(t, CLINICAL), gamma_venous_curve(t, CLINICAL, mtt=4.0, delay=1.0)
    tissue = gamma_tissue_curve(t, CLINICAL, flow=1.0, mtt=4.0, delay=1.0)
    late = arterial_curve(t - 1.0, CLINICAL)
    assert float(torch.trapezoid(vein, t)) == pytest.approx(CLINICAL.area, rel=1e-6)
    assert float(torch.trapezoid(vein * t, t) / CLINICAL.area - torch.trapezoid(artery * t, t) / CLINICAL.area) == (
        pytest.approx(5.0, rel=1e-5)
    )
    held = torch.cumulative_trapezoid(late - vein, t)  # what came in and hasn't left
    torch.testing.assert_close(tissue[1:], held, atol=0.05, rtol=1e-3)


def test_curves_scale_with_flow_and_move_with_delay():
    t = torch.arange(0.0, 60.0, 0.5, dtype=torch.float64)
    one = linear_tissue_curve(t, TEXTBOOK, flow=1.0, mtt=5.0)
    torch.testing.assert_close(linear_tissue_curve(t, TEXTBOOK, flow=0.3, mtt=5.0), 0.3 * one)
    torch.testing.assert_close(linear_tissue_curve(t, TEXTBOOK, flow=1.0, mtt=5.0, delay=2.0)[4:], one[:-4])


def test_parameters_broadcast_over_voxels():
    mtt = torch.tensor([1.0, 4.0, 12.0], dtype=torch.float64)[:, None]
    many = exponential_tissue_curve(TIMES, TEXTBOOK, flow=torch.tensor([[1.0], [2.0], [3.0]]), mtt=mtt)
    assert many.shape == (3, 10)
    for row, m in enumerate((1.0, 4.0, 12.0)):
        torch.testing.assert_close(many[row], exponential_tissue_curve(TIMES, TEXTBOOK, flow=row + 1.0, mtt=m))


def test_nothing_enhances_before_the_onset():
    early = torch.linspace(-5.0, 10.0, 31)
    assert float(arterial_curve(early, Bolus(10.0, 3.0, 1.5, 300.0)).abs().max()) == 0.0
    for curve, _ in CURVES.values():
        assert float(curve(early, TEXTBOOK, flow=1.0, mtt=3.0).abs().max()) == pytest.approx(0.0, abs=1e-9)
