"""Flow that leaves the blood through a leaking barrier: the box model with extraction, and Patlak's line."""

from __future__ import annotations

import math
import warnings
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ctp_torch.errors import QualityError
from ctp_torch.ops.bolus.curve_numbers import half_rise_time
from ctp_torch.ops.bolus.resample import resample_curves
from ctp_torch.ops.deconvolution.box import aif_table
from ctp_torch.ops.deconvolution.convolution import aif_integral
from ctp_torch.ops.deconvolution.dictionary import match_atoms
from ctp_torch.ops.deconvolution.least_squares import damped_steps
from ctp_torch.ops.deconvolution.passage import DeconvolutionWarning, Passage, by_timing, finer_aif
from ctp_torch.ops.deconvolution.result import chunks

__all__ = ["Permeability", "ShortForPermeabilityWarning", "permeability"]

LEAST_S, ENOUGH_S = 90.0, 150.0
"""Length of a scan below which no leakage is told, and below which it is doubtful [s]."""

LATE_S = 35.0
"""The first pass is over this long after the AIF has risen half way [s]: Patlak's line is fitted to what follows."""

GRID = ((-2.0, 8.0, 21), (2.0, 30.0, 20))
"""Delays and transit times [s] from which the regression starts: from, to, how many."""


class ShortForPermeabilityWarning(DeconvolutionWarning):
    """The scan is short: what is still in the vessels passes for leakage."""


class Permeability(NamedTuple):
    """Leakage of every voxel, ``(voxels,)``; 0 where a curve is flat, NaN where it isn't finite."""

    flow_extraction: Tensor
    """K, the flow times the part of the tracer that leaves the blood [mL/100 g/min]; noise makes it negative too."""
    cbv: Tensor
    """Blood volume without what has leaked [mL/100 g]."""


def permeability(
    passage: Passage, *, method: Literal["regression", "patlak"] = "regression", steps: int = 8
) -> Permeability:
    r"""Flow extraction K of a long scan, by regression on the whole curve or by Patlak's line on its late part.

    .. math:: c(t) = \frac{v}{M} [I(t - D) - I(t - D - M)] + K I(t - D - M), \quad I(t) = \int_0^t a

    The regression fits volume v, transit time M, delay D and K of a box-shaped residue that ends on a plateau, all
    voxels at once. Patlak's line is ``c = v a + K I`` from 35 s after the artery's rise on, fitted to c itself: divided
    by a, as it is drawn, the noise of late frames would count most. With E = K / CBF, PS is ``-CBF log(1 - E)``.

    Parameters
    ----------
    passage
        curves and AIF of at least 90 s
    method
        ``"regression"``, the more precise in scans of 90 to 120 s or with coarse frames, or ``"patlak"``, the less
        biased in longer ones
    steps
        damped Gauss-Newton steps of the regression

    Raises
    ------
    QualityError
        the scan is shorter than 90 s: values of a first pass are 2.7 to 5.8 times too high
    ValueError
        for an unknown method

    Warns
    -----
    ShortForPermeabilityWarning
        the scan is shorter than 150 s

    References
    ----------
    Bennink et al. 2013, https://doi.org/10.1038/jcbfm.2013.122 (the regression of a simplified residue); Patlak et al.
    1983, https://doi.org/10.1038/jcbfm.1983.1; Dankbaar et al. 2008, https://doi.org/10.3174/ajnr.A1203 (first pass
    against delayed phase); Hom et al. 2009, https://doi.org/10.3174/ajnr.A1592 (how long to scan)
    """
    if method not in ("regression", "patlak"):
        raise ValueError(f"unknown method {method!r} of permeability; choose 'regression' or 'patlak'")
    seconds = float(passage.times.max() - passage.times.min())
    if seconds < LEAST_S:
        raise QualityError(
            f"the scan lasts {seconds:.0f} s: leakage needs {LEAST_S:.0f} s at least, {ENOUGH_S:.0f} s to be trusted; "
            "in a first pass contrast that is still in the vessels passes for leakage, 2.7 to 5.8 times too much"
        )
    if seconds < ENOUGH_S:
        text = f"the scan lasts {seconds:.0f} s: leakage reads high below {ENOUGH_S:.0f} s"
        warnings.warn(text, ShortForPermeabilityWarning, stacklevel=2)
    fine, fine_times = finer_aif(passage)
    late = half_rise_time(passage.aif, passage.aif_times) + LATE_S

    def solve(curves: Tensor, moments: Tensor) -> tuple[Tensor, Tensor]:
        volume, leak = _patlak(curves, moments, passage, late)
        if method == "patlak":
            return leak, volume
        return _regression(curves, fine, fine_times, moments, leak, steps)

    leak, volume = by_timing(passage, solve)
    return Permeability(passage.blank(leak * passage.flow_per_peak), passage.blank(volume * passage.volume_per_area))


