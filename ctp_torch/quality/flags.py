"""A measured value and its limit to a quality flag, for people and for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["NAMES", "Check", "Quality"]

NAMES: Mapping[str, str] = {
    "q1": "frames missing",
    "q2": "slice locations differ",
    "q3": "motion",
    "q4": "too few baseline frames",
    "q5": "truncated bolus",
    "q6": "implausible arterial input",
    "q7": "no bolus",
}
"""Perfusion series are pruned for these reasons."""


class Check(NamedTuple):
    """One flag, raised or not, with what was measured and what is allowed."""

    flag: str
    """q1 to q7, as in ``NAMES``."""
    values: Mapping[str, float | None]
    """Measured, unit in the name; None where it couldn't be."""
    limits: Mapping[str, float]
    """The same names: the largest value allowed, or the smallest for those that begin with ``min_``."""
    reason: str = ""
    """Why nothing could be measured, when that itself is the reason to flag."""
    advice: str = ""
    """What suffers and what to do; told when raised."""

    @property
    def broken(self) -> list[str]:
        """Names of the values beyond their limits."""
        names = []
        for name, limit in self.limits.items():
            value = self.values.get(name.removeprefix("min_"))
            if value is not None and (value < limit if name.startswith("min_") else value > limit):
                names.append(name)
        return names

    @property
    def raised(self) -> bool:
        """Whether the series fails here."""
        return bool(self.reason or self.broken)

    def describe(self) -> str:
        """One line for people."""
        parts = [self.reason] if self.reason else []
        for name, limit in self.limits.items():
            plain = name.removeprefix("min_")
            value = self.values.get(plain)
            measured = "not measured" if value is None else f"{value:.3g}"
            bound = "at least" if name != plain else "at most"
            parts.append(f"{plain.replace('_', ' ')} {measured} ({bound} {limit:g})")
        advice = f"; {self.advice}" if self.raised and self.advice else ""
        return f"{self.flag} {NAMES[self.flag]}: {', '.join(parts)}{advice}"

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "name": NAMES[self.flag],
            "raised": self.raised,
            "values": {name: _finite(value) for name, value in self.values.items()},
            "limits": dict(self.limits),
            "message": self.describe(),
        }


@dataclass(frozen=True)
class Quality:
    """All checks of a series."""

    checks: tuple[Check, ...]
    """In the order of the flags."""

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags raised."""
        return tuple(check.flag for check in self.checks if check.raised)

    def lines(self) -> list[str]:
        """One line for each raised flag."""
        return [check.describe() for check in self.checks if check.raised]

    def as_dict(self) -> dict[str, object]:
        """For JSON: ``flags`` holds the raised ones by name, ``checks`` all of them."""
        every = {check.flag: check.as_dict() for check in self.checks}
        return {"flags": {flag: every[flag] for flag in self.flags}, "checks": every}


def _finite(value: float | None) -> float | None:
    """A number JSON can hold."""
    return round(value, 4) if value is not None and math.isfinite(value) else None
