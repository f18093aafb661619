"""What results are written of besides maps: lesions and regions, whoever measured them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LesionResult", "RegionNumbers"]


class LesionResult(Protocol):
    """Core, penumbra and their numbers, as `ctp_torch.lesions.find.Lesions` holds them."""

    @property
    def core(self) -> Tensor:
        """``(z, y, x)`` bool."""

    @property
    def penumbra(self) -> Tensor:
        """``(z, y, x)`` bool."""

    @property
    def hypoperfusion(self) -> Tensor:
        """``(z, y, x)`` bool: core and penumbra."""

    def summary(self) -> dict[str, object]:
        """Volumes [mL], ratios, thresholds."""


class RegionNumbers(Protocol):
    """What a region's maps and lesions are, as `ctp_torch.lesions.regions.RegionRow` has them."""

    @property
    def scheme(self) -> str:
        """Kind of region."""

    @property
    def region(self) -> str:
        """Its name, side included."""

    @property
    def volume_ml(self) -> float:
        """Of its scanned part."""

    @property
    def means(self) -> Mapping[str, float]:
        """Map to its mean."""

    @property
    def medians(self) -> Mapping[str, float]:
        """Map to its median."""

    @property
    def lesions(self) -> Mapping[str, float]:
        """Lesion to its volume [mL]."""
