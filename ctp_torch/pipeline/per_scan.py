"""Perfusion by a kernel ridge model that a scan makes for itself: it learns curves simulated from its own artery."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ctp_torch.models import KernelRidge
from ctp_torch.ops.bolus.arterial import residue_features
from ctp_torch.ops.bolus.curve_numbers import half_rise_time
from ctp_torch.ops.deconvolution.method import deconvolution
from ctp_torch.ops.deconvolution.passage import Passage
from ctp_torch.ops.deconvolution.result import Deconvolution, chunks, finish
from ctp_torch.ops.image.smoothing import smooth_in_time
from ctp_torch.ops.simulation.curves import Simulation, simulate_from_artery

__all__ = ["per_scan"]

LATE_S = 6.0
"""Tmax above this counts as hypoperfused [s]."""
LOW_FLOW = 0.3
"""Flow below this part of normal counts as core."""
_FLOWS = (3.0, 5.0, 8.0, 11.0, 14.0, 18.0, 23.0, 30.0, 40.0)
"""CBF [mL/100 g/min] at which the probability that flow is lower is learned."""
_WORKED_VALUES = 600
"""Values of work a voxel takes: features, kernels with the centres, targets."""


@deconvolution
def per_scan(
    passage: Passage,
    *,
    n_curves: int = 20_000,
    n_centers: int = 512,
    alpha: float = 1.0,
    gamma: float = 0.1,
    seed: int = 0,
) -> Deconvolution:
    """Perfusion by kernel ridge regression on curves of known perfusion, simulated from this very artery.

    The curves have the frames and the noise of the scan, and perfusion drawn from what the literature knows
    (`ctp_torch.ops.simulation`); the features are Wiener-filtered residues. Means, second moments and probabilities are
    targets of one factorisation: a Gaussian process' mean for each.

    Parameters
    ----------
    n_curves
        simulated
    n_centers
        that the model is spanned by
    alpha, gamma
        as of `ctp_torch.models.KernelRidge`, for features of deviation 1
    seed
        of the simulation and the centres

    Returns
    -------
    Deconvolution
        with ``sd`` of CBF, and in ``extra`` ``cbf_sd`` [mL/100 g/min], ``mtt_sd`` and ``tmax_sd`` [s], ``p_late`` and
        ``p_core`` [%]: the probabilities of Tmax above 6 s, and of CBF below 30 % of the normal tissue's

    References
    ----------
    Saunders, Gammerman, Vovk: Ridge regression learning algorithm in dual variables. ICML 1998.
    """
    curves, times = passage.curves, passage.times
    noise_hu = _noise(curves)
    generator = torch.Generator().manual_seed(seed)
    features, targets = [], []
    moments = _moments(times)
    for own in moments:
        scan = simulate_from_artery(
            passage.aif,
            passage.aif_times,
            own,
            voxels=-(-n_curves // len(moments)),
            noise_hu=noise_hu,
            n_baseline=_n_baseline(passage),
            generator=generator,
        )
        smooth = smooth_in_time(scan.curves[0].T).T.to(curves)
        features.append(residue_features(smooth, own, passage.aif, passage.aif_times))
        targets.append(_targets(scan))
    x, y = torch.cat(features), torch.cat(targets)
    scale = x.square().mean().sqrt()
    model = KernelRidge(alpha, gamma, solver="pivoted", n_centers=n_centers, seed=seed)
    model.fit(_compressed(x / scale), y.to(x))
    parts = []
    for rows in chunks(curves, _WORKED_VALUES):
        own = times if times.ndim == 1 else times[rows]
        seen = residue_features(curves[rows], own, passage.aif, passage.aif_times)
        parts.append(model.predict(_compressed(seen / scale)))
    return _result(torch.cat(parts), passage)


def _compressed(residues: Tensor) -> Tensor:
    """Residues with large values drawn together: flows differ by their ratio."""
    return torch.asinh(2.0 * residues)


def _moments(times: Tensor, n: int = 8) -> list[Tensor]:
    """Up to ``n`` of the times that slices were taken at, ``(time,)`` each."""
    if times.ndim == 1:
        return [times]
    distinct = torch.unique(times, dim=0)
    index = torch.linspace(0, len(distinct) - 1, min(n, len(distinct))).round().long()
    return list(distinct[index.to(distinct.device)])


def _noise(curves: Tensor) -> float:
    """Standard deviation of a frame [HU] before it was smoothed by [1/4, 1/2, 1/4], of curves ``(voxels, time)``.

    Second differences of what was smoothed so are a quarter of those between every other frame: their variance is 3/8
    of the noise's.
    """
    some = curves[:: max(1, len(curves) // 20_000)]
    return max(float(some.diff(n=2, dim=1).abs().flatten().median()) * 1.4826 / math.sqrt(0.375), 1e-3)


def _n_baseline(passage: Passage) -> int:
    """Frames up to 6 s before the artery has risen half way, three at least."""
    half = half_rise_time(passage.aif, passage.aif_times)
    return max(3, int((passage.aif_times < half - 6.0).sum()))


def _targets(scan: Simulation) -> Tensor:
    """What is learned ``(voxels, targets)``: means, squares, probabilities."""
    cbf, mtt, tmax = scan.cbf[0], scan.mtt[0], scan.tmax[0]
    log_cbf, log_mtt = cbf.log(), mtt.log()  # errors count by their ratio, so that low flow is as sharp as high
    listed = [log_cbf, log_mtt, tmax, scan.cbv[0].log(), scan.delay[0]]
    listed += [log_cbf.square(), log_mtt.square(), tmax.square(), (tmax > LATE_S).float()]
    return torch.stack([*listed, *((cbf < flow).float() for flow in _FLOWS)], dim=1)


def _result(predicted: Tensor, passage: Passage) -> Deconvolution:
    """The maps of what was predicted ``(voxels, targets)``."""
    log_cbf, log_mtt, tmax, log_cbv, delay, *squares, late = predicted[:, :9].unbind(1)
    means = (log_cbf, log_mtt, tmax)
    sds = [(square - mean.square()).clamp_min(0.0).sqrt() for square, mean in zip(squares, means, strict=True)]
    cbf, mtt, cbv = log_cbf.exp(), log_mtt.exp(), log_cbv.exp()
    normal = cbf[tmax < LATE_S - 2.0]
    limit = LOW_FLOW * float(normal.median()) if len(normal) else 0.0
    extra = {
        "cbf_sd": cbf * sds[0],
        "mtt_sd": mtt * sds[1],
        "tmax_sd": sds[2],
        "p_late": 100.0 * late.clamp(0.0, 1.0),
        "p_core": 100.0 * _between(predicted[:, 9:], limit).clamp(0.0, 1.0),
    }
    result = Deconvolution(cbf, cbv, mtt, tmax.clamp_min(0.0), delay, sd=extra["cbf_sd"], extra=extra)
    return finish(result, passage)


def _between(probabilities: Tensor, flow: float) -> Tensor:
    """The probability ``(voxels,)`` that CBF is below ``flow``, linear between those learned ``(voxels, flows)``."""
    flows = [0.0, *_FLOWS]
    above = next((i for i, limit in enumerate(flows) if limit >= flow), len(flows) - 1)
    if above == 0:
        return torch.zeros_like(probabilities[:, 0])
    share = min((flow - flows[above - 1]) / (flows[above] - flows[above - 1]), 1.0)
    low = probabilities[:, above - 2] if above > 1 else torch.zeros_like(probabilities[:, 0])
    return low + share * (probabilities[:, above - 1] - low)
