"""Perfusion maps, and the one table of what they are called, measured in and displayed at."""

from __future__ import annotations

import re
import warnings
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from ctp_torch.data.preview import as_html, grey_png
from ctp_torch.data.provenance import MapsProvenance

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ctp_torch.data.geometry import Geometry

__all__ = ["BOUNDED", "ENDS", "OWN_SCHEME", "QUANTITIES", "PerfusionMaps", "Quantity", "in_order", "named_quantity"]

OWN_SCHEME = "99CTPTORCH"
"""Coding scheme of what DICOM has no code for."""


class Quantity(NamedTuple):
    """Name, unit, display range and DICOM code of a perfusion quantity."""

    label: str
    """As a console prints it."""
    unit: str
    """For people."""
    ucum: str
    """For DICOM (CID 7181)."""
    display: tuple[float, float]
    """Default range of the colour bar, in ``unit``."""
    code: tuple[str, str]
    """DICOM code value (CID 4108 and 7180 where it has one) and meaning."""
    scheme: str = "DCM"
    """Coding scheme of the code value."""


_MEASURED: Mapping[str, Quantity] = {
    "cbv": Quantity("rCBV", "mL/100 g", "ml/[100]g", (0.0, 8.0), ("126391", "Absolute Regional Blood Volume")),
    "cbf": Quantity("rCBF", "mL/100 g/min", "ml/[100]g/min", (0.0, 60.0), ("126390", "Absolute Regional Blood Flow")),
    "mtt": Quantity("MTT", "s", "s", (0.0, 20.0), ("113052", "Mean Transit Time")),
    "tmax": Quantity("Tmax", "s", "s", (0.0, 12.0), ("113084", "Tmax")),
    "ttp": Quantity("TTP", "s", "s", (0.0, 40.0), ("113069", "Time To Peak")),
    "cth": Quantity("CTH", "s", "s", (0.0, 12.0), ("CTH", "Capillary Transit Time Heterogeneity"), OWN_SCHEME),
    "delay": Quantity("Delay", "s", "s", (0.0, 12.0), ("DELAY", "Arrival of Contrast after the Artery"), OWN_SCHEME),
    "cbf_sd": Quantity(
        "rCBF sd", "mL/100 g/min", "ml/[100]g/min", (0.0, 30.0), ("CBF_SD", "Uncertainty of Blood Flow"), OWN_SCHEME
    ),
    "mtt_sd": Quantity("MTT sd", "s", "s", (0.0, 6.0), ("MTT_SD", "Uncertainty of Mean Transit Time"), OWN_SCHEME),
    "tmax_sd": Quantity("Tmax sd", "s", "s", (0.0, 6.0), ("TMAX_SD", "Uncertainty of Tmax"), OWN_SCHEME),
    "p_late": Quantity("P(Tmax > 6 s)", "%", "%", (0.0, 100.0), ("P_LATE", "Probability of Tmax > 6 s"), OWN_SCHEME),
    "p_core": Quantity("P(CBF < 30 %)", "%", "%", (0.0, 100.0), ("P_CORE", "Probability of CBF < 30 %"), OWN_SCHEME),
    "oefmax": Quantity("OEFmax", "%", "%", (20.0, 60.0), ("OEFMAX", "Maximum Oxygen Extraction Fraction"), OWN_SCHEME),
    "permeability": Quantity(
        "Permeability", "mL/100 g/min", "ml/[100]g/min", (0.0, 8.0), ("PERMEABILITY", "Flow Extraction"), OWN_SCHEME
    ),
    "rel_cbf": Quantity("CBF / normal", "ratio", "{ratio}", (0.0, 2.0), ("126392", "Relative Regional Blood Flow")),
}
BOUNDED = ("cbv", "cbf", "mtt", "tmax", "rel_cbf")
"""Quantities that a model may bound from both sides."""
ENDS = ("lower", "upper")
"""Of an interval, as its maps are called: ``cbf_lower``, ``cbf_upper``."""


def _end(name: str, end: str) -> Quantity:
    """One end of a quantity's interval: its unit and display, and a code of our own."""
    whole = _MEASURED[name]
    code = (f"{name}_{end}".upper(), f"{end.capitalize()} End of {whole.code[1]}")
    return whole._replace(label=f"{whole.label} {end}", code=code, scheme=OWN_SCHEME)


