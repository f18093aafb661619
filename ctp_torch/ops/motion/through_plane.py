"""What motion through the plane of thick slices adds to the curves, found by its known path and taken out."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ctp_torch.ops.bolus.concentration import curve_noise
from ctp_torch.ops.image.smoothing import smooth_inside
from ctp_torch.ops.motion.rigid import RigidMotion, rotation_matrix

__all__ = ["remove_through_plane"]

Spacing = tuple[float, float, float]

_SHIFTS = (-8.0, -4.0, -2.0, 0.0, 2.0, 4.0, 8.0)
_DISPERSIONS = (0.0, 3.0, 8.0, 25.0)
"""Shifts and exponential time constants [s] of the mean curve, which together span how tissue enhances."""
_SHAPES = 5
"""Curves kept of those; more would leave less of the motion to be told from contrast."""
_GRADIENT = (2.0, 0.5)
"""Usual change of density through the plane [HU/mm], and of that change [HU/mm^2]."""
_SIGMA_MM = 2.0
"""Neighbours that share a gradient [mm]."""
_MISSED_HU = 0.2
"""What those curves miss of a tissue's enhancement [HU]. Unlike noise, all of it may look like a path."""
_ENOUGH = 20_000
"""Curves that tell the noise."""
_LEAST_FRAMES = 4 * (_SHAPES + 1)


def remove_through_plane(
    frames: Tensor, motion: RigidMotion, inside: Tensor, spacing: Spacing, dt: float, *, in_place: bool = False
) -> Tensor:
    r"""A series without what moving through the plane changed in it, for slices too thick to sample between.

    A voxel whose tissue has moved by w [mm] along z shows another density: to second order
    :math:`g_1 w + g_2 w^2`. The path w(t) is known from the motion, the gradients aren't. Every curve inside the mask
    is fitted by a constant, five curves that span how tissue enhances, and the two, ridge-regularised; neighbours share
    their gradients. What belongs to the two is subtracted. Where a path looks like contrast (a drift like the
    wash-out), the fit can't tell them apart and leaves the curve nearly as it is.

    The five curves are the mean inside the mask and the four leading singular vectors of what it becomes when shifted
    by -8 to 8 s and dispersed by exponentials of up to 25 s.

    Parameters
    ----------
    frames
        ``(time, z, y, x)`` [HU], the motion within the plane undone
    motion
        of the same frames, whole, in the axes of the grid
    inside
        ``(z, y, x)`` bool, the brain: nothing else is changed, nor curves that aren't finite
    spacing
        distance between voxel centres along z, y, x [mm]
    dt
        time between frames [s]
    in_place
        change ``frames`` instead of a copy

    Returns
    -------
    ``(time, z, y, x)`` [HU]; ``frames`` itself when there are fewer than 24, or no voxel to change

    Raises
    ------
    ValueError
        if ``motion`` or ``inside`` doesn't belong to the frames

    References
    ----------
    Friston et al. 1996, Magn Reson Med 35:346, doi:10.1002/mrm.1910350312 (motion and its square as regressors)
    """
    if frames.ndim != 4 or len(motion.rotation) != len(frames) or inside.shape != frames.shape[1:]:
        raise ValueError(
            f"frames must be (time, z, y, x) with the {len(motion.rotation)} frames of the motion and a mask of one, "
            f"got {tuple(frames.shape)} and {tuple(inside.shape)}"
        )
    inside, curves = _finite(frames, inside)
    if len(frames) < _LEAST_FRAMES or not curves.shape[1]:
        return frames
    shapes = _enhancement_shapes(curves.mean(dim=1), dt)
    place, square = _places(inside, spacing, frames)  # (4, voxels), (10, voxels)
    path, path_square = _paths(motion)  # (time, 4), (time, 10)
    # Every voxel has a path of its own, but all are made of 4 + 10 time courses weighted by where the voxel lies: one
    # product with the curves serves all, and no path is ever written down.
    courses = torch.cat([path, path_square], dim=1).to(frames)
    apart = courses - shapes @ (shapes.T @ courses)  # what of them no enhancement explains (Frisch, Waugh, Lovell)
    projected = apart.T @ curves  # (14, voxels)
    products = torch.stack([(place * projected[:4]).sum(dim=0), (square * projected[4:]).sum(dim=0)])
    # Averaging the right-hand sides over a neighbourhood is averaging its gradients, as places there hardly differ.
    shared = _among_neighbours(products, inside, spacing)
    gradient = _ridge(apart.T @ apart, place, square, shared, _misfit(curves, spacing))
    still = frames if in_place else frames.clone()
    still[:, inside] = curves.addmm_(courses, torch.cat([place * gradient[0], square * gradient[1]]), alpha=-1.0)
    return still


