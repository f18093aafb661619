"""sSVD and cSVD: the known numbers of noise-free curves, and matrices written out in numpy."""

import numpy as np
import pytest
import torch
from oracles.analytic_curves import CLINICAL, TEXTBOOK, GammaVariate, tissue_curve
from oracles.deconvolution import circulant, truncated_svd, volterra

from ctp_torch.ops.deconvolution.convolution import circulant_column
from ctp_torch.ops.deconvolution.result import peak_of_residue
from ctp_torch.ops.deconvolution.svd import csvd, ssvd

T = np.arange(60.0)
DELAYS = (-2, 0, 2, 4, 6)
pytestmark = pytest.mark.filterwarnings("ignore::ctp_torch.ops.deconvolution.passage.LateAIFWarning")


def study(preset, residue="exponential", mtt=4.0, delays=DELAYS):
    aif = GammaVariate(**preset)
    curves = np.stack([tissue_curve(aif, T, residue, cbf=60.0, mtt=mtt, delay=d) for d in delays])
    return torch.tensor(curves), torch.tensor(aif(T))


def test_t1_analytic_curves():
    aif = GammaVariate()
    assert aif.kappa == pytest.approx(66.1252244, abs=1e-6)
    assert aif.area == pytest.approx(2008.55369, abs=1e-4)
    t = np.array([12, 14, 15, 16, 18, 20, 24, 28, 32, 40.0])
    np.testing.assert_allclose(
        aif(t[:8]), [139.4434, 294.0550, 294.8689, 261.6032, 163.4556, 84.1532, 16.0449, 2.3695], atol=1e-4
    )
    known = {
        "box": [1.3244, 7.9351, 12.0251, 14.8132, 14.2458, 9.4737, 2.3966, 0.4118, 0.0574, 0.0008],
        "linear": [1.2450, 6.7912, 9.7635, 11.9638, 13.1585, 10.6473, 3.5765, 0.7201, 0.1106, 0.0017],
        "exponential": [1.1795, 6.0618, 8.4622, 10.0979, 10.7882, 9.1695, 4.6974, 1.9512, 0.7485, 0.1031],
        "gamma": [1.3006, 7.1468, 10.1431, 12.1553, 12.6132, 9.9009, 3.7319, 0.9476, 0.1887, 0.0048],
    }
    for residue, values in known.items():
        np.testing.assert_allclose(tissue_curve(aif, t, residue, cbf=60, mtt=4), values, atol=1e-3)


@pytest.mark.parametrize(
    ("alpha", "b", "fwhm", "area"), [(3, 1.5, 6.197, 2008.554), (4, 2.4, 11.41, 3685.375), (3, 2.7, 11.15, 3615.397)]
)
def test_t2_aif_presets(alpha, b, fwhm, area):
    aif = GammaVariate(alpha=alpha, b=b)
    fine = np.arange(0, 100, 1e-3)
    assert np.ptp(fine[aif(fine) > 150]) == pytest.approx(fwhm, abs=0.006)
    assert aif.area == pytest.approx(area, abs=1e-3)


