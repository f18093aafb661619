"""Enhancement to the two curves that every deconvolution needs: arterial input (AIF) and venous outflow (VOF)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.errors import QualityError
from ctp_torch.ops.bolus.artery_clusters import earliest_cluster
from ctp_torch.ops.bolus.concentration import bolus_likeness, bolus_onset, curve_noise
from ctp_torch.ops.bolus.first_pass import curve_width, first_pass_centre
from ctp_torch.ops.image.morphology import erode
from ctp_torch.ops.image.smoothing import smooth_in_time

__all__ = ["VesselCurve", "scale_aif", "select_aif", "select_vof"]

Spacing = tuple[float, float, float]

_SLICE_MM = 5.0
"""Vessels in thinner slices are averaged over this height: of many noisy voxels, the largest are too large [mm]."""
_APART_S = 0.5
"""Curves whose first pass lies this far from that of the chosen group count 0.6 times in the arterial input [s]."""
_VENOUS = ((0.9, 1.0), (0.65, 1.0), (0.65, 0.5))
"""Likeness to the tissue's curve and part of the least lag that a vein needs; each where the one before finds none."""
_LOW, _LITTLE = 0.4, 0.1
"""Curves lower than this share of the highest, or that would count less than this, don't count at all."""


class VesselCurve(NamedTuple):
    """The enhancement of an artery or a vein, and where it was taken."""

    curve: Tensor
    """``(time,)`` [HU]."""
    mask: Tensor
    """``(z, y, x)`` bool; the voxels whose mean, maybe weighted, the curve is."""


def select_aif(
    enhancement: Tensor, mask: Tensor, dt: float, *, spacing: Spacing, margin_mm: float = 4.0, area_mm2: float = 12.0
) -> VesselCurve:
    """The arterial input: early, high, narrow and smooth curves, found by feature filters and clustering.

    1. Of the brain, ``margin_mm`` away from the skull, keep the half per cent with the largest area under the curve
       before the tissue has risen half way: arteries are full by then, veins are not.
    2. Keep curves that have the shape of a bolus (correlation with the tissue's, moved, above 0.9, or 0.75 where that
       leaves too few), stand eight times above the noise, are no more irregular than three quarters of the brain, and
       3 to 25 s wide at half height.
    3. Cluster the curves, each divided by its area, into five groups. A group is as high and rises as early as its
       highest curves do, ``area_mm2`` together. Of those at least 0.4 times as high as the highest that have risen half
       way before the tissue has, and within 2 s of the first, keep the one with the smallest first moment. Where all of
       those rise later, they are veins, or drifted before the contrast came, which makes a first moment small: the
       height that counts is then the highest of the early groups, if it is twice the tissue's.
    4. The weighted mean of all that rise half way before the tissue: by the square of their height (up to that of the
       group's highest) and by how near the centre of their first pass lies to the group's. A few curves, or those of
       the group alone, would differ from scan to scan of the same head.

    Where a filter of step 2 would leave fewer than four voxels it is passed over.

    Parameters
    ----------
    enhancement
        ``(time, z, y, x)`` [HU]; not smoothed in space, which would thin the arteries. Voxels that are not finite at
        some time are passed over
    mask
        ``(z, y, x)`` bool, the brain
    dt
        time between frames [s]
    spacing
        distance between voxel centres along z, y, x [mm]
    margin_mm
        rim of the mask that isn't searched [mm]
    area_mm2
        cross-section that tells how high a group is, at least four voxels and at most forty; of slices under 5 mm that
        many more [mm2]

    Returns
    -------
        the mean curve, and the voxels that count

    Raises
    ------
    QualityError
        no voxel stands out of the noise: no contrast reached the head, or the mask lies beside it
    ValueError
        the shapes don't fit

    References
    ----------
    Mouridsen K, Christensen S, Gyldensted L, Østergaard L. Automatic selection of arterial input function using
    cluster analysis. Magn Reson Med 2006;55:524-531. doi:10.1002/mrm.20759
    """
    _check(enhancement, mask)
    search = erode(mask, margin_mm, spacing)
    candidates = _brightest(enhancement, search if bool(search.any()) else mask, dt, share=0.005, early=True)
    smooth = candidates.smooth
    # Of thousands of noisy curves some are early or high by chance, which a clustering would take for a group: curves
    # that can't be an artery go first, by what noise, moving bone, drift and spikes can't imitate.
    keep = torch.nonzero((smooth.amax(dim=1) >= 8.0 * candidates.noise) & (candidates.likeness >= 0.75)).squeeze(-1)
    if not keep.numel():
        raise QualityError(
            f"no artery found: none of the brightest curves reaches 8 times the noise ({candidates.noise:.1f} HU). "
            "Did contrast reach the head within the scan, and is the mask the brain? Name an artery by --aif x,y,z"
        )
    keep = _unless_few(keep, candidates.likeness[keep] >= 0.9)  # a bone that jerks when the bolus comes reaches 0.8
    keep = _unless_few(keep, _roughness(smooth[keep]) <= candidates.rough)
    width = curve_width(smooth[keep], dt)
    keep = _unless_few(keep, (width >= 3.0) & (width <= 25.0))
    n = _n_voxels(area_mm2, spacing, least=4)
    group = earliest_cluster(smooth[keep], candidates.tissue, dt, n_highest=n)
    weights = _arterial_weights(smooth[keep], group, candidates.tissue, dt, n_highest=n)
    return candidates.mean(keep[weights > 0], mask, weights=weights[weights > 0])


