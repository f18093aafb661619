"""Every deconvolution written once more, plainly, in numpy float64: the yardstick that the package's own must reach.

Each function takes curves (voxels, frames), the AIF (frames,), dt [s] and the sd of the noise [HU], and gives a dict of
``cbf``, ``cbv``, ``mtt`` and ``delay``. The noise is told to those formulas that ask for it; a scan doesn't tell it.
Methods that need even seconds get them from scipy's monotone cubics. Nothing here imports the package.
"""

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.special import gammainc, gammaincc

KH_OVER_RHO = (0.55 / 0.75) / 1.04
LEAD = 6


def seconds(curves, aif, dt):
    """Curves and AIF every second."""
    t = np.arange(len(aif)) * dt
    if dt == 1.0:
        return curves, aif
    new = np.arange(0, t[-1] + 1e-9, 1.0)
    return PchipInterpolator(t, curves, axis=1)(new), PchipInterpolator(t, aif)(new)


def volume(curves, aif):
    """CBV [mL/100 g] by the trapezoidal areas."""
    weights = np.ones(len(aif))
    weights[[0, -1]] = 0.5
    return 100 * KH_OVER_RHO * (curves @ weights) / (aif @ weights)


def read(k, lags, cbv):
    """CBF, MTT and lag of the maximum on [-5, 25] s, refined by a parabola."""
    inside = np.flatnonzero((lags >= -5 - 1e-9) & (lags <= 25 + 1e-9))
    best = inside[k[:, inside].argmax(axis=1)]
    rows = np.arange(len(k))
    peak = k[rows, best]
    middle = best.clip(1, k.shape[1] - 2)
    left, top, right = (k[rows, middle + i] for i in (-1, 0, 1))
    bend = left - 2 * top + right
    offset = np.where(bend < 0, (left - right) / (2 * np.where(bend < 0, bend, 1)), 0).clip(-0.5, 0.5)
    lag = lags[best] + offset * (lags[1] - lags[0])
    return finished(peak, cbv, lag)


def finished(peak, cbv, lag):
    """CBF and MTT of the maximum of k [1/s]."""
    cbf = 6000 * KH_OVER_RHO * peak
    mtt = np.where(cbf > 0, 60 * cbv / np.where(cbf > 0, cbf, 1), 0)
    return {"cbf": cbf, "cbv": cbv, "mtt": mtt, "delay": np.maximum(lag, 0)}


def volterra(a, dt):
    """Lower-triangular matrix for an AIF and a residue that are linear between samples."""
    n = len(a)
    p = np.concatenate((a, [0.0]))
    matrix = np.zeros((n, n))
    for i in range(n):
        matrix[i, i] = dt * (2 * a[0] + a[1]) / 6
        for j in range(1, i):
            matrix[i, j] = dt * (p[i - j - 1] + 4 * p[i - j] + p[i - j + 1]) / 6
        if i:
            matrix[i, 0] = dt * (2 * a[i] + a[i - 1]) / 6
    return matrix


def hats(a, dt, lags):
    """Hat-basis matrix on any lags, the AIF held at its end; by Simpson's rule on sixteenths of a second."""
    h = lags[1] - lags[0]
    t = np.arange(len(a)) * dt
    s = np.arange(-16, 17) / 16 * h
    weights = np.full(33, 2.0)
    weights[1::2], weights[[0, -1]] = 4.0, 1.0
    weights *= h / 16 / 3 * (1 - np.abs(s) / h)
    at = t[:, None, None] - lags[None, :, None] - s
    return np.interp(at, t, a, left=0.0) @ weights


def sssvd(curves, aif, dt, noise):
    c, a = seconds(curves, aif, dt)
    u, s, vt = np.linalg.svd(volterra(a, 1.0))
    keep = s >= 0.2 * s[0]
    k = (c @ u[:, keep] / s[keep]) @ vt[keep]
    return read(k, np.arange(len(a), dtype=float), volume(curves, aif))


def _spectrum(a, length):
    p = np.concatenate(([0.0], a, [0.0, 0.0]))
    g = np.zeros(length)
    g[: len(a) + 1] = (p[:-2] + 4 * p[1:-1] + p[2:]) / 6
    return np.fft.rfft(g)


def _circular(c, spectrum, threshold):
    length = 2 * (len(spectrum) - 1)
    keep = np.abs(spectrum) >= threshold * np.abs(spectrum).max()
    return np.fft.irfft(np.fft.rfft(c, n=length, axis=1) * np.where(keep, 1 / spectrum, 0), n=length, axis=1)


def _sorted(k):
    half = k.shape[1] // 2
    return np.roll(k, half - 1, axis=1), np.arange(-half + 1, half + 1, dtype=float)


def csvd(curves, aif, dt, noise, threshold=0.1):
    c, a = seconds(curves, aif, dt)
    return read(*_sorted(_circular(c, _spectrum(a, 2 * len(a)), threshold)), volume(curves, aif))


