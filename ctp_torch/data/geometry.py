"""Where the voxels are: shape, spacing, origin and direction of a volume, in patient millimetres."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Geometry"]

_AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Geometry:
    """The grid of a volume ``(z, y, x)`` in DICOM patient coordinates (LPS, mm)."""

    shape: tuple[int, int, int]
    """Slices, rows, columns."""
    spacing: tuple[float, float, float]
    """Distance between neighbouring voxel centres along z, y, x [mm]."""
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """LPS position of the centre of voxel (0, 0, 0), as x, y, z [mm]."""
    direction: tuple[float, float, float, float, float, float, float, float, float] = _AXIAL
    """Row-major 3 x 3 cosines; its columns are the unit vectors of the x, y and z index axes (as in SimpleITK)."""

    def __post_init__(self) -> None:
        """Refuse a grid that cannot exist."""
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f"Geometry.shape must be three positive integers (z, y, x), got {self.shape}")
        if len(self.spacing) != 3 or not all(math.isfinite(s) and s > 0 for s in self.spacing):
            raise ValueError(f"Geometry.spacing must be three positive millimetres (z, y, x), got {self.spacing}")

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel [mL]."""
        return math.prod(self.spacing) / 1000.0

    def position(self, z: float, y: float, x: float) -> tuple[float, float, float]:
        """LPS position [mm] of the (possibly fractional) index z, y, x."""
        steps = (x * self.spacing[2], y * self.spacing[1], z * self.spacing[0])
        d = self.direction
        return (
            self.origin[0] + d[0] * steps[0] + d[1] * steps[1] + d[2] * steps[2],
            self.origin[1] + d[3] * steps[0] + d[4] * steps[1] + d[5] * steps[2],
            self.origin[2] + d[6] * steps[0] + d[7] * steps[1] + d[8] * steps[2],
        )

    def matches(self, other: Geometry, *, tolerance_mm: float = 0.1) -> bool:
        """Whether both grids have the same shape and every corner in the same place."""
        if self.shape != other.shape:
            return False
        corners = [
            (z, y, x) for z in (0, self.shape[0] - 1) for y in (0, self.shape[1] - 1) for x in (0, self.shape[2] - 1)
        ]
        return all(math.dist(self.position(*c), other.position(*c)) <= tolerance_mm for c in corners)
