"""Where normal ends: the thresholds of core and hypoperfusion, and the file that carries them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ctp_torch.errors import CTPError, UnreadableFileError, check_type

__all__ = ["THRESHOLDS_KEY", "Thresholds", "read_thresholds", "thresholds_from", "write_thresholds"]

THRESHOLDS_KEY = "thresholds"
"""Their name in a thresholds file, and among the metadata of a model that was calibrated."""
_WORDS = ("method", "smoothing", "timing", "volume")
"""Fields that are no numbers."""
_KNOWN_WORDS = {"smoothing": ("", "beside", "inside"), "timing": ("Tmax", "delay"), "volume": ("", "completed", "seen")}


@dataclass(frozen=True)
class Thresholds:
    """Where normal ends. They hold for one deconvolution method: SVD compresses flow and inflates Tmax."""

    rcbf: float = 0.30
    """Core: CBF below this fraction of the normal CBF."""
    rcbv: float = 0.0
    """Core: CBV below this fraction of the normal CBV too; 0 doesn't ask."""
    mirror_mm: float = 0.0
    """Normal is the mirrored place, both sides smoothed by a Gaussian of this [mm]; 0: the median of the reference."""
    tissue_mm: float = 0.0
    """Normal is what tissue of the same density holds, and half of it what the mirrored place holds, all smoothed by a
    Gaussian of this [mm]; 0 takes ``mirror_mm``'s word."""
    core_mm: float = 0.0
    """Core: more than half of the tissue around must be, in a Gaussian of this [mm]; 0 takes every voxel by itself."""
    tmax: float = 6.0
    """Hypoperfusion: Tmax above this [s]."""
    reduced_rcbf: float = 0.0
    """Hypoperfusion as well: CBF below this fraction of the normal CBF where Tmax is above ``reduced_tmax``; 0 doesn't
    ask."""
    reduced_tmax: float = 4.0
    """Tmax that is late enough where flow is reduced [s]; without meaning unless ``reduced_rcbf`` asks."""
    severe_tmax: float = 10.0
    """Of the hypoperfusion, the part counted for the intensity ratio: Tmax above this [s]."""
    normal_tmax: float = 4.0
    """Reference tissue: Tmax below this [s]."""
    usual_tmax: float = 0.0
    """Tmax of normal tissue that the three above belong to [s]: a scan's Tmax is moved until its normal tissue has it,
    so that how early its arterial input was read no longer counts; 0 takes Tmax as measured."""
    min_core_ml: float = 1.0
    """Smaller regions of core are dropped [mL]."""
    min_hypoperfusion_ml: float = 3.0
    """Smaller regions of hypoperfusion are dropped [mL]."""
    hole_ml: float = 1.0
    """Holes in the hypoperfusion up to this are filled [mL]."""
    sigma_mm: float = 1.0
    """Gaussian on the maps before thresholding [mm]."""
    timing: str = "Tmax"
    """What lateness is read from, in words: Tmax, or delay where a method's Tmax is one."""
    method: str = ""
    """The deconvolution they were calibrated for; empty for the conventional values."""
    smoothing: str = ""
    """How its curves were smoothed, ``beside`` vessels or ``inside``; empty where that isn't told."""
    width_mm: float = 0.0
    """Of that Gaussian [mm]; 0 where it isn't told."""
    volume: str = ""
    """Whether CBV was ``completed`` by what passes after the last frame or as ``seen``; empty where that isn't told."""
    least_matrix: int = 0
    """Rows of the images they were calibrated for, from this to ``most_matrix``."""
    most_matrix: int = 0
    """0 where it isn't told."""

    @property
    def belonging(self) -> str:
        """What maps they belong to, in words."""
        if not self.method:
            return "conventional thresholds, borrowed from another product's deconvolution"
        smoothed = {"beside": " smoothed beside vessels", "inside": " smoothed vessels and all"}.get(self.smoothing, "")
        width = f", {self.width_mm:g} mm" if self.width_mm else ""
        return f"thresholds calibrated for {self.method}{smoothed}{width}"

    @property
    def core_rule(self) -> str:
        """What makes a core, in words: ``CBF < 30% of normal``."""
        volume = f" and CBV < {self.rcbv:.0%}" if self.rcbv else ""
        return f"CBF < {self.rcbf:.0%}{volume} of {self._normal}"

    @property
    def late_rule(self) -> str:
        """What makes tissue hypoperfused, in words: ``Tmax > 6 s``."""
        usual = f" where normal is {self.usual_tmax:.1f} s" if self.usual_tmax else ""
        if not self.reduced_rcbf:
            return f"{self.timing} > {self.tmax:g} s{usual}"
        flow = f"CBF < {self.reduced_rcbf:.0%} of {self._normal}"
        return f"{self.timing} > {self.tmax:g} s, or > {self.reduced_tmax:g} s and {flow}{',' if usual else ''}{usual}"

    @property
    def _normal(self) -> str:
        """What flow is measured against, in words."""
        return "such tissue" if self.tissue_mm else "the other side" if self.mirror_mm else "normal"

    def __post_init__(self) -> None:
        """Refuse values that cannot be thresholds."""
        if not isinstance(self.method, str):
            raise CTPError(f"the method of the thresholds is a name, got {self.method!r}")
        for name, known in _KNOWN_WORDS.items():
            if getattr(self, name) not in known:
                raise CTPError(f"thresholds know {name} {', '.join(map(repr, known))}, got {getattr(self, name)!r}")
        endless = [name for name, value in asdict(self).items() if name not in _WORDS and not math.isfinite(value)]
        if endless:
            raise CTPError(f"thresholds must be finite numbers, which {', '.join(endless)} isn't; leave it out instead")
        if not self.normal_tmax > 0:
            raise CTPError(f"normal tissue has a Tmax below a positive threshold, got {self.normal_tmax} s")
        if not 0 < self.rcbf < 1:
            raise CTPError(f"the rCBF threshold is a fraction of normal between 0 and 1, got {self.rcbf}")
        if not 0 <= self.rcbv < 2:
            raise CTPError(f"the rCBV threshold is a fraction of normal, 0 to leave it out, got {self.rcbv}")
        if not 0 <= self.reduced_rcbf < 1:
            raise CTPError(
                "the threshold of reduced flow is a fraction of normal below 1, 0 to leave it out, got "
                f"{self.reduced_rcbf}"
            )
        if not 0 < self.tmax <= self.severe_tmax:
            raise CTPError(
                f"the Tmax thresholds must be 0 < tmax <= severe_tmax, got {self.tmax} and {self.severe_tmax} s"
            )
        least = min(self.tmax, self.reduced_tmax) if self.reduced_rcbf else self.tmax
        if not 0 <= self.usual_tmax < least:
            raise CTPError(
                f"the usual Tmax lies below the thresholds, 0 to leave Tmax as measured, got {self.usual_tmax} s"
            )
        if self.reduced_rcbf and not 0 < self.reduced_tmax <= self.tmax:
            raise CTPError(
                "where flow is reduced, less delay is enough: reduced_tmax must lie between 0 and tmax, got "
                f"{self.reduced_tmax} and {self.tmax} s"
            )
        if not 0 <= self.least_matrix <= self.most_matrix or self.width_mm < 0:
            raise CTPError(
                "the maps that thresholds belong to have a width of at least 0 mm and least_matrix <= most_matrix, got "
                f"{self.width_mm} mm, {self.least_matrix} and {self.most_matrix}"
            )
        sizes = (
            self.min_core_ml,
            self.min_hypoperfusion_ml,
            self.hole_ml,
            self.sigma_mm,
            self.mirror_mm,
            self.tissue_mm,
            self.core_mm,
        )
        if min(sizes) < 0:
            raise CTPError("volumes and smoothing of the thresholds cannot be negative")


