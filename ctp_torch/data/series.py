"""A CT perfusion series: Hounsfield units over time, with the moment each slice was taken."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ctp_torch.data.provenance import Provenance

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ctp_torch.data.geometry import Geometry

__all__ = ["CTPSeries"]


@dataclass(frozen=True)
class CTPSeries:
    """Hounsfield units ``(time, z, y, x)`` with per-slice times and the grid they lie on."""

    hu: Tensor
    """``(time, z, y, x)`` [HU]; slices ascend along the slice normal, times ascend."""
    times: Tensor
    """``(time, z)`` [s] from the first image, float64; shuttle and table-toggle scans differ from slice to slice."""
    geometry: Geometry
    """The grid of one volume."""
    provenance: Provenance = field(default_factory=Provenance)
    """What was read, inferred and done (vendor, time source, warnings); never a patient's identity."""

    def __post_init__(self) -> None:
        """Refuse parts that don't belong together."""
        if self.hu.ndim != 4 or tuple(self.hu.shape[1:]) != self.geometry.shape:
            raise ValueError(
                f"CTPSeries.hu must be (time, z, y, x) on the grid {self.geometry.shape}, got {tuple(self.hu.shape)}"
            )
        if tuple(self.times.shape) != tuple(self.hu.shape[:2]):
            raise ValueError(
                f"CTPSeries.times must be (time, z) = {tuple(self.hu.shape[:2])}, got {tuple(self.times.shape)}"
            )
        if str(self.hu.dtype) not in ("torch.float32", "torch.float64"):
            raise TypeError(f"CTPSeries.hu must be float32 or float64, got {self.hu.dtype}: convert it with .float()")
        if not bool(self.times.isfinite().all()) or bool((self.times.diff(dim=0) <= 0).any()):
            raise ValueError("CTPSeries.times must be finite and rise from frame to frame, in seconds")

    @property
    def n_frames(self) -> int:
        """Number of time points."""
        return int(self.hu.shape[0])

    @property
    def dt(self) -> float:
        """Median time between frames [s]; 0 for a single frame."""
        return float(self.times.diff(dim=0).median()) if self.n_frames > 1 else 0.0

    @property
    def notes(self) -> dict[str, object]:
        """The provenance as the dictionary it was in 0.1."""
        warnings.warn("CTPSeries.notes is now provenance; it goes with 0.3", DeprecationWarning, stacklevel=2)
        return self.provenance.as_dict()

    def to(self, device: torch.device | str) -> CTPSeries:
        """The same series with its Hounsfield units on another device."""
        return replace(self, hu=self.hu.to(device))
