"""Tissue curves and an AIF as handed over into a checked bolus passage, with a warning for whatever will suffer."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ctp_torch.ops.bolus.curve_numbers import area, half_rise_time
from ctp_torch.ops.bolus.resample import regular_times, resample_curves
from ctp_torch.ops.deconvolution.units import KH, RHO, flow_per_peak, volume_per_area

__all__ = [
    "CoarseSamplingWarning",
    "DeconvolutionWarning",
    "FlatCurveWarning",
    "LateAIFWarning",
    "NonFiniteCurveWarning",
    "Passage",
    "TruncatedCurveWarning",
    "by_timing",
    "finer_aif",
    "is_regular",
    "on_regular_grid",
]

MIN_FRAMES = 5
"""Below this no bolus passage can be told from noise."""

COARSE_DT = 2.0
"""Frames further apart than this [s] miss the first pass of a narrow passage."""

TAIL_FRAMES = 3
"""Frames at the end whose mean tells whether the curve has come down again."""

JITTER = 0.05
"""Frames no further from an even grid than this part of their spacing count as even."""

SAMPLE = 1_000
"""Curves looked at to tell whether a study is cut short or its AIF late."""


class DeconvolutionWarning(UserWarning):
    """The maps are given, but something in the curves makes part of them untrustworthy."""


class NonFiniteCurveWarning(DeconvolutionWarning):
    """Some curves hold NaN or infinity: their results are NaN."""


class FlatCurveWarning(DeconvolutionWarning):
    """Some curves never change: no bolus, all their results are 0."""


class CoarseSamplingWarning(DeconvolutionWarning):
    """The frames are far apart: CBF reads low and MTT high."""


class LateAIFWarning(DeconvolutionWarning):
    """The tissue rises before the AIF: Tmax is cut at 0, methods without negative lags misread CBF."""


class TruncatedCurveWarning(DeconvolutionWarning):
    """The scan ends before the bolus has passed: CBV and MTT read low."""


@dataclass(frozen=True, init=False, eq=False)
class Passage:
    """Curves and AIF that belong together, checked once: what every deconvolution takes.

    Parameters
    ----------
    curves
        ``(voxels, time)`` enhancement [HU], baseline subtracted, float32 or float64
    aif
        ``(time,)`` enhancement [HU]
    dt
        time between frames [s]; used where ``times`` is None
    times
        ``(time,)`` or, where slices were taken at different moments, ``(voxels, time)`` [s]
    aif_times
        ``(time,)`` [s]; needed when ``times`` differ from voxel to voxel, else ``times`` serve for both
    kh, rho
        hematocrit factor and density [g/mL] behind CBF and CBV

    Raises
    ------
    ValueError
        for wrong shapes or dtypes, fewer than 5 frames, ``dt``, ``kh`` or ``rho`` not positive, times that don't
        ascend, or an AIF that is not finite or has no area

    Warns
    -----
    DeconvolutionWarning
        one of its subclasses, for flat, non-finite, truncated or coarsely sampled curves and for a late AIF
    """

    curves: Tensor
    """``(voxels, time)`` enhancement [HU]; curves that are flat or not finite are 0 here."""
    aif: Tensor
    """``(time,)`` float64 [HU]."""
    dt: float
    """Mean time between frames [s]."""
    times: Tensor
    """``(time,)`` or ``(voxels, time)`` float64 [s]: when ``curves`` were taken."""
    aif_times: Tensor
    """``(time,)`` float64 [s]: when ``aif`` was taken."""
    flow_per_peak: float
    """CBF [mL/100 g/min] of a residue function whose maximum is 1/s."""
    volume_per_area: float
    """CBV [mL/100 g] of a curve with the area of the AIF."""
    cbv: Tensor
    """``(voxels,)`` blood volume [mL/100 g] by the areas under curve and AIF, from the samples as handed over."""
    flat: Tensor | None
    """``(voxels,)`` bool, or None when no curve is flat."""
    invalid: Tensor | None
    """``(voxels,)`` bool, or None when all curves are finite."""
    route: str
    """How frames that are uneven or far apart are treated, in words."""

    def __init__(
        self,
        curves: Tensor,
        aif: Tensor,
        dt: float,
        *,
        times: Tensor | None = None,
        aif_times: Tensor | None = None,
        kh: float = KH,
        rho: float = RHO,
    ) -> None:
        _check_shapes(curves, aif, dt)
        per_peak, per_area = flow_per_peak(kh, rho), volume_per_area(kh, rho)
        times, aif_times = _check_times(times, aif_times, curves.shape[1], dt, curves.device)
        aif = aif.detach().to(curves.device, torch.float64)
        if not bool(aif.isfinite().all()):
            raise ValueError("the AIF holds NaN or infinity: choose another voxel or mend the curve")
        aif_area = float(area(aif, aif_times))
        if not (aif_area > 0 and float(aif.max()) > 0):
            raise ValueError(
                f"the AIF has no bolus (area {aif_area:g} HU s): choose another voxel or check the baseline"
            )
        ratio = area(curves, times) / aif_area
        flat, invalid = _unusable(curves, ratio)
        unusable = [voxels for voxels in (flat, invalid) if voxels is not None]
        if unusable:
            curves = curves.masked_fill(torch.stack(unusable).any(dim=0)[:, None], 0.0)
        index = _centred_index(aif_times)
        spacing = float((index * aif_times).sum() / index.square().sum())  # slope of a line through all times
        vars(self).update(curves=curves, aif=aif, dt=spacing, times=times, aif_times=aif_times)  # frozen from here on
        vars(self).update(flow_per_peak=per_peak, volume_per_area=per_area, cbv=ratio * per_area)
        vars(self).update(flat=flat, invalid=invalid)
        vars(self).update(route="as acquired" if is_regular(self) else "exact: every curve at its own moments")
        for category, message in _shortcomings(self):
            warnings.warn(message, category, stacklevel=3)

    def blank(self, values: Tensor) -> Tensor:
        """Values ``(voxels, ...)`` with 0 for flat curves and NaN for those that weren't finite."""
        for voxels, value in ((self.flat, 0.0), (self.invalid, torch.nan)):
            if voxels is not None:
                values = values.masked_fill(voxels.view(-1, *[1] * (values.ndim - 1)), value)
        return values


