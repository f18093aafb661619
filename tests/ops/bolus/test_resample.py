"""Resampling against scipy's interpolants."""

import numpy as np
import pytest
import torch
from scipy.interpolate import PchipInterpolator

from ctp_torch.ops.bolus.resample import regular_times, resample_curves


@pytest.fixture
def uneven():
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.uniform(0.3, 3.0, 17))
    values = rng.normal(size=(5, 17))
    values[0, 4:9] = 2.0  # a plateau
    return values, times, np.linspace(times[0], times[-1], 53)


def test_monotone_equals_scipy(uneven, dtype, tolerance, device):
    """Against PchipInterpolator; plain averages of the secants as slopes turn this red."""
    values, times, new = uneven
    found = resample_curves(torch.tensor(values, dtype=dtype, device=device), torch.tensor(times), torch.tensor(new))
    expected = torch.tensor(PchipInterpolator(times, values, axis=1)(new), dtype=dtype, device=device)
    torch.testing.assert_close(found, expected, **tolerance)


def test_linear_equals_numpy(uneven):
    values, times, new = uneven
    found = resample_curves(torch.tensor(values), torch.tensor(times), torch.tensor(new), method="linear")
    np.testing.assert_allclose(found.numpy(), [np.interp(new, times, row) for row in values], atol=1e-12)


def test_each_curve_its_own_times(uneven):
    values, times, new = uneven
    own = torch.tensor(times) + torch.linspace(0, 1, 5)[:, None].double()
    found = resample_curves(torch.tensor(values), own, torch.tensor(new))
    one_by_one = [resample_curves(torch.tensor(v), t, torch.tensor(new)) for v, t in zip(values, own, strict=True)]
    torch.testing.assert_close(found, torch.stack(one_by_one))


def test_ends_are_held(uneven):
    values, times, _ = uneven
    outside = torch.tensor([times[0] - 5, times[-1] + 5])
    found = resample_curves(torch.tensor(values), torch.tensor(times), outside)
    np.testing.assert_allclose(found.numpy(), values[:, [0, -1]])


def test_samples_are_kept(uneven):
    values, times, _ = uneven
    found = resample_curves(torch.tensor(values), torch.tensor(times), torch.tensor(times))
    np.testing.assert_allclose(found.numpy(), values, atol=1e-12)


def test_two_samples_are_a_line():
    found = resample_curves(torch.tensor([0.0, 2.0]), torch.tensor([0.0, 4.0]), torch.tensor([1.0, 2.0]))
    assert found.tolist() == [0.5, 1.0]


def test_regular_times_end_inside():
    assert regular_times(torch.tensor([0.0, 1.0, 7.9]), 2.0).tolist() == [0, 2, 4, 6]
    assert regular_times(torch.tensor([1.0, 2.0, 3.0]), 0.5).tolist() == [1, 1.5, 2, 2.5, 3]


@pytest.mark.parametrize(
    ("values", "times", "method", "message"),
    [
        ([1.0, 2.0], [0.0, 1.0, 2.0], "linear", "one time for each"),
        ([1.0], [0.0], "linear", "at least two"),
        ([1.0, 2.0, 3.0], [0.0, 2.0, 1.0], "monotone", "ascend strictly"),
        ([1.0, 2.0], [0.0, 1.0], "spline", "choose 'linear' or 'monotone'"),
    ],
)
def test_refusals(values, times, method, message):
    with pytest.raises(ValueError, match=message):
        resample_curves(torch.tensor(values), torch.tensor(times), torch.tensor([0.5]), method=method)