T4 = [
    ("exponential", 4, TEXTBOOK, ssvd, 0.2, [1.154, 0.818, 0.549, 0.606, 0.548]),
    ("exponential", 4, CLINICAL, ssvd, 0.2, [0.874, 0.683, 0.429, 0.404, 0.449]),
    ("exponential", 4, TEXTBOOK, csvd, 0.1, [0.644] * 5),
    ("exponential", 4, CLINICAL, csvd, 0.1, [0.4595] * 5),
    ("exponential", 4, TEXTBOOK, csvd, 0.2, [0.561] * 5),
    ("exponential", 4, CLINICAL, csvd, 0.2, [0.395] * 5),
    ("exponential", 12, TEXTBOOK, ssvd, 0.2, [1.603, 0.979, 0.847, 0.848, 0.834]),
    ("exponential", 12, CLINICAL, ssvd, 0.2, [1.292, 0.890, 0.676, 0.743, 0.743]),
    ("exponential", 12, TEXTBOOK, csvd, 0.1, [0.886, 0.882, 0.881, 0.887, 0.885]),
    ("exponential", 12, CLINICAL, csvd, 0.1, [0.744, 0.745, 0.753, 0.763, 0.766]),
    ("box", 4, TEXTBOOK, ssvd, 0.2, [1.668, 1.226, 0.807, 0.906, 0.807]),
    ("box", 4, CLINICAL, ssvd, 0.2, [1.130, 0.958, 0.630, 0.478, 0.564]),
    ("box", 4, TEXTBOOK, csvd, 0.1, [1.010] * 5),
    ("box", 4, CLINICAL, csvd, 0.1, [0.608] * 5),
    ("box", 4, TEXTBOOK, csvd, 0.2, [0.827] * 5),
    ("linear", 8, TEXTBOOK, ssvd, 0.2, [1.657, 1.003, 0.882, 0.877, 0.865]),
    ("linear", 8, CLINICAL, ssvd, 0.2, [1.353, 0.917, 0.710, 0.776, 0.774]),
    ("linear", 8, TEXTBOOK, csvd, 0.1, [0.918] * 5),
    ("linear", 8, CLINICAL, csvd, 0.2, [0.723] * 5),
]


@pytest.mark.parametrize(("residue", "mtt", "preset", "method", "threshold", "ratios"), T4)
def test_t4_flow_of_noise_free_curves(residue, mtt, preset, method, threshold, ratios):
    """Estimated over true CBF at delays -2..6 s; the rectangle matrix or fewer lags turn this red."""
    curves, aif = study(preset, residue, mtt)
    found = method(curves, aif, 1.0, threshold=threshold).cbf.numpy() / 60
    np.testing.assert_allclose(found, ratios, atol=1e-3)


@pytest.mark.parametrize(
    ("preset", "method", "lags"),
    [(TEXTBOOK, csvd, [0, 2, 4, 6, 8]), (TEXTBOOK, ssvd, [1, 1, 5, 6, 8]), (CLINICAL, csvd, [1, 3, 5, 7, 9])],
)
def test_t5_lag_of_the_maximum(preset, method, lags):
    found = method(*study(preset), 1.0)
    assert found.lags[found.k.argmax(dim=1)].tolist() == lags
    np.testing.assert_allclose(found.tmax.numpy(), lags, atol=0.5)


@pytest.mark.parametrize("threshold", [0.05, 0.1, 0.3])
def test_t6_area_of_the_residue(threshold):
    """The sum of k over all lags is the ratio of the sums of the samples, whatever the threshold."""
    curves, aif = study(TEXTBOOK, mtt=24.0)
    found = csvd(curves, aif, 1.0, threshold=threshold).k.sum(dim=1)
    expected = curves.sum(dim=1) / circulant_column(aif, 1.0, 120).sum()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("preset", "sums", "areas"),
    [(TEXTBOOK, (0.835, 0.788), (0.832, 0.784)), (CLINICAL, (0.785, 0.724), (0.780, 0.718))],
)
def test_t6_blood_volume_of_a_cut_tail(preset, sums, areas):
    curves, aif = study(preset, mtt=24.0, delays=(0, 6))
    found = csvd(curves, aif, 1.0)
    np.testing.assert_allclose(found.cbv.numpy() / 24, areas, atol=1e-3)
    np.testing.assert_allclose(found.k.sum(dim=1).numpy() * 100 * 0.705128 / 24, sums, atol=1e-3)


def test_t7_kept_frequencies():
    """How many of the 61 coefficients of a 120-sample spectrum survive each threshold."""
    for preset, counts in ((CLINICAL, {0.05: 12, 0.1: 10, 0.2: 8}), (TEXTBOOK, {0.1: 18})):
        spectrum = torch.fft.rfft(circulant_column(torch.tensor(GammaVariate(**preset)(T)), 1.0, 120)).abs()
        for threshold, count in counts.items():
            assert int((spectrum >= threshold * spectrum.max()).sum()) == count
    curves, aif = study(CLINICAL)
    k = csvd(curves, aif, 1.0, threshold=0.1).k
    kept = torch.fft.rfft(k, dim=1).abs().amax(dim=0) > 1e-12
    assert int(kept.sum()) == 10