def _finite(frames: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """The mask without curves that aren't finite, and the curves ``(time, voxels)`` in it."""
    curves = frames[:, inside]
    finite = curves.isfinite().all(dim=0)
    if bool(finite.all()):
        return inside, curves
    inside = inside.clone()
    inside[inside.clone()] = finite
    return inside, curves[:, finite]


def _paths(motion: RigidMotion) -> tuple[Tensor, Tensor]:
    """How tissue moves along z: ``(time, 4)``, of x, y, z [mm] and 1, and ``(time, 10)``, of their ten products.

    w = R3 . x - z + t3 with x about the centre of the volume, less its mean over time; w^2 likewise.
    """
    rise = rotation_matrix(motion.rotation)[:, 2]
    path = torch.cat([rise[:, :2], rise[:, 2:] - 1.0, motion.translation[:, 2:]], dim=1)
    path = path - path.mean(dim=0)
    one, other = torch.triu_indices(4, 4)
    square = path[:, one] * path[:, other]
    return path, square - square.mean(dim=0)


def _places(inside: Tensor, spacing: Spacing, like: Tensor) -> tuple[Tensor, Tensor]:
    """Where voxels lie, ``(4, voxels)``: x, y, z [mm] about the centre and 1; and what w^2 takes of each product."""
    index = inside.nonzero().flip(1).to(like)  # x, y, z
    centre = index.new_tensor([(n - 1) / 2 for n in inside.shape[::-1]])
    place = torch.cat([(index - centre) * index.new_tensor(spacing[::-1]), torch.ones_like(index[:, :1])], dim=1).T
    one, other = torch.triu_indices(4, 4)
    twice = torch.where(one == other, 1.0, 2.0).to(like)
    return place, twice[:, None] * place[one] * place[other]


def _among_neighbours(products: Tensor, inside: Tensor, spacing: Spacing) -> Tensor:
    """Values ``(2, voxels)`` averaged over a Gaussian neighbourhood inside the mask."""
    volumes = torch.zeros(2, *inside.shape, dtype=products.dtype, device=products.device)
    volumes[:, inside] = products
    return smooth_inside(volumes, inside, spacing, _SIGMA_MM)[:, inside]


def _misfit(curves: Tensor, spacing: Spacing) -> float:
    """What may look like a path though it isn't, of a neighbourhood's mean [HU^2]: noise, and contrast at its worst."""
    voxels = 4.0 * math.pi * _SIGMA_MM**2 / (spacing[1] * spacing[2])
    sample = curves[:, :: max(curves.shape[1] // _ENOUGH, 1)]
    return curve_noise(sample.T) ** 2 / max(voxels, 1.0) + len(curves) * _MISSED_HU**2


def _ridge(gram: Tensor, place: Tensor, square: Tensor, products: Tensor, misfit: float) -> Tensor:
    """Gradients ``(2, voxels)``: the normal equations of w and w^2, two unknowns a voxel."""
    # Penalties are the misfit over the usual gradient squared: the posterior mean of a gradient that is normal about 0.
    linear = (place * (gram[:4, :4] @ place)).sum(dim=0) + misfit / _GRADIENT[0] ** 2
    mixed = (place * (gram[:4, 4:] @ square)).sum(dim=0)
    bent = (square * (gram[4:, 4:] @ square)).sum(dim=0) + misfit / _GRADIENT[1] ** 2
    first, second = products
    solved = torch.stack([bent * first - mixed * second, linear * second - mixed * first])
    return solved / (linear * bent - mixed.square())


def _enhancement_shapes(curve: Tensor, dt: float) -> Tensor:
    """Orthonormal ``(time, 1 + shapes)``: a constant, the curve, and the leading shapes of it shifted and dispersed."""
    n = len(curve)
    time = torch.arange(n, dtype=torch.float64, device=curve.device)
    rise = curve.double() - curve[0].double()
    variants = []
    for shift in _SHIFTS:
        at = (time - shift / dt).clamp(0, n - 1)
        low = at.floor().long().clamp(max=n - 2)
        moved = rise[low] + (at - low) * (rise[low + 1] - rise[low])
        for width in _DISPERSIONS:
            ages = (time[:, None] - time) * dt
            spread = torch.where(ages >= 0, torch.exp(-ages / max(width, 1e-3)), 0.0)
            variants.append(spread @ moved)
    shapes = torch.stack(variants, dim=1)
    shapes = shapes / torch.linalg.vector_norm(shapes, dim=0).clamp_min(1e-9)
    # The constant and the mean curve stay whatever happens; only what the others add to them is ranked.
    certain = torch.linalg.qr(torch.stack([torch.ones_like(rise), rise], dim=1)).Q
    others = shapes - certain @ (certain.T @ shapes)
    leading = torch.linalg.svd(others, full_matrices=False).U[:, : _SHAPES - 1]
    return torch.cat([certain, leading], dim=1).to(curve)
