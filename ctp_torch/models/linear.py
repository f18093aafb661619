"""Linear maps from curves to targets: ordinary least squares and ridge, with an intercept."""

from __future__ import annotations

import torch
from torch import Tensor

from ctp_torch.models.base import Regressor
from ctp_torch.models.file_checks import check_floats

__all__ = ["LinearRegression", "Ridge"]

_BLOCK = 65536  # samples per block: 65,536 x 60 in float64 are 31 MB


class LinearRegression(Regressor):
    """Ordinary least squares ``y = x w + b``: the smallest w among those that minimise ``|Y - X w - b|^2``.

    The samples are centred, so that the intercept b is not part of w. Directions in which they vary by no more than
    rounding get no weight, so that repeated or constant features do no harm. Computed in float64.

    Examples
    --------
    >>> X = torch.tensor([[0.0], [1.0], [2.0]])
    >>> LinearRegression().fit(X, 2 * X + 1).predict(torch.tensor([[3.0]]))
    tensor([[7.]])
    """

    coef_: Tensor
    """(features, targets), float64."""
    intercept_: Tensor
    """(targets,), float64."""

    def _fit(self, X: Tensor, Y: Tensor) -> None:
        """Least squares without a penalty."""
        self.coef_, self.intercept_ = _ridge(X, Y, alpha=0.0)

    def _predict(self, X: Tensor) -> Tensor:
        """``x w + b``, block by block."""
        blocks = [rows.double() @ self.coef_ + self.intercept_ for rows in torch.split(X, _BLOCK)]
        return torch.cat(blocks)  # (samples, targets)

    def _check_fit(self) -> int:
        """Weights and intercept of one shape."""
        n_targets = self.intercept_.shape[-1]
        check_floats(coef_=(self.coef_, (self.n_features_in_, n_targets)), intercept_=(self.intercept_, (n_targets,)))
        return n_targets


class Ridge(LinearRegression):
    """Ridge regression ``y = x w + b``: w and b minimise ``|Y - X w - b|^2 + alpha |w|^2`` (b isn't penalised).

    Parameters
    ----------
    alpha
        the penalty, in the squared unit of the features; absolute, not per sample (as in scikit-learn)
    """

    def __init__(self, alpha: float = 0.1) -> None:
        self.alpha = alpha

    def _fit(self, X: Tensor, Y: Tensor) -> None:
        """Least squares with the penalty."""
        self._check_alpha()
        self.coef_, self.intercept_ = _ridge(X, Y, alpha=self.alpha)

    def _check_fit(self) -> int:
        """As the base, with a penalty that can be meant."""
        self._check_alpha()
        return super()._check_fit()

    def _check_alpha(self) -> None:
        """Refuse a penalty that is none."""
        if not 0.0 <= self.alpha < float("inf"):
            raise ValueError(f"Ridge.alpha must not be negative or infinite, got {self.alpha}")


def _ridge(X: Tensor, Y: Tensor, *, alpha: float) -> tuple[Tensor, Tensor]:
    """Weights (features, targets) and intercept (targets,) of the penalised least squares."""
    n_features, exact = X.shape[1], torch.float64
    x_mean, y_mean = X.mean(0, dtype=exact), Y.mean(0, dtype=exact)

    # 1. the triangle R with R'R = [X Y]'[X Y]: orthogonal steps only, so that no condition number is squared
    triangle = torch.empty(0, n_features + Y.shape[1], dtype=exact, device=X.device)
    for x, y in zip(torch.split(X, _BLOCK), torch.split(Y, _BLOCK), strict=True):
        rows = torch.cat([x.to(exact) - x_mean, y.to(exact) - y_mean], dim=1)  # (block, features + targets)
        triangle = torch.linalg.qr(torch.cat([triangle, rows]), mode="r").R

    # 2. the penalised problem in its singular vectors; s at the level of rounding counts as zero
    u, s, vh = torch.linalg.svd(triangle[:, :n_features], full_matrices=False)
    cutoff = max(10 * torch.finfo(X.dtype).eps, len(X) * torch.finfo(exact).eps) * s[0]
    shrink = torch.where(s > cutoff, s / (s.square() + alpha).clamp_min(torch.finfo(exact).tiny), 0.0)
    coef = vh.mT @ (shrink[:, None] * (u.mT @ triangle[:, n_features:]))  # (features, targets)
    return coef, y_mean - x_mean @ coef