def _patlak(curves: Tensor, times: Tensor, passage: Passage, late: float) -> tuple[Tensor, Tensor]:
    """Volume as part of the AIF's area and flow extraction [1/s], ``(voxels,)`` each, of the frames after ``late``."""
    rows = times >= late
    if int(rows.sum()) < 4:
        raise QualityError(f"fewer than 4 frames after the first pass, from {late:.0f} s on: leakage can't be told")
    at = times[rows]
    area = aif_integral(passage.aif, passage.aif_times, at)
    height = resample_curves(passage.aif, passage.aif_times, at, method="linear")
    design = torch.stack((height, area), dim=1)  # (late, 2)
    solution = curves[:, rows] @ torch.linalg.pinv(design).T.to(curves)
    return solution[:, 0], solution[:, 1]


def _regression(
    curves: Tensor, aif: Tensor, aif_times: Tensor, times: Tensor, leak: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """Flow extraction [1/s] and volume as part of the AIF's area, from the box that fits best beside ``leak`` on."""
    (first, last, count), (low, high, number) = GRID
    delays, mtts = (
        part.flatten()
        for part in torch.meshgrid(
            torch.linspace(first, last, count, dtype=torch.float64, device=aif.device),
            torch.logspace(math.log10(low), math.log10(high), number, dtype=torch.float64, device=aif.device),
            indexing="ij",
        )
    )
    since = times - delays[:, None]  # (atoms, time)
    boxes = aif_integral(aif, aif_times, since) - aif_integral(aif, aif_times, since - mtts[:, None])
    flat = torch.zeros_like(mtts)
    leaked = leak[:, None] * aif_integral(aif, aif_times, times).to(curves)
    match = match_atoms(curves - leaked, boxes / mtts[:, None], flat, flat[:, None], flat[:, None])
    fit = torch.stack((match.amplitude, mtts.to(curves)[match.best], delays.to(curves)[match.best], leak), dim=1)
    look_up, moments = aif_table(aif, aif_times, times, curves)

    def model(parameters: Tensor) -> tuple[Tensor, Tensor]:
        volume, mtt, delay, extraction = parameters[:, :, None].unbind(1)  # (voxels, 1) each
        since = moments - delay
        (area_in, arrived), (area_out, left) = look_up(since), look_up(since - mtt)
        flow, shape = volume / mtt, (area_in - area_out) / mtt
        by_mtt = (flow - extraction) * left - volume * shape / mtt
        by_delay = flow * (left - arrived) - extraction * left
        return volume * shape + extraction * area_out, torch.stack((shape, by_mtt, by_delay, area_out), dim=2)

    bounds = ((0.0, math.inf), (low, high), (first, last), (-math.inf, math.inf))
    for rows in chunks(curves, 10 * curves.shape[1]):
        fit[rows] = damped_steps(model, curves[rows], fit[rows], bounds=bounds, steps=steps)
    return fit[:, 3], fit[:, 0]