def osvd(curves, aif, dt, noise, limit=0.095):
    c, a = seconds(curves, aif, dt)
    spectrum = _spectrum(a, 2 * len(a))
    k, open_ = np.zeros((len(c), 2 * len(a))), np.ones(len(c), dtype=bool)
    for threshold in (0.01, *np.arange(1, 20) * 0.05):
        trial = _circular(c[open_], spectrum, threshold)
        index = np.abs(np.diff(trial, 2, axis=1)).sum(axis=1) / (trial.shape[1] * trial.max(axis=1))
        calm = ((index < limit) & (trial.max(axis=1) > 0)) | (threshold > 0.94)
        rows = np.flatnonzero(open_)[calm]
        k[rows] = trial[calm]
        open_[rows] = False
    return read(*_sorted(k), volume(curves, aif))


def tikhonov(curves, aif, dt, noise):
    c, a = seconds(curves, aif, dt)
    lags = np.arange(-LEAD, len(a), dtype=float)
    u, s, vt = np.linalg.svd(hats(a, 1.0, lags), full_matrices=False)
    lam = np.geomspace(1e-3, 1, 30) * s[0]
    b = c @ u
    passed = s**2 / (s**2 + lam[:, None] ** 2)
    rest = (c**2).sum(axis=1) - (b**2).sum(axis=1)
    x = 0.5 * np.log(np.maximum(b**2 @ ((1 - passed) ** 2).T + rest.clip(0)[:, None], 1e-300))
    y = 0.5 * np.log(np.maximum(b**2 @ ((passed / s) ** 2).T, 1e-300))
    step = np.log(lam[1] / lam[0])
    dx, dy = (np.gradient(v, step, axis=1) for v in (x, y))
    ddx, ddy = (np.gradient(v, step, axis=1) for v in (dx, dy))
    bend = (dx * ddy - ddx * dy) / (dx**2 + dy**2) ** 1.5
    best = 2 + bend[:, 2:-2].argmax(axis=1)
    return read((b * (passed / s)[best]) @ vt, lags, volume(curves, aif))


def gaussian_process(curves, aif, dt, noise):
    n = len(aif)
    lags = np.arange(-LEAD, (n - 1) * dt + 1e-9, 1.0)
    matrix = hats(aif, dt, lags)
    best = np.full(len(curves), -np.inf)
    k = np.zeros((len(curves), len(lags)))
    for length in (1, 1.5, 2, 3, 4.5, 6.5, 9):
        prior = np.exp(-0.5 * ((lags[:, None] - lags) / length) ** 2)
        values, modes = np.linalg.eigh(matrix @ prior @ matrix.T)
        values = values.clip(0)
        z = curves @ modes
        for gain in np.geomspace(1e-2, 1e4, 28) / values[-1]:
            d = gain * values + 1
            variance = (z**2 / d).mean(axis=1)
            evidence = -n / 2 * np.log(variance) - 0.5 * np.log(d).sum()
            better = evidence > best
            best[better] = evidence[better]
            k[better] = (z[better] * (gain / d)) @ (modes.T @ matrix @ prior)
    return read(k, lags, volume(curves, aif))


def expectation_maximization(curves, aif, dt, noise, iterations=40, stop=False):
    lags = np.arange(-LEAD, (len(aif) - 1) * dt + 1e-9, 1.0)
    matrix = hats(aif, dt, lags)
    energy = matrix.sum(axis=0)
    keep = energy >= 0.1 * energy.max()
    lags, matrix = lags[keep], matrix[:, keep]
    offset = max(10 * noise, 3.0)
    lifted = np.maximum(curves + offset, 0)
    k = np.full((len(curves), len(lags)), 1e-3)
    moving = np.ones(len(curves), dtype=bool)
    for _ in range(iterations):
        fitted = k @ matrix.T
        if stop:
            moving &= ((fitted - curves) ** 2).sum(axis=1) > len(aif) * noise**2
        k[moving] *= (lifted[moving] / (fitted[moving] + offset)) @ matrix / matrix.sum(axis=0)
    return read(k, lags, volume(curves, aif))


def bayes(curves, aif, dt, noise, delays=(-3.0, 10.0, 0.5)):
    n = len(aif)
    t = np.arange(n) * dt
    scale = np.sqrt((aif**2).sum()) * dt
    bends = np.vstack((np.diff(np.eye(n), 2, axis=0), np.eye(n)[-1:]))
    q0 = (curves**2).sum(axis=1)
    taus = np.arange(delays[0], delays[1] + 1e-9, delays[2])
    logs, peaks, at = [], [], []
    for tau in taus:
        a = volterra(np.interp(t - tau, t, aif, left=0.0), dt) / scale
        back = curves @ a
        for e in np.geomspace(0.1, 1e3, 9):
            prior = 1e-6 * e**2 * bends.T @ bends + 1e-12 * np.eye(n)
            w = a.T @ a + prior
            k = back @ np.linalg.inv(w)
            q = np.maximum(q0 - (back * k).sum(axis=1), 1e-9 * q0)
            logs.append(0.5 * np.linalg.slogdet(prior)[1] - 0.5 * np.linalg.slogdet(w)[1] - n / 2 * np.log(q))
            peaks.append(k.max(axis=1) / scale)
            at.append(tau)
    logs, peaks = np.array(logs), np.array(peaks)
    weights = np.exp(logs - logs.max(axis=0))
    weights /= weights.sum(axis=0)
    return finished((weights * peaks).sum(axis=0), volume(curves, aif), np.array(at) @ weights)


