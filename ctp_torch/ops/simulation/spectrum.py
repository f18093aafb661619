"""An artery and a transit of known shape to the tissue's exact curve, by their closed-form Fourier transforms.

Nothing here shares a matrix with the deconvolutions: a student that learned from the matrix its features come from
would learn the matrix.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ctp_torch.ops.bolus.resample import resample_curves

__all__ = [
    "Family",
    "Spectrum",
    "Transit",
    "bolus_spectrum",
    "curve_spectrum",
    "peak_lag",
    "read_spectrum",
    "tissue_curves",
]

Family = Literal["gamma", "box", "linear"]
"""How transit times scatter: by a gamma distribution, not at all, or evenly between 0 and twice their mean."""

_PERIOD = 512.0
"""After this long [s] a Fourier series begins anew: recirculation and residues must have died down."""
_HIGHEST = 0.7
"""Highest frequency kept [Hz]; of a bolus of 6 s a ten-thousandth lies above it."""
_STEP = 0.25
"""Spacing at which a measured curve is read for its transform [s]."""


class Spectrum(NamedTuple):
    """Curves as Fourier series."""

    values: Tensor
    """``(..., frequencies)`` complex, ``int c(t) exp(-i w t) dt`` [HU s]."""
    omega: Tensor
    """``(frequencies,)`` evenly spaced from 0 [rad/s]."""


class Transit(NamedTuple):
    """How blood passes through voxels; all ``(...)``, of one shape."""

    mtt: Tensor
    """Mean transit time M [s]."""
    delay: Tensor
    """Arrival after the artery [s], may be negative."""
    shape: Tensor
    """Of the gamma distribution of transit times: 1 exponential, infinite a box. Other families don't use it."""
    dispersion: Tensor
    """Time constant [s] of an exponential between artery and voxel; 0 for none."""


def bolus_spectrum(
    onset: Tensor, shape: Tensor, scale: Tensor, area: Tensor, recirculation: tuple[Tensor, Tensor, Tensor]
) -> Spectrum:
    r"""Arteries of a gamma-variate first pass and its recirculation.

    .. math:: a = a_1 + \varphi \, a_1 \otimes E_\tau(t - t_d), \quad
       \hat a_1 = A \, (1 + i \omega b)^{-(\alpha + 1)} e^{-i \omega t_0}

    Parameters
    ----------
    onset
        t0 ``(arteries,)`` [s]
    shape, scale
        alpha and b [s] of ``(t - t0)^alpha exp(-(t - t0) / b)``
    area
        A, of the first pass [HU s]
    recirculation
        phi, t_d [s] and tau [s]
    """
    omega = _frequencies(onset)
    part, wait, tau = (values[:, None] for values in recirculation)
    size, phase = _gamma(shape[:, None] + 1.0, scale[:, None] * omega)
    first = torch.polar(area[:, None] * size, phase - omega * onset[:, None])  # (arteries, frequencies)
    again = torch.polar(part / (1.0 + (omega * tau) ** 2).sqrt(), -omega * wait - torch.atan(omega * tau))
    return Spectrum(first * (1.0 + again), omega)


def curve_spectrum(curve: Tensor, times: Tensor) -> Spectrum:
    """A measured curve ``(time,)`` by monotone cubics; it stays at its last value for a while, then fades."""
    omega = _frequencies(curve)
    first, last = float(times[0]), float(times[-1])
    at = torch.arange(first, last + 30.0, _STEP, dtype=torch.float64, device=curve.device)
    fading = 0.5 + 0.5 * torch.cos(math.pi * ((at - last - 10.0) / 20.0).clamp(0.0, 1.0))
    values = resample_curves(curve.double(), times, at) * fading
    phase = -(omega.double()[:, None] * at)  # (frequencies, time)
    kernel = torch.polar(torch.full_like(phase, _STEP), phase)
    return Spectrum((kernel @ values.to(kernel.dtype)).to(torch.promote_types(omega.dtype, torch.complex64)), omega)


def tissue_curves(artery: Spectrum, transit: Transit, times: Tensor, *, family: Family = "gamma") -> Tensor:
    r"""What tissue of unit flow holds at ``times``: ``a(t - D)`` convolved with dispersion E and residue function R.

    With H the transform of the transit times' density, that of the residue function is :math:`(1 - H) / (i \omega)`:
    a closed form for all families, however short a transit is beside the frames.

    Parameters
    ----------
    artery
        ``(arteries, frequencies)`` [HU s]
    transit
        ``(arteries, voxels)``
    times
        ``(time,)`` [s]
    family
        of the transit times

    Returns
    -------
        ``(arteries, voxels, time)`` [HU s]; times the flow [1/s], tissue enhancement [HU]

    Raises
    ------
    ValueError
        for an unknown family
    """
    if family not in get_args(Family):
        raise ValueError(f"unknown family of transit times {family!r}; choose among {', '.join(get_args(Family))}")
    omega = artery.omega[1:]
    mtt, delay, shape, tau = (values[..., None] for values in transit)
    x = omega * mtt  # (arteries, voxels, frequencies)
    if family == "gamma":
        boxes = shape.isinf()
        finite = torch.where(boxes, 1.0, shape)
        size, phase = _gamma(finite, x / finite)
        size, phase = torch.where(boxes, 1.0, size), torch.where(boxes, -x, phase)
    else:
        size, phase = (torch.ones_like(x) if family == "box" else torch.sinc(x / math.pi)), -x
    # Real products rather than complex ones, which a processor computes at a fifth of their speed.
    y = omega * tau
    arrival, gain = -omega * delay - torch.atan(y), (1.0 + y * y).rsqrt()
    real = gain * (arrival.cos() - size * (arrival + phase).cos())
    imaginary = gain * (arrival.sin() - size * (arrival + phase).sin())
    wave = _waves(omega, times)  # (frequencies, time)
    own = (artery.values[..., 1:] / (1j * omega))[..., None] * wave  # (arteries, frequencies, time)
    steady = (mtt * artery.values[..., :1].real[..., None, :]) / _PERIOD  # (arteries, voxels, 1)
    return steady + 2.0 / _PERIOD * (real @ own.real.to(real) - imaginary @ own.imag.to(real))


