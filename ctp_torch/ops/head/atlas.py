"""A head laid onto a template head: where each of its points lies there, affinely and then smoothly."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["HeadFit", "TemplateHead", "fit_head"]

_WINDOW = (0.0, 50.0)
"""HU that tell tissue from fluid; blood in vessels is brighter, and left at the upper end."""
_SOFT_MM = 3.0
"""Over this distance the border of the brain is blurred."""
_MOST_POINTS, _FEW_POINTS = 16_000, 4_000
_HEIGHTS_MM = (-40.0, -25.0, -10.0, 5.0, 20.0, 35.0)
"""Of the scan's middle above the template's: where the search begins, for a part of a head tells its height late."""
_PRIOR = (0.15, 0.08, 0.05)
"""Spread of rotations [rad], of log sizes and of shears: heads lie, and differ, about so much."""
_LATTICE_MM = 24.0
_STIFFNESS = 0.02
_BORDER_WEIGHT = 4.0


class TemplateHead(NamedTuple):
    """The head that others are laid onto, on ascending LPS axes."""

    hu: Tensor
    """``(z, y, x)`` of the brain [HU]."""
    table: Tensor
    """``(z, y, x)`` distance to the inside of the skull [mm], negative within."""
    origin: tuple[float, float, float]
    """LPS position of the first voxel, as x, y, z [mm]."""
    step: float
    """Distance of voxels [mm]."""


@dataclass(frozen=True)
class HeadFit:
    """Where points of a scan lie in the template: ``q + u(p)`` with ``q = A (p - c) + t``."""

    matrix: Tensor
    """``(3, 3)`` A."""
    centre: Tensor
    """``(3,)`` c [mm]."""
    shift: Tensor
    """``(3,)`` t [mm]."""
    lattice: Tensor
    """``(3, z, y, x)`` u at points of the scan every ``_LATTICE_MM`` [mm]."""
    corner: Tensor
    """``(3,)`` position of the lattice's first point [mm]."""
    similarity: float
    """Correlation of HU within the brain."""
    overlap: float
    """Dice of the scan's brain and the template's inside of the skull, where the scan looks."""
    volume_ratio: float
    """Determinant of A."""
    stretch: float
    """Largest relative change of a length by u between neighbours of the lattice."""

    def positions(self, points: Tensor) -> Tensor:
        """Template positions ``(n, 3)`` [mm] of scan positions ``(n, 3)`` [mm], LPS both."""
        return _moved(points, self.matrix, self.centre, self.shift, self.lattice, self.corner)

    @property
    def doubtful(self) -> tuple[str, ...]:
        """What speaks against the fit, in words; nothing where it can be trusted."""
        doubts = []
        if self.similarity < _LEAST_SIMILARITY:
            doubts.append(f"the brain looks otherwise than the template's (correlation {self.similarity:.2f})")
        if self.overlap < _LEAST_OVERLAP:
            doubts.append(f"the brain's outline isn't met (Dice {self.overlap:.2f})")
        if not _SIZES[0] <= self.volume_ratio <= _SIZES[1]:
            doubts.append(f"the head would have {1 / max(self.volume_ratio, 1e-6):.2f} times the usual volume")
        if self.stretch > _MOST_STRETCH:
            doubts.append(f"parts would be stretched by {100 * self.stretch:.0f} %")
        return tuple(doubts)


# heads fitted right correlate by 0.48 to 0.57 on digital patients, noisy or not; upside down, turned or mirrored ones
# by 0.19 to 0.29, pure noise by 0.1
_LEAST_SIMILARITY, _LEAST_OVERLAP, _SIZES, _MOST_STRETCH = 0.38, 0.90, (0.65, 1.5), 0.45


