"""Deconvolutions written out in numpy float64, matrix by matrix and voxel by voxel."""

import numpy as np


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
