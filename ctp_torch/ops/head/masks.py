"""A head in Hounsfield units to where it is: head, inside of the skull, cerebrospinal fluid, vessels, old infarcts.

Everything is measured in millimetres on a working grid of about 1 mm, so that 128 and 512 pixels, 6 thick and 320 thin
slices give the same masks; slices further apart than 3 mm are looked at one by one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ctp_torch.ops.head.midline import Midline, mirror
from ctp_torch.ops.image.morphology import (
    closing,
    connected_components,
    dilate,
    erode,
    fill_holes,
    largest_component,
    opening,
    remove_small,
)
from ctp_torch.ops.image.smoothing import smooth_inside

__all__ = ["brain_mask", "csf_mask", "head_mask", "old_infarct_mask", "vessel_mask"]

Spacing = tuple[float, float, float]

BONE_HU = 200.0
THICK_MM = 3.0


def head_mask(volume: Tensor, spacing: Spacing) -> Tensor:
    """The head with everything inside it, without table, head rest, cushions and air.

    What is denser than -300 HU is opened by a ball of 5 mm, which severs head rests and tubes; the regions that hold
    bone or are as large as a head stay, grow back, and are filled within each slice.

    Parameters
    ----------
    volume
        ``(z, y, x)`` [HU], best the mean of the frames before contrast
    spacing
        distance between voxel centres along z, y, x [mm]

    Returns
    -------
        ``(z, y, x)`` bool; a slice without a head is empty

    Raises
    ------
    ValueError
        the volume isn't three-dimensional
    """
    grid = _working_grid(volume, spacing)
    return grid.up(_head(grid)) > 0.5


def brain_mask(volume: Tensor, spacing: Spacing) -> Tensor:
    """The inside of the skull: brain, cerebrospinal fluid and vessels, up to the inner table.

    A voxel is inside when bone meets it from at least four fifths of all directions in its slice. That holds where
    the skull is open (skull base, fracture, burr hole) or cut by the image border (there the border counts as bone),
    and turns with the head. Of the inside, what is neither bone nor air nor fat stays; thin bridges are cut, specks
    dropped and holes filled.

    Parameters
    ----------
    volume
        ``(z, y, x)`` [HU], best the mean of the frames before contrast
    spacing
        distance between voxel centres along z, y, x [mm]

    Returns
    -------
        ``(z, y, x)`` bool; empty where no skull surrounds anything

    Raises
    ------
    ValueError
        the volume isn't three-dimensional
    """
    grid = _working_grid(volume, spacing)
    head = _head(grid)
    bone = head & (grid.volume > BONE_HU)
    inside = head & _enclosed(bone, head, grid.spacing)
    # Eyes and muscles may lie inside by direction too, at the skull base and in a slice that cuts the orbit. They hang
    # together with the brain by thin bridges alone, through foramina and fissures: opened, they fall off.
    tissue = inside & ~bone & (grid.smooth > -15.0) & (grid.smooth < 140.0)
    core = _large_regions(opening(tissue, 2.5, grid.spacing), grid)
    brain = dilate(core, 2.5, grid.spacing) & inside & ~bone  # grown back, up to the inner table
    brain = fill_holes(closing(brain, 4.0, grid.spacing) & ~bone)  # bone within is a calcified plexus, or metal
    return grid.up(brain) > 0.5


def csf_mask(
    volume: Tensor, brain: Tensor, spacing: Spacing, *, threshold_hu: float = 18.0, sigma_mm: float = 1.5
) -> Tensor:
    """Cerebrospinal fluid: where the brain, smoothed within itself, is less dense than a threshold.

    Parameters
    ----------
    volume
        ``(z, y, x)`` [HU] without contrast: the mean of the baseline frames
    brain
        ``(z, y, x)`` bool: the inside of the skull
    spacing
        distance between voxel centres along z, y, x [mm]
    threshold_hu
        between fluid (12 HU) and white matter (29 HU) [HU]
    sigma_mm
        standard deviation of the Gaussian in the plane [mm]

    Returns
    -------
        ``(z, y, x)`` bool, inside ``brain``. An old infarct is as dark as fluid and is included.
    """
    return brain & (smooth_inside(volume, brain, spacing, sigma_mm) < threshold_hu)


def old_infarct_mask(
    volume: Tensor,
    brain: Tensor,
    spacing: Spacing,
    midline: Midline,
    *,
    threshold_hu: float = 22.0,
    asymmetry_hu: float = 8.0,
    min_ml: float = 0.3,
) -> Tensor:
    """Cavities of old infarcts: as dark as fluid, on one side only.

    Parameters
    ----------
    volume
        ``(z, y, x)`` [HU] without contrast: the mean of the baseline frames
    brain
        ``(z, y, x)`` bool: the inside of the skull
    spacing
        distance between voxel centres along z, y, x [mm]
    midline
        from :func:`find_midline`
    threshold_hu
        darker than this [HU]
    asymmetry_hu
        darker than the mirrored place by at least this [HU]
    min_ml
        smaller cavities are sulci that differ between the sides [mL]

    Returns
    -------
        ``(z, y, x)`` bool, part of what :func:`csf_mask` finds at the same threshold
    """
    smooth = smooth_inside(volume, brain, spacing, 1.5)
    opposite = mirror(smooth, midline, spacing)
    inner = erode(brain, 5.0, spacing)  # the rim of fluid is never quite the same on both sides
    # Ventricles and sulci are as dark, but on both sides: what only one side has is a loss of tissue.
    dark = inner & (smooth < threshold_hu) & (opposite - smooth > asymmetry_hu)
    cavity = opening(dark, 2.0, spacing)
    voxel_ml = math.prod(spacing) / 1000.0
    return remove_small(cavity, min_ml / voxel_ml, per_slice=spacing[0] > THICK_MM)


def vessel_mask(
    cbv: Tensor,
    spacing: Spacing,
    *,
    threshold: float = 9.0,
    peak: Tensor | None = None,
    vof_peak: float | None = None,
    margin_mm: float = 1.0,
) -> Tensor:
    """Large vessels: far more blood than tissue holds, with a margin.

    Parameters
    ----------
    cbv
        ``(z, y, x)`` [mL/100 g]
    spacing
        distance between voxel centres along z, y, x [mm]
    threshold
        blood volume above which a voxel is a vessel [mL/100 g]
    peak
        ``(z, y, x)`` highest enhancement [HU]; with ``vof_peak``, a quarter of the vein's peak is a vessel too
    vof_peak
        highest enhancement of the venous outflow [HU]
    margin_mm
        grown by this much [mm]

    Returns
    -------
        ``(z, y, x)`` bool
    """
    vessel = cbv > threshold
    if peak is not None and vof_peak is not None:
        vessel = vessel | (peak > 0.25 * vof_peak)
    return dilate(vessel, margin_mm, spacing)


class _Grid(NamedTuple):
    """A volume on the working grid, and the way back."""

    volume: Tensor
    smooth: Tensor
    spacing: Spacing
    factor: tuple[int, int, int]
    shape: torch.Size

    @property
    def thick(self) -> bool:
        """Whether slices are too far apart to be followed through."""
        return self.spacing[0] > THICK_MM

    def up(self, mask: Tensor) -> Tensor:
        """The fraction of each original voxel that the mask covers ``(z, y, x)``."""
        field = mask[None, None].to(torch.float32)
        if self.factor != (1, 1, 1):
            size = [n * f for n, f in zip(mask.shape, self.factor, strict=True)]
            field = F.interpolate(field, size=size, mode="trilinear", align_corners=False)
        z, y, x = self.shape
        return field[0, 0, :z, :y, :x]


def _working_grid(volume: Tensor, spacing: Spacing) -> _Grid:
    """The volume averaged to about 1 mm in the plane and 2 mm along z, unless it is coarser already."""
    if volume.ndim != 3:
        raise ValueError(f"volume must be (z, y, x), got {tuple(volume.shape)}")
    goals = (2.0, 1.0, 1.0)
    factor = tuple(max(1, round(goal / step)) for goal, step in zip(goals, spacing, strict=True))
    field = torch.nan_to_num(volume.to(torch.float32), nan=-1000.0)[None, None]
    if factor != (1, 1, 1):
        pads = [-n % f for n, f in zip(volume.shape, factor, strict=True)]
        field = F.pad(field, (0, pads[2], 0, pads[1], 0, pads[0]), mode="replicate")
        field = F.avg_pool3d(field, factor)
    coarse = field[0, 0]
    step = (spacing[0] * factor[0], spacing[1] * factor[1], spacing[2] * factor[2])
    everywhere = torch.ones_like(coarse, dtype=torch.bool)
    return _Grid(coarse, smooth_inside(coarse, everywhere, (math.inf, *step[1:]), 1.0), step, factor, volume.shape)  # type: ignore[arg-type]


def _head(grid: _Grid) -> Tensor:
    """The head on the working grid: the largest dense region of each slice, filled."""
    dense = grid.volume > -300.0
    solid = opening(dense, 5.0, grid.spacing)  # a head rest touches the skin, in a strip thinner than this
    pixel_cm2 = grid.spacing[1] * grid.spacing[2] / 100.0
    largest = largest_component(remove_small(solid, 5.0 / pixel_cm2, per_slice=True), per_slice=True)
    return fill_holes(closing(dilate(largest, 5.0, grid.spacing) & dense, 3.0, grid.spacing))


def _enclosed(bone: Tensor, head: Tensor, spacing: Spacing, *, fraction: float = 0.8, n_turns: int = 6) -> Tensor:
    """Where bone is met from at least a fraction of ``4 n_turns`` directions in the slice ``(z, y, x)``."""
    wall = bone.clone()
    skull = bone.sum(dim=(1, 2)) * spacing[1] * spacing[2] > 300.0  # mm2 in a slice
    cut = head & skull[:, None, None]
    for edge in (0, -1):  # a skull that the image cuts is closed by the image's rim
        wall[:, edge] |= cut[:, edge]
        wall[:, :, edge] |= cut[:, :, edge]
    step = max(1, round(2.0 / spacing[2]))  # 2 mm are fine enough
    coarse = F.max_pool2d(wall[:, None].to(torch.float32), step, ceil_mode=True)  # (z, 1, y, x)
    height, width = coarse.shape[-2:]
    side = math.ceil(math.hypot(height, width))
    hits = torch.zeros_like(coarse)
    # A running maximum along rows and columns, both ways, looks in four directions from every pixel at once; turned
    # images give the others. No ray is followed, so that the cost doesn't depend on how far the bone is.
    for turn in range(n_turns):
        angle = turn * math.pi / 2 / n_turns
        forth = _rotation(angle, (side, side), (height, width), coarse)
        back = _rotation(-angle, (height, width), (side, side), coarse)
        turned = F.grid_sample(coarse, forth, mode="bilinear", align_corners=False) > 0.3
        ahead = torch.zeros_like(turned, dtype=coarse.dtype)
        for axis in (-1, -2):
            ahead += turned.to(coarse.dtype).cummax(axis).values
            ahead += turned.to(coarse.dtype).flip(axis).cummax(axis).values.flip(axis)
        hits += F.grid_sample(ahead, back, mode="bilinear", align_corners=False)
    share = F.interpolate(hits / (4 * n_turns), scale_factor=step, mode="bilinear", align_corners=False)
    return share[:, 0, : bone.shape[1], : bone.shape[2]] >= fraction


def _rotation(angle: float, size: tuple[int, int], source: tuple[int, int], like: Tensor) -> Tensor:
    """Sampling grid ``(z, y, x, 2)`` that turns an image of ``source`` pixels into one of ``size`` pixels."""
    y = torch.arange(size[0], device=like.device, dtype=like.dtype) - (size[0] - 1) / 2
    x = torch.arange(size[1], device=like.device, dtype=like.dtype) - (size[1] - 1) / 2
    rows = math.sin(angle) * x + math.cos(angle) * y[:, None]
    columns = math.cos(angle) * x - math.sin(angle) * y[:, None]
    grid = torch.stack([columns * 2 / source[1], rows * 2 / source[0]], dim=-1)  # (y, x, 2)
    return grid.expand(like.shape[0], *grid.shape)


def _large_regions(mask: Tensor, grid: _Grid) -> Tensor:
    """Regions of 3 cm2 or more that follow on from the fullest slice: temporal lobes stay, chewing muscles go.

    From the slice with the most tissue outwards, a region stays if half of it lies over what stayed in the last slice.
    """
    pixel_cm2 = grid.spacing[1] * grid.spacing[2] / 100.0
    labels = connected_components(remove_small(mask, 3.0 / pixel_cm2, per_slice=True), per_slice=True)
    n = int(labels.max()) + 1
    kept = torch.zeros_like(mask)
    fullest = int((labels > 0).sum(dim=(1, 2)).argmax())  # surely brain: muscles are nowhere as large
    kept[fullest] = labels[fullest] > 0
    upward = [(z, z - 1) for z in range(fullest + 1, len(mask))]
    downward = [(z, z + 1) for z in range(fullest - 1, -1, -1)]
    for z, before in upward + downward:
        area = torch.bincount(labels[z].flatten(), minlength=n)
        shared = torch.bincount(labels[z][kept[before]], minlength=n)
        keep = 2 * shared >= area.clamp_min(1)
        keep[0] = False
        kept[z] = keep[labels[z]]
    return kept
