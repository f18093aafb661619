"""The unit that a map tells, to that of `QUANTITIES`: by dimension, so that every way to write it is known."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["KNOWN_UNITS", "factor_of"]

KNOWN_UNITS = {
    "cbv": "mL/100 g, mL/g, mL/100 mL, %",
    "cbf": "mL/100 g/min, mL/100 mL/min, mL/g/s, 1/min, 1/s",
    "oefmax": "%",
}
"""Examples of what is understood, for messages; the other quantities are times."""
_MINUTE = 60.0


class _Unit(NamedTuple):
    """A number times mL, g and s to some powers."""

    factor: float
    volume: int = 0
    mass: int = 0
    time: int = 0

    def times(self, other: _Unit, power: int) -> _Unit:
        """The product with a power of another."""
        return _Unit(
            self.factor * other.factor**power,
            *(a + power * b for a, b in zip(self[1:], other[1:], strict=True)),
        )


_UNITS = {
    **dict.fromkeys(("ml", "cc", "cm3", "cm^3"), _Unit(1.0, volume=1)),
    **dict.fromkeys(("ul", "mm3", "mm^3"), _Unit(1e-3, volume=1)),
    "dl": _Unit(100.0, volume=1),
    "l": _Unit(1e3, volume=1),
    "g": _Unit(1.0, mass=1),
    "mg": _Unit(1e-3, mass=1),
    "kg": _Unit(1e3, mass=1),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), _Unit(1.0, time=1)),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), _Unit(1e-3, time=1)),
    **dict.fromkeys(("us", "usec"), _Unit(1e-6, time=1)),
    **dict.fromkeys(("min", "minute", "minutes"), _Unit(_MINUTE, time=1)),
    "%": _Unit(0.01),
    "": _Unit(1.0),
}
_NAMES = "|".join(sorted((re.escape(name) for name in _UNITS if name), key=len, reverse=True))
_FACTOR = re.compile(rf"[.*·]?(\d+(?:\.\d+)?)?({_NAMES})?(?:\^?(-\d))?")


def factor_of(quantity: str, unit: str) -> float | None:
    """What values in that unit are to be multiplied by; None where it is no unit of that quantity.

    A flow or a volume of blood in a volume of tissue is taken at the density of brain, 1.04 g/mL.

    Parameters
    ----------
    quantity
        one of `QUANTITIES`
    unit
        as UCUM or people write it: ``ml/[100]g/min``, ``mL/(min*100g)``, ``ms``, ``1/min``
    """
    from ctp_torch.ops.deconvolution.units import RHO

    parsed = _parse(unit)
    if parsed is None or unit.strip() == "1":  # a plain number is a ratio to something, or says nothing
        return None
    dimension = parsed[1:]
    if quantity == "cbf":
        per_mass = {(1, -1, -1): 1.0, (0, 0, -1): 1 / RHO}.get(dimension)  # mL/g/s, mL/mL/s
        return None if per_mass is None else parsed.factor * per_mass * 100 * _MINUTE
    if quantity == "cbv":
        per_mass = {(1, -1, 0): 1.0, (0, 0, 0): 1 / RHO}.get(dimension)
        return None if per_mass is None else parsed.factor * per_mass * 100
    if quantity == "oefmax":
        return parsed.factor * 100 if dimension == (0, 0, 0) else None
    return parsed.factor if dimension == (0, 0, 1) else None


def _parse(unit: str) -> _Unit | None:
    """The unit as powers of mL, g and s; all that follows a slash is below it, as people mean it."""
    text = re.sub(r"\{[^}]*\}|[\s()\[\]]", "", unit.lower().replace("µ", "u"))
    product = _Unit(1.0)
    for k, part in enumerate(text.split("/")):
        at = 0
        while at < len(part):
            match = _FACTOR.match(part, at)
            if match is None or match.end() == at or match[0] in ".*·":
                return None
            power = int(match[3] or 1) * (-1 if k else 1)
            product = product.times(_Unit(float(match[1] or 1)), -1 if k else 1).times(_UNITS[match[2] or ""], power)
            at = match.end()
    return product if text else None
