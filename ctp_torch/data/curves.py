"""The only door between volumes (time, z, y, x) and curves (voxels, time)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.data.geometry import Geometry

__all__ = ["TissueCurves"]


@dataclass(frozen=True)
class TissueCurves:
    """Time curves of the voxels inside a mask, and the way back into the volume."""

    values: Tensor
    """``(voxels, time)``."""
    dt: float
    """Time between samples [s]."""
    mask: Tensor
    """``(z, y, x)`` bool; the voxels in the order of ``values``, row-major."""
    geometry: Geometry
    """The grid of the mask."""

    @classmethod
    def gather(cls, volumes: Tensor, mask: Tensor, geometry: Geometry, *, dt: float) -> TissueCurves:
        """Curves of the masked voxels of ``volumes (time, z, y, x)``."""
        if tuple(mask.shape) != geometry.shape or tuple(volumes.shape[1:]) != geometry.shape:
            raise ValueError(
                f"volumes {tuple(volumes.shape)} and mask {tuple(mask.shape)} must lie on the grid {geometry.shape}"
            )
        return cls(volumes[:, mask].T.contiguous(), dt, mask, geometry)  # (voxels, time)

    def scatter(self, values: Tensor, *, fill: float = 0.0) -> Tensor:
        """A volume ``(z, y, x)`` holding ``values (voxels,)`` inside the mask and ``fill`` outside."""
        if values.shape != self.values.shape[:1]:
            raise ValueError(f"expected one value for each of {self.values.shape[0]} voxels, got {tuple(values.shape)}")
        volume = values.new_full(tuple(self.mask.shape), fill)
        volume[self.mask] = values
        return volume
