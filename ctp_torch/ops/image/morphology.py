"""Masks to masks: grow, shrink, fill and label regions, with radii in millimetres."""

from __future__ import annotations

import itertools
import math
from types import EllipsisType

import torch
from torch import Tensor

__all__ = [
    "closing",
    "connected_components",
    "dilate",
    "erode",
    "fill_holes",
    "largest_component",
    "opening",
    "remove_small",
]

Spacing = tuple[float, float, float]


def dilate(mask: Tensor, radius_mm: float, spacing: Spacing) -> Tensor:
    r"""Every voxel whose centre lies within a ball around a voxel of the mask.

    The ball is measured in millimetres: with thick slices (``radius_mm`` below the slice distance) it is a disc in
    the plane, with thin ones it reaches the neighbouring slices. What lies beyond the grid counts as empty.

    Parameters
    ----------
    mask
        ``(..., z, y, x)`` bool
    radius_mm
        radius of the ball [mm]; 0 changes nothing
    spacing
        distance between voxel centres along z, y, x [mm]

    Returns
    -------
        ``(..., z, y, x)`` bool

    Raises
    ------
    ValueError
        the mask has fewer than three axes, or the radius is negative or not finite

    Notes
    -----
    Exact: the squared Euclidean distance is separable, :math:`d^2(z, y, x) = \min_k (k s_z)^2 + d^2_{yx}(z + k)`,
    and only the ``radius / spacing`` nearest neighbours along each axis can matter.
    """
    _check(mask, radius_mm)
    distance = torch.where(mask, 0.0, math.inf).to(torch.float32)  # (..., z, y, x) [mm^2]
    for axis, step in zip((-1, -2, -3), reversed(spacing), strict=True):
        reach = min(int(radius_mm / step + 1e-6), mask.shape[axis] - 1)
        nearest = distance.clone()
        for k in range(1, reach + 1):
            length = mask.shape[axis] - k
            far = distance + (k * step) ** 2
            for into, out_of in ((0, k), (k, 0)):
                target = nearest.narrow(axis, into, length)
                torch.minimum(target, far.narrow(axis, out_of, length), out=target)
        distance = nearest
    return distance <= radius_mm**2 * (1 + 1e-6)


def erode(mask: Tensor, radius_mm: float, spacing: Spacing) -> Tensor:
    """Every voxel of the mask with no empty voxel inside a ball around it; the grid's border does not erode.

    Parameters
    ----------
    mask
        ``(..., z, y, x)`` bool
    radius_mm
        radius of the ball [mm]
    spacing
        distance between voxel centres along z, y, x [mm]

    Returns
    -------
        ``(..., z, y, x)`` bool

    Raises
    ------
    ValueError
        the mask has fewer than three axes, or the radius is negative or not finite
    """
    return ~dilate(~mask, radius_mm, spacing)


def opening(mask: Tensor, radius_mm: float, spacing: Spacing) -> Tensor:
    """The union of all balls that fit into the mask: bridges and specks narrower than the ball go."""
    return dilate(erode(mask, radius_mm, spacing), radius_mm, spacing)


def closing(mask: Tensor, radius_mm: float, spacing: Spacing) -> Tensor:
    """The mask with every gap too narrow for the ball filled."""
    return erode(dilate(mask, radius_mm, spacing), radius_mm, spacing)


def connected_components(mask: Tensor, *, per_slice: bool = False, diagonal: bool = True) -> Tensor:
    """Number the connected regions of a mask, in the order of their first voxels.

    Parameters
    ----------
    mask
        ``(..., z, y, x)`` bool; leading dimensions are independent volumes
    per_slice
        label every slice on its own instead of through the slices
    diagonal
        voxels that share an edge or a corner touch (26 neighbours, 8 in a slice); otherwise a face (6, or 4)

    Returns
    -------
        ``(..., z, y, x)`` int64; 0 outside the mask, then 1, 2, ... through the whole tensor

    Raises
    ------
    ValueError
        the mask has fewer than three axes

    Notes
    -----
    Runs of voxels along x are the nodes, touching runs in neighbouring rows the edges; roots hook onto the smallest
    neighbouring root and paths are halved until no edge joins two trees [1]_: a few rounds, each a handful of
    gathers, on any device.

    References
    ----------
    .. [1] Shiloach Y, Vishkin U. An O(log n) parallel connectivity algorithm. J Algorithms 1982;3:57-67.
       doi:10.1016/0196-6774(82)90008-6
    """
    _check(mask, 0.0)
    box = _box(mask)
    if mask[box].shape != mask.shape:  # most of an image is air
        labels = torch.zeros(mask.shape, dtype=torch.int64, device=mask.device)
        if mask[box].numel():
            labels[box] = connected_components(mask[box], per_slice=per_slice, diagonal=diagonal)
        return labels
    volumes = mask.reshape(-1, *mask.shape[-3:])  # (batch, z, y, x)
    if per_slice:
        volumes = volumes.reshape(-1, 1, *mask.shape[-2:])  # (batch z, 1, y, x)
    start = volumes.clone()
    start[..., 1:] &= ~volumes[..., :-1]
    run = torch.where(volumes, start.flatten().cumsum(0).view_as(volumes), 0)
    n_runs = int(start.sum())
    edges = _touching_runs(run, diagonal)
    root = _roots(edges, n_runs + 1)
    is_root = root == torch.arange(n_runs + 1, device=mask.device)
    number = is_root.cumsum(0)[root] - 1  # run 0 is the background and its own root
    return number[run].reshape(mask.shape)


