"""A head to the plane that divides it: where left and right mirror each other best."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Midline", "find_midline", "mirror", "signed_distance"]

Spacing = tuple[float, float, float]


class Midline(NamedTuple):
    """A plane ``cos(a) x - sin(a) y - roll z = offset`` in millimetres from the centre of the grid."""

    angle_deg: float
    """Turn of the head about the slice normal [degree]."""
    offset_mm: float
    """Distance of the plane from the grid's centre [mm]."""
    roll: float
    """Sideways drift of the plane from slice to slice [mm per mm]."""
    symmetry: float
    """Correlation of the head with its mirror image: 1 is a perfect match."""


def find_midline(image: Tensor, spacing: Spacing, *, max_angle_deg: float = 45.0) -> Midline:
    """The plane about which an image of the head is most symmetric.

    For every turn of the head, the correlation of each row with itself reversed gives the match at all offsets at
    once; the best of the turns is refined to a quarter degree, then each slice votes on its own offset, and a line
    through the votes gives the sideways tilt.

    Parameters
    ----------
    image
        ``(z, y, x)``, 0 outside the head: a brain mask, the density of bone, both
    spacing
        distance between voxel centres along z, y, x [mm]
    max_angle_deg
        the largest turn tried [degree]

    Returns
    -------
        the plane

    Raises
    ------
    ValueError
        the image isn't three-dimensional, or is empty
    """
    if image.ndim != 3 or not bool((image != 0).any()):
        raise ValueError(f"a midline needs an image (z, y, x) with a head in it, got {tuple(image.shape)}")
    field, step = _square_grid(image.to(torch.float32), spacing)
    # From coarse to fine over all turns: a descent from upright would end at the first local peak.
    angles = torch.arange(-max_angle_deg, max_angle_deg + 0.1, 3.0)
    for width in (1.0, 0.25, 0.0):
        scores = torch.stack([_match(_turned(field, float(a))).sum(dim=0).amax() for a in angles])
        best = float(angles[int(scores.argmax())])
        if width:
            angles = best + width * torch.arange(-4.0, 4.1)
    match = _match(_turned(field, best))  # (z, offsets)
    total = match.sum(dim=0)
    n_offsets = total.numel()
    centre = (_vertex(total[None])[0] - (n_offsets - 1) / 2) * step / 2  # a sum of two positions: half a pixel a step
    energy = _turned(field, best).square().sum(dim=(1, 2))
    voters = energy > 0.1 * energy.max()  # slices with little head in them match themselves anywhere
    offsets = (_vertex(match) - (n_offsets - 1) / 2) * step / 2
    z = (torch.arange(len(offsets), device=offsets.device) - (len(offsets) - 1) / 2) * spacing[0]
    roll, offset = _line(z[voters], offsets[voters], float(centre))
    return Midline(best, offset, roll, float(total.max() / energy.sum().clamp_min(1e-12)))


def signed_distance(midline: Midline, shape: tuple[int, int, int], spacing: Spacing, device: torch.device) -> Tensor:
    """Distance of every voxel from the midline, negative towards the first column.

    Parameters
    ----------
    midline
        the plane
    shape
        slices, rows, columns
    spacing
        distance between voxel centres along z, y, x [mm]
    device
        where to make it

    Returns
    -------
        ``(z, y, x)`` [mm]
    """
    z, y, x = _coordinates(shape, spacing, device)
    angle = math.radians(midline.angle_deg)
    return math.cos(angle) * x - math.sin(angle) * y - midline.roll * z - midline.offset_mm


