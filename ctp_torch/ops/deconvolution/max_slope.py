"""CBF by the maximum slope: flow in before any flows out."""

from __future__ import annotations

from torch import Tensor

from ctp_torch.ops.bolus.curve_numbers import time_to_peak
from ctp_torch.ops.deconvolution.passage import check_passage, on_regular_grid
from ctp_torch.ops.deconvolution.result import Deconvolution, mean_transit_time, settle
from ctp_torch.ops.deconvolution.units import KH, RHO, flow_per_peak, volume_per_area

__all__ = ["max_slope"]


def max_slope(
    curves: Tensor,
    aif: Tensor,
    dt: float,
    *,
    times: Tensor | None = None,
    aif_times: Tensor | None = None,
    step: float | None = 1.0,
    kh: float = KH,
    rho: float = RHO,
) -> Deconvolution:
    """Perfusion without deconvolution: ``CBF = 6000 (kH / rho) max(dc/dt) / max(a)``, low where blood leaves early.

    Parameters
    ----------
    curves, aif, dt, times, aif_times
        as for :func:`~ctp_torch.ops.csvd`
    step
        curves sampled more coarsely than this [s], or unevenly, are resampled to it; None keeps even frames
    kh, rho
        as for :func:`~ctp_torch.ops.csvd`

    Returns
    -------
    Deconvolution
        ``delay`` is the time from the AIF's peak to the curve's and ``tmax`` the same, cut at 0; no ``k``, ``lags``
        or ``sd``

    Raises
    ------
    ValueError
        for curves or an AIF that cannot be used

    References
    ----------
    Klotz and Konig 1999, Eur J Radiol 30:170
    """
    passage = on_regular_grid(check_passage(curves, aif, dt, times, aif_times), step)
    rise = (passage.curves[:, 2:] - passage.curves[:, :-2]).amax(dim=1) / (2 * passage.dt)  # central differences
    cbf = rise / float(passage.aif.max()) * flow_per_peak(kh, rho)
    cbv = passage.area_ratio * volume_per_area(kh, rho)
    peaks = time_to_peak(passage.curves, passage.times)
    delay = peaks - float(time_to_peak(passage.aif[None], passage.aif_times))
    mtt = mean_transit_time(cbv, cbf)
    return settle(Deconvolution(cbf, cbv, mtt, delay.clamp(min=0), delay, None, None, None), passage)
