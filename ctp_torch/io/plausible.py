"""A series as read to the numbers that tell whether it can be what it claims to be; few voxels are looked at."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ctp_torch.data.plausibility import Plausibility

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.data.geometry import Geometry

__all__ = ["doubts_of", "measure", "no_brain"]

_VOXELS = 6_000  # looked at, of every frame
_FRAMES_OF_NOISE, _EDGE = 64, 12  # frames, and rows or columns at each edge
_AT_REST = 3
_AIR_HU, _BRAIN_HU, _BONE_HU = -800.0, (0.0, 80.0), 300.0
_QUIET = 0.3
_FEWEST_FRAMES, _FEWEST_VOXELS = 8, 200
_LONGEST_S, _SHORTEST_S, _FRAMES = 600.0, 8.0, 15
_PAUSE_S = 60.0
_LEAST_TISSUE = 0.01


def measure(
    hu: Tensor,
    times: Tensor,
    geometry: Geometry,
    *,
    slice_step_mm: tuple[float, float] | None = None,
    drift_mm: float | None = None,
) -> Plausibility:
    """What a series looks like.

    Parameters
    ----------
    hu
        ``(time, z, y, x)`` [HU]
    times
        ``(time, z)`` [s]
    geometry
        its grid
    slice_step_mm
        smallest and largest distance of its slices as told; those of the grid when None
    drift_mm
        how far images lie from the place of their slice in the first frame, at most
    """
    apart = max(1, math.ceil(math.sqrt(hu[0].numel() / _VOXELS)))
    some = hu[:, :, ::apart, ::apart].flatten(1)  # (time, voxels)
    at_rest = some[:_AT_REST].mean(dim=0)
    brain = (at_rest > _BRAIN_HU[0]) & (at_rest < _BRAIN_HU[1])
    steps = times.diff(dim=0)
    usual = geometry.spacing[0]
    return Plausibility(
        frames=len(hu),
        slices=int(hu.shape[1]),
        duration_s=float(times.max() - times.min()),
        step_s=float(steps.median()) if steps.numel() else 0.0,
        step_min_s=float(steps.min()) if steps.numel() else 0.0,
        step_max_s=float(steps.max()) if steps.numel() else 0.0,
        step_sd_s=float(steps.std()) if steps.numel() > 1 else 0.0,
        slices_apart_s=float((times.amax(dim=1) - times.amin(dim=1)).max()),
        spacing_mm=geometry.spacing,
        slice_step_mm=slice_step_mm or (usual, usual),
        drift_mm=drift_mm,
        air_hu=_middle(at_rest[at_rest < _AIR_HU]),
        brain_hu=_middle(at_rest[brain]),
        bone_hu=_middle(at_rest[at_rest > _BONE_HU]),
        tissue_share=float(brain.float().mean()),
        range_hu=(float(some.min()), float(some.max())),
        noise_correlation=_noise_correlation(some[:_FRAMES_OF_NOISE, brain]),
        moving_rims=_moving_rims(hu[:, hu.shape[1] // 2]),
    )


def doubts_of(seen: Plausibility) -> list[str]:
    """Sentences on what no perfusion scan looks like."""
    doubts = []
    if seen.duration_s > _LONGEST_S:
        doubts.append(
            f"the scan lasts {seen.duration_s:,.0f} s; perfusion scans last 20 to 300 s: are its times seconds?"
        )
    if seen.frames >= _FRAMES and seen.duration_s < _SHORTEST_S:
        doubts.append(
            f"{seen.frames} frames within {seen.duration_s:.3g} s; perfusion scans last 20 to 300 s: are its times"
            " seconds?"
        )
    if seen.step_max_s > max(_PAUSE_S, 10 * seen.step_s):
        doubts.append(
            f"a pause of {seen.step_max_s:,.0f} s lies between frames {seen.step_s:.3g} s apart: two scans, or a wrong"
            " time?"
        )
    z, y, x = seen.spacing_mm
    if not (0.1 <= x <= 6 and 0.1 <= y <= 6 and 0.2 <= z <= 25):
        doubts.append(
            f"voxels of {z:.3g} x {y:.3g} x {x:.3g} mm; a head scan has 0.3 to 1 mm in the plane: which unit?"
        )
    return [*doubts, *no_brain(seen)]


def no_brain(seen: Plausibility) -> list[str]:
    """A sentence where hardly any value is one of brain."""
    if seen.tissue_share >= _LEAST_TISSUE or seen.range_hu[0] == seen.range_hu[1]:
        return []
    return ["hardly any value lies where brain does, between 0 and 80 HU: the scale of the values is another"]


def _middle(values: Tensor) -> float | None:
    """The median; None where there are too few."""
    return float(values.median()) if values.numel() >= 10 else None


def _noise_correlation(curves: Tensor) -> float | None:
    """Lag-one correlation of each frame's distance from the mean of its neighbours, in the quietest voxels.

    For noise of their own, neighbouring distances correlate by -2/3; frames interpolated from others share noise, and
    the correlation nears 0. The voxels' common curve is taken off: a bolus bends too.
    """
    if len(curves) < _FEWEST_FRAMES or curves.shape[1] < _FEWEST_VOXELS:
        return None
    curves = curves.double()
    away = curves[1:-1] - (curves[:-2] + curves[2:]) / 2
    away -= away.mean(dim=1, keepdim=True)
    power = away.square().mean(dim=0)
    quiet = (power <= power.quantile(_QUIET)) & (power > 1e-6)
    if int(quiet.sum()) < _FEWEST_VOXELS // 4:
        return None
    away = away[:, quiet]
    return float(((away[1:] * away[:-1]).mean(dim=0) / power[quiet]).median())


def _moving_rims(images: Tensor) -> int:
    """Frames of a slice ``(time, y, x)`` with another number of empty rows or columns at an edge than the first."""
    import torch

    if min(images.shape[1:]) < 16:
        return 0
    edges = (images[:, :_EDGE], images[:, -_EDGE:].flip(1), images[..., :_EDGE].mT, images[..., -_EDGE:].flip(2).mT)
    moved = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    for edge in edges:  # (time, lines from the edge inwards, along the edge)
        line = edge[..., :: max(1, edge.shape[2] // 64)]
        empty = (line.amax(dim=2) == line.amin(dim=2)).int().cumprod(dim=1).sum(dim=1)
        moved |= empty != empty[0]
    return int(moved.sum())
