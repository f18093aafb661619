"""CBF by the maximum slope: flow in before any flows out."""

from __future__ import annotations

from ctp_torch.ops.bolus.curve_numbers import time_to_peak
from ctp_torch.ops.deconvolution.method import deconvolution
from ctp_torch.ops.deconvolution.passage import Passage, on_regular_grid
from ctp_torch.ops.deconvolution.result import Deconvolution, from_peak

__all__ = ["max_slope"]


@deconvolution
def max_slope(passage: Passage, *, step: float | None = 1.0) -> Deconvolution:
    """Perfusion without deconvolution: ``CBF = 6000 (kH / rho) max(dc/dt) / max(a)``, low where blood leaves early.

    Parameters
    ----------
    step
        curves sampled more coarsely than this [s], or unevenly, are resampled to it; None keeps even frames

    Returns
    -------
    Deconvolution
        ``delay`` is the time from the AIF's peak to the curve's and ``tmax`` the same, cut at 0; no ``k``, ``lags``
        or ``sd``

    References
    ----------
    Klotz and Konig 1999, Eur J Radiol 30:170
    """
    passage = on_regular_grid(passage, step)
    rise = (passage.curves[:, 2:] - passage.curves[:, :-2]).amax(dim=1) / (2 * passage.dt)  # central differences
    peaks = time_to_peak(passage.curves, passage.times)
    delay = peaks - float(time_to_peak(passage.aif[None], passage.aif_times))
    return from_peak(rise / float(passage.aif.max()), delay, passage, delay=delay)