def by_timing(passage: Passage, solve: Callable[[Tensor, Tensor], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """What ``solve(curves (voxels, time), times (time,))`` gives for the voxels of each slice, put back in their order.

    Slices taken at different moments each get a call of their own; ``solve`` returns tensors over its voxels.
    """
    if passage.times.ndim == 1:
        return solve(passage.curves, passage.times)
    # A convolution matrix and its factorisation hold for one set of times: one is made per slice, not per voxel. Voxels
    # mostly follow slice by slice, so that rows are compared with the row before first: unique() would sort them all.
    starts = torch.ones(len(passage.times), dtype=torch.bool, device=passage.times.device)
    starts[1:] = (passage.times[1:] != passage.times[:-1]).any(dim=1)
    distinct, group = torch.unique(passage.times[starts], dim=0, return_inverse=True)
    member = group[starts.cumsum(0) - 1]  # (voxels,)
    parts = [solve(passage.curves[member == i], times) for i, times in enumerate(distinct)]
    position = member.argsort(stable=True).argsort()  # of each voxel among the parts laid end to end
    return tuple(torch.cat(part)[position] for part in zip(*parts, strict=True))


def is_regular(passage: Passage) -> bool:
    """Whether curves and AIF lie on one evenly spaced grid: no frame is further from it than 5 % of the spacing."""
    if passage.times.ndim == 2 or passage.times.shape != passage.aif_times.shape:
        return False
    grid = passage.aif_times.mean() + passage.dt * _centred_index(passage.aif_times)
    off = torch.stack((passage.times, passage.aif_times)) - grid
    return bool((off.abs() <= JITTER * passage.dt).all())


def on_regular_grid(passage: Passage, step: float | None) -> Passage:
    """The bolus resampled every ``step`` [s] by monotone cubics, or as it is where frames are even and no coarser.

    ``step`` None keeps an even grid whatever its spacing, and resamples uneven frames at their mean spacing.
    """
    if step is not None and not (math.isfinite(step) and step > 0):
        raise ValueError(f"step must be a positive number of seconds or None, got {step}")
    if is_regular(passage) and (step is None or passage.dt <= step * (1 + JITTER)):
        return passage
    step = passage.dt if step is None else step
    both = torch.stack((passage.times.min(), passage.aif_times.min(), passage.times.max(), passage.aif_times.max()))
    new = regular_times(both, step)
    even = copy.copy(passage)  # not checked again: areas and warnings are those of the samples as handed over
    vars(even).update(
        curves=resample_curves(passage.curves, passage.times, new),
        aif=resample_curves(passage.aif, passage.aif_times, new),
        times=new,
        aif_times=new,
        dt=step,
        route=f"resampled every {step:g} s by monotone cubics",
    )
    return even


def finer_aif(passage: Passage, spacing: float = 0.25) -> tuple[Tensor, Tensor]:
    """The AIF by monotone cubics every ``spacing`` [s], with those times: between its frames it isn't straight."""
    times = regular_times(passage.aif_times, spacing)
    return resample_curves(passage.aif, passage.aif_times, times), times


def _centred_index(times: Tensor) -> Tensor:
    """Number of each frame ``(time,)``, counted from the middle one."""
    index = torch.arange(len(times), dtype=torch.float64, device=times.device)
    return index - index.mean()


def _check_shapes(curves: Tensor, aif: Tensor, dt: float) -> None:
    """Refuse what is no set of curves with an AIF."""
    if curves.ndim != 2 or curves.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"curves must be (voxels, time), float32 or float64, got {tuple(curves.shape)} of {curves.dtype}"
        )
    if aif.shape != curves.shape[1:]:
        raise ValueError(f"the AIF must be (time,) = ({curves.shape[1]},) like the curves, got {tuple(aif.shape)}")
    if curves.shape[1] < MIN_FRAMES:
        raise ValueError(f"a bolus passage needs at least {MIN_FRAMES} frames, got {curves.shape[1]}")
    if not (math.isfinite(dt) and dt > 0):
        raise ValueError(f"dt must be a positive number of seconds, got {dt}")


def _check_times(
    times: Tensor | None, aif_times: Tensor | None, n: int, dt: float, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Times of curves and AIF in float64, refused if they don't ascend or don't fit."""
    if times is None:
        times = torch.arange(n, dtype=torch.float64, device=device) * dt
    if aif_times is None:
        if times.ndim != 1:
            raise ValueError("times differ from voxel to voxel: pass aif_times, the times of the AIF's own slice")
        aif_times = times
    times, aif_times = (t.to(device, torch.float64) for t in (times, aif_times))
    for name, t in (("times", times), ("aif_times", aif_times)):
        if t.shape[-1] != n:
            raise ValueError(f"{name} must have one entry per frame ({n}), got {tuple(t.shape)}")
        if not bool((t.diff(dim=-1) > 0).all()):
            raise ValueError(f"{name} must ascend strictly: sort the frames and drop doubled ones")
    return times, aif_times


def _unusable(curves: Tensor, ratio: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Which curves ``(voxels,)`` are flat, and which not finite; None for either where there are none."""
    invalid = ~ratio.isfinite()
    flat = (curves[:, 0] == curves[:, curves.shape[1] // 2]) & (curves[:, 0] == curves[:, -1])
    if bool(flat.any()):  # only what may be flat is read from end to end
        flat[flat.clone()] = (curves[flat] == curves[flat][:, :1]).all(dim=1)
    any_flat, any_invalid = torch.stack((flat.any(), invalid.any())).tolist()
    return flat if any_flat else None, invalid if any_invalid else None


def _shortcomings(passage: Passage) -> Iterator[tuple[type[DeconvolutionWarning], str]]:
    """Kind and words of each trouble that part of the maps will suffer from."""
    curves, aif, times, aif_times = passage.curves, passage.aif, passage.times, passage.aif_times
    voxels = len(curves)
    n_flat, n_invalid = (0 if v is None else int(v.sum()) for v in (passage.flat, passage.invalid))
    spacing = float(aif_times.diff().median())
    if spacing > COARSE_DT:
        text = f"frames are {spacing:g} s apart: CBF reads low and MTT high above {COARSE_DT:g} s"
        yield CoarseSamplingWarning, text
    if n_invalid:
        text = f"{n_invalid} of {voxels} curves hold NaN or infinity: their results are NaN"
        yield NonFiniteCurveWarning, text
    if n_flat:
        yield FlatCurveWarning, f"{n_flat} of {voxels} curves never change: all their results are 0"
    sample = curves[:: max(1, voxels // SAMPLE)]  # evenly spread: enough to judge the study by
    n_cut = int((sample[:, -TAIL_FRAMES:].mean(dim=1) > sample.amax(dim=1).clamp(min=0) / 2).sum())
    ends = [f"{n_cut} of {len(sample)} curves"] if n_cut > len(sample) / 4 else []
    if float(aif[-TAIL_FRAMES:].mean()) > float(aif.max()) / 2:
        ends.append("the AIF")
    if ends:
        text = f"{' and '.join(ends)} end above half of their peak: the scan is cut short, CBV and MTT read low"
        yield TruncatedCurveWarning, text
    if n_flat + n_invalid < voxels:
        clock = times if times.ndim == 1 else times.mean(dim=0)
        lead = half_rise_time(aif, aif_times) - half_rise_time(sample.mean(dim=0), clock)
        if lead > (aif_times[1] - aif_times[0]) / 2:
            yield (
                LateAIFWarning,
                f"the mean curve rises {lead:.1f} s before the AIF: Tmax is cut at 0 there, and methods without "
                "negative lags misread CBF; choose an earlier AIF",
            )