def write_thresholds(thresholds: Thresholds, path: Path, *, facts: Mapping[str, object] | None = None) -> None:
    """Write a thresholds file: JSON with the values and how they were found."""
    from ctp_torch.io.atomic import whole

    page = {"thresholds": asdict(thresholds), **(facts or {})}
    with whole(path, force=True) as partial:
        partial.write_text(json.dumps(page, indent=2) + "\n", encoding="utf-8")


def read_thresholds(path: str | Path) -> Thresholds:
    """Read a thresholds file as ``write_thresholds`` makes it; values left out are the conventional ones.

    Raises
    ------
    UnreadableFileError
        the file is no such JSON, names an unknown threshold, or holds what is no number
    """
    from ctp_torch.io.limits import read_text

    check_type(path, (str, os.PathLike), "read_thresholds: path")
    path = Path(path)
    try:
        page = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableFileError(f"{path} is no JSON file ({error}); ctp-torch calibrate writes one") from error
    values = page.get(THRESHOLDS_KEY) if isinstance(page, dict) else None
    if not isinstance(values, dict):
        raise UnreadableFileError(f'{path} holds no "thresholds" object; ctp-torch calibrate writes such a file')
    if values.get("method") and "smoothing" not in values and "model" not in page:  # told since vessels are left out
        width = page.get("sigma_mm")
        width = width if isinstance(width, int | float) else 2.0
        values = {**values, "smoothing": "inside", "width_mm": width, "volume": "seen"}
    return thresholds_from(values, str(path))


def thresholds_from(values: object, of: str) -> Thresholds:
    """Thresholds from what a file holds of them; values left out are the conventional ones.

    Parameters
    ----------
    values
        name to number
    of
        the file, for messages

    Raises
    ------
    UnreadableFileError
        if it names an unknown threshold, or holds what is no number
    """
    if not isinstance(values, dict):
        raise UnreadableFileError(f"{of}: its thresholds are no table of names")
    known = {field.name for field in fields(Thresholds)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise UnreadableFileError(f"{of}: unknown threshold {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    bad = [n for n, v in values.items() if n not in _WORDS and (isinstance(v, bool) or not isinstance(v, int | float))]
    if bad:
        raise UnreadableFileError(f"{of}: {', '.join(bad)} must be a number")
    try:
        return Thresholds(**values)
    except (CTPError, OverflowError) as error:
        raise UnreadableFileError(f"{of}: {error}") from error
