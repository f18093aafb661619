"""The delay of one curve and the residue behind it, in numpy and scipy float64 from an AIF given as a function."""

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.stats import gamma

from oracles.deconvolution import truncated_svd, volterra

SHAPES = (1.0, 4.0, 200.0)
TRANSIT_TIMES = np.geomspace(3, 40, 27)
DELAYS = np.arange(-3, 10.25, 0.5)
FINE = 0.05


def model_curves(aif, t):
    """Curves of volume 1 ``(delays, shapes, mtts, time)`` by the midpoint rule every 0.05 s."""
    lags = np.arange(FINE / 2, 80, FINE)
    passed = np.stack([[gamma.sf(lags, shape, scale=m / shape) / m for m in TRANSIT_TIMES] for shape in SHAPES])
    return np.stack([passed @ aif(t - delay - lags[:, None]) * FINE for delay in DELAYS])


def delay_posterior(models, curve):
    """Probability of each delay: white noise of unknown variance, the best amplitude, stated priors."""
    logs = np.zeros(models.shape[:3])
    for i, j, k in np.ndindex(*logs.shape):
        y = models[i, j, k]
        misfit = np.sum((curve - max(curve @ y, 0) / (y @ y) * y) ** 2)
        logs[i, j, k] = -len(curve) / 2 * np.log(misfit)
        logs[i, j, k] -= 0.5 * (np.log(TRANSIT_TIMES[k] / 4.5) / 1.1) ** 2 + 0.5 * (np.log(SHAPES[j] / 10) / 3) ** 2
        logs[i, j, k] += DELAYS[i] if DELAYS[i] < 0 else -DELAYS[i] / 3
    weights = np.exp(logs - logs.max()).sum(axis=(1, 2))
    return weights / weights.sum()


def residue_since_arrival(a, dt, curve, delay, threshold):
    """The curve moved forward by whole frames, the AIF back by the rest, then a full SVD."""
    n = len(curve)
    frames = int(np.floor(delay / dt + 1e-6))
    moved = np.zeros(n)
    for i in range(n):
        if i + frames >= n:
            moved[i] = curve[-3:].mean()
        elif i + frames >= 0:
            moved[i] = curve[i + frames]
    t = np.arange(n) * dt
    a = PchipInterpolator(t, a)(np.clip(t - (delay - frames * dt), t[0], t[-1]))
    return truncated_svd(volterra(a, dt), moved, threshold)
