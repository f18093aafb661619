"""Tissue curves as their artery sees them: timed from its onset, divided by its area, on one grid for every scanner.

Two scans of one brain differ in how much contrast was given, when it came, how often and for how long frames were
taken. None of that is perfusion; what is left here is (nearly) independent of it, so that one model serves them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ctp_torch.ops.bolus.resample import regular_times, resample_curves
from ctp_torch.ops.deconvolution.convolution import aif_integral, hat_matrix

__all__ = [
    "AREA_S",
    "ARTERIAL_LAGS",
    "RESIDUE_LAGS",
    "arterial_area",
    "arterial_curves",
    "arterial_reach",
    "artery_moments",
    "artery_onset",
    "residue_features",
]

ARTERIAL_LAGS = tuple(float(lag) for lag in range(-3, 39))
"""Times after the artery's onset at which a tissue curve is read [s]."""
RESIDUE_LAGS = tuple(float(lag) for lag in range(-5, 26))
"""Lags behind the artery at which a residue is read [s]."""
AREA_S = 30.0
"""The artery's area is taken from its onset for this long [s], so that the scan's length doesn't count."""
_FOOT_S = 2.0
"""The artery counts from this long [s] before its onset: there it leaves the baseline."""
_BLUR_S = 2.0
"""Frames this far apart [s] are only interpolated; denser ones are averaged to the blur that this has."""
_SOLVED_LAGS = (-10.0, 45.0)
"""Residues are solved for on these lags [s], more than are read: what is cut off would land on the last one."""


def artery_onset(artery: Tensor, times: Tensor) -> Tensor:
    r"""When the bolus comes in: where the line through a quarter and three quarters of the rise meets the baseline.

    .. math:: t_0 = t_{1/4} - (t_{3/4} - t_{1/4}) / 2

    on monotone cubics every 0.1 s, walking back from the peak. The foot itself is curved, so that the time at which it
    leaves the noise would depend on the noise and on the distance of the frames.

    Parameters
    ----------
    artery
        ``(time,)`` enhancement [HU], baseline at 0
    times
        ``(time,)`` ascending [s]

    Returns
    -------
        ``()`` [s], on the clock of ``times``, float64

    Raises
    ------
    ValueError
        if the artery is not finite, never rises, or doesn't fit the times
    """
    times = _checked(artery, times)
    grid = regular_times(times, 0.1)
    fine = resample_curves(artery.double(), times, grid)
    peak = int(fine.argmax())
    quarter, three_quarters = (_last_rise(fine[: peak + 1], grid, part * fine[peak]) for part in (0.25, 0.75))
    return quarter - (three_quarters - quarter) / 2


def arterial_area(artery: Tensor, times: Tensor) -> Tensor:
    """Area ``()`` [HU s], float64, under an artery ``(time,)`` from its onset for ``AREA_S``, or to the scan's end.

    The whole area would grow with the scan, by the recirculation. Beyond its last time a scan has no area:
    ``arterial_reach`` tells whether it goes as far.
    """
    times, onset = _checked(artery, times), artery_onset(artery, times)
    start, stop = onset - _FOOT_S, torch.minimum(onset + AREA_S, times[-1])
    ends = aif_integral(artery, times, torch.stack((start, stop)))
    area = ends[1] - ends[0]
    if not float(area) > 0:
        raise ValueError(f"the artery has no area after its onset ({float(area):g} HU s): choose another voxel")
    return area


def arterial_reach(times: Tensor, artery: Tensor, artery_times: Tensor) -> tuple[float, float]:
    """First and last time after the artery's onset [s] that every curve at ``times (..., time)`` covers."""
    onset = float(artery_onset(artery, artery_times))
    return float(times[..., 0].max()) - onset, float(times[..., -1].min()) - onset