def fit_head(points: Tensor, hu: Tensor, brain: Tensor, template: TemplateHead, *, seed: int = 0) -> HeadFit:
    """The map of a scan onto the template that makes brain lie on brain, fluid on fluid.

    Minimises ``1 - r + w mean (m - m')² + priors``, r the correlation of HU in the brain, m and m' the soft masks of
    brain and inside of the skull: over rotation, size, shear and shift, from several heights; then over a smooth
    displacement, which costs its squared gradient.

    Parameters
    ----------
    points
        ``(n, 3)`` LPS positions of the head's voxels and some around [mm]
    hu
        ``(n,)`` before contrast, little noise [HU]
    brain
        ``(n,)`` 0..1, how far a voxel is brain, its border blurred by about 3 mm
    template
        on the same device
    seed
        of the points that are looked at

    Raises
    ------
    ValueError
        when no point is brain
    """
    weight = brain.clamp(0, 1)
    if float(weight.sum()) < 1:
        raise ValueError("no point of the scan is brain")
    target = template.hu.new_tensor(_WINDOW)
    values = hu.clamp(*target.tolist())
    centre = (points * weight[:, None]).sum(0) / weight.sum()
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(points), generator=generator).to(points.device)
    whole = _Scan(points, values, weight, centre)
    scan, few = whole.some(order[:_MOST_POINTS]), whole.some(order[:_FEW_POINTS])
    volume = torch.stack([template.hu.clamp(*target.tolist()), torch.sigmoid(-template.table / _SOFT_MM * 1.7)])
    look = _Template(volume, points.new_tensor(template.origin), template.step)
    starts = []
    for height in _HEIGHTS_MM:
        start = points.new_zeros(12)
        start[9:] = look.middle() / _UNIT_MM
        start[11] += height / _UNIT_MM
        starts.append(_descend(lambda p: _affine_loss(p, few, look), start, steps=40, rate=0.03))
    _, best = min(starts, key=lambda one: one[0])
    _, best = _descend(lambda p: _affine_loss(p, scan, look), best, steps=80, rate=0.01)
    lattice, corner = _lattice_for(points)
    matrix, shift = _affine(best)
    free = lattice.flatten()

    def smooth_loss(flat: Tensor) -> Tensor:
        return _loss(scan, look, matrix, shift, flat.view_as(lattice), corner)

    _, free = _descend(smooth_loss, free, steps=120, rate=0.15)
    lattice = free.view_as(lattice)
    with torch.no_grad():
        r, _ = _terms(scan, look, matrix, shift, lattice, corner)
        there = look.at(_moved(scan.points, matrix, centre, shift, lattice, corner))[1] > 0.5
        here = scan.brain > 0.5
        overlap = 2.0 * float((there & here).sum()) / max(float(there.sum() + here.sum()), 1.0)
    stretch = max(float(lattice.diff(dim=k).abs().amax() if lattice.shape[k] > 1 else 0.0) for k in (1, 2, 3))
    return HeadFit(
        matrix,
        centre,
        shift,
        lattice,
        corner,
        float(r),
        overlap,
        float(torch.linalg.det(matrix)),
        stretch / _LATTICE_MM,
    )


_UNIT_MM = 30.0
"""Of a shift, so that all parameters are of one size."""


class _Scan(NamedTuple):
    """Points that are looked at."""

    points: Tensor
    values: Tensor
    brain: Tensor
    centre: Tensor

    def some(self, chosen: Tensor) -> _Scan:
        """A part of them."""
        return _Scan(self.points[chosen], self.values[chosen], self.brain[chosen], self.centre)


class _Template(NamedTuple):
    """HU and soft inside of the skull, ``(2, z, y, x)``."""

    volume: Tensor
    origin: Tensor
    step: float

    def at(self, positions: Tensor) -> Tensor:
        """``(2, n)`` at positions ``(n, 3)`` [mm]."""
        return _sampled(self.volume, (positions - self.origin) / self.step)

    def middle(self) -> Tensor:
        """Where the brain's middle lies [mm]."""
        inside = self.volume[1]
        total = inside.sum()
        axes = [torch.arange(n, device=inside.device, dtype=inside.dtype) for n in inside.shape]
        means = [(inside.sum(dim=[d for d in range(3) if d != k]) * axes[k]).sum() / total for k in (2, 1, 0)]
        return self.origin + self.step * torch.stack(means)


def _sampled(volume: Tensor, index: Tensor) -> Tensor:
    """Linear values ``(channels, n)`` of ``(channels, z, y, x)`` at fractional indices ``(n, 3)``, x first."""
    size = index.new_tensor([max(n - 1, 1) for n in volume.shape[:0:-1]])
    grid = (index * (2.0 / size) - 1.0)[None, None, None]
    return F.grid_sample(volume[None], grid, mode="bilinear", padding_mode="border", align_corners=True)[0, :, 0, 0]


