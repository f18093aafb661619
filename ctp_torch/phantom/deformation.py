"""What makes one head differ from the template: pose, size, bending, other folds, ventricles and atrophy by age."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.phantom.interpolation import sample_volume, smooth_noise

__all__ = [
    "BOX_EXTENT",
    "BOX_ORIGIN",
    "Deformation",
    "brain_points",
    "draw_deformation",
    "head_points",
    "rotation_matrix",
]

BOX_ORIGIN = (-100.0, -100.0, -76.0)
"""First corner x, y, z of the box in template space that random fields cover [mm]."""
BOX_EXTENT = (196.0, 236.0, 200.0)
"""Size z, y, x of that box [mm]."""
_CENTRE = (0.0, 17.0, 8.0)
_VENTRICLES = ((-14.0, 8.0, 14.0), (14.0, 8.0, 14.0))


class Deformation(NamedTuple):
    """A smooth map from scanner positions (LPS mm) to the template."""

    pose: Tensor
    """``(3, 3)`` rotation of the head in the scanner."""
    scale: Tensor
    """``(3,)`` head size over template size along x, y, z."""
    shift: Tensor
    """``(3,)`` position of the head's centre [mm]."""
    bend: Tensor
    """``(3, z, y, x)`` displacement of everything [mm], every 8 mm."""
    folds: Tensor
    """``(3, z, y, x)`` displacement of the gyri [mm], every 3 mm."""
    atrophy: float
    """Relative shrinkage of the brain inside the skull."""
    ventricles: float
    """Relative widening of the ventricles; negative for narrow ones."""


def draw_deformation(generator: torch.Generator, *, age: float) -> Deformation:
    """A random head: about +-5 % in size, +-3 % left against right, ventricles 0.7 to 1.8 times by age.

    Parameters
    ----------
    generator
        source of randomness
    age
        years; older heads have wider ventricles and sulci
    """
    normal = torch.randn(16, generator=generator).tolist()
    sizes = [math.exp(0.025 * n) for n in normal[:4]]
    years = (age - 65.0) / 20.0
    bend = smooth_noise(generator, BOX_EXTENT, spacing=8.0, sigma_mm=30.0, channels=3) * 2.2
    folds = smooth_noise(generator, BOX_EXTENT, spacing=3.0, sigma_mm=5.0, channels=3) * 1.3
    return Deformation(
        pose=rotation_matrix(torch.tensor([2.5 * normal[4], 1.5 * normal[5], 2.0 * normal[6]])).float(),
        scale=torch.tensor([sizes[0] * sizes[1], sizes[0] * sizes[2], sizes[0] * sizes[3]]),
        shift=torch.tensor([2.0 * normal[7], 3.0 * normal[8], 2.0 * normal[9]]),
        bend=bend,
        folds=folds,
        atrophy=min(max(0.012 + 0.012 * years + 0.008 * normal[10], 0.0), 0.045),
        ventricles=min(max(0.10 + 0.18 * years + 0.12 * normal[11], -0.25), 0.45),
    )


def rotation_matrix(degrees: Tensor) -> Tensor:
    """R = Rz Ry Rx from angles about the x, y and z axes.

    Parameters
    ----------
    degrees
        (..., 3), rx, ry, rz [degrees]

    Returns
    -------
    Tensor
        (..., 3, 3), float64
    """
    angle = torch.deg2rad(degrees.double())
    c, s = torch.cos(angle), torch.sin(angle)
    one, zero = torch.ones_like(c[..., 0]), torch.zeros_like(c[..., 0])

    def matrix(*rows: Tensor) -> Tensor:
        return torch.stack(rows, -1).reshape(*c.shape[:-1], 3, 3)

    rx = matrix(one, zero, zero, zero, c[..., 0], -s[..., 0], zero, s[..., 0], c[..., 0])
    ry = matrix(c[..., 1], zero, s[..., 1], zero, one, zero, -s[..., 1], zero, c[..., 1])
    rz = matrix(c[..., 2], -s[..., 2], zero, s[..., 2], c[..., 2], zero, zero, zero, one)
    return rz @ ry @ rx


def head_points(points: Tensor, head: Deformation) -> Tensor:
    """Template positions ``(..., 3)`` [mm] of scanner positions: pose, size and bending, as skull and dura see them."""
    local = (points - head.shift) @ head.pose / head.scale + points.new_tensor(_CENTRE)
    return local + sample_volume(head.bend, local, origin=BOX_ORIGIN, spacing=8.0).movedim(0, -1)


def brain_points(template_points: Tensor, head: Deformation) -> Tensor:
    """Template positions ``(..., 3)`` [mm] at which the brain is read: atrophy, ventricles and folds on top."""
    centre = template_points.new_tensor(_CENTRE)
    p = centre + (template_points - centre) * (1.0 + head.atrophy)
    for ventricle in _VENTRICLES:
        away = p - p.new_tensor(ventricle)
        reach = away / p.new_tensor([11.0, 26.0, 15.0])
        p = p - head.ventricles * away * torch.exp(-0.5 * (reach**2).sum(-1, keepdim=True))
    return p + sample_volume(head.folds, p, origin=BOX_ORIGIN, spacing=3.0).movedim(0, -1)
