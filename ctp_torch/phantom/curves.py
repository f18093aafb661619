"""Exact time curves of a gamma-variate bolus through tissue and into the vein, without any discretisation.

With a(t) = P (u / (alpha b))^alpha exp(alpha - u / b), u = t - onset, every curve of a box, a linear, an exponential or
a gamma-distributed transit (of the bolus' own scale b) is a regularised incomplete gamma function. Nothing here shares
a matrix with the deconvolutions that are tested on these curves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "CLINICAL",
    "TEXTBOOK",
    "Bolus",
    "arterial_curve",
    "box_tissue_curve",
    "exponential_tissue_curve",
    "gamma_tissue_curve",
    "gamma_venous_curve",
    "leaking_tissue_curve",
    "linear_tissue_curve",
]


class Bolus(NamedTuple):
    """A gamma-variate first pass: onset [s], exponent, scale b [s] and peak [HU], reached alpha b after the onset."""

    onset: float
    alpha: float
    b: float
    peak: float

    @property
    def kappa(self) -> float:
        """The factor of u^alpha exp(-u / b)."""
        return float(self.peak * math.exp(self.alpha) / (self.alpha * self.b) ** self.alpha)

    @property
    def area(self) -> float:
        """The whole area under the curve [HU s]."""
        return float(self.kappa * self.b ** (self.alpha + 1) * math.gamma(self.alpha + 1))


TEXTBOOK = Bolus(onset=10.0, alpha=3.0, b=1.5, peak=300.0)
"""The narrow bolus of the literature's phantoms (FWHM 6.2 s)."""
CLINICAL = Bolus(onset=10.0, alpha=4.0, b=2.4, peak=300.0)
"""A bolus as wide as patients' (FWHM 11.4 s)."""


def arterial_curve(t: Tensor, bolus: Bolus) -> Tensor:
    """Arterial enhancement [HU] at the times ``t`` [s], in float64.

    Parameters
    ----------
    t
        (...), times [s]
    bolus
        the gamma-variate
    """
    u = (t.double() - bolus.onset).clamp_min(0.0)
    return bolus.kappa * u**bolus.alpha * torch.exp(-u / bolus.b)


def box_tissue_curve(
    t: Tensor, bolus: Bolus, *, flow: Tensor | float, mtt: Tensor | float, delay: Tensor | float = 0.0
) -> Tensor:
    """Tissue enhancement [HU] when every path takes exactly ``mtt``: f [I(t-D) - I(t-D-M)], I the bolus' integral.

    Parameters
    ----------
    t
        (...), times [s]; broadcasts with the other tensors
    bolus
        the gamma-variate
    flow
        f = F rho / kH [1/s]
    mtt
        M, the transit time [s]
    delay
        D [s]
    """
    u = t.double() - bolus.onset - delay
    return flow * (_integral(u, bolus) - _integral(u - mtt, bolus))


def linear_tissue_curve(
    t: Tensor, bolus: Bolus, *, flow: Tensor | float, mtt: Tensor | float, delay: Tensor | float = 0.0
) -> Tensor:
    """Tissue enhancement [HU] for R = 1 - t / (2 M) up to 2 M: f [I(t-D) - (I2(t-D) - I2(t-D-2M)) / (2M)], I2 = int I.

    Parameters are those of ``box_tissue_curve``; M is the mean transit time.
    """
    u = t.double() - bolus.onset - delay
    return flow * (
        _integral(u, bolus) - (_double_integral(u, bolus) - _double_integral(u - 2 * mtt, bolus)) / (2 * mtt)
    )


def exponential_tissue_curve(
    t: Tensor, bolus: Bolus, *, flow: Tensor | float, mtt: Tensor | float, delay: Tensor | float = 0.0
) -> Tensor:
    """Tissue enhancement [HU] for R = exp(-t / M).

    f kappa exp(-v/M) Gamma(alpha+1) P(alpha+1, q v) / q^(alpha+1) with q = 1/b - 1/M where M > 1.05 b, Gauss-Legendre
    quadrature elsewhere (the closed form is singular at M = b). Parameters are those of ``box_tissue_curve``.
    """
    v = (t.double() - bolus.onset - delay).clamp_min(0.0)
    m = torch.as_tensor(mtt, dtype=torch.float64, device=v.device)
    q = (1 / bolus.b - 1 / m).clamp_min(0.04 / bolus.b)
    closed = (
        torch.exp(-v / m) * math.gamma(bolus.alpha + 1) * _lower_gamma(bolus.alpha + 1, q * v) / q ** (bolus.alpha + 1)
    )
    if bool((m > 1.05 * bolus.b).all()):
        return flow * bolus.kappa * closed
    return flow * bolus.kappa * torch.where(m > 1.05 * bolus.b, closed, _exponential_by_quadrature(v, m, bolus))


