"""What maps and lesions are in every region of the brain, as a DICOM report of its own."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctp_torch.data.maps import OWN_SCHEME
from ctp_torch.io.results.derivation import Code, package_version
from ctp_torch.io.results.measurements import MILLILITRE, VOLUME, write_report_object
from ctp_torch.io.results.objects import need_highdicom
from ctp_torch.io.results.quantities import quantity_code, unit_code
from ctp_torch.io.results.segmentation import tracking

if TYPE_CHECKING:
    from ctp_torch.data.geometry import Geometry
    from ctp_torch.io.results.derivation import Derivation
    from ctp_torch.io.results.protocols import RegionNumbers
    from ctp_torch.io.results.source import Source

__all__ = ["write_region_report"]

_OFFSET = 42
"""Of the series' number, beside that of the lesions' report."""
_MEAN, _MEDIAN = Code("373098007", "SCT", "Mean"), Code("373099004", "SCT", "Median")
_SIDES = {"right": Code("24028007", "SCT", "Right"), "left": Code("7771000", "SCT", "Left")}
_FINDING = Code("REGION", OWN_SCHEME, "Region of the brain")


def write_region_report(
    rows: Sequence[RegionNumbers], geometry: Geometry, path: Path, source: Source, derivation: Derivation
) -> list[Path]:
    """A group of measurements for every region: its volume, mean and median of the maps, volumes of lesions in it.

    Parameters
    ----------
    rows
        as `ctp_torch.lesions.regions.region_rows` makes them
    geometry
        the grid of the maps
    path
        the file
    source, derivation
        what the numbers are made from, and how

    Raises
    ------
    CTPError
        when highdicom isn't installed
    """
    need_highdicom("a structured report (sr)")
    groups = [_group(row, source, derivation) for row in rows]
    write_report_object(
        groups, geometry, path, source, derivation, what="regions of the brain", kind="regions", offset=_OFFSET
    )
    return [path]


def _group(row: RegionNumbers, source: Source, derivation: Derivation) -> Any:
    """The measurements of one region."""
    from highdicom import sr

    name = f"{row.scheme}: {row.region}"
    words, _, side = row.region.rpartition(" ")
    words, sided = (words, _SIDES[side]) if side in _SIDES else (row.region, None)
    site = sr.CodedConcept(re.sub(r"[^A-Z0-9]+", "_", words.upper())[:16], OWN_SCHEME, words)
    laterality = None if sided is None else sr.CodedConcept(*sided)
    listed = [_number(VOLUME, row.volume_ml, MILLILITRE)]
    for how, table in ((_MEAN, row.means), (_MEDIAN, row.medians)):
        listed += [
            _number(quantity_code(map_), value, unit_code(map_), how)
            for map_, value in table.items()
            if math.isfinite(value)
        ]
    listed += [
        _number(Code(f"{lesion.upper()[:8]}_VOLUME", OWN_SCHEME, f"Volume of {lesion}"), value, MILLILITRE)
        for lesion, value in row.lesions.items()
    ]
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=tracking(source, derivation, name), identifier=name),
        finding_type=sr.CodedConcept(*_FINDING),
        finding_sites=[sr.FindingSite(site, laterality=laterality)],
        algorithm_id=sr.AlgorithmIdentification(name="ctp_torch regions", version=package_version()),
        measurements=listed,
    )


def _number(name: Code, value: float, unit: Code, how: Code | None = None) -> Any:
    """One measurement."""
    from highdicom import sr

    derived = None if how is None else sr.CodedConcept(*how)
    return sr.Measurement(sr.CodedConcept(*name), float(f"{value:.6g}"), sr.CodedConcept(*unit), derivation=derived)
