"""A series of thin slices too large to hold: its frames stay where they lie, a coarse copy of them is at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ctp_torch.data.series import CTPSeries

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ctp_torch.data.geometry import Geometry
    from ctp_torch.data.provenance import Provenance

__all__ = ["StoredSeries"]


@dataclass(frozen=True, repr=False)
class StoredSeries:
    """Frames that are read anew each time they are asked for, for as long as `open_series` keeps them open."""

    frames: Callable[[], Iterator[Tensor]]
    """Reads all frames in their order, ``(z, y, x)`` float32 [HU], one at a time."""
    times: Tensor
    """``(time, z)`` [s] from the first image, float64."""
    geometry: Geometry
    """The grid of one frame."""
    coarse: CTPSeries
    """Means over blocks of voxels of all frames, on a grid of their own: enough to see motion and the bolus by."""

    @property
    def provenance(self) -> Provenance:
        """What was read, inferred and left out."""
        return self.coarse.provenance

    @property
    def n_frames(self) -> int:
        """Number of time points."""
        return len(self.times)

    @property
    def dt(self) -> float:
        """Median time between frames [s]."""
        return self.coarse.dt

    def to(self, device: torch.device | str) -> StoredSeries:
        """The same series, whose frames come to another device."""
        return replace(self, coarse=self.coarse.to(device), frames=lambda: (f.to(device) for f in self.frames()))

    def __repr__(self) -> str:
        (z, y, x), (dz, dy, dx) = self.geometry.shape, self.geometry.spacing
        return (
            f"StoredSeries({self.n_frames} frames every {self.dt:.3g} s, {z} x {y} x {x} voxels of "
            f"{dz:.3g} x {dy:.3g} x {dx:.3g} mm, on disk)"
        )