def gamma_tissue_curve(
    t: Tensor, bolus: Bolus, *, flow: Tensor | float, mtt: Tensor | float, delay: Tensor | float = 0.0
) -> Tensor:
    """Tissue enhancement [HU] for gamma-distributed transits of the bolus' own scale b, shape M / b.

    f I(inf) [P(alpha+1, v/b) - P(alpha+1+M/b, v/b)]. Parameters are those of ``box_tissue_curve``.
    """
    v = (t.double() - bolus.onset - delay).clamp_min(0.0) / bolus.b
    shape = torch.as_tensor(mtt, dtype=torch.float64, device=v.device) / bolus.b
    return flow * bolus.area * (_lower_gamma(bolus.alpha + 1, v) - _lower_gamma(bolus.alpha + 1 + shape, v))


def gamma_venous_curve(t: Tensor, bolus: Bolus, *, mtt: float, delay: float = 0.0) -> Tensor:
    """Enhancement [HU] of the vein behind gamma transits of scale b: the bolus with shape alpha + M / b, same area.

    Parameters are those of ``gamma_tissue_curve``.
    """
    alpha = bolus.alpha + mtt / bolus.b
    v = (t.double() - bolus.onset - delay).clamp_min(0.0) / bolus.b
    return bolus.area / bolus.b * torch.exp(torch.xlogy(v.new_tensor(alpha), v) - v - math.lgamma(alpha + 1))


def leaking_tissue_curve(
    t: Tensor,
    bolus: Bolus,
    *,
    flow: Tensor | float,
    mtt: Tensor | float,
    delay: Tensor | float = 0.0,
    extraction: Tensor | float,
    curve: Callable[..., Tensor] = exponential_tissue_curve,
) -> Tensor:
    """Tissue enhancement [HU] when a part E of the flow leaves the blood and stays: (1 - E) c(t) + E f I(t - D).

    Every path loses the same part; ``c`` is the curve without leakage, E f the flow extraction. ``functools.partial``
    of this with an ``extraction`` makes tiles that leak.

    Parameters
    ----------
    extraction
        E, 0 to 1
    curve
        of the residue, one of this module's
    t, bolus, flow, mtt, delay
        those of ``box_tissue_curve``
    """
    kept = curve(t, bolus, flow=flow, mtt=mtt, delay=delay)
    return (1 - extraction) * kept + extraction * flow * _integral(t.double() - bolus.onset - delay, bolus)


def _lower_gamma(a: Tensor | float, x: Tensor) -> Tensor:
    """The regularised lower incomplete gamma function P(a, x) for x >= 0."""
    shape = torch.as_tensor(a, dtype=x.dtype, device=x.device) + torch.zeros_like(x)
    value: Tensor = torch.special.gammainc(shape, x + torch.zeros_like(shape))
    return value


def _integral(u: Tensor, bolus: Bolus) -> Tensor:
    """I(u), the area of the bolus up to u seconds after its onset."""
    return bolus.area * _lower_gamma(bolus.alpha + 1, u.clamp_min(0.0) / bolus.b)


def _double_integral(u: Tensor, bolus: Bolus) -> Tensor:
    """The integral of I up to u: u I - M1, M1 the first moment so far."""
    u = u.clamp_min(0.0)
    first_moment = bolus.area * bolus.b * (bolus.alpha + 1) * _lower_gamma(bolus.alpha + 2, u / bolus.b)
    return u * _integral(u, bolus) - first_moment


def _exponential_by_quadrature(v: Tensor, mtt: Tensor, bolus: Bolus, n_nodes: int = 200) -> Tensor:
    """int_0^v u^alpha exp(-u/b) exp(-(v-u)/M) du by Gauss-Legendre nodes (Golub and Welsch)."""
    k = torch.arange(1, n_nodes, dtype=torch.float64, device=v.device)
    off = k / torch.sqrt(4 * k**2 - 1)
    nodes, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    u = v[..., None] * (nodes + 1) / 2  # (..., nodes)
    inside = u**bolus.alpha * torch.exp(-u / bolus.b - (v[..., None] - u) / torch.as_tensor(mtt)[..., None])
    return torch.mul(v, (inside * vectors[0] ** 2).sum(-1))
