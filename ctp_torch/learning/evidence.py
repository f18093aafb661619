"""The penalty, kernel width and one length scale a feature that make a training set most probable."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ctp_torch.errors import CTPError, UnreadableFileError

if TYPE_CHECKING:
    from gpytorch.kernels import ScaleKernel
    from gpytorch.likelihoods import GaussianLikelihood

__all__ = ["MOST_SAMPLES", "Evidence", "maximise_evidence", "read_evidence"]

MOST_SAMPLES = 5000
"""An exact marginal likelihood factors a matrix of samples x samples at every step: 200 MB at 5,000."""
_TINY = 1e-12


@dataclass(frozen=True)
class Evidence:
    """A Gaussian process as `ctp_torch.models.KernelRidge` and the scaling of a recipe make it."""

    gamma: float
    """Inverse squared width of the kernel on the scaled features."""
    alpha: float
    """Variance of the noise over that of the signal: the penalty of kernel ridge."""
    feature_mean: tuple[float, ...]
    """Subtracted from the features."""
    feature_sd: tuple[float, ...]
    """The centred features are divided by it: large for a feature that tells nothing."""
    relevance: tuple[float, ...]
    """Share of each feature in the mean squared distance of two samples; they add up to 1."""
    log_evidence: float
    """Log marginal likelihood of the standardised targets [nats], a sample and target."""
    log_evidence_isotropic: float
    """The same with one length scale for all standardised features, where the search began."""

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")


def read_evidence(path: Path) -> Evidence:
    """What ``Evidence.save`` wrote.

    Raises
    ------
    UnreadableFileError
        if the file is missing or holds something else
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        lists = {name: tuple(map(float, stored[name])) for name in ("feature_mean", "feature_sd", "relevance")}
        names = ("gamma", "alpha", "log_evidence", "log_evidence_isotropic")
        numbers = {name: float(stored[name]) for name in names}
        if not all(map(math.isfinite, [*numbers.values(), *lists["feature_mean"]])) or min(lists["feature_sd"]) <= 0:
            raise ValueError("its numbers can't be used")
        if len(lists["feature_mean"]) != len(lists["feature_sd"]):
            raise ValueError("means and deviations differ in number")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UnreadableFileError(
            f"{path}: no scaling that ctp-torch tune --by evidence wrote ({error}); give its evidence.json"
        ) from error
    return Evidence(
        gamma=numbers["gamma"],
        alpha=numbers["alpha"],
        feature_mean=lists["feature_mean"],
        feature_sd=lists["feature_sd"],
        relevance=lists["relevance"],
        log_evidence=numbers["log_evidence"],
        log_evidence_isotropic=numbers["log_evidence_isotropic"],
    )


def maximise_evidence(X: Tensor, Y: Tensor, *, steps: int = 30) -> Evidence:
    r"""Type II maximum likelihood of a Gaussian process with a squared exponential kernel, a length scale a feature.

    The standardised targets are draws of one process: :math:`\log p(Y) = -\tfrac12 \sum_t y_t^T C^{-1} y_t -
    \tfrac{T}{2} \log|C| - \tfrac{nT}{2} \log 2\pi` with :math:`C = s^2 \exp(-\tfrac12 \sum_j (x_j - x'_j)^2 / l_j^2)
    + \sigma^2 I`. Its mean is kernel ridge with alpha = sigma^2 / s^2 on features divided by their length scales.
    First one length scale for all standardised features is sought, then one for each from there, by L-BFGS.

    Parameters
    ----------
    X
        ``(samples, features)``, at most ``MOST_SAMPLES``
    Y
        ``(samples, targets)``
    steps
        of L-BFGS, in each of the two searches

    Returns
    -------
    Evidence
        the optimum; computed in float64 on the device of X

    Raises
    ------
    CTPError
        for more samples than an exact likelihood can take, or where all targets are constant

    References
    ----------
    Rasmussen and Williams, Gaussian processes for machine learning, MIT Press 2006, chapter 5
    """
    from gpytorch.kernels import RBFKernel, ScaleKernel
    from gpytorch.likelihoods import GaussianLikelihood

    if len(X) > MOST_SAMPLES:
        raise CTPError(
            f"{len(X):,} samples are too many for an exact marginal likelihood; ask for at most {MOST_SAMPLES:,} "
            "(--samples)"
        )
    samples, targets = X.double(), Y.double()
    mean, sd = samples.mean(0), samples.std(0).clamp_min(_TINY)
    z = (samples - mean) / sd  # (samples, features)
    spread = targets.std(0)
    if not bool((spread > _TINY).any()):
        raise CTPError("every target is constant: there is nothing to tune")
    y = ((targets - targets.mean(0)) / spread.clamp_min(_TINY))[:, spread > _TINY]  # (samples, targets)

    # 1. one length scale for all; the median distance of standardised features is about sqrt(2 features)
    likelihood = GaussianLikelihood().to(z)
    shared = ScaleKernel(RBFKernel()).to(z)
    shared.base_kernel.lengthscale = math.sqrt(z.shape[1])
    likelihood.noise = 0.1
    isotropic = _climb(z, y, shared, likelihood, steps)

    # 2. one for each, from there
    kernel = ScaleKernel(RBFKernel(ard_num_dims=z.shape[1])).to(z)
    kernel.base_kernel.lengthscale = shared.base_kernel.lengthscale.detach().expand(1, z.shape[1])
    kernel.outputscale = shared.outputscale.detach()
    reached = _climb(z, y, kernel, likelihood, steps)

    # 3. gamma takes the mean of 1 / (2 l^2), the features their share in it
    inverse = kernel.base_kernel.lengthscale.detach()[0].square().reciprocal()
    shares = (inverse / inverse.sum()).clamp_min(_TINY)
    return Evidence(
        gamma=float(0.5 * inverse.mean()),
        alpha=float(likelihood.noise.detach() / kernel.outputscale.detach()),
        feature_mean=tuple(mean.tolist()),
        feature_sd=tuple((sd / (len(shares) * shares).sqrt()).tolist()),
        relevance=tuple(shares.tolist()),
        log_evidence=reached,
        log_evidence_isotropic=isotropic,
    )


def _climb(z: Tensor, y: Tensor, kernel: ScaleKernel, likelihood: GaussianLikelihood, steps: int) -> float:
    """Move kernel and noise to a maximum of the evidence; the log evidence there, a sample and target."""
    optimiser = torch.optim.LBFGS(
        [*kernel.parameters(), *likelihood.parameters()], max_iter=steps, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = -_log_evidence(z, y, kernel, likelihood)
        value.backward()
        return value

    optimiser.step(loss)
    with torch.no_grad():
        return float(_log_evidence(z, y, kernel, likelihood))


def _log_evidence(z: Tensor, y: Tensor, kernel: ScaleKernel, likelihood: GaussianLikelihood) -> Tensor:
    """Log marginal likelihood of all targets by one Cholesky factor, a sample and target."""
    from gpytorch.settings import max_cholesky_size

    with max_cholesky_size(MOST_SAMPLES + 1):  # exact and the same every time, no random probes
        covariance = kernel(z).add_diagonal(likelihood.noise)
        fit, logdet = covariance.inv_quad_logdet(inv_quad_rhs=y, logdet=True)
    value: Tensor = -0.5 * (fit / y.numel() + logdet / len(z) + math.log(2 * math.pi))
    return value