def _arterial_weights(curves: Tensor, group: Tensor, tissue: Tensor, dt: float, *, n_highest: int) -> Tensor:
    """How much each curve ``(voxels, time)`` counts in the arterial input, 0..1; ``group`` is the artery's."""
    # An artery thinner than a voxel is mixed with tissue, which lowers it and delays its centre: height and timing are
    # what tells pure curves. The weights fall off gradually, for a limit would let noise choose the voxels.
    height, centre = curves.amax(dim=1), first_pass_centre(curves, dt)
    top = height[group].topk(min(n_highest, int(group.sum()))).values.mean()
    off = (centre - centre[group].mean()) / _APART_S
    weights = (height / top).clamp_max(1.0).square() * torch.exp(-off.square() / 2.0)
    early = group | (bolus_onset(curves, dt, fraction=0.5) < bolus_onset(tissue, dt, fraction=0.5))
    counts = early & (height >= _LOW * top)
    return torch.where(counts & (weights >= _LITTLE * weights[counts].max()), weights, 0.0)


def select_vof(
    enhancement: Tensor,
    mask: Tensor,
    dt: float,
    *,
    spacing: Spacing,
    aif: Tensor | None = None,
    lag_s: float = 2.0,
    margin_mm: float = 1.0,
    area_mm2: float = 8.0,
) -> VesselCurve | None:
    """The venous outflow: the largest of the late vessels, a dural sinus.

    1. Of the brain, ``margin_mm`` away from the skull, keep the fiftieth with the largest area under the curve.
    2. Keep those with the shape of a bolus whose centre lies at least ``lag_s`` after that of the arterial input, and
       whose area is at least half the brain's 99.5th percentile and four times the tissue's, or they are no veins.
       Where fewer than three have the shape of the tissue's bolus (correlation above 0.9), it may be another (0.65: a
       vein wider than the tissue, or cut off by the end of the scan); then half the lag will do.
    3. Fit each by a multiple of their common shape; drop misfits above a twentieth, which are edges that move.
    4. The largest multiples, ``area_mm2`` together in whatever slices, give the mean curve: pure blood is the most
       that a voxel can hold, so that what partial volume lowers is left out.

    Parameters
    ----------
    enhancement
        ``(time, z, y, x)`` [HU]; not smoothed in space
    mask
        ``(z, y, x)`` bool, the brain with its rim, where the sinuses lie
    dt
        time between frames [s]
    spacing
        distance between voxel centres along z, y, x [mm]
    aif
        ``(time,)`` the arterial input [HU]; None takes the earliest tenth of the high curves for it
    lag_s
        the least time from artery to vein [s]
    margin_mm
        rim of the mask that isn't searched: bone moves in and out of it [mm]
    area_mm2
        cross-section averaged, at least three voxels and at most forty; of slices under 5 mm that many more [mm2]

    Returns
    -------
        the mean curve of the chosen voxels, and the voxels; None where no vessel is late enough

    Raises
    ------
    ValueError
        the shapes don't fit, or the mask is empty
    """
    _check(enhancement, mask)
    search = erode(mask, margin_mm, spacing)
    candidates = _brightest(enhancement, search if bool(search.any()) else mask, dt, share=0.02, early=False)
    centre = first_pass_centre(candidates.smooth, dt)
    arterial = _quantile(centre, 0.1)
    if aif is not None:
        arterial = first_pass_centre(smooth_in_time(aif.to(candidates.smooth))[None], dt)[0]
    area = candidates.smooth.sum(dim=1)  # descending
    full = candidates.smooth.amax(dim=1) >= 8.0 * candidates.noise
    full &= area >= 0.5 * area[len(area) // 4]  # a quarter of the brightest 2 % is the 99.5th percentile
    full &= area >= 4.0 * candidates.tissue.sum()  # late tissue is no vein, however late
    for likeness, part in _VENOUS:
        late = full & (centre >= arterial + part * lag_s) & (candidates.likeness >= likeness)
        if int(late.sum()) >= 3:
            break
    else:
        return None
    late = torch.nonzero(late).squeeze(-1)
    height, misfit = _fit_consensus(candidates.smooth[late], candidates.noise)
    n = _n_voxels(area_mm2, spacing, least=3)
    for limit in (0.1, 0.05):  # where fewer than four pass the fine one, those of the coarse one stay
        keep = _unless_few(torch.arange(len(late), device=late.device), misfit <= limit)
        late, height, misfit = late[keep], height[keep], misfit[keep]
    return candidates.mean(late[_largest(height, n)], mask)


def scale_aif(aif: Tensor, vof: Tensor, *, limits: tuple[float, float] = (1.0, 15.0)) -> tuple[Tensor, float]:
    r"""The arterial input raised to the area of the venous outflow, against its partial volume.

    .. math:: a \leftarrow r a, \quad r = \frac{\int_0^T v \, dt}{\int_0^{T - l} a \, dt}

    All blood that comes in goes out, so both areas should be one; the artery is thinner than a voxel, the sinus isn't.
    What comes in within the lag ``l`` between the first passes before the end of the scan hasn't come out yet, and
    is left out.

    Parameters
    ----------
    aif, vof
        ``(time,)`` enhancement on the same frames [HU]
    limits
        the ratio is kept between these; of 93 clinical scans a tenth lay above 7.6, one at 12.8

    Returns
    -------
        the scaled curve ``(time,)`` [HU], and the ratio used

    Raises
    ------
    ValueError
        the curves differ in length, or either has no area

    Notes
    -----
    In 49 of 52 patients the area in the internal carotid artery exceeded that in the sagittal sinus [1]_, so that the
    scaling is itself biased: report the ratio, and offer to leave it out.

    References
    ----------
    .. [1] Bennink E et al. PLoS One 2014, doi:10.1371/journal.pone.0097586
    """
    if aif.shape != vof.shape:
        raise ValueError(f"AIF and VOF must have the same frames, got {tuple(aif.shape)} and {tuple(vof.shape)}")
    centres = first_pass_centre(smooth_in_time(torch.stack([aif, vof], dim=1)).T, 1.0)  # [frames]
    lag = min(max(0, round(float(centres[1] - centres[0]))), len(aif) // 4)
    arterial, venous = float(aif[: len(aif) - lag].double().sum()), float(vof.double().sum())
    if not (arterial > 0 and venous > 0):
        raise ValueError(f"AIF and VOF need a positive area, got {arterial:g} and {venous:g} HU frames")
    ratio = min(max(venous / arterial, limits[0]), limits[1])
    return aif * ratio, ratio


def _check(enhancement: Tensor, mask: Tensor) -> None:
    """Refuse shapes that don't belong together and masks without a voxel."""
    if enhancement.ndim != 4 or enhancement.shape[1:] != mask.shape:
        raise ValueError(
            f"enhancement {tuple(enhancement.shape)} must be (time, z, y, x) over the mask {tuple(mask.shape)}"
        )
    if not bool(mask.any()):
        raise ValueError("the mask is empty: there is no brain to search for vessels")


class _Candidates(NamedTuple):
    """The voxels with the largest areas under the curve, in descending order, and what is usual in the brain."""

    voxels: Tensor
    """``(voxels,)`` into the flattened volume."""
    curves: Tensor
    """``(voxels, time)`` [HU]."""
    smooth: Tensor
    """``(voxels, time)`` smoothed in time [HU]."""
    noise: float
    """Standard deviation of a sample in the brain [HU]."""
    rough: Tensor
    """The roughness that three quarters of the brain stay below."""
    likeness: Tensor
    """``(voxels,)`` correlation with the brain's curve, moved: low at edges of bone in a moving head."""
    tissue: Tensor
    """``(time,)`` the brain's curve: median of all, smoothed in time [HU]."""

    def mean(self, chosen: Tensor, mask: Tensor, *, weights: Tensor | None = None) -> VesselCurve:
        """The mean of some of the curves, weighted where asked, and their voxels as a mask."""
        where = torch.zeros(mask.numel(), dtype=torch.bool, device=mask.device)
        where[self.voxels[chosen]] = True
        curves = self.curves[chosen]  # (chosen, time)
        mean = curves.mean(dim=0) if weights is None else weights @ curves / weights.sum()
        return VesselCurve(mean, where.view(mask.shape))


def _brightest(
    enhancement: Tensor, mask: Tensor, dt: float, *, share: float, early: bool, n_sample: int = 20_000
) -> _Candidates:
    """The share of the masked voxels with the largest area; ``early`` up to half the rise of the tissue's curve.

    Noise, roughness and the tissue's curve come from an even sample of all.
    """
    volume = enhancement.flatten(1)  # (time, voxels)
    index = torch.nonzero(mask.flatten()).squeeze(-1)
    index = index[volume.sum(dim=0)[index].isfinite()]
    if not index.numel():
        raise QualityError("no voxel of the mask is finite at all times: the series is damaged")
    sample = volume[:, index[:: math.ceil(len(index) / n_sample)]]
    rough = _quantile(_roughness(smooth_in_time(sample).T), 0.75)
    tissue = smooth_in_time(sample.median(dim=1).values)
    # Arteries are full when the tissue has risen half way, veins are not; by their whole area, sinuses would lead.
    stop = 1 + math.ceil(float(bolus_onset(tissue, dt, fraction=0.5)) / dt) if early else len(volume)
    area = volume[:stop].sum(dim=0)[index]
    index = index[_largest(area, max(40, math.ceil(share * len(index))))]
    curves = volume[:, index]
    smooth = smooth_in_time(curves).T  # (voxels, time)
    likeness = bolus_likeness(smooth, tissue, dt)
    return _Candidates(index, curves.T, smooth, curve_noise(sample.T), rough, likeness, tissue)


def _roughness(curves: Tensor) -> Tensor:
    """Sum of squared second differences of curves divided by their area ``(voxels,)``."""
    return curves.diff(n=2, dim=1).square().sum(dim=1) / curves.sum(dim=1).square().clamp_min(1e-12)


def _n_voxels(area_mm2: float, spacing: Spacing, *, least: int) -> int:
    """Voxels of a cross-section in one slice of 5 mm or more, and in as many thinner ones as make up 5 mm."""
    n_slices = max(1.0, _SLICE_MM / spacing[0])
    return min(max(least, round(area_mm2 / (spacing[1] * spacing[2]) * n_slices)), round(40 * n_slices))


def _largest(values: Tensor, n: int) -> Tensor:
    """Indices of the ``n`` largest values."""
    return values.topk(min(n, values.numel())).indices


def _quantile(values: Tensor, q: float) -> Tensor:
    """A quantile without the size limit of torch.quantile."""
    return values.kthvalue(max(1, math.ceil(q * values.numel()))).values


def _unless_few(keep: Tensor, good: Tensor) -> Tensor:
    """Those that are good, or all where fewer than four are."""
    return keep[good] if int(good.sum()) >= 4 else keep


def _fit_consensus(curves: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """How high each curve is as a multiple of the median shape of all, and how far it is off it, as a share of that.

    Blood is the same in all large veins; a vein that moves against the bone has another shape.
    """
    shape = (curves / curves.norm(dim=1, keepdim=True).clamp_min(1e-12)).median(dim=0).values
    shape = shape / shape.amax().clamp_min(1e-12)
    height = (curves @ shape) / (shape @ shape)  # (voxels,) [HU]
    rest = (curves - height[:, None] * shape).square().mean(dim=1)
    smoothed_noise = 0.375 * noise**2  # variance that 1/4, 1/2, 1/4 leaves
    return height, (rest - smoothed_noise).clamp_min(0).sqrt() / height.clamp_min(1e-12)