def read_spectrum(spectrum: Spectrum, times: Tensor) -> Tensor:
    """Values ``(..., time)`` [HU] of a Fourier series at any ``times (time,)`` [s]."""
    wave = _waves(spectrum.omega, times)  # (frequencies, time)
    wave[0] *= 0.5
    return 2.0 / _PERIOD * (spectrum.values.real @ wave.real - spectrum.values.imag @ wave.imag)


def peak_lag(transit: Transit, *, family: Family = "gamma", n_steps: int = 64) -> Tensor:
    r"""Lag ``(...)`` [s] at which the residue function as seen from the artery peaks: Tmax.

    The delay where nothing is dispersed. Else the residue rises to where it meets the one without dispersion,
    :math:`(E \otimes R)(s) = R(s)`, because its slope is their difference over tau.
    """
    spread = (transit.dispersion > 0).nonzero(as_tuple=True)
    later = torch.zeros_like(transit.mtt)
    if len(spread[0]):
        mtt, _, shape, tau = (values[spread].double() for values in transit)
        longest = torch.minimum(8.0 * tau, 2.0 * mtt + 4.0 * tau)
        lags = torch.linspace(0.0, 1.0, n_steps, dtype=mtt.dtype, device=mtt.device) * longest[:, None]
        residue = survival(lags, mtt[:, None], shape[:, None], family=family)
        # The dispersed residue, exact for one that is linear between the lags.
        step = (longest / (n_steps - 1) / tau)[:, None]
        decay = torch.exp(-step)
        start, stop = residue[:, :-1], residue[:, 1:]
        gain = stop - start * decay - (stop - start) * (1.0 - decay) / step
        power = torch.arange(n_steps - 1, dtype=mtt.dtype, device=mtt.device)
        dispersed = (gain * torch.exp(step * (power + 1))).cumsum(dim=1) * torch.exp(-step * (power + 1))
        rising = torch.cat((torch.zeros_like(dispersed[:, :1]), dispersed), dim=1) - residue  # (voxels, lags)
        after = (rising >= 0).to(torch.int8).argmax(dim=1, keepdim=True).clamp_min(1)
        low, high = rising.gather(1, after - 1), rising.gather(1, after)
        part = (low / (low - high)).clamp(0.0, 1.0)
        meeting = (after - 1 + part).squeeze(1) * longest / (n_steps - 1)
        boxes = torch.ones_like(shape, dtype=torch.bool) if family == "box" else (family == "gamma") & shape.isinf()
        later[spread] = torch.where(boxes, mtt, meeting).to(later)  # a box falls at once, when it is fullest
    return transit.delay + later


def survival(lags: Tensor, mtt: Tensor, shape: Tensor, *, family: Family = "gamma") -> Tensor:
    """Residue functions R(s): what has not left the voxel after ``lags`` [s]; all broadcast."""
    if family == "linear":
        return (1.0 - lags / (2.0 * mtt)).clamp_min(0.0)
    box = (lags < mtt).to(lags)
    if family == "box":
        return box
    finite = torch.where(shape.isinf(), 1.0, shape)
    scatter = torch.special.gammaincc(finite + 0.0 * lags, lags * finite / mtt)
    return torch.where(shape.isinf(), box, scatter)


def _gamma(shape: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Size and phase of ``(1 + i x)^-shape``."""
    return torch.exp(-0.5 * shape * torch.log1p(x * x)), -shape * torch.atan(x)


def _waves(omega: Tensor, times: Tensor) -> Tensor:
    """``exp(i w t)`` ``(frequencies, time)``, turned in double precision."""
    phase = omega.double()[:, None] * times.to(omega.device, torch.float64)
    return torch.polar(torch.ones_like(phase), phase).to(torch.promote_types(omega.dtype, torch.complex64))


def _frequencies(like: Tensor) -> Tensor:
    """Angular frequencies ``(frequencies,)`` [rad/s] of the series, in float32 or float64."""
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    count = int(_HIGHEST * _PERIOD) + 1
    return torch.arange(count, dtype=dtype, device=like.device) * (2.0 * math.pi / _PERIOD)
