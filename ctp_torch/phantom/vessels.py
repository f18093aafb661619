"""Arteries and veins as tubes: circle of Willis and branches, sinuses, and random vessels on the surface."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.phantom.interpolation import sample_volume
from ctp_torch.phantom.template import Template

__all__ = ["VesselTree", "blur_vessels", "grow_vessels"]

_STEP_MM = 0.5
_WALL_MM = 0.8

# Centre lines in template LPS mm: x to the left, y to the back, z up; "paired" ones are mirrored to the other side.
_PAIRED_ARTERIES: tuple[tuple[float, float, tuple[tuple[float, float, float], ...]], ...] = (
    (2.3, 2.0, ((14, 4, -70), (15, 2, -50), (14, 0, -32), (12, -5, -25), (10, -3, -18))),  # internal carotid
    (1.6, 1.3, ((10, -3, -18), (20, -5, -17), (30, -5, -17), (37, -6, -13))),  # M1
    (1.2, 0.9, ((37, -6, -13), (40, -8, -3), (41, -6, 8), (44, -6, 17), (52, -6, 22), (58, -3, 26))),  # superior M2
    (1.2, 0.9, ((37, -6, -13), (41, 2, -8), (41, 14, 0), (43, 25, 8), (52, 30, 11), (60, 36, 16))),  # inferior M2
    (0.9, 0.7, ((40, -8, -3), (42, -20, 4), (47, -28, 12), (50, -33, 22))),  # frontal branch
    (0.9, 0.7, ((41, 14, 0), (50, 16, -8), (58, 20, -10), (63, 26, -6))),  # temporal branch
    (1.2, 1.1, ((10, -3, -18), (6, -10, -18), (2, -16, -16))),  # A1
    (1.1, 0.8, ((2, -16, -16), (2, -28, -10), (2, -36, 3), (2, -32, 16), (2, -18, 26), (2, 0, 31), (2, 16, 33))),  # A2
    (0.8, 0.6, ((2, -37, 5), (2, -48, 14), (2, -48, 28), (2, -36, 42))),  # callosomarginal
    (1.4, 1.2, ((1, 15, -19), (8, 15, -17), (16, 21, -14), (21, 32, -9))),  # P1 and P2
    (1.1, 0.8, ((21, 32, -9), (18, 45, -3), (12, 62, 2), (9, 80, 5))),  # calcarine
    (0.9, 0.7, ((21, 32, -9), (30, 45, -12), (36, 58, -12))),  # posterior temporal
)
_SINGLE_ARTERIES: tuple[tuple[float, float, tuple[tuple[float, float, float], ...]], ...] = (
    (1.8, 1.7, ((0, 25, -70), (0, 24, -45), (0, 20, -28), (0, 15, -19))),  # basilar
    (0.9, 0.9, ((-2, -17, -16), (2, -17, -16))),  # anterior communicating
)
_PAIRED_VEINS: tuple[tuple[float, float, tuple[tuple[float, float, float], ...]], ...] = (
    (1.2, 1.4, ((3, -12, 12), (2, 5, 15), (1.5, 25, 13), (0.5, 36, 6))),  # internal cerebral
    (1.1, 1.3, ((18, 5, -18), (20, 20, -12), (12, 33, -2), (1, 38, 3))),  # basal vein
)
_STRAIGHT_SINUS = (2.6, 3.2, ((0.0, 38.0, 3.0), (0.0, 55.0, 4.0), (0.0, 72.0, -3.0), (0.0, 92.0, -12.0)))


class VesselTree(NamedTuple):
    """Fractions of blood in the voxels of the template's grid."""

    brain: Tensor
    """``(2, z, y, x)``, arteries and veins that follow the brain."""
    sinuses: Tensor
    """``(z, y, x)``; they lie in the dura and follow the skull."""