def arterial_curves(
    curves: Tensor,
    times: Tensor,
    artery: Tensor,
    artery_times: Tensor,
    *,
    lags: tuple[float, ...] = ARTERIAL_LAGS,
) -> Tensor:
    r"""Curves timed from the artery's onset and divided by its area, at ``lags``.

    .. math:: f(s) = \frac{1}{\int a} \int c(t_0 + s + u) \, w(u) \, du

    ``c`` is linear between its frames. ``w`` is a triangle of the half-width that makes the blur of frames, those of
    the interpolation included, the same whether they lie 0.5 or 2 s apart: :math:`h^2 = 2^2 - dt^2`. Dense frames are
    averaged, and none is passed over. Before the first and after the last time that the triangle lies within, a curve
    keeps its value there; ``arterial_reach`` tells how far the scan goes.

    Parameters
    ----------
    curves
        ``(voxels, time)`` enhancement [HU], baseline at 0
    times
        ``(time,)``, or ``(voxels, time)`` where slices were taken at different moments [s]
    artery, artery_times
        ``(time,)`` enhancement [HU], scaled to the vein where that is wanted; when it was taken [s]
    lags
        times after the onset [s]

    Returns
    -------
        ``(voxels, lags)`` [1/s], as the curves in dtype and device; linear in the curves

    Raises
    ------
    ValueError
        if shapes don't fit, times don't ascend, or the artery has no bolus
    """
    onset, area = artery_onset(artery, artery_times), arterial_area(artery, artery_times)
    at = onset + torch.tensor(lags, dtype=torch.float64, device=onset.device)
    return _per_times(curves, times, lambda own: _reading(own, at) / area)


def residue_features(
    curves: Tensor,
    times: Tensor,
    artery: Tensor,
    artery_times: Tensor,
    *,
    strength: float = 0.1,
    lags: tuple[float, ...] = RESIDUE_LAGS,
) -> Tensor:
    r"""Flow-scaled residues by a Wiener filter, at ``lags`` behind the artery; linear in the curves.

    .. math:: k = (A^T W A + (\lambda s_1)^2 I)^{-1} A^T W c

    with ``A`` the convolution with an artery of unit area, linear residues between lags of 1 s; ``W`` the time that
    each frame stands for, so that denser frames don't weaken the filter; and :math:`s_1` the largest singular value of
    :math:`W^{1/2} A`.

    Parameters
    ----------
    curves, times, artery, artery_times
        as for `arterial_curves`
    strength
        :math:`\lambda`
    lags
        behind the artery [s], whole seconds from -10 to 45

    Returns
    -------
        ``(voxels, lags)`` [1/s per artery of area 1], as the curves in dtype and device

    Raises
    ------
    ValueError
        as `arterial_curves`, or for lags that are not solved for
    """
    solved = torch.arange(_SOLVED_LAGS[0], _SOLVED_LAGS[1] + 1, dtype=torch.float64, device=artery.device)
    rows = [round(lag - _SOLVED_LAGS[0]) for lag in lags]
    if any(not 0 <= row < len(solved) or float(solved[row]) != lag for row, lag in zip(rows, lags, strict=True)):
        raise ValueError(f"lags must be whole seconds from {_SOLVED_LAGS[0]:g} to {_SOLVED_LAGS[1]:g}, got {lags}")
    artery_times, area = _checked(artery, artery_times), arterial_area(artery, artery_times)

    def inverse(own: Tensor) -> Tensor:
        """The filter ``(lags, time)`` of one set of times."""
        root = torch.gradient(own)[0].sqrt()[:, None]  # (time, 1)
        convolution = hat_matrix(artery.double() / area, artery_times, own, solved)  # (time, lags)
        u, s, vt = torch.linalg.svd(root * convolution, full_matrices=False)
        passed = s / (s.square() + (strength * s[0]).square())
        weights: Tensor = (vt.T[rows] * passed) @ u.T * root.T / area
        return weights

    return _per_times(curves, times, inverse)


def artery_moments(artery: Tensor, times: Tensor) -> Tensor:
    """How wide and how skew the bolus is, in numbers that know neither its dose nor when it came.

    Mean time after the onset, standard deviation, cube root of the third and fourth root of the fourth central moment,
    of the artery from its onset for ``AREA_S`` or to the scan's end.

    Parameters
    ----------
    artery
        ``(time,)`` enhancement [HU]
    times
        ``(time,)`` [s]

    Returns
    -------
        ``(4,)`` [s], as the artery in dtype and device

    Raises
    ------
    ValueError
        as `artery_onset`
    """
    times, onset = _checked(artery, times), artery_onset(artery, times)
    grid = torch.arange(-_FOOT_S, AREA_S, 0.1, dtype=torch.float64, device=artery.device)
    grid = grid[grid + onset <= times[-1]]
    weights = resample_curves(artery.double(), times, grid + onset).clamp_min(0.0)
    weights = weights / weights.sum()
    mean = weights @ grid
    second, third, fourth = (weights @ (grid - mean) ** power for power in (2, 3, 4))
    return torch.stack((mean, second.sqrt(), third.sign() * third.abs() ** (1 / 3), fourth**0.25)).to(artery)


