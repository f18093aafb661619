"""What a series looks like, in numbers a person can hold against what a scanner does."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Plausibility"]

_WHITE, _SHARED = -2 / 3, -0.45
"""Lag-one correlation of a frame's distance from the mean of its neighbours: of independent noise, and the limit above
which neighbours share it (digital patients -0.60 to -0.56; interpolated in time -0.34 and above)."""


class Plausibility(NamedTuple):
    """Measured on the series as read; None where it can't be."""

    frames: int
    slices: int
    duration_s: float
    """From the first image to the last."""
    step_s: float
    """Median time between frames."""
    step_min_s: float
    step_max_s: float
    step_sd_s: float
    """Standard deviation of the steps."""
    slices_apart_s: float
    """Largest difference in time between slices of one frame."""
    spacing_mm: tuple[float, float, float]
    """z, y, x."""
    slice_step_mm: tuple[float, float]
    """Smallest and largest distance of neighbouring slices as told, before any interpolation."""
    drift_mm: float | None
    """Largest distance of an image from its slice's place in the first frame; None where one place is told for all."""
    air_hu: float | None
    """Median of what lies below -800 HU in the first frame."""
    brain_hu: float | None
    """Median of what lies between 0 and 80 HU."""
    bone_hu: float | None
    """Median of what lies above 300 HU."""
    tissue_share: float
    """Share of voxels between 0 and 80 HU."""
    range_hu: tuple[float, float]
    noise_correlation: float | None
    """Of the quietest soft tissue; -0.67 where frames have noise of their own."""
    moving_rims: int
    """Frames with an empty edge that the first one hasn't: moved before they came."""

    @property
    def resampled(self) -> bool | None:
        """Whether neighbouring frames share their noise: interpolated or smoothed in time before they came."""
        return None if self.noise_correlation is None else self.noise_correlation > _SHARED

    def evidence(self) -> str:
        """What the frames themselves say of resampling and registration, in one sentence."""
        exact = self.step_max_s - self.step_min_s < 2e-3
        parts = ["steps exact to 1 ms" if exact else f"steps of {self.step_min_s:.3g} to {self.step_max_s:.3g} s"]
        if self.noise_correlation is not None:
            shared = "neighbouring frames share noise" if self.resampled else "each frame has noise of its own"
            parts.append(f"{shared} (correlation {self.noise_correlation:.2f}, {_WHITE:.2f} if independent)")
        if self.moving_rims:
            parts.append(f"{self.moving_rims} frames have an empty edge of their own")
        verdicts = ["resampled or smoothed in time" if self.resampled else "", "registered" if self.moving_rims else ""]
        verdict = " and ".join(word for word in verdicts if word)
        return f"{', '.join(parts)}: {verdict + ' before it came' if verdict else 'no sign of resampling'}"

    def as_dict(self) -> dict[str, object]:
        """For JSON, rounded."""
        return {**{name: _rounded(value) for name, value in self._asdict().items()}, "evidence": self.evidence()}


def _rounded(value: object) -> object:
    """Numbers to four decimals."""
    if isinstance(value, tuple):
        return [_rounded(one) for one in value]
    return round(value, 4) if isinstance(value, float) else value