def mirror(volume: Tensor, midline: Midline, spacing: Spacing) -> Tensor:
    """What lies at the mirrored place on the other side, interpolated in the plane.

    Parameters
    ----------
    volume
        ``(z, y, x)``
    midline
        the plane
    spacing
        distance between voxel centres along z, y, x [mm]

    Returns
    -------
        ``(z, y, x)`` floating point; 0 where the mirrored place lies outside the grid
    """
    depth, height, width = volume.shape
    shape = (depth, height, width)
    distance = signed_distance(midline, shape, spacing, volume.device)
    _, y, x = _coordinates(shape, spacing, volume.device)
    angle = math.radians(midline.angle_deg)
    mirrored_x = x - 2 * distance * math.cos(angle)
    mirrored_y = y + 2 * distance * math.sin(angle)
    grid = torch.stack([mirrored_x * 2 / (width * spacing[2]), mirrored_y * 2 / (height * spacing[1])], dim=-1)
    dtype = volume.dtype if volume.is_floating_point() else torch.float32
    opposite: Tensor = F.grid_sample(volume[:, None].to(dtype), grid.to(dtype), align_corners=False)[:, 0]
    return opposite


def _coordinates(shape: tuple[int, int, int], spacing: Spacing, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Millimetres from the centre of the grid along z, y, x, ready to broadcast."""
    axes = [(torch.arange(n, device=device) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    return axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]


def _square_grid(image: Tensor, spacing: Spacing, step: float = 2.0) -> tuple[Tensor, float]:
    """The image on square pixels of 2 mm, on a canvas that holds it at any turn ``(z, y, x)``."""
    height, width = image.shape[1] * spacing[1], image.shape[2] * spacing[2]
    side = math.ceil(math.hypot(height, width) / step)
    along = (torch.arange(side, device=image.device) - (side - 1) / 2) * step
    grid = torch.stack([(along * 2 / width).expand(side, -1), (along * 2 / height)[:, None].expand(-1, side)], dim=-1)
    scale = max(1, int(step / min(spacing[1:])))
    pooled = F.avg_pool2d(image[:, None], scale, stride=1, padding=scale // 2, count_include_pad=True)
    return F.grid_sample(pooled, grid.expand(len(image), -1, -1, -1), align_corners=False)[:, 0], step


def _turned(field: Tensor, angle_deg: float) -> Tensor:
    """The square image turned so that a midline at this angle stands upright."""
    angle = math.radians(angle_deg)
    theta = field.new_tensor([[math.cos(angle), math.sin(angle), 0.0], [-math.sin(angle), math.cos(angle), 0.0]])
    grid = F.affine_grid(theta.expand(len(field), -1, -1), [len(field), 1, *field.shape[1:]], align_corners=False)
    return F.grid_sample(field[:, None], grid, align_corners=False)[:, 0]


def _match(field: Tensor) -> Tensor:
    """Correlation of all rows with themselves reversed, for every offset in half pixels ``(z, offsets)``."""
    n = field.shape[-1]
    size = 1 << (2 * n - 1).bit_length()  # a power of two: lengths with large prime factors take many times as long
    spectrum = torch.fft.rfft(field, n=size)
    # A row reversed and correlated is the row convolved with itself: its spectrum squared, for all offsets at once.
    match: Tensor = torch.fft.irfft((spectrum * spectrum).sum(dim=1), n=size)[:, : 2 * n - 1]
    return match  # sum_x f(x) f(s - x): s = 0 .. 2 n - 2


def _vertex(match: Tensor) -> Tensor:
    """Position of the maximum of each row, between samples by a parabola ``(rows,)``."""
    at = match.argmax(dim=1).clamp(1, match.shape[1] - 2)
    left, mid, right = (match.gather(1, (at + d)[:, None])[:, 0] for d in (-1, 0, 1))
    bend = (left - 2 * mid + right).clamp_max(-1e-12)
    return at + (0.5 * (left - right) / bend).clamp(-0.5, 0.5)


def _line(z: Tensor, offsets: Tensor, fallback: float) -> tuple[float, float]:
    """Slope and height at 0 of the line through the votes: medians of pairwise slopes and of what is left."""
    if len(z) < 3:
        return 0.0, fallback
    # Medians (Theil and Sen): a quarter of the slices may be misled, by a jaw or a cut side, and the line stays.
    i, j = torch.triu_indices(len(z), len(z), offset=1, device=z.device)
    slope = float(((offsets[j] - offsets[i]) / (z[j] - z[i])).median())
    slope = max(-0.7, min(0.7, slope))
    return slope, float((offsets - slope * z).median())
