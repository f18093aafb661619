"""What every deconvolution returns, and the one readout of CBF, CBV, MTT and Tmax from a residue function."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.ops.bolus import Bolus
from ctp_torch.ops.parameters import parabola_offset
from ctp_torch.ops.units import KH, RHO, SECONDS_PER_MINUTE, flow_per_peak, volume_per_area

__all__ = [
    "SEARCH_WINDOW",
    "VOXELS_PER_CHUNK",
    "Deconvolution",
    "apply_filter",
    "mean_transit_time",
    "peak_of_residue",
    "read_out",
    "settle",
]

SEARCH_WINDOW = (-5.0, 25.0)
"""Lags [s] in which the maximum of the residue function is looked for."""

VOXELS_PER_CHUNK = 16_384
"""Curves filtered at a time: what they make stays in the processor's cache."""


class Deconvolution(NamedTuple):
    """Perfusion of every voxel; None for what a method doesn't give."""

    cbf: Tensor
    """``(voxels,)`` cerebral blood flow [mL/100 g/min]."""
    cbv: Tensor
    """``(voxels,)`` cerebral blood volume [mL/100 g]."""
    mtt: Tensor
    """``(voxels,)`` mean transit time [s]."""
    tmax: Tensor | None
    """``(voxels,)`` time of the maximum of the residue function [s], never below 0."""
    delay: Tensor | None
    """``(voxels,)`` arrival of the tissue after the AIF [s]; negative where the tissue is earlier."""
    k: Tensor | None
    """``(voxels, lags)`` flow-scaled residue function CBF · R [1/s]."""
    lags: Tensor | None
    """``(lags,)`` ascending [s]; negative ones are residues of tissue that is earlier than the AIF."""
    sd: Tensor | None
    """``(voxels,)`` standard deviation of ``cbf`` [mL/100 g/min]."""


def apply_filter(curves: Tensor, filters: Tensor) -> Tensor:
    """Residue functions ``(voxels, lags)`` of curves ``(voxels, time)`` under a linear filter ``(lags, time)``."""
    transposed = filters.to(curves).T.contiguous()  # (time, lags)
    k = curves.new_empty(curves.shape[0], filters.shape[0])
    for rows in range(0, curves.shape[0], VOXELS_PER_CHUNK):
        chunk = slice(rows, rows + VOXELS_PER_CHUNK)
        torch.mm(curves[chunk], transposed, out=k[chunk])
    return k


def read_out(k: Tensor, lags: Tensor, bolus: Bolus, *, kh: float = KH, rho: float = RHO) -> Deconvolution:
    """CBF, CBV, MTT and Tmax from residue functions.

    ``CBF = 6000 (kH / rho) max k`` over the sampled lags in [-5, 25] s, ``CBV = 100 (kH / rho) ∫c / ∫a``,
    ``MTT = 60 CBV / CBF``, and Tmax is the lag of the maximum, refined by a parabola through its two neighbours and
    never reported below 0 (``k`` and ``lags`` keep the sign).

    Parameters
    ----------
    k
        ``(voxels, lags)`` [1/s]
    lags
        ``(lags,)`` ascending, evenly spaced [s]
    bolus
        the checked curves that ``k`` came from
    kh, rho
        hematocrit factor and density [g/mL]

    Returns
    -------
    Deconvolution
        with ``k`` itself inside; ``delay`` and ``sd`` are None
    """
    peak, tmax = peak_of_residue(k, lags)
    cbf = peak * flow_per_peak(kh, rho)
    cbv = bolus.area_ratio * volume_per_area(kh, rho)
    found = Deconvolution(cbf, cbv, mean_transit_time(cbv, cbf), tmax.clamp(min=0), None, k, lags.to(k), None)
    return settle(found, bolus)


def peak_of_residue(k: Tensor, lags: Tensor) -> tuple[Tensor, Tensor]:
    """Largest values ``(voxels,)`` [1/s] in the search window and their signed, refined lags ``(voxels,)`` [s]."""
    slack = 1e-6 * float(lags[-1] - lags[0])
    window = ((lags >= SEARCH_WINDOW[0] - slack) & (lags <= SEARCH_WINDOW[1] + slack)).nonzero().squeeze(1)
    first, last = int(window[0]), int(window[-1])
    step = float(lags[1] - lags[0])
    peak, tmax = k.new_empty(k.shape[0]), k.new_empty(k.shape[0])
    for rows in range(0, k.shape[0], VOXELS_PER_CHUNK):
        chunk = k[rows : rows + VOXELS_PER_CHUNK]
        value, best = chunk[:, first : last + 1].max(dim=1, keepdim=True)  # (chunk, 1)
        inside = (best + first).clamp(1, k.shape[1] - 2)
        offset = parabola_offset(*(chunk.gather(1, inside + i) for i in (-1, 0, 1)))
        offset = torch.where((best > 0) & (best < last - first) & (inside == best + first), offset, 0.0)
        peak[rows : rows + VOXELS_PER_CHUNK] = value[:, 0]
        tmax[rows : rows + VOXELS_PER_CHUNK] = ((best + offset) * step)[:, 0] + float(lags[first])
    return peak, tmax


def settle(found: Deconvolution, bolus: Bolus) -> Deconvolution:
    """The result with 0 for flat curves and NaN for those that weren't finite."""
    for voxels, value in ((bolus.flat, 0.0), (bolus.invalid, torch.nan)):
        if voxels is not None:
            found = found._replace(
                **{
                    name: part.masked_fill(voxels if part.ndim == 1 else voxels[:, None], value)
                    for name, part in found._asdict().items()
                    if part is not None and name != "lags"
                }
            )
    return found


def mean_transit_time(cbv: Tensor, cbf: Tensor) -> Tensor:
    """MTT ``(voxels,)`` [s] by the central volume theorem, ``60 CBV / CBF``; 0 where nothing flows."""
    return torch.where(cbf > 0, SECONDS_PER_MINUTE * cbv / cbf, torch.where(cbf.isnan(), cbf, 0.0))