def test_csvd_is_the_truncated_svd_of_the_circulant_matrix(dtype, tolerance, device):
    """Against numpy's SVD of the full matrix, negative lags moved to the front."""
    curves, aif = study(TEXTBOOK)
    noisy = curves + 0.5 * torch.randn(curves.shape, generator=torch.Generator().manual_seed(2), dtype=curves.dtype)
    padded = np.concatenate((noisy.numpy(), np.zeros_like(noisy)), axis=1)
    expected = np.stack([truncated_svd(circulant(aif.numpy(), 1.0, 120), c, 0.1) for c in padded])
    found = csvd(noisy.to(device, dtype), aif.to(device, dtype), 1.0)
    assert found.lags.tolist() == list(range(-59, 61))
    expected = torch.tensor(np.roll(expected, 59, axis=1), dtype=dtype, device=device)
    torch.testing.assert_close(found.k, expected, **tolerance)


def test_ssvd_is_the_truncated_svd_of_the_volterra_matrix(dtype, tolerance, device):
    """Against numpy; a strict inequality at the threshold or the rectangle matrix turns this red."""
    curves, aif = study(CLINICAL)
    expected = np.stack([truncated_svd(volterra(aif.numpy(), 1.0), c, 0.2) for c in curves.numpy()])
    found = ssvd(curves.to(device, dtype), aif.to(device, dtype), 1.0)
    torch.testing.assert_close(found.k, torch.tensor(expected, dtype=dtype, device=device), **tolerance)


def test_peak_of_residue():
    """A larger negative lobe, a larger maximum outside -5..25 s, one on the window's edge; |k| turns this red."""
    lags = torch.arange(-10, 31, dtype=torch.float64)
    k = torch.zeros(3, 41, dtype=torch.float64)
    k[0, 12], k[0, 13], k[0, 20] = 1.0, 2.0, -5.0
    k[1, 2], k[1, 38], k[1, 11], k[1, 12], k[1, 13] = 9.0, 9.0, 1.0, 2.0, 1.0
    k[2, 4], k[2, 5] = 4.0, 3.0
    peak, lag = peak_of_residue(k, lags)
    assert peak.tolist() == [2.0, 2.0, 3.0]
    torch.testing.assert_close(lag, torch.tensor([3 - 1 / 6, 2.0, -5.0], dtype=torch.float64))


@pytest.mark.parametrize("method", [ssvd, csvd])
@pytest.mark.parametrize("dt", [1.0, 2.0])
def test_maps_without_residues_are_the_same(method, dt, device, dtype):
    """CBF, Tmax and the rest with and without k, window edges and equal values included."""
    curves, aif = study(TEXTBOOK, "box", 6.0, delays=(-7, -5, -2, 0.3, 4, 24, 26))
    curves = torch.cat(
        (curves, curves[:3] + 3 * torch.randn(3, 60, generator=torch.Generator().manual_seed(4)).double())
    )
    curves, aif = curves.to(device, dtype), aif.to(device, dtype)
    full = method(curves, aif, dt, step=None)
    maps = method(curves, aif, dt, step=None, residues=False)
    assert maps.k is None
    assert maps.lags is None
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}
    for name in ("cbf", "cbv", "mtt", "tmax"):
        torch.testing.assert_close(getattr(maps, name), getattr(full, name), **tolerance)


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.1])
@pytest.mark.parametrize("method", [ssvd, csvd])
def test_impossible_thresholds(method, threshold):
    with pytest.raises(ValueError, match="between 0 and 1"):
        method(*study(TEXTBOOK), 1.0, threshold=threshold)
