"""Kernel ridge regression by its textbook formulae, in float64, entry by entry."""

import torch


def gaussian_kernel(X, Z, gamma):
    """exp(-gamma |x - z|^2) from explicit differences."""
    return torch.exp(-gamma * (X.double()[:, None, :] - Z.double()[None, :, :]).square().sum(-1))


def kernel_ridge(X, Y, new, *, alpha, gamma, center=True):
    """Predictions (new samples, targets) of (K + alpha I) w = y - mean(y)."""
    Y = Y.double()
    mean = Y.mean(0) if center else torch.zeros(Y.shape[1], dtype=torch.float64)
    K = gaussian_kernel(X, X, gamma) + alpha * torch.eye(len(X), dtype=torch.float64)
    return gaussian_kernel(new, X, gamma) @ torch.linalg.solve(K, Y - mean) + mean


def effective_dof(X, *, alpha, gamma):
    """tr(K (K + alpha I)^-1)."""
    K = gaussian_kernel(X, X, gamma)
    return float(torch.linalg.solve(K + alpha * torch.eye(len(X), dtype=torch.float64), K).trace())
