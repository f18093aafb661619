"""Closed-form tissue curves behind a gamma-variate AIF, in float64 with scipy."""

import numpy as np
from scipy.special import gamma as gamma_function
from scipy.special import gammainc

KH_OVER_RHO = (0.55 / 0.75) / 1.04
TEXTBOOK = {"alpha": 3.0, "b": 1.5}
CLINICAL = {"alpha": 4.0, "b": 2.4}


class GammaVariate:
    """a(t) = kappa (t - t0)^alpha exp(-(t - t0) / b), peak HU at t0 + alpha b."""

    def __init__(self, alpha=3.0, b=1.5, t0=10.0, peak=300.0):
        self.alpha, self.b, self.t0, self.peak = alpha, b, t0, peak
        self.kappa = peak * np.exp(alpha) / (alpha * b) ** alpha

    def __call__(self, t):
        u = np.maximum(np.asarray(t, float) - self.t0, 0)
        return self.kappa * u**self.alpha * np.exp(-u / self.b)

    def _moment(self, u, order):
        power = self.alpha + 1 + order
        return self.kappa * self.b**power * gamma_function(power) * gammainc(power, np.maximum(u, 0) / self.b)

    @property
    def area(self):
        return self.kappa * self.b ** (self.alpha + 1) * gamma_function(self.alpha + 1)

    def integral(self, t):
        return self._moment(t - self.t0, 0)

    def second_integral(self, t):
        u = np.maximum(t - self.t0, 0)
        return u * self._moment(u, 0) - self._moment(u, 1)


def tissue_curve(aif, t, residue, *, cbf, mtt, delay=0.0):
    """HU of tissue with that CBF [mL/100 g/min] and MTT [s]; residue box, linear, exponential or gamma."""
    f = cbf / 6000 / KH_OVER_RHO
    s = np.asarray(t, float) - delay
    if residue == "box":
        return f * (aif.integral(s) - aif.integral(s - mtt))
    if residue == "linear":
        return f * (aif.integral(s) - (aif.second_integral(s) - aif.second_integral(s - 2 * mtt)) / (2 * mtt))
    if residue == "exponential":
        assert mtt > aif.b
        q, v = 1 / aif.b - 1 / mtt, np.maximum(s - aif.t0, 0)
        a1 = aif.alpha + 1
        return f * aif.kappa * np.exp(-v / mtt) * gamma_function(a1) * gammainc(a1, q * v) / q**a1
    if residue == "gamma":  # transit times share the scale b of the AIF
        v = np.maximum(s - aif.t0, 0) / aif.b
        return f * aif.area * (gammainc(aif.alpha + 1, v) - gammainc(aif.alpha + 1 + mtt / aif.b, v))
    raise ValueError(residue)
