"""A CT perfusion series: Hounsfield units over time, with the moment each slice was taken."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ctp_torch.data.preview import as_html, grey_png
from ctp_torch.data.provenance import Provenance

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ctp_torch.data.geometry import Geometry

__all__ = ["TO_SERIES", "CTPSeries", "implausible_times"]

TO_SERIES = "ctp_torch.read_series(FOLDER) reads one, from_numpy, from_nibabel and from_sitk make one"
"""How to get a series, for whoever hands over something else."""

_SHORTEST_S, _LONGEST_S, _SPAN_S = 0.01, 120.0, 14_400.0
"""Between frames no gantry turns faster, and no bolus waits longer; a whole scan lasts minutes, never over 4 hours."""
_MOST_LAGS = 10_000
"""Usual steps in the whole scan: all that follows works on even steps, and would take memory and time without end."""


def implausible_times(times: Tensor) -> str:
    """Why no scanner takes images at these times ``(time, z)`` [s]; empty where one may."""
    if not bool(times.isfinite().all()):
        return "the times of its frames are no numbers"
    if len(times) < 2:
        return ""
    steps = times.diff(dim=0)
    if bool((steps <= 0).any()):
        return "the times of its frames must rise from frame to frame"
    step, span = float(steps.median()), float(times.max() - times.min())
    if step < _SHORTEST_S:
        meant = f" (if these are seconds told as milliseconds, {1000 * step:g} s are meant)" if step > 2e-4 else ""
        return f"frames {step:g} s apart, faster than any scanner{meant}"
    if step > _LONGEST_S or span > _SPAN_S:
        return (
            f"frames {step:g} s apart, {span:,.0f} s in all, where a perfusion scan takes one every few seconds for"
            f" minutes (if these are milliseconds, {step / 1000:g} s are meant)"
        )
    if span > _MOST_LAGS * step:
        return f"frames {step:g} s apart with a gap of {float(steps.max()):,.0f} s, after which they are of no use"
    return ""


@dataclass(frozen=True, repr=False)
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
        if amiss := implausible_times(self.times):
            raise ValueError(f"CTPSeries.times: {amiss}; give seconds")

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

    def __repr__(self) -> str:
        (z, y, x), (dz, dy, dx) = self.geometry.shape, self.geometry.spacing
        return (
            f"CTPSeries({self.n_frames} frames every {self.dt:.3g} s, {z} x {y} x {x} voxels of "
            f"{dz:.3g} x {dy:.3g} x {dx:.3g} mm, {self.hu.dtype} on {self.hu.device})"
        )

    def _repr_html_(self) -> str:
        """For a notebook: the facts and the mean over time, 0 to 80 HU."""
        return as_html(repr(self), grey_png([(self.hu.mean(dim=0), (0.0, 80.0))]))
