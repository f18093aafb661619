"""Standard SVD deconvolution after moving the AIF to each voxel's own arrival."""

from __future__ import annotations

import torch
from torch import Tensor

from ctp_torch.ops.deconvolution import Deconvolution, peak_of_residue, read_out, settle
from ctp_torch.ops.dictionary import match_atoms
from ctp_torch.ops.passage import Passage, by_timing, check_passage, finer_aif, on_regular_grid
from ctp_torch.ops.resample import resample_curves
from ctp_torch.ops.svd import truncated_inverse
from ctp_torch.ops.units import KH, RHO
from ctp_torch.ops.vascular import vascular_dictionary, vascular_prior

__all__ = ["delay_corrected_ssvd"]

SHAPES = (1.0, 3.0, 200.0)
"""Shapes of the transit time distribution behind the delay: exponential, in between, box."""

DELAY_STEP = 0.5
"""Delays are rounded to this [s]: voxels of the same delay share a filter."""


def delay_corrected_ssvd(
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
    """Perfusion by standard SVD deconvolution with the AIF shifted by each voxel's delay.

    The delay is the posterior mean under the vascular model's dictionary, rounded to 0.5 s; the voxels of one delay
    share the filter of :func:`~ctp_torch.ops.ssvd` made from ``a(t - delay)``.

    Parameters
    ----------
    curves, aif, dt, times, aif_times
        as for :func:`~ctp_torch.ops.csvd`
    threshold
        singular values below this part of the largest are dropped
    step, kh, rho
        as for :func:`~ctp_torch.ops.csvd`

    Returns
    -------
    Deconvolution
        ``lags`` of ``k`` count from the voxel's own arrival; ``tmax`` is ``delay`` plus the lag of the maximum

    Raises
    ------
    ValueError
        for curves or an AIF that cannot be deconvolved, or a threshold outside 0..1

    References
    ----------
    Ibaraki et al. 2005, J Cereb Blood Flow Metab 25:378
    """
    if not 0.0 < threshold < 1.0:
        raise ValueError(f"threshold must lie between 0 and 1, got {threshold}")
    passage = check_passage(curves, aif, dt, times, aif_times)
    delay = _delays(passage)
    passage = on_regular_grid(passage, step)
    lags = passage.dt * torch.arange(len(passage.aif), dtype=torch.float64, device=passage.aif.device)
    k = passage.curves.new_empty(passage.curves.shape)
    for shift in torch.unique(delay).tolist():
        members = (delay == shift).nonzero().squeeze(1)
        moved = resample_curves(passage.aif, passage.times, passage.times - shift)
        k[members] = passage.curves[members] @ truncated_inverse(moved, passage.dt, threshold).to(k).T
    found = read_out(k, lags, passage, kh=kh, rho=rho)
    _, since = peak_of_residue(k, lags)
    return settle(found._replace(tmax=(since + delay).clamp(min=0), delay=delay), passage)


def _delays(passage: Passage) -> Tensor:
    """Delay ``(voxels,)`` [s] of each curve by the vascular model, rounded."""
    fine, fine_times = finer_aif(passage)

    def solve(curves: Tensor, moments: Tensor) -> tuple[Tensor]:
        transit, atoms = vascular_dictionary(fine, fine_times, moments, SHAPES)
        nothing = transit.mtt[:, None]
        match = match_atoms(curves, atoms, vascular_prior(transit), transit.delay[:, None], nothing)
        return ((match.means[:, 0] / DELAY_STEP).round() * DELAY_STEP,)

    (delay,) = by_timing(passage, solve)
    return delay
