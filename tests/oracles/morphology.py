"""Morphology by loops and by scipy, in float64."""

import numpy as np
import scipy.ndimage


def dilated(mask, radius_mm, spacing):
    """Voxels within a radius of the mask, by comparing every voxel with every voxel of the mask."""
    points = np.argwhere(mask) * np.asarray(spacing)
    grid = np.stack(np.meshgrid(*map(np.arange, mask.shape), indexing="ij"), axis=-1) * np.asarray(spacing)
    if not len(points):
        return np.zeros(mask.shape, dtype=bool)
    distance = np.linalg.norm(grid[..., None, :] - points, axis=-1).min(axis=-1)
    return distance <= radius_mm + 1e-6


def components(mask, *, per_slice, diagonal):
    """scipy's labels of a (z, y, x) mask."""
    neighbours = scipy.ndimage.generate_binary_structure(3, 3 if diagonal else 1)
    if per_slice:
        neighbours[0] = neighbours[2] = False
    return scipy.ndimage.label(mask, neighbours)


def holes_filled(mask, *, per_slice):
    """scipy's hole filling, in the volume or slice by slice."""
    if per_slice:
        return np.stack([scipy.ndimage.binary_fill_holes(plane) for plane in mask])
    return scipy.ndimage.binary_fill_holes(mask)
