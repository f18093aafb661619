"""cSVD and oSVD in numpy, vectorised over voxels or looped over curves: what the package's times are held against.

The same algorithm, padding, thresholds and readout; filters are built once in every version.
"""

import numpy as np

THRESHOLDS = (0.01, *(0.05 * i for i in range(1, 20)))
FLOW, VOLUME = 6000 * 0.705128205, 100 * 0.705128205


def circulant_filter(aif, dt, threshold):
    """Filter (lags, time) from curves to residues, lags in stored order (negative ones last)."""
    n, length = len(aif), 2 * len(aif)
    padded = np.concatenate(([0.0], aif, [0.0, 0.0]))
    column = np.zeros(length)
    column[: n + 1] = dt * (padded[:-2] + 4 * padded[1:-1] + padded[2:]) / 6
    spectrum = np.fft.rfft(column)
    kept = np.abs(spectrum) >= threshold * np.abs(spectrum).max()
    response = np.fft.irfft(np.where(kept, 1 / np.where(spectrum == 0, 1, spectrum), 0), length)
    return response[(np.arange(length)[:, None] - np.arange(n)) % length]


def read_out(k, curves, aif, dt):
    """CBF, CBV, MTT and Tmax (parabola, lags -5..25 s) of residues in stored order."""
    lags = np.arange(-5, 26)
    window = np.take(k, lags, axis=-1, mode="wrap")
    best = window.argmax(axis=-1)
    rows = np.arange(len(k))
    left, middle, right = (np.take(lags, best) + i for i in (-1, 0, 1))
    a, b, c = k[rows, left], k[rows, middle], k[rows, right]
    bend = a - 2 * b + c
    offset = np.where((best > 0) & (best < 30), (a - c) / np.where(bend == 0, 1, 2 * bend), 0)
    cbf = FLOW * b
    cbv = VOLUME * np.trapezoid(curves, dx=dt, axis=-1) / np.trapezoid(aif, dx=dt)
    return cbf, cbv, 60 * cbv / cbf, np.maximum((np.take(lags, best) + offset) * dt, 0)


def csvd_numpy(curves, aif, dt, threshold=0.1):
    return read_out(curves @ circulant_filter(aif, dt, threshold).T, curves, aif, dt)


def osvd_numpy(curves, aif, dt, limit=0.095, skip_done=False):
    """All thresholds for all curves with a running selection; ``skip_done`` drops curves once they are settled."""
    k = np.empty((len(curves), 2 * len(aif)), curves.dtype)
    waiting = np.arange(len(curves))
    settled = np.zeros(len(curves), bool)
    for threshold in THRESHOLDS:
        filters = circulant_filter(aif, dt, threshold).T.astype(curves.dtype)
        tried = (curves[waiting] if skip_done else curves) @ filters
        index = np.abs(np.diff(tried, 2, axis=1)).sum(axis=1) / (tried.shape[1] * tried.max(axis=1))
        calm = (index < limit) | (threshold == THRESHOLDS[-1])
        if skip_done:
            k[waiting[calm]] = tried[calm]
            waiting = waiting[~calm]
            if len(waiting) == 0:
                break
        else:
            new = calm & ~settled
            k[new] = tried[new]
            settled |= new
    return read_out(k, curves, aif, dt)


def csvd_loop(curves, aif, dt, threshold=0.1):
    filters = circulant_filter(aif, dt, threshold)
    found = [read_out((filters @ c)[None], c[None], aif, dt) for c in curves]
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))


def osvd_loop(curves, aif, dt, limit=0.095):
    bank = [circulant_filter(aif, dt, threshold) for threshold in THRESHOLDS]
    found = []
    for c in curves:
        for filters in bank:
            k = filters @ c
            if np.abs(np.diff(k, 2)).sum() < limit * len(k) * k.max():
                break
        found.append(read_out(k[None], c[None], aif, dt))
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))