def largest_component(mask: Tensor, *, per_slice: bool = False) -> Tensor:
    """The largest connected region of a volume, or of every slice.

    Parameters
    ----------
    mask
        ``(z, y, x)`` bool
    per_slice
        keep one region in every slice

    Returns
    -------
        ``(z, y, x)`` bool; empty where the mask is empty
    """
    labels = connected_components(mask, per_slice=per_slice)
    sizes = torch.bincount(labels.flatten())
    sizes[0] = 0
    region_size = sizes[labels]
    largest = region_size.amax(dim=(-2, -1), keepdim=True) if per_slice else region_size.amax()
    winner = torch.where(mask & (region_size == largest), labels, sizes.numel())
    first = winner.amin(dim=(-2, -1), keepdim=True) if per_slice else winner.amin()  # of equals, the first
    return mask & (labels == first)


def remove_small(mask: Tensor, min_voxels: float, *, per_slice: bool = False) -> Tensor:
    """The mask without connected regions of fewer than ``min_voxels`` voxels.

    Parameters
    ----------
    mask
        ``(..., z, y, x)`` bool
    min_voxels
        the smallest region kept
    per_slice
        regions within slices instead of through them

    Returns
    -------
        ``(..., z, y, x)`` bool
    """
    labels = connected_components(mask, per_slice=per_slice)
    keep = torch.bincount(labels.flatten()) >= min_voxels
    keep[0] = False
    return keep[labels]


def fill_holes(mask: Tensor, *, per_slice: bool = True, max_voxels: float = math.inf) -> Tensor:
    """The mask with its holes filled: empty regions that a path through faces cannot leave.

    Parameters
    ----------
    mask
        ``(..., z, y, x)`` bool
    per_slice
        holes within a slice (the way out is the slice's rim), or within the volume (its six faces)
    max_voxels
        leave holes larger than this open

    Returns
    -------
        ``(..., z, y, x)`` bool
    """
    box = _box(mask, margin=1)
    if mask[box].shape != mask.shape:
        filled = mask.clone()
        if mask[box].numel():
            filled[box] = fill_holes(mask[box], per_slice=per_slice, max_voxels=max_voxels)
        return filled
    labels = connected_components(~mask, per_slice=per_slice, diagonal=False)
    sizes = torch.bincount(labels.flatten())
    hole = sizes <= max_voxels
    rims = [labels[..., (0, -1), :], labels[..., (0, -1)]]
    if not per_slice:
        rims.append(labels[..., (0, -1), :, :])
    for rim in rims:
        hole[rim.flatten()] = False
    hole[0] = False
    return mask | hole[labels]


def _box(mask: Tensor, margin: int = 0) -> tuple[slice | EllipsisType, ...]:
    """The rows and columns that hold a mask ``(..., y, x)``, and a margin as far as there is room; empty for none."""
    held = [mask.flatten(0, -3).any(dim=0).any(dim=axis).nonzero().flatten() for axis in (1, 0)]
    ends = [(int(at[0]) - margin, int(at[-1]) + 1 + margin) if at.numel() else (0, 0) for at in held]
    return (..., *(slice(max(first, 0), last) for first, last in ends))


def _check(mask: Tensor, radius_mm: float) -> None:
    """Refuse what is no volume or no radius."""
    if mask.ndim < 3 or mask.dtype != torch.bool:
        raise ValueError(f"mask must be bool (..., z, y, x), got {mask.dtype} {tuple(mask.shape)}")
    if not (math.isfinite(radius_mm) and radius_mm >= 0):
        raise ValueError(f"radius_mm must be a finite number of millimetres >= 0, got {radius_mm}")


def _touching_runs(run: Tensor, diagonal: bool) -> Tensor:
    """Pairs of runs that touch in neighbouring rows ``(2, edges)``; ``run`` is ``(batch, z, y, x)``."""
    rows = [(0, 1), (1, 0), (1, -1), (1, 1)] if diagonal else [(0, 1), (1, 0)]
    shifts = (0, -1, 1) if diagonal else (0,)
    pairs = []
    for (dz, dy), dx in itertools.product(rows, shifts):
        a = _shifted(run, -dz, -dy, -dx)
        b = _shifted(run, dz, dy, dx)
        both = (a > 0) & (b > 0)
        both[..., 1:] &= (a[..., 1:] != a[..., :-1]) | (b[..., 1:] != b[..., :-1])  # one edge per pair of runs
        pairs.append(torch.stack([a[both], b[both]]))
    return torch.cat(pairs, dim=1)


def _shifted(run: Tensor, dz: int, dy: int, dx: int) -> Tensor:
    """The part of a volume that has a neighbour at the opposite offset."""
    for axis, d in zip((1, 2, 3), (dz, dy, dx), strict=True):
        length = max(run.shape[axis] - abs(d), 0)
        run = run.narrow(axis, max(d, 0) if length else 0, length)
    return run


def _roots(edges: Tensor, n_nodes: int) -> Tensor:
    """The smallest node of every node's connected component ``(nodes,)``."""
    root = torch.arange(n_nodes, device=edges.device)
    while edges.shape[1]:
        ends = root[edges]  # (2, edges)
        edges = edges[:, ends[0] != ends[1]]
        low, high = root[edges].sort(dim=0).values
        root = root.scatter_reduce(0, high, low, "amin")
        while not torch.equal(above := root[root], root):
            root = above
    return root