def _checked(artery: Tensor, times: Tensor) -> Tensor:
    """Times ``(time,)`` of an artery beside it in float64; one that is no curve on them or has no bolus is refused."""
    if artery.ndim != 1 or artery.shape != times.shape:
        raise ValueError(f"an artery and its times are (time,) each, got {tuple(artery.shape)}, {tuple(times.shape)}")
    if not bool(artery.isfinite().all()):
        raise ValueError("the artery holds NaN or infinity: choose another voxel or mend the curve")
    if not float(artery.max()) > 0:
        raise ValueError("the artery never rises above its baseline: choose another voxel")
    return times.to(artery.device, torch.float64).contiguous()


def _last_rise(curve: Tensor, times: Tensor, level: Tensor) -> Tensor:
    """When a curve that ends at its peak last rises through a level: between two samples; its start if never below."""
    below = (curve < level).nonzero()
    if not len(below):
        return times[0]
    last = int(below[-1])
    part = (level - curve[last]) / (curve[last + 1] - curve[last])
    return times[last] + part * (times[last + 1] - times[last])


def _per_times(curves: Tensor, times: Tensor, matrix: Callable[[Tensor], Tensor]) -> Tensor:
    """``curves (voxels, time)`` times ``matrix(times) (features, time)``, made once for each set of times."""
    if curves.ndim != 2 or times.shape[-1] != curves.shape[1] or (times.ndim == 2 and len(times) != len(curves)):
        raise ValueError(
            f"curves (voxels, time) need times (time,) or (voxels, time), got {tuple(curves.shape)} and "
            f"{tuple(times.shape)}"
        )
    times = times.to(curves.device, torch.float64).contiguous()
    if curves.shape[1] < 2 or not bool((times.diff(dim=-1) > 0).all()):
        raise ValueError("times must ascend strictly: sort the frames and drop doubled ones")
    if times.ndim == 1:
        return curves @ matrix(times).to(curves).T
    # Sets of times are those of slices, however many voxels there are. Voxels mostly follow slice by slice, so that
    # rows are compared with the row before first: unique() would sort them all.
    starts = torch.ones(len(times), dtype=torch.bool, device=times.device)
    starts[1:] = (times[1:] != times[:-1]).any(dim=1)
    distinct, group = torch.unique(times[starts], dim=0, return_inverse=True)
    member = group[starts.cumsum(0) - 1]  # (voxels,)
    parts = [curves[member == i] @ matrix(own).to(curves).T for i, own in enumerate(distinct)]
    return torch.cat(parts)[member.argsort(stable=True).argsort()]


def _reading(times: Tensor, at: Tensor) -> Tensor:
    """Weights ``(lags, time)`` that read curves on ``times`` at moments ``at``, blurred alike whatever the frames."""
    step = times.diff()
    spacing = float(step.mean())
    half = math.sqrt(max(_BLUR_S**2 - spacing**2, 0.0))
    half = min(half, float(times[-1] - times[0]) / 2)
    at = at.clamp(times[0] + half, times[-1] - half)
    # A curve linear between frames is a sum of ramps, one from each frame, as steep as the slope changes there.
    slope = torch.eye(len(times), dtype=times.dtype, device=times.device).diff(dim=0) / step[:, None]
    bend = torch.cat((slope[:1], slope.diff(dim=0), -slope[-1:]))  # (frames, time)
    weights = _blurred_ramp(at[:, None] - times, half) @ bend
    weights[:, 0] += 1.0
    return weights


def _blurred_ramp(x: Tensor, half: float) -> Tensor:
    """``max(x, 0)`` averaged with a triangle of that half-width; 0 leaves it as it is."""
    if half < 1e-3:
        return x.clamp_min(0.0)
    cube = [(x + offset).clamp_min(0.0) ** 3 / 6.0 for offset in (half, 0.0, -half)]
    return (cube[0] - 2.0 * cube[1] + cube[2]) / half**2
