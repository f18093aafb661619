"""Deconvolution by truncated SVD: standard, block-circulant, with an oscillation index."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ctp_torch.ops.bolus.curve_numbers import area
from ctp_torch.ops.deconvolution.convolution import circulant_column, circulant_lags, volterra_matrix
from ctp_torch.ops.deconvolution.method import deconvolution
from ctp_torch.ops.deconvolution.passage import Passage, on_regular_grid
from ctp_torch.ops.deconvolution.result import Deconvolution, chunks, read_filtered, read_out

__all__ = ["check_threshold", "csvd", "oscillation_index", "osvd", "ssvd", "truncated_inverse"]

OSVD_THRESHOLDS = (0.01, *(0.05 * i for i in range(1, 20)))
"""The bank of oSVD: 1 %, 5 %, 10 % .. 95 % of the largest Fourier coefficient of the AIF."""

BY_NOISE = ((0.03, 0.08), (0.25, 0.035))
"""Noise of a curve as part of its peak, and the limit of the oscillation index: of a clear curve and of a noisy one."""

BY_WIDTH = ((13.0, 0.08), (24.0, 0.045))
"""Area of the AIF over its peak [s], and the highest limit: of a narrow one and of a wide one with a long tail, whose
residues are so smooth that oscillation is noise earlier. Both chosen on exponential and Fermi residues behind six
arteries, at 0.5 to 2 HU and frames 1 and 2 s apart; logarithmic in the noise, linear in the width."""


@deconvolution
def ssvd(
    passage: Passage,
    *,
    threshold: float = 0.2,
    step: float | None = 1.0,
    residues: bool = True,
) -> Deconvolution:
    """Perfusion by standard SVD deconvolution; CBF depends on the delay between AIF and tissue.

    ``k = V diag(1[s >= threshold s_max] / s) U^T c`` for the Volterra convolution matrix ``A = U S V^T``. Only lags of
    0 and more exist: tissue earlier than the AIF reads too high, later tissue too low.

    Parameters
    ----------
    threshold
        singular values below this part of the largest are dropped
    step, residues
        as for :func:`csvd`

    Returns
    -------
    Deconvolution
        without ``delay`` and ``sd``

    Raises
    ------
    ValueError
        for a threshold outside 0..1

    References
    ----------
    Ostergaard et al. 1996, https://doi.org/10.1002/mrm.1910360510
    """
    check_threshold(threshold)
    passage = on_regular_grid(passage, step)
    lags = passage.dt * torch.arange(len(passage.aif), dtype=torch.float64, device=passage.aif.device)
    inverse = truncated_inverse(passage.aif, passage.dt, threshold)
    return read_filtered(inverse, lags, passage, residues=residues)


@deconvolution
def csvd(
    passage: Passage,
    *,
    threshold: float = 0.1,
    step: float | None = 1.0,
    residues: bool = True,
) -> Deconvolution:
    """Perfusion by block-circulant SVD deconvolution, which doesn't depend on the delay between AIF and tissue.

    The singular values of a circulant matrix are the moduli of its Fourier coefficients, so that
    ``k^(w) = c^(w) / g^(w)`` where ``|g^| >= threshold max |g^|`` and 0 elsewhere, on curves zero-padded to twice their
    length. The residue isn't clipped or rectified, and negative lags are kept.

    Parameters
    ----------
    threshold
        Fourier coefficients of the AIF below this part of the largest are dropped
    step
        curves sampled more coarsely than this [s], or unevenly, are resampled to it (thresholds compare only at one
        spacing); None keeps even frames as they are
    residues
        False leaves ``k`` and ``lags`` out, for maps of whole volumes: a third of the time and memory

    Returns
    -------
    Deconvolution
        without ``delay`` and ``sd``

    Raises
    ------
    ValueError
        for a threshold outside 0..1

    References
    ----------
    Wu et al. 2003, https://doi.org/10.1002/mrm.10522
    """
    check_threshold(threshold)
    passage = on_regular_grid(passage, step)
    lags, filters = _circulant_inverses(passage, [threshold])
    return read_filtered(filters[0], lags, passage, residues=residues)


@deconvolution
def osvd(passage: Passage, *, oscillation: float | None = None, step: float | None = 1.0) -> Deconvolution:
    """Perfusion by block-circulant SVD with the smallest threshold whose residue doesn't oscillate, voxel by voxel.

    Thresholds 0.01, 0.05, 0.10 .. 0.95 are tried in that order until ``OI < oscillation``; the last is taken in any
    case. The index depends on the spacing of the lags, so it is evaluated about every second: on the resampled grid,
    or on every second, third .. lag where frames are denser.

    Parameters
    ----------
    oscillation
        the limit of the oscillation index. None: from 0.08 for clear curves down to 0.035 for noisy ones, and no more
        than 0.045 behind a wide AIF. The literature's 0.095 for all gives noise where the AIF is wide (at 1 HU and a
        width of 19 s CBF correlates with the truth by .54, here by .90), its 0.035 low flow where it is narrow
    step
        as for :func:`csvd`; None lets the index see coarse lags, on which the limit means something else

    Returns
    -------
    Deconvolution
        without ``delay`` and ``sd``

    Raises
    ------
    ValueError
        for a limit that is not positive

    References
    ----------
    Wu et al. 2003, https://doi.org/10.1002/mrm.10522
    """
    if oscillation is not None and not oscillation > 0:
        raise ValueError(f"the limit of the oscillation index must be positive, got {oscillation}")
    limit = _oscillation_limit(passage) if oscillation is None else passage.cbv.new_tensor(oscillation)
    limit = limit.expand(len(passage.curves))
    passage = on_regular_grid(passage, step)
    lags, filters = _circulant_inverses(passage, OSVD_THRESHOLDS)
    # The index is defined on lags as a circulant matrix stores them, 0 first and negative ones last. Second differences
    # are linear in the curve too: appended to the filters, one product gives a residue together with its oscillation.
    stored = filters.roll(len(lags) // 2 + 1, dims=1)[:, :: max(1, round(1.0 / passage.dt))]
    bends = stored[:, 2:] - 2 * stored[:, 1:-1] + stored[:, :-2]
    banks = torch.cat((filters, bends / stored.shape[1]), dim=1).to(passage.curves)
    banks = banks.mT.contiguous()  # (thresholds, time, lags + bends)
    k = passage.curves.new_empty(len(passage.curves), len(lags))
    voxels = torch.arange(len(k), device=k.device)
    for chunk in chunks(k, banks.shape[2]):
        rows, curves = voxels[chunk], passage.curves[chunk]  # those without a residue yet
        buffer = k.new_empty(len(curves), banks.shape[2])
        # The lower the threshold, the more of the residue is kept, and of the noise: the first residue that doesn't
        # oscillate is the least cut. Higher thresholds see only those voxels that lower ones left oscillating.
        for i, bank in enumerate(banks):
            # gradients need memory that isn't written to again
            product = torch.mm(curves, bank, out=None if curves.requires_grad else buffer[: len(curves)])
            residue, bent = product[:, : len(lags)], product[:, len(lags) :].abs().sum(dim=1)
            calm = bent < limit[rows] * residue.amax(dim=1)  # a residue without a peak is never calm
            if i == len(banks) - 1:
                calm.fill_(True)
            k[rows[calm]] = residue[calm]
            rows, curves = rows[~calm], curves[~calm]
            if len(rows) == 0:
                break
    return read_out(k, lags, passage)


def _oscillation_limit(passage: Passage) -> Tensor:
    """Limit of the oscillation index ``(voxels,)`` by each curve's noise and the AIF's width, of frames as taken."""
    curves = passage.curves
    noise = curves.diff(n=3, dim=1).abs().median(dim=1).values / (0.6745 * math.sqrt(20.0))  # a bolus is smoother
    peak = ((curves[:, :-2] + 2 * curves[:, 1:-1] + curves[:, 2:]) / 4).amax(dim=1)
    (clear, high), (noisy, low) = BY_NOISE
    part = (noise / (clear * peak).clamp(min=torch.finfo(peak.dtype).tiny)).clamp(min=1e-6).log()
    limit = high + (low - high) * (part / math.log(noisy / clear)).clamp(0.0, 1.0)
    (narrow, most), (wide, least) = BY_WIDTH
    width = float(area(passage.aif, passage.aif_times) / passage.aif.max())
    return limit.clamp(max=most + (least - most) * min(max((width - narrow) / (wide - narrow), 0.0), 1.0))


def oscillation_index(k: Tensor) -> Tensor:
    """Oscillation index ``(voxels,)`` of residues ``(voxels, lags)``: mean absolute second difference over the maximum.

    ``OI = sum |k[j] - 2 k[j-1] + k[j-2]| / (lags · max k)`` from j = 2 on, lags in the order of a circulant residue:
    0 first, negative ones last.
    """
    return k.diff(n=2, dim=-1).abs().sum(dim=-1) / (k.shape[-1] * k.amax(dim=-1))


def truncated_inverse(aif: Tensor, dt: float, threshold: float) -> Tensor:
    """``(lags, time)`` pseudo-inverse of the Volterra matrix without its small singular values."""
    u, s, vt = torch.linalg.svd(volterra_matrix(aif, dt))
    kept = s >= threshold * s[0]
    inverse: Tensor = (vt[kept].T / s[kept]) @ u[:, kept].T
    return inverse


def _circulant_inverses(passage: Passage, thresholds: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Ascending lags ``(lags,)`` [s] and one filter ``(lags, time)`` per threshold, for zero-padded curves."""
    n = len(passage.aif)
    length = (
        2 * n
    )  # zeros of the curve's own length: what wraps round a circle then falls on them, and not on the bolus
    spectrum = torch.fft.rfft(circulant_column(passage.aif, passage.dt, length))
    size = spectrum.abs()
    kept = size >= torch.tensor(thresholds, dtype=size.dtype, device=size.device)[:, None] * size.max()
    response = torch.fft.irfft(torch.where(kept, 1.0 / torch.where(size > 0, spectrum, 1.0), 0.0), n=length)
    lags, order = circulant_lags(length, passage.dt, like=passage.aif).sort()
    # Stored as a circle, lag length - 1 is lag -1: sorted, tissue that is earlier than the AIF has a peak of its own.
    shift = (order[:, None] - torch.arange(n, device=order.device)) % length  # (lags, time)
    return lags, response[:, shift]


def check_threshold(threshold: float) -> None:
    """Refuse a threshold that keeps nothing or everything."""
    if not 0.0 < threshold < 1.0:
        raise ValueError(f"threshold must lie between 0 and 1, got {threshold}")
