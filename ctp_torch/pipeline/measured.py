"""Core and penumbra of a scan's maps: by whose thresholds, and with which intervals."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ctp_torch.errors import CTPError
from ctp_torch.lesions.find import Lesions, find_lesions
from ctp_torch.lesions.thresholds import THRESHOLDS_KEY, Thresholds, thresholds_from
from ctp_torch.pipeline.intervals import Intervals

if TYPE_CHECKING:
    from ctp_torch.data.maps import PerfusionMaps
    from ctp_torch.models.base import Regressor
    from ctp_torch.pipeline.scan import Scan

__all__ = ["measured", "own_thresholds"]


def own_thresholds(model: Regressor | None, others: Thresholds) -> Thresholds:
    """The thresholds that a model was calibrated to; others where there is no model, or it wasn't.

    Raises
    ------
    UnreadableFileError
        if the model's file holds no such thresholds
    """
    own = None if model is None else model.metadata_.get(THRESHOLDS_KEY)
    return others if own is None else thresholds_from(own, "the model")


def measured(
    maps: PerfusionMaps, scan: Scan, limits: Thresholds, model: Regressor | None
) -> tuple[Lesions | None, list[str]]:
    """Core and penumbra with their warnings; where they can't be told, the warning says why.

    Volumes get the intervals that the model promises, unless the maps have none: the scan is a stranger's then.
    """
    if not {"cbf", "tmax"} <= set(maps.values):
        return None, ["no lesions measured: they need CBF and Tmax maps"]
    try:
        lesions = find_lesions(maps, baseline=scan.anatomy.baseline, thresholds=limits)
    except CTPError as error:
        return None, [f"no lesions measured: {error}"]
    promised = None if model is None or maps.ends("lower") is None else Intervals.of(model)
    if promised is not None:
        lesions = replace(lesions, intervals=promised.volume_ends(lesions.summary(), limits))
    return lesions, list(lesions.warnings)
