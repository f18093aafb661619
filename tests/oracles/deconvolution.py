"""Deconvolutions written out in numpy and scipy float64, matrix by matrix and voxel by voxel."""

import numpy as np
from scipy.integrate import quad, solve_ivp
from scipy.stats import gamma


def volterra(a, dt):
    n = len(a)
    matrix = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1):
            if j == i:
                matrix[i, j] = dt * (2 * a[0] + a[1]) / 6
            elif j == 0:
                matrix[i, j] = dt * (2 * a[i] + a[i - 1]) / 6
            else:
                after = a[i - j + 1]
                matrix[i, j] = dt * (a[i - j - 1] + 4 * a[i - j] + after) / 6
    return matrix


def circulant(a, dt, length):
    n = len(a)
    padded = np.concatenate(([0.0], a, [0.0, 0.0]))
    column = np.zeros(length)
    for k in range(n + 1):
        column[k] = dt * (padded[k] + 4 * padded[k + 1] + padded[k + 2]) / 6
    return np.stack([np.roll(column, j) for j in range(length)], axis=1)


def truncated_svd(matrix, curve, threshold):
    u, s, vt = np.linalg.svd(matrix)
    inverse = np.where(s >= threshold * s[0], 1 / s, 0)
    return vt.T @ (inverse * (u.T @ curve))


def oscillation_index(k):
    return np.abs(k[2:] - 2 * k[1:-1] + k[:-2]).sum() / (len(k) * k.max())


def osvd(a, dt, curve, limit):
    """Residue of one curve in stored order: the smallest threshold that doesn't oscillate."""
    length = 2 * len(a)
    matrix = circulant(a, dt, length)
    padded = np.concatenate((curve, np.zeros(len(a))))
    for threshold in (0.01, *np.arange(1, 20) * 0.05):
        k = truncated_svd(matrix, padded, threshold)
        if oscillation_index(k) < limit:
            break
    return k


def hats(a, dt, lags, n):
    """Convolution with hats of width dt at each lag, by a sum over a grid of dt / 500."""
    t = np.arange(n) * dt
    s = np.arange(lags[0] - dt, lags[-1] + dt, dt / 500) + dt / 1000
    weights = np.clip(1 - np.abs(s[:, None] - lags) / dt, 0, None)
    return np.interp(t[:, None] - s, t, a, left=0.0) @ weights * dt / 500


def tikhonov(matrix, curve, strength):
    lam = strength * np.linalg.norm(matrix, 2)
    return np.linalg.solve(matrix.T @ matrix + lam**2 * np.eye(matrix.shape[1]), matrix.T @ curve)


def l_curve(matrix, curve, strengths):
    """Index of the strength at the L-curve's corner, from curvature by finite differences."""
    found = [tikhonov(matrix, curve, s) for s in strengths]
    x = np.log([np.linalg.norm(matrix @ k - curve) for k in found])
    y = np.log([np.linalg.norm(k) for k in found])
    dx, dy = np.gradient(x), np.gradient(y)
    ddx, ddy = np.gradient(dx), np.gradient(dy)
    curvature = (dx * ddy - ddx * dy) / (dx**2 + dy**2) ** 1.5
    return 2 + int(np.argmax(curvature[2:-2]))


def cross_validation(matrix, curve, strengths):
    """Index of the strength with the least generalised cross-validation, through the hat matrix's trace."""
    scores = []
    for s in strengths:
        lam = s * np.linalg.norm(matrix, 2)
        hat = matrix @ np.linalg.solve(matrix.T @ matrix + lam**2 * np.eye(matrix.shape[1]), matrix.T)
        scores.append(((curve - hat @ curve) ** 2).sum() / (len(curve) - np.trace(hat)) ** 2)
    return int(np.argmin(scores))


def gaussian_process(matrix, lags, curve, lengths, relative_gains):
    """Mean of k over lengths and gains by their evidence, and its deviation, by dense normal densities."""
    n, logs, means, spreads = len(curve), [], [], []
    for length in lengths:
        prior = np.exp(-0.5 * ((lags[:, None] - lags) / length) ** 2)
        signal = matrix @ prior @ matrix.T
        for gain in relative_gains / np.linalg.eigvalsh(signal)[-1]:
            covariance = gain * signal + np.eye(n)
            variance = curve @ np.linalg.solve(covariance, curve) / n
            logs.append(-n / 2 * np.log(variance) - np.linalg.slogdet(covariance)[1] / 2)
            cross = gain * prior @ matrix.T
            means.append(cross @ np.linalg.solve(covariance, curve))
            spreads.append(variance * np.diag(gain * prior - cross @ np.linalg.solve(covariance, cross.T)))
    weights = np.exp(np.array(logs) - max(logs))
    weights /= weights.sum()
    mean = weights @ means
    return mean, np.sqrt(weights @ (np.array(spreads) + (np.array(means) - mean) ** 2))


def expectation_maximization(matrix, curve, offset, iterations):
    k = np.full(matrix.shape[1], curve.max() / matrix.sum(axis=1).max())
    for _ in range(iterations):
        for_each = (np.maximum(curve + offset, 0) / (matrix @ k + offset)) @ matrix
        k = k * for_each / matrix.sum(axis=0)
    return k


def bayes(forward, curve, delays, strengths, delay_sd):
    """Means of max k and delay, deviation of max k; evidence of c ~ N(0, s^2 (I + A P^-1 A^T)), P as stated."""
    n, m = forward.shape[1:]
    bends = np.diff(np.eye(m), 2, axis=0)
    rough = np.vstack((bends, np.eye(m)[-1:]))
    logs, peaks, taus = [], [], []
    for tau, a in zip(delays, forward, strict=True):
        for e in strengths:
            prior = np.linalg.inv(1e-6 * e**2 * rough.T @ rough + 1e-12 * np.eye(m))
            covariance = np.eye(n) + a @ prior @ a.T
            whitened = np.linalg.solve(covariance, curve)
            logs.append(
                -0.5 * np.linalg.slogdet(covariance)[1] - n / 2 * np.log(curve @ whitened) - 0.5 * (tau / delay_sd) ** 2
            )
            peaks.append((prior @ a.T @ whitened).max())
            taus.append(tau)
    weights = np.exp(np.array(logs) - max(logs))
    weights /= weights.sum()
    mean = weights @ peaks
    return mean, weights @ taus, np.sqrt(weights @ (np.array(peaks) - mean) ** 2)


def oxygen_extraction(mtt, cth):
    """OEFmax by an adaptive ODE solver and adaptive quadrature."""

    def loss(_, c):
        return -118.0 * (3.1e-5 * 26.0 * (c / (0.1943 - c)) ** (1 / 2.8) - 3.1e-5 * 25.0)

    left = solve_ivp(loss, (0, 300), [0.19], dense_output=True, rtol=1e-9, atol=1e-12).sol
    times = gamma((mtt / cth) ** 2, scale=cth**2 / mtt)
    end = times.ppf(1 - 1e-9)
    return quad(lambda t: times.pdf(t) * (1 - left(t)[0] / 0.19), 0, end, limit=500, points=[mtt / 10, mtt])[0]