QUANTITIES: Mapping[str, Quantity] = {
    **_MEASURED,
    **{f"{name}_{end}": _end(name, end) for name in BOUNDED for end in ENDS},
}
"""rCBV and rCBF are *regional* maps in absolute units, as a console labels them; nothing is divided by a reference."""


def named_quantity(name: str) -> Quantity:
    """The quantity of that name; one that isn't in the table is what a model learned from files named like it.

    Raises
    ------
    ValueError
        for what can't be the name of a map
    """
    if name in QUANTITIES:
        return QUANTITIES[name]
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name):
        raise ValueError(f"unknown quantity {name!r}; known are {', '.join(QUANTITIES)}")
    return Quantity(name, "", "1", (0.0, 1.0), (name.upper()[:16], f"Learned {name}"), OWN_SCHEME)


def in_order(names: Iterable[str]) -> list[str]:
    """Names of maps, each once, in the order of the table; learned ones follow."""
    given = list(dict.fromkeys(names))
    return [name for name in QUANTITIES if name in given] + [name for name in given if name not in QUANTITIES]


@dataclass(frozen=True, repr=False)
class PerfusionMaps:
    """Maps ``(z, y, x)`` by quantity, in the units of ``QUANTITIES``, with the mask they are valid in."""

    values: Mapping[str, Tensor]
    """Quantity name to ``(z, y, x)``; 0 outside the mask."""
    mask: Tensor
    """``(z, y, x)`` bool: where the maps mean something."""
    geometry: Geometry
    """The grid."""
    provenance: MapsProvenance = field(default_factory=MapsProvenance)
    """What the maps rest on (arterial input, baseline, warnings); never a patient's identity."""

    def __post_init__(self) -> None:
        """Refuse unknown names and maps on another grid."""
        for name, volume in {**self.values, "mask": self.mask}.items():
            named_quantity(name)
            if tuple(volume.shape) != self.geometry.shape:
                raise ValueError(f"map {name!r} is {tuple(volume.shape)}, the grid is {self.geometry.shape}")

    @property
    def notes(self) -> dict[str, object]:
        """The provenance as the dictionary it was in 0.1."""
        warnings.warn("PerfusionMaps.notes is now provenance; it goes with 0.3", DeprecationWarning, stacklevel=2)
        return self.provenance.as_dict()

    def __getitem__(self, name: str) -> Tensor:
        """The map of that name.

        Raises
        ------
        KeyError
            naming the maps there are
        """
        if name not in self.values:
            raise KeyError(f"no map {name!r}; there are {', '.join(self.values)}")
        return self.values[name]

    def ends(self, end: str) -> PerfusionMaps | None:
        """The lower or upper ends of all intervals as maps under the names of their quantities; None without any."""
        found = {name: self.values[f"{name}_{end}"] for name in BOUNDED if f"{name}_{end}" in self.values}
        return replace(self, values=found) if found else None

    def without_ends(self) -> PerfusionMaps:
        """The maps themselves."""
        ends = {f"{name}_{end}" for name in BOUNDED for end in ENDS}
        return replace(self, values={name: volume for name, volume in self.values.items() if name not in ends})

    def __iter__(self) -> Iterator[str]:
        """Names of the maps."""
        return iter(self.values)

    def __len__(self) -> int:
        """Number of maps."""
        return len(self.values)

    def __contains__(self, name: object) -> bool:
        """Whether there is a map of that name."""
        return name in self.values

    def keys(self) -> KeysView[str]:
        """Names of the maps; ``dict(maps)`` works."""
        return self.values.keys()

    def items(self) -> ItemsView[str, Tensor]:
        """Names and maps."""
        return self.values.items()

    def to(self, device: torch.device | str) -> PerfusionMaps:
        """The same maps on another device."""
        values = {name: volume.to(device) for name, volume in self.values.items()}
        return replace(self, values=values, mask=self.mask.to(device))

    def __repr__(self) -> str:
        (z, y, x), (dz, dy, dx) = self.geometry.shape, self.geometry.spacing
        return (
            f"PerfusionMaps({', '.join(self.values)}; {z} x {y} x {x} voxels of {dz:.3g} x {dy:.3g} x {dx:.3g} mm, "
            f"{int(self.mask.sum())} in the mask)"
        )

    def _repr_html_(self) -> str:
        """For a notebook: the facts and a row of slices of each map, grey over its display range."""
        return as_html(repr(self), grey_png([(v, named_quantity(name).display) for name, v in self.items()]))