def _fine(aif, dt):
    t = np.arange(len(aif)) * dt
    fine = np.arange(0, t[-1] + 1e-9, 0.125)
    return t, fine, PchipInterpolator(t, aif)(fine)


def _gamma_atoms(aif, dt, shapes, mtts, delays):
    """Curves (atoms, frames) of unit volume by a fine sum, with their parameters (atoms, 3)."""
    t, fine, a = _fine(aif, dt)
    lag = np.arange(0, t[-1] + 1e-9, 0.125)
    atoms, parameters = [], []
    for shape in shapes:
        for mtt in mtts:
            edges = np.concatenate((lag - 0.0625, [lag[-1] + 0.0625])).clip(0)
            u = shape * edges / mtt
            area = edges * gammaincc(shape, u) + mtt * gammainc(shape + 1, u)
            curve = np.convolve(a, np.diff(area) / mtt)[: len(fine)]
            for delay in delays:
                atoms.append(np.interp(t - delay, fine, curve, left=0.0))
                parameters.append((shape, mtt, delay))
    return np.array(atoms), np.array(parameters)


def vascular_model(curves, aif, dt, noise):
    delays = np.arange(-2, 8.01, 0.5)
    atoms, p = _gamma_atoms(aif, dt, (1, 2, 4, 8, 32), np.geomspace(2, 40, 28), delays)
    size = np.linalg.norm(atoms, axis=1)
    score = (curves @ (atoms / size[:, None]).T).clip(0)
    misfit = (curves**2).sum(axis=1)[:, None] - score**2
    prior = -0.5 * ((np.log(p[:, 1] / 4.5) / 1.1) ** 2 + (np.log(p[:, 0] / 10) / 3) ** 2 + (p[:, 2] / 5) ** 2)
    logs = prior - misfit / (2 * max(noise, 0.05) ** 2)
    weights = np.exp(logs - logs.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    v = score / size
    mean = {"cbv": (weights * v).sum(axis=1), "cbf": (weights * v) @ (1 / p[:, 1])}
    return {
        "cbf": 6000 * KH_OVER_RHO * mean["cbf"],
        "cbv": 100 * KH_OVER_RHO * mean["cbv"],
        "mtt": weights @ p[:, 1],
        "delay": np.maximum(weights @ p[:, 2], 0),
    }


def box(curves, aif, dt, noise):
    t, fine, a = _fine(aif, dt)
    area = np.concatenate(([0.0], np.cumsum((a[1:] + a[:-1]) / 2 * 0.125)))
    integral = lambda at: np.interp(at, fine, area, left=0.0)  # noqa: E731
    grid = [(d, m) for d in np.linspace(-2, 8, 41) for m in np.geomspace(3, 30, 40)]
    atoms = np.array([(integral(t - d) - integral(t - d - m)) / m for d, m in grid])
    size = np.linalg.norm(atoms, axis=1)
    score = curves @ (atoms / size[:, None]).T
    best = score.argmax(axis=1)
    v = score[np.arange(len(curves)), best] / size[best]
    d, m = np.array(grid)[best].T
    return {
        "cbf": 6000 * KH_OVER_RHO * v / m,
        "cbv": 100 * KH_OVER_RHO * v,
        "mtt": m,
        "delay": np.maximum(d, 0),
    }


def max_slope(curves, aif, dt, noise):
    c, a = seconds(curves, aif, dt)
    rise = ((c[:, 2:] - c[:, :-2]) / 2).max(axis=1)
    return finished(rise / a.max(), volume(curves, aif), c.argmax(axis=1) - a.argmax() + 0.0)


def delay_corrected_ssvd(curves, aif, dt, noise):
    delays = np.arange(-2, 8.01, 0.5)
    atoms, p = _gamma_atoms(aif, dt, (1, 2, 4, 8, 32), np.geomspace(2, 40, 28), delays)
    score = curves @ (atoms / np.linalg.norm(atoms, axis=1)[:, None]).T
    late = p[score.argmax(axis=1), 2]
    c, a = seconds(curves, aif, dt)
    k, t = np.zeros_like(c), np.arange(len(a), dtype=float)
    for delay in delays:
        u, s, vt = np.linalg.svd(volterra(np.interp(t - delay, t, a, left=0.0), 1.0))
        keep, rows = s >= 0.2 * s[0], late == delay
        k[rows] = (c[rows] @ u[:, keep] / s[keep]) @ vt[keep]
    found = read(k, t, volume(curves, aif))
    return {**found, "delay": np.maximum(late, 0)}
