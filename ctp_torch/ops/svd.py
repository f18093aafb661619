"""Deconvolution by truncated SVD: standard, block-circulant, with an oscillation index, corrected for delay."""

from __future__ import annotations

import torch
from torch import Tensor

from ctp_torch.ops.bolus import Bolus, check_bolus, on_regular_grid
from ctp_torch.ops.deconvolution import Deconvolution, apply_filter, read_out
from ctp_torch.ops.design import circulant_column, circulant_lags, volterra_matrix
from ctp_torch.ops.units import KH, RHO

__all__ = ["csvd", "ssvd"]


def ssvd(
    curves: Tensor,
    aif: Tensor,
    dt: float,
    *,
    times: Tensor | None = None,
    aif_times: Tensor | None = None,
    threshold: float = 0.2,
    step: float | None = 1.0,
    kh: float = KH,
    rho: float = RHO,
) -> Deconvolution:
    """Perfusion by standard SVD deconvolution; CBF depends on the delay between AIF and tissue.

    ``k = V diag(1[s >= threshold s_max] / s) U^T c`` for the Volterra convolution matrix ``A = U S V^T``. Only lags of
    0 and more exist: tissue earlier than the AIF reads too high, later tissue too low.

    Parameters
    ----------
    curves, aif, dt, times, aif_times
        as for :func:`csvd`
    threshold
        singular values below this part of the largest are dropped
    step, kh, rho
        as for :func:`csvd`

    Returns
    -------
    Deconvolution
        without ``delay`` and ``sd``

    Raises
    ------
    ValueError
        for curves or an AIF that cannot be deconvolved, or a threshold outside 0..1

    References
    ----------
    Ostergaard et al. 1996, https://doi.org/10.1002/mrm.1910360510
    """
    _check_threshold(threshold)
    bolus = on_regular_grid(check_bolus(curves, aif, dt, times, aif_times), step)
    lags = bolus.dt * torch.arange(len(bolus.aif), dtype=torch.float64, device=bolus.aif.device)
    return read_out(apply_filter(bolus.curves, _truncated_inverse(bolus, threshold)), lags, bolus, kh=kh, rho=rho)


def csvd(
    curves: Tensor,
    aif: Tensor,
    dt: float,
    *,
    times: Tensor | None = None,
    aif_times: Tensor | None = None,
    threshold: float = 0.1,
    step: float | None = 1.0,
    kh: float = KH,
    rho: float = RHO,
) -> Deconvolution:
    """Perfusion by block-circulant SVD deconvolution, which doesn't depend on the delay between AIF and tissue.

    The singular values of a circulant matrix are the moduli of its Fourier coefficients, so that
    ``k^(w) = c^(w) / g^(w)`` where ``|g^| >= threshold max |g^|`` and 0 elsewhere, on curves zero-padded to twice their
    length. The residue isn't clipped or rectified, and negative lags are kept.

    Parameters
    ----------
    curves
        ``(voxels, time)`` enhancement [HU], baseline subtracted
    aif
        ``(time,)`` enhancement [HU]
    dt
        time between frames [s]
    times
        ``(time,)`` or ``(voxels, time)`` [s] where frames are uneven or slices differ; replaces ``dt``
    aif_times
        ``(time,)`` [s] of the AIF, where they aren't ``times``
    threshold
        Fourier coefficients of the AIF below this part of the largest are dropped
    step
        curves sampled more coarsely than this [s], or unevenly, are resampled to it (thresholds compare only at one
        spacing); None keeps even frames as they are
    kh, rho
        hematocrit factor and density [g/mL]

    Returns
    -------
    Deconvolution
        without ``delay`` and ``sd``

    Raises
    ------
    ValueError
        for curves or an AIF that cannot be deconvolved, or a threshold outside 0..1

    References
    ----------
    Wu et al. 2003, https://doi.org/10.1002/mrm.10522
    """
    _check_threshold(threshold)
    bolus = on_regular_grid(check_bolus(curves, aif, dt, times, aif_times), step)
    lags, filters = _circulant_inverses(bolus, [threshold])
    return read_out(apply_filter(bolus.curves, filters[0]), lags, bolus, kh=kh, rho=rho)


def _truncated_inverse(bolus: Bolus, threshold: float) -> Tensor:
    """``(lags, time)`` pseudo-inverse of the Volterra matrix without its small singular values."""
    u, s, vt = torch.linalg.svd(volterra_matrix(bolus.aif, bolus.dt))
    kept = s >= threshold * s[0]
    inverse: Tensor = (vt[kept].T / s[kept]) @ u[:, kept].T
    return inverse


def _circulant_inverses(bolus: Bolus, thresholds: list[float]) -> tuple[Tensor, Tensor]:
    """Ascending lags ``(lags,)`` [s] and one filter ``(lags, time)`` per threshold, for zero-padded curves."""
    n = len(bolus.aif)
    length = 2 * n
    spectrum = torch.fft.rfft(circulant_column(bolus.aif, bolus.dt, length))
    size = spectrum.abs()
    kept = size >= torch.tensor(thresholds, dtype=size.dtype, device=size.device)[:, None] * size.max()
    response = torch.fft.irfft(torch.where(kept, 1.0 / torch.where(size > 0, spectrum, 1.0), 0.0), n=length)
    lags, order = circulant_lags(length, bolus.dt, like=bolus.aif).sort()
    shift = (order[:, None] - torch.arange(n, device=order.device)) % length  # (lags, time)
    return lags, response[:, shift]


def _check_threshold(threshold: float) -> None:
    """Refuse a threshold that keeps nothing or everything."""
    if not 0.0 < threshold < 1.0:
        raise ValueError(f"threshold must lie between 0 and 1, got {threshold}")
