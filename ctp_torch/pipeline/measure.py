"""Maps to lesions by the thresholds that belong to them; without any, to the reason why no volume is told."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ctp_torch.errors import CTPError
from ctp_torch.lesions.belonging import MapsOrigin, conventional_thresholds, misfit, shipped_thresholds
from ctp_torch.lesions.find import Lesions, find_lesions
from ctp_torch.lesions.thresholds import THRESHOLDS_KEY, Thresholds, thresholds_from
from ctp_torch.pipeline.intervals import Intervals

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.data.maps import PerfusionMaps
    from ctp_torch.models.base import Regressor

__all__ = ["BORROWED", "Measured", "choose_thresholds", "measure_lesions"]

BORROWED = (
    "the volumes are by conventional thresholds, borrowed from another product's deconvolution: they may be far off"
)
_OTHERS = "--thresholds conventional borrows another product's, ctp-torch calibrate finds a method's own"


class Measured(NamedTuple):
    """What was measured in a set of maps."""

    lesions: Lesions | None
    """None where none can be told."""
    conventional: Lesions | None
    """By conventional thresholds, to hold beside; None where ``lesions`` are that, or they can't be told."""
    why_none: str
    """Why there are no lesions; empty where there are, or none were asked for."""

    def warnings(self) -> list[str]:
        """All that is doubtful."""
        if self.lesions is None:
            return [f"no lesions measured: {self.why_none}"] if self.why_none else []
        return [*self.lesions.warnings, *([] if self.lesions.thresholds.method else [BORROWED])]


def choose_thresholds(
    given: Thresholds | None, origin: MapsOrigin, model: Regressor | None = None, *, force: bool = False
) -> tuple[Thresholds | None, str]:
    """The thresholds for maps: those given, or those that belong to the maps; or None and the reason, in words.

    Parameters
    ----------
    given
        asked for by name or file; None for those that are shipped, or kept in the model's file
    origin
        how the maps are made
    model
        that predicts them
    force
        take those given whatever they were calibrated for

    Raises
    ------
    CTPError
        those given, or those in the model's file, belong to other maps
    """
    if given is not None:
        if not force and (why := misfit(given, origin)):
            raise CTPError(f"{why}: calibrate for these maps, or apply them all the same with --force-thresholds")
        return given, ""
    if model is None:
        limits, why = shipped_thresholds(origin)
        return limits, f"{why}; {_OTHERS}" if why else ""
    kept = model.metadata_.get(THRESHOLDS_KEY)
    if not isinstance(kept, dict):
        about = model.metadata_.get("calibration")
        reason = about.get("reason") if isinstance(about, dict) else None
        reason = reason or "the model's file holds no thresholds of its own"
        return None, f"{reason}; {_OTHERS}"
    limits = thresholds_from({"method": type(model).__name__, "smoothing": "", **kept}, "the model's file")
    why = misfit(limits, origin)
    return (None, f"{why}; {_OTHERS}") if why else (limits, "")


def measure_lesions(
    maps: PerfusionMaps,
    baseline: Tensor | None,
    limits: Thresholds | None,
    method: str,
    *,
    model: Regressor | None = None,
    why_none: str = "",
    slice_mm: float | None = None,
) -> Measured:
    """Core and penumbra by the thresholds chosen, and beside them by the conventional ones.

    Parameters
    ----------
    maps
        with ``cbf`` and ``tmax``
    baseline
        ``(z, y, x)`` [HU] mean of the frames before contrast
    limits
        from `choose_thresholds`; None measures nothing
    method
        name of the deconvolution, empty for a model
    model
        that predicted the maps, and may promise intervals of the volumes
    why_none
        the reason, where ``limits`` is None
    slice_mm
        height given to a slice [mm], as in `find_lesions`
    """
    if limits is None:
        return Measured(None, None, why_none)
    if not {"cbf", "tmax"} <= set(maps.values):
        return Measured(None, None, "they need CBF and Tmax maps")
    find = partial(find_lesions, maps, baseline=baseline, slice_mm=slice_mm, surveys=[])
    try:
        lesions = find(thresholds=limits)
    except CTPError as error:
        return Measured(None, None, str(error))
    promised = None if model is None or maps.ends("lower") is None else Intervals.of(model)
    if promised is not None:
        lesions = replace(lesions, intervals=promised.volume_ends(lesions.summary(), limits))
    if not limits.method:
        return Measured(lesions, None, "")
    try:
        others = conventional_thresholds(method)
        conventional = find(thresholds=others)
    except CTPError:
        return Measured(lesions, None, "")
    return Measured(lesions, conventional, "")
