"""References for the image chain: loops for medians and colours, and a head whose motion is known exactly."""

import math

import numpy as np
import torch


def median_by_loops(image, size):
    """Median of every window of one image (y, x), borders mirrored with the edge repeated; plain float64 loops."""
    half, (rows, columns) = size // 2, image.shape
    result = np.empty(image.shape, dtype=np.float64)
    for y in range(rows):
        for x in range(columns):
            window = [
                float(image[_mirror(y + dy, rows), _mirror(x + dx, columns)])
                for dy in range(-half, half + 1)
                for dx in range(-half, half + 1)
            ]
            result[y, x] = sorted(window)[len(window) // 2]
    return result


def _mirror(index, n):
    """Index folded back into 0..n-1 with the edges repeated, step by step."""
    while not 0 <= index < n:
        index = -index - 1 if index < 0 else 2 * n - 1 - index
    return index


def nearest_color_by_loops(color, lut, max_distance, background):
    """Index of the nearest entry to one colour, -1 background, -2 too far; the first of equals."""
    if max(color) < background:
        return -1
    distances = [sum((int(a) - int(b)) ** 2 for a, b in zip(color, entry, strict=True)) for entry in lut]
    least = min(distances)
    return -2 if math.sqrt(least) > max_distance else distances.index(least)


def rotation_by_steps(about_x, about_y, about_z):
    """Rz Ry Rx as three elementary rotations multiplied, from degrees."""
    a, b, c = np.deg2rad([about_x, about_y, about_z])
    rx = np.array([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    ry = np.array([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
    rz = np.array([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
    return rz @ ry @ rx


class DigitalHead:
    """An asymmetric head given by formulas, so that a moved frame is evaluated, not interpolated.

    Ellipsoids of scalp, skull, brain, ventricles, eyes and vessels with edges as soft as a scanner's point spread,
    in HU, with sinusoidal texture; every seed another head.
    """

    def __init__(self, seed=0, edge_mm=0.4):
        draw = np.random.default_rng(seed)
        self.edge_mm = edge_mm
        size = np.array([72.0, 90.0, 85.0]) * draw.normal(1.0, 0.04, 3)
        shift = draw.normal(0.0, 2.0, 3)
        table = draw.uniform(5.0, 8.0)
        self.parts = [(shift, size + table + draw.uniform(4.0, 6.0), 30.0 + 1000.0)]  # scalp over air
        self.parts += [(shift, size + table, draw.uniform(800.0, 1100.0)), (shift + draw.normal(0, 0.6, 3), size, 0.0)]
        for side in (-1.0, 1.0):
            centre = shift + np.array([side * draw.uniform(10, 14), draw.uniform(-12, 5), draw.uniform(-8, 8)])
            self.parts.append((centre, draw.uniform([5, 18, 14], [9, 28, 22]), -24.0))
        for _ in range(14):
            centre = shift + draw.uniform(-0.65, 0.65, 3) * size
            self.parts.append((centre, draw.uniform(2.0, 9.0, 3), draw.uniform(-12, 25)))
        for _ in range(6):  # sinuses and dense bone in the skull, never symmetric
            direction = draw.normal(size=3)
            centre = shift + direction / np.linalg.norm(direction) * (size + table / 2)
            self.parts.append((centre, draw.uniform(3.0, 10.0, 3), draw.uniform(-600, 500)))
        self.vessels = [
            (shift + draw.uniform(-0.7, 0.7, 3) * size, draw.uniform([1.5, 1.5, 8], [3, 3, 25])) for _ in range(12)
        ]
        self.waves = draw.normal(0.0, 0.25, (8, 3)), draw.uniform(0, 2 * math.pi, 8)
        self.size, self.shift = size, shift

    def volume(self, shape, spacing, *, rotation=(0.0, 0.0, 0.0), translation=(0.0, 0.0, 0.0), bolus=0.0, thin=5):
        """HU (z, y, x) of the moved head: each slice the mean of ``thin`` layers across its spacing."""
        matrix = torch.tensor(rotation_by_steps(*rotation), dtype=torch.float32)
        shift = torch.as_tensor(translation, dtype=torch.float32)
        z, y, x = ((torch.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, spacing, strict=True))
        layers = ((torch.arange(thin) + 0.5) / thin - 0.5) * spacing[0]
        result = torch.zeros(shape)
        for layer in layers.tolist():
            grid = torch.stack(torch.meshgrid(z + layer, y, x, indexing="ij")[::-1], dim=-1)  # (z, y, x, 3) as x, y, z
            result += self._hu((grid - shift) @ matrix, bolus)  # R^T (x - t)
        return result / thin

    def _hu(self, points, bolus):
        hu = torch.full(points.shape[:-1], -1000.0)
        for i, (centre, axes, value) in enumerate(self.parts):
            inside = self._inside(points, centre, axes)
            hu = hu * (1 - inside) + inside * (value if i in (1,) else 35.0) if i in (1, 2) else hu + inside * value
            if i == 2:
                brain = inside
        frequencies, phases = self.waves
        texture = sum(
            torch.sin(points @ torch.tensor(f, dtype=torch.float32) + p)
            for f, p in zip(frequencies, phases, strict=True)
        )
        hu = hu + 1.5 * brain * texture
        if bolus:
            for centre, axes in self.vessels:
                hu = hu + bolus * brain * self._inside(points, centre, axes)
            hu = hu + 0.03 * bolus * brain
        return hu

    def _inside(self, points, centre, axes):
        """1 inside the ellipsoid, 0 outside, over an edge of the scanner's width."""
        scaled = (points - torch.tensor(centre, dtype=torch.float32)) / torch.tensor(axes, dtype=torch.float32)
        distance = (scaled.norm(dim=-1) - 1.0) * float(np.min(axes))
        return torch.sigmoid(-distance / self.edge_mm)

    def brain(self, shape, spacing):
        """Mask (z, y, x) of the brain in the reference position."""
        z, y, x = ((torch.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, spacing, strict=True))
        grid = torch.stack(torch.meshgrid(z, y, x, indexing="ij")[::-1], dim=-1)
        scaled = (grid - torch.tensor(self.shift, dtype=torch.float32)) / torch.tensor(self.size, dtype=torch.float32)
        return scaled.norm(dim=-1) < 0.97


def registration_error(motion, truth, mask, spacing):
    """Mean distance [mm] over the mask between where two motions (rotation, translation) put a point, per frame."""
    z, y, x = (
        (torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * s for n, s in zip(mask.shape, spacing, strict=True)
    )
    grid = torch.stack(torch.meshgrid(z, y, x, indexing="ij")[::-1], dim=-1)
    points = grid[mask][:: max(1, int(mask.sum()) // 5000)]  # (points, 3)
    errors = []
    for (r1, t1), (r2, t2) in zip(zip(*motion, strict=True), zip(*truth, strict=True), strict=True):
        a, b = (torch.from_numpy(rotation_by_steps(*map(float, r))) for r in (r1, r2))
        moved = points @ a.T + torch.as_tensor(t1, dtype=torch.float64)
        errors.append((moved - points @ b.T - torch.as_tensor(t2, dtype=torch.float64)).norm(dim=-1).mean())
    return torch.stack(errors)
