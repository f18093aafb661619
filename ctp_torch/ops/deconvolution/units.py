"""The constants that turn a flow-scaled residue k [1/s] into CBF [mL/100 g/min] and CBV [mL/100 g], in one place."""

from __future__ import annotations

__all__ = ["KH", "RHO", "SECONDS_PER_MINUTE", "flow_per_peak", "volume_per_area"]

HEMATOCRIT_LARGE = 0.45
"""Hematocrit of large vessels, where the AIF is measured."""

HEMATOCRIT_SMALL = 0.25
"""Hematocrit of capillaries."""

KH = (1.0 - HEMATOCRIT_LARGE) / (1.0 - HEMATOCRIT_SMALL)
"""Plasma fraction of large vessels over that of capillaries: 0.7333. 1 switches the correction off."""

RHO = 1.04
"""Density of brain tissue [g/mL]."""

SECONDS_PER_MINUTE = 60.0


def flow_per_peak(kh: float = KH, rho: float = RHO) -> float:
    """CBF [mL/100 g/min] of a residue function whose maximum is 1/s: 6000 kH / rho."""
    _check(kh, rho)
    return 100.0 * SECONDS_PER_MINUTE * kh / rho


def volume_per_area(kh: float = KH, rho: float = RHO) -> float:
    """CBV [mL/100 g] of a tissue curve with the same area as the AIF: 100 kH / rho."""
    _check(kh, rho)
    return 100.0 * kh / rho


def _check(kh: float, rho: float) -> None:
    """Refuse constants that cannot be."""
    if not (kh > 0 and rho > 0):
        raise ValueError(f"kh and rho must be positive, got kh={kh} and rho={rho}")