def grow_vessels(
    generator: torch.Generator,
    template: Template,
    *,
    calibre: float = 1.0,
    n_pial_arteries: int = 260,
    n_pial_veins: int = 320,
) -> VesselTree:
    """A vessel tree: fixed trunks with individual calibre and wobble, random pial vessels and cortical veins.

    Parameters
    ----------
    generator
        source of randomness
    template
        gives the grid and the surface the pial vessels run on
    calibre
        factor on all radii
    n_pial_arteries, n_pial_veins
        surface vessels of 15 to 45 mm length and 0.4 to 0.8 mm radius over the whole brain
    """
    arteries = [_tube(line, r0, r1, generator) for r0, r1, line in (*_both_sides(_PAIRED_ARTERIES), *_SINGLE_ARTERIES)]
    veins = [_tube(line, r0, r1, generator) for r0, r1, line in _both_sides(_PAIRED_VEINS)]
    arteries.append(_pial_walks(generator, template, n_pial_arteries, radius=(0.4, 0.7)))
    veins.append(_pial_walks(generator, template, n_pial_veins, radius=(0.4, 0.8)))
    r0, r1, line = _STRAIGHT_SINUS
    sinuses = [_tube(line, r0, r1, generator), _sagittal_sinus(template), *_transverse_sinuses(template, generator)]
    walls = [_wall_distance(torch.cat(t), calibre, template) for t in (arteries, veins, sinuses)]
    blood = [(0.5 - wall / _WALL_MM).clamp(0.0, 1.0) for wall in walls]
    return VesselTree(torch.stack(blood[:2]), blood[2])


def blur_vessels(tree: VesselTree, pixel_mm: float) -> VesselTree:
    """The tree as pixels of ``pixel_mm`` see it: blood spread over each in plane, none lost between them."""
    excess = max(pixel_mm**2 - 1.0, 0.0) / 12.0  # variance of a box of that width beyond the grid's own
    steps = math.ceil(excess / 0.5)
    share = 0.5 * excess / max(steps, 1)
    brain, sinuses = tree
    for _ in range(steps):
        brain, sinuses = (_diffuse(_diffuse(v, share, -2), share, -1) for v in (brain, sinuses))
    return VesselTree(brain, sinuses)


def _diffuse(volume: Tensor, share: float, axis: int) -> Tensor:
    """Every voxel gives ``share`` to either neighbour along an axis."""
    out = volume * (1.0 - 2.0 * share)
    n = volume.shape[axis] - 1
    out.narrow(axis, 1, n).add_(volume.narrow(axis, 0, n), alpha=share)
    out.narrow(axis, 0, n).add_(volume.narrow(axis, 1, n), alpha=share)
    return out


def _both_sides(
    tubes: tuple[tuple[float, float, tuple[tuple[float, float, float], ...]], ...],
) -> list[tuple[float, float, tuple[tuple[float, float, float], ...]]]:
    """Every paired tube on the left and mirrored on the right."""
    return [(r0, r1, tuple((side * x, y, z) for x, y, z in line)) for r0, r1, line in tubes for side in (1.0, -1.0)]


def _tube(line: tuple[tuple[float, float, float], ...], r0: float, r1: float, generator: torch.Generator) -> Tensor:
    """Points ``(n, 4)`` x, y, z, radius [mm] every half millimetre along a smoothed, slightly displaced centre line."""
    knots = torch.tensor(line, dtype=torch.float32)
    knots[1:-1] += 0.8 * torch.randn(len(knots) - 2, 3, generator=generator)
    lengths = (knots[1:] - knots[:-1]).norm(dim=1)
    at = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    s = torch.arange(0.0, float(at[-1]), _STEP_MM)
    k = torch.searchsorted(at, s, right=True).clamp(1, len(at) - 1) - 1
    w = ((s - at[k]) / lengths[k])[:, None]
    before, after = knots[(k - 1).clamp_min(0)], knots[(k + 2).clamp_max(len(knots) - 1)]
    a, b = knots[k], knots[k + 1]
    path = 0.5 * (
        2 * a + (b - before) * w + (2 * before - 5 * a + 4 * b - after) * w**2 + (3 * a - before - 3 * b + after) * w**3
    )
    radius = r0 + (r1 - r0) * s / s[-1].clamp_min(_STEP_MM)
    return torch.cat([path, radius[:, None]], 1)  # Catmull-Rom


def _table_normal(template: Template, points: Tensor) -> tuple[Tensor, Tensor]:
    """Distance to the inner table and its outward normal at ``points (n, 3)``."""
    offsets = 1.5 * torch.cat([torch.eye(3), -torch.eye(3)])
    neighbours = sample_volume(template.table, points[:, None] + offsets, origin=template.origin)  # (n, 6)
    gradient = neighbours[:, :3] - neighbours[:, 3:]
    return sample_volume(template.table, points, origin=template.origin), gradient / gradient.norm(
        dim=1, keepdim=True
    ).clamp_min(1e-3)


