"""Perfusion by a kernel ridge model that a scan makes for itself: it learns curves simulated from its own artery."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

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
_LEAST_VARIANCE = 1e-4
"""Nothing is surer than this: 1 % of flow and transit time, 0.01 s of Tmax."""
_LOG_OF_SQUARE = 1.27
"""By which the logarithm of the mean square lies above the mean logarithm of squares, for a normal distribution."""
_WORKED_VALUES = 600
"""Values of work a voxel takes: features, kernels with the centres, targets."""


class ScanModel(NamedTuple):
    """What a scan's own artery taught."""

    model: KernelRidge
    scale: Tensor
    """Of the features."""


@deconvolution
def per_scan(
    passage: Passage,
    *,
    n_curves: int = 20_000,
    n_centers: int = 512,
    alpha: float = 1.0,
    gamma: float = 0.1,
    seed: int = 0,
    learned: ScanModel | None = None,
) -> Deconvolution:
    """Perfusion by kernel ridge regression on curves of known perfusion, simulated from this very artery.

    The curves have the frames and the noise of the scan, and perfusion drawn from what the literature knows
    (`ctp_torch.ops.simulation`); the features are Wiener-filtered residues. Means and probabilities are targets
    of one factorisation, and so, after them, are the squares by which the means miss.

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
    learned
        a model made for the same artery and frames before; it makes its own when None

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
    if learned is None:
        learned = _learn(passage, n_curves=n_curves, n_centers=n_centers, alpha=alpha, gamma=gamma, seed=seed)
    model, scale = learned
    parts = []
    for rows in chunks(curves, _WORKED_VALUES):
        own = times if times.ndim == 1 else times[rows]
        seen = residue_features(curves[rows], own, passage.aif, passage.aif_times)
        parts.append(model.predict(_compressed(seen / scale)))
    return _result(torch.cat(parts), passage)


def _learn(
    passage: Passage,
    *,
    n_curves: int = 20_000,
    n_centers: int = 512,
    alpha: float = 1.0,
    gamma: float = 0.1,
    seed: int = 0,
) -> ScanModel:
    """The model of curves simulated for a passage, with its noise."""
    curves = passage.curves
    noise_hu = _noise(curves)
    generator = torch.Generator().manual_seed(seed)
    features, targets = [], []
    moments = _moments(passage.times)
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
    kernel_ridge = partial(KernelRidge, alpha, gamma, solver="pivoted", n_centers=n_centers, seed=seed)
    return ScanModel(_with_variances(kernel_ridge, _compressed(x / scale), y.to(x)), scale)


def _for_scan(*arguments: Any, **moments: Any) -> Callable[..., Deconvolution]:
    """The method with a model that it makes once, from all the curves of a scan."""
    return partial(per_scan, learned=_learn(Passage(*arguments, **moments)))


vars(per_scan)["for_scan"] = _for_scan


def _compressed(residues: Tensor) -> Tensor:
    """Residues with large values drawn together: flows differ by their ratio."""
    return torch.asinh(2.0 * residues)


def _with_variances(kernel_ridge: Callable[[], KernelRidge], x: Tensor, y: Tensor) -> KernelRidge:
    """The model of the targets, and of the logarithms of the squares by which it misses the first three: one model.

    The difference of a second moment and a squared mean, each with an error of its own, would often be negative.
    """
    model = kernel_ridge().fit(x, y)
    missed = kernel_ridge().fit(x, (y - model.predict(x))[:, :3].square().clamp_min(_LEAST_VARIANCE).log())
    model.dual_coef_ = torch.cat((model.dual_coef_, missed.dual_coef_), dim=-1)
    model.intercept_ = torch.cat((model.intercept_, missed.intercept_), dim=-1)
    return model


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
    return torch.stack([*listed, (tmax > LATE_S).float(), *((cbf < flow).float() for flow in _FLOWS)], dim=1)


def _result(predicted: Tensor, passage: Passage) -> Deconvolution:
    """The maps of what was predicted ``(voxels, targets)``."""
    log_cbf, log_mtt, tmax, log_cbv, delay, late = predicted[:, :6].unbind(1)
    below, variances = predicted[:, 6 : 6 + len(_FLOWS)], predicted[:, 6 + len(_FLOWS) :]
    sds = (0.5 * (variances + _LOG_OF_SQUARE)).exp().unbind(1)
    cbf, mtt, cbv = log_cbf.exp(), log_mtt.exp(), log_cbv.exp()
    normal = cbf[tmax < LATE_S - 2.0]
    limit = LOW_FLOW * float(normal.median()) if len(normal) else 0.0
    extra = {
        "cbf_sd": cbf * sds[0],
        "mtt_sd": mtt * sds[1],
        "tmax_sd": sds[2],
        "p_late": 100.0 * late.clamp(0.0, 1.0),
        "p_core": 100.0 * _between(below, limit).clamp(0.0, 1.0),
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