def _affine(parameters: Tensor) -> tuple[Tensor, Tensor]:
    """A and t of three angles [rad], three log sizes, three shears and a shift."""
    turn, sizes, shears = parameters[:3], parameters[3:6], parameters[6:9]
    zero = torch.zeros_like(turn[0])
    cross = torch.stack([zero, -turn[2], turn[1], turn[2], zero, -turn[0], -turn[1], turn[0], zero]).view(3, 3)
    one = zero + 1.0
    slant = torch.stack([one, shears[0], shears[1], zero, one, shears[2], zero, zero, one]).view(3, 3)
    return torch.linalg.matrix_exp(cross) @ slant @ torch.diag(sizes.exp()), parameters[9:] * _UNIT_MM


def _moved(
    points: Tensor, matrix: Tensor, centre: Tensor, shift: Tensor, lattice: Tensor | None, corner: Tensor | None
) -> Tensor:
    """Template positions of scan positions."""
    positions = (points - centre) @ matrix.T + shift
    if lattice is None or corner is None:
        return positions
    return positions + _sampled(lattice, (points - corner) / _LATTICE_MM).T


def _terms(
    scan: _Scan, look: _Template, matrix: Tensor, shift: Tensor, lattice: Tensor | None, corner: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Correlation of HU in the brain, and mean squared difference of the soft masks."""
    hu, inside = look.at(_moved(scan.points, matrix, scan.centre, shift, lattice, corner))
    weight = scan.brain * inside
    total = weight.sum().clamp_min(1e-3)
    a = scan.values - (weight * scan.values).sum() / total
    b = hu - (weight * hu).sum() / total
    spread = ((weight * a.square()).sum() * (weight * b.square()).sum()).clamp_min(1e-6).sqrt()
    return (weight * a * b).sum() / spread, (scan.brain - inside).square().mean()


def _loss(
    scan: _Scan, look: _Template, matrix: Tensor, shift: Tensor, lattice: Tensor | None, corner: Tensor | None
) -> Tensor:
    """What is minimised, priors of the affine part aside."""
    r, border = _terms(scan, look, matrix, shift, lattice, corner)
    loss = 1.0 - r + _BORDER_WEIGHT * border
    if lattice is None:
        return loss
    bent = [lattice.diff(dim=k).square().mean() for k in (1, 2, 3) if lattice.shape[k] > 1]
    return loss + _STIFFNESS * torch.stack(bent).sum()


def _affine_loss(parameters: Tensor, scan: _Scan, look: _Template) -> Tensor:
    """The same of affine parameters, with what is known of heads."""
    spreads = parameters.new_tensor([value for value in _PRIOR for _ in range(3)])
    prior = (parameters[:9] / spreads).square().mean()
    return _loss(scan, look, *_affine(parameters), None, None) + 0.02 * prior


def _descend(loss: Callable[[Tensor], Tensor], start: Tensor, *, steps: int, rate: float) -> tuple[float, Tensor]:
    """The least loss that so many steps of Adam come by, and where."""
    parameters = start.detach().clone().requires_grad_()
    optimiser = torch.optim.Adam([parameters], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, eta_min=0.1 * rate)
    least, best = math.inf, start.detach().clone()
    with torch.enable_grad():
        for _ in range(steps):
            optimiser.zero_grad()
            value = loss(parameters)
            if float(value.detach()) < least:
                least, best = float(value.detach()), parameters.detach().clone()
            value.backward()
            optimiser.step()
            schedule.step()
    return least, best


def _lattice_for(points: Tensor) -> tuple[Tensor, Tensor]:
    """A lattice of zeros that covers the points, and where it begins."""
    low, high = points.amin(0), points.amax(0)
    n = [math.ceil(float(extent) / _LATTICE_MM) + 1 for extent in (high - low).tolist()]
    middle = (low + high) / 2
    corner = middle - points.new_tensor([(k - 1) / 2 * _LATTICE_MM for k in n])
    return points.new_zeros(3, n[2], n[1], n[0]), corner