def _pial_walks(generator: torch.Generator, template: Template, n: int, *, radius: tuple[float, float]) -> Tensor:
    """Random walks on and just under the brain's surface, as points ``(m, 4)``."""
    start = torch.randn(n, 3, generator=generator)
    p = start / start.norm(dim=1, keepdim=True) * torch.tensor([66.0, 84.0, 66.0]) + torch.tensor([0.0, 17.0, 10.0])
    heading = torch.randn(n, 3, generator=generator)
    depth = -3.0 - 9.0 * torch.rand(n, generator=generator) ** 2  # some dive into the sulci
    r = radius[0] + (radius[1] - radius[0]) * torch.rand(n, generator=generator)
    length = 15.0 + 30.0 * torch.rand(n, generator=generator)
    trail = []
    for step in range(int(45.0 / (2 * _STEP_MM))):
        distance, normal = _table_normal(template, p)
        p = p + (depth - distance)[:, None] * normal * (1.0 if step == 0 else 0.5)
        heading = heading + 0.35 * torch.randn(n, 3, generator=generator)
        heading = heading - (heading * normal).sum(1, keepdim=True) * normal
        heading = heading / heading.norm(dim=1, keepdim=True).clamp_min(1e-3)
        p = p + 2 * _STEP_MM * heading
        depth = depth + 0.25 * torch.randn(n, generator=generator)
        depth = depth.clamp(-14.0, -2.5)
        alive = (2 * _STEP_MM * step < length) & (p[:, 2] > -60)
        trail.append(torch.cat([p, r[:, None]], 1)[alive])
    return torch.cat(trail)


def _sagittal_sinus(template: Template) -> Tensor:
    """Along the inner table in the midline, from the forehead over the vertex to the confluence, growing on the way."""
    angle = torch.linspace(-2.6, 1.62, 500)  # 0 is straight back, -pi/2 up, beyond it the forehead
    direction = torch.stack([torch.zeros(500), torch.cos(angle), -torch.sin(angle)], 1)
    reach = torch.full((500,), 60.0)
    centre = torch.tensor([0.0, 20.0, 10.0])
    for _ in range(40):
        reach = reach - 0.7 * (
            sample_volume(template.table, centre + reach[:, None] * direction, origin=template.origin) + 3.0
        )
    keep = angle < 0.42
    radius = torch.linspace(1.8, 4.0, 500)
    return torch.cat([centre + reach[:, None] * direction, radius[:, None]], 1)[keep]


def _transverse_sinuses(template: Template, generator: torch.Generator) -> list[Tensor]:
    """From the confluence round both sides to the sigmoid sinus, the right one usually larger."""
    tubes = []
    for side, r in ((-1.0, 3.4), (1.0, 2.6)):
        line = tuple(
            (side * x, y, z)
            for x, y, z in ((1.0, 93, -14), (25, 88, -18), (47, 70, -22), (58, 50, -26), (54, 38, -38), (45, 35, -60))
        )
        tube = _tube(line, r, r, generator)
        for _ in range(6):
            distance, normal = _table_normal(template, tube[:, :3])
            tube[:, :3] -= (0.5 * (distance + 3.0))[:, None] * normal
        tubes.append(tube)
    return tubes


def _wall_distance(tubes: Tensor, calibre: float, template: Template, *, cap: float = 2.0) -> Tensor:
    """Signed distance volume ``(z, y, x)`` to the walls of all tubes, from balls around their points."""
    shape = template.table.shape
    volume = torch.full((shape.numel(),), cap)
    radius = calibre * tubes[:, 3]
    thick = radius > 1.2
    for chosen, reach in ((~thick, 3), (thick, 6)):
        centre = tubes[chosen, :3] - torch.tensor(template.origin)
        steps = torch.arange(-reach, reach + 1, dtype=torch.float32)
        offsets = torch.cartesian_prod(steps, steps, steps)  # (cube, 3)
        for points, r in zip(torch.split(centre, 4096), torch.split(radius[chosen], 4096), strict=True):
            voxels = points.round()[:, None] + offsets  # (points, cube, 3)
            distance = (voxels - points[:, None]).norm(dim=-1) - r[:, None]
            near = distance < cap
            x, y, z = voxels[near].long().unbind(1)
            inside = (x >= 0) & (y >= 0) & (z >= 0) & (x < shape[2]) & (y < shape[1]) & (z < shape[0])
            index = ((z * shape[1] + y) * shape[2] + x)[inside]
            volume.scatter_reduce_(0, index, distance[near][inside], "amin")
    return volume.reshape(shape)
