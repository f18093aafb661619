"""Gaussian kernel ridge regression, the paper's best model."""

from __future__ import annotations

import torch
from torch import Tensor

from ctp_torch.models.base import Regressor
from ctp_torch.ops.kernels import gaussian_kernel, gaussian_kernel_matmul

__all__ = ["KernelRidge"]

_EXACT_DOF = 2000  # samples up to which the trace is summed over all eigenvalues


class KernelRidge(Regressor):
    """Kernel ridge regression ``f(x) = sum_i w_i exp(-gamma |x - x_i|^2) + b`` with ``(K + alpha I) w = y - b``.

    All targets share one factorisation. b is the mean of y (``center=True``) or 0.

    Parameters
    ----------
    alpha
        the penalty on the diagonal of K; absolute, not per sample (as in scikit-learn)
    gamma
        inverse squared width of the kernel, in the inverse squared unit of the features; ``1 / (2 sigma^2)``
    center
        whether b is the mean of y; False is scikit-learn's model

    References
    ----------
    Saunders, Gammerman, Vovk: Ridge regression learning algorithm in dual variables. ICML 1998.
    """

    centers_: Tensor
    """(centers, features): the training samples."""
    dual_coef_: Tensor
    """(centers, targets): w."""
    intercept_: Tensor
    """(targets,): b."""

    def __init__(self, alpha: float = 0.1, gamma: float = 8.0, *, center: bool = True) -> None:
        self.alpha = alpha
        self.gamma = gamma
        self.center = center

    def _fit(self, X: Tensor, Y: Tensor) -> None:
        """One Cholesky factor in float64 for all targets."""
        samples, targets = X.double(), Y.double()
        intercept = targets.mean(0) if self.center else targets.new_zeros(targets.shape[1])
        K = gaussian_kernel(samples, samples, gamma=self.gamma)  # (samples, samples)
        K.diagonal().add_(self.alpha)
        factor = torch.linalg.cholesky(K)
        self.centers_ = X.clone()
        self.dual_coef_ = torch.cholesky_solve(targets - intercept, factor).contiguous()
        self.intercept_ = intercept

    def _predict(self, X: Tensor) -> Tensor:
        """``K(X, centers) w + b``, block by block."""
        dtype = torch.promote_types(X.dtype, self.centers_.dtype)
        weights = self.dual_coef_.to(dtype)
        return gaussian_kernel_matmul(X.to(dtype), self.centers_.to(dtype), weights, gamma=self.gamma) + self.intercept_

    @property
    def effective_dof_(self) -> float:
        """Effective degrees of freedom ``tr(K (K + alpha I)^-1)`` of the fit, between 0 and the number of samples.

        Exact for up to 2,000 samples; above, a stochastic Lanczos quadrature with 16 probe vectors (about 1 % off).
        """
        self._check_fitted()
        from linear_operator.utils.lanczos import lanczos_tridiag, lanczos_tridiag_to_diag
        from linear_operator.utils.stochastic_lq import StochasticLQ

        n, exact, alpha = len(self.centers_), self.centers_.double(), self.alpha
        if n <= _EXACT_DOF:
            eigenvalues = torch.linalg.eigvalsh(gaussian_kernel(exact, exact, gamma=self.gamma)).clamp_min(0.0)
            return float((eigenvalues / (eigenvalues + alpha)).sum())
        generator = torch.Generator().manual_seed(0)
        probes = torch.randint(0, 2, (n, 16), generator=generator).to(self.centers_) * 2.0 - 1.0

        def product(vectors: Tensor) -> Tensor:
            return gaussian_kernel_matmul(self.centers_, self.centers_, vectors, gamma=self.gamma)

        _, tridiagonal = lanczos_tridiag(
            product, 40, dtype=probes.dtype, device=probes.device, matrix_shape=torch.Size((n, n)), init_vecs=probes
        )  # (probes, steps, steps)
        eigenvalues, eigenvectors = lanczos_tridiag_to_diag(tridiagonal)
        ratio = StochasticLQ().to_dense(torch.Size((n, n)), eigenvalues, eigenvectors, [lambda s: s / (s + alpha)])[0]
        return float(ratio)
