"""Volumes and mismatch as a structured report (Comprehensive 3D SR, TID 1500)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ctp_torch.data.maps import OWN_SCHEME
from ctp_torch.io.results.derivation import Code, package_version
from ctp_torch.io.results.objects import MAKER, carrier, common_elements, need_highdicom, references
from ctp_torch.io.results.segmentation import ABNORMAL, BRAIN, SEGMENTS, tracking

if TYPE_CHECKING:
    from pydicom import Dataset

    from ctp_torch.data.geometry import Geometry
    from ctp_torch.io.results.derivation import Derivation
    from ctp_torch.io.results.source import Source

__all__ = ["MILLILITRE", "VOLUME", "write_measurements", "write_report_object"]

_OFFSET = 41
VOLUME = Code("118565006", "SCT", "Volume")
MILLILITRE, _NO_UNIT = Code("ml", "UCUM", "ml"), Code("{ratio}", "UCUM", "ratio")
_HEAD_CT = Code("24725-4", "LN", "CT Head")
_ISCHEMIA = Code("52674009", "SCT", "Ischemia")


class _Figure(NamedTuple):
    """A number of the summary: what it is, in which unit."""

    name: Code
    unit: Code


class _Group(NamedTuple):
    """Numbers about one finding."""

    finding: Code
    figures: Mapping[str, _Figure]


_GROUPS: Mapping[str, _Group] = {
    "core": _Group(SEGMENTS["core"].kind, {"core_ml": _Figure(VOLUME, MILLILITRE)}),
    "penumbra": _Group(SEGMENTS["penumbra"].kind, {"penumbra_ml": _Figure(VOLUME, MILLILITRE)}),
    "hypoperfusion": _Group(_ISCHEMIA, {"hypoperfusion_ml": _Figure(VOLUME, MILLILITRE)}),
    "severe hypoperfusion": _Group(_ISCHEMIA, {"severe_hypoperfusion_ml": _Figure(VOLUME, MILLILITRE)}),
    "mismatch": _Group(
        Code("MISMATCH", OWN_SCHEME, "Mismatch of hypoperfusion and core"),
        {
            "mismatch_ml": _Figure(Code("MISMATCH_VOLUME", OWN_SCHEME, "Mismatch volume"), MILLILITRE),
            "mismatch_ratio": _Figure(Code("MISMATCH_RATIO", OWN_SCHEME, "Mismatch ratio"), _NO_UNIT),
            "hypoperfusion_intensity_ratio": _Figure(
                Code("HIR", OWN_SCHEME, "Hypoperfusion intensity ratio"), _NO_UNIT
            ),
            "cbv_index": _Figure(Code("CBV_INDEX", OWN_SCHEME, "CBV index"), _NO_UNIT),
        },
    ),
}
"""Names of a lesion summary, by finding; a number that isn't defined (a ratio to nothing) is left out."""


def write_measurements(
    summary: Mapping[str, object],
    geometry: Geometry,
    path: Path,
    source: Source,
    derivation: Derivation,
    *,
    segmentation: Dataset | None = None,
) -> None:
    """A lesion summary as a report: volumes [mL] and ratios, with thresholds and version.

    Parameters
    ----------
    summary
        as `ctp_torch.lesions.find.Lesions.summary` makes it
    geometry
        the grid of the maps
    path
        the file
    source, derivation
        what the numbers are made from, and how
    segmentation
        core and penumbra, which the report then refers to

    Raises
    ------
    CTPError
        when highdicom isn't installed
    """
    need_highdicom("a structured report (sr)")
    groups = [group for name in _GROUPS if (group := _group(name, summary, source, derivation, segmentation))]
    write_report_object(
        groups, geometry, path, source, derivation, what="core, penumbra, mismatch", segmentation=segmentation
    )


def write_report_object(
    groups: Sequence[Any],
    geometry: Geometry,
    path: Path,
    source: Source,
    derivation: Derivation,
    *,
    what: str,
    kind: str = "sr",
    offset: int = _OFFSET,
    segmentation: Dataset | None = None,
) -> None:
    """Groups of measurements as a report.

    Parameters
    ----------
    groups
        of highdicom
    geometry, path, source, derivation, segmentation
        as for `write_measurements`
    what
        the report is about
    kind, offset
        that tell its series from others of the study
    """
    from highdicom import sr

    device = sr.DeviceObserverIdentifyingAttributes(
        uid=derivation.uid(source, "device"), name=MAKER, manufacturer_name=MAKER, model_name=MAKER
    )
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(sr.CodedConcept("121007", "DCM", "Device"), device)
        ),
        procedure_reported=sr.CodedConcept(*_HEAD_CT),
        imaging_measurements=groups,
        title=sr.CodedConcept("126000", "DCM", "Imaging Measurement Report"),
    )
    common = common_elements(source, derivation, kind=kind, offset=offset, what=what)
    evidence = [carrier(source, geometry)]
    built = sr.Comprehensive3DSR(
        evidence=evidence if segmentation is None else [*evidence, segmentation],
        content=report[0],
        series_instance_uid=common.SeriesInstanceUID,
        series_number=common.SeriesNumber,
        sop_instance_uid=derivation.uid(source, kind, "object"),
        instance_number=1,
        manufacturer=MAKER,
        is_complete=True,
        record_evidence=False,
    )
    for keyword in ("FrameOfReferenceUID", "PositionReferenceIndicator", "BodyPartExamined", "PatientPosition"):
        common.pop(keyword, None)  # a report lies nowhere
    built.update(common)
    for keyword in ("InstanceCreationDate", "InstanceCreationTime", "PertinentOtherEvidenceSequence"):
        built.pop(keyword, None)
    _add_evidence(built, source, segmentation)
    built.save_as(path, enforce_file_format=True)


def _group(
    name: str, summary: Mapping[str, object], source: Source, derivation: Derivation, segmentation: Dataset | None
) -> Any | None:
    """The measurements of one finding, on its segment where there is one; None where no number is defined."""
    from highdicom import sr

    group = _GROUPS[name]
    numbers = {k: value for k in group.figures if isinstance(value := summary.get(k), int | float)}
    if not numbers:
        return None
    thresholds = summary.get("thresholds")
    parameters = thresholds if isinstance(thresholds, Mapping) else {}
    algorithm = sr.AlgorithmIdentification(
        name="ctp_torch lesion",
        version=package_version(),
        parameters=[derivation.describe("lesions"), *(f"{k}={v}" for k, v in parameters.items() if v != "")],
    )
    shared: dict[str, Any] = {
        "tracking_identifier": sr.TrackingIdentifier(uid=tracking(source, derivation, name), identifier=name),
        "finding_type": sr.CodedConcept(*group.finding),
        "finding_category": sr.CodedConcept(*ABNORMAL),
        "finding_sites": [sr.FindingSite(sr.CodedConcept(*BRAIN))],
        "algorithm_id": algorithm,
        "measurements": [
            sr.Measurement(
                sr.CodedConcept(*group.figures[k].name),
                float(value),
                sr.CodedConcept(*group.figures[k].unit),
                properties=_uncertainty(summary, k, float(value)),
            )
            for k, value in numbers.items()
        ],
    }
    if segmentation is None or name not in SEGMENTS or not source.slices or not summary.get(f"{name}_ml"):
        return sr.MeasurementsAndQualitativeEvaluations(**shared)
    segment = sr.ReferencedSegment(
        sop_class_uid=segmentation.SOPClassUID,
        sop_instance_uid=segmentation.SOPInstanceUID,
        segment_number=list(SEGMENTS).index(name) + 1,
        source_series=sr.SourceSeriesForSegmentation(source.slices[0][1][0].series),
    )
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=segment, **shared)


def _uncertainty(summary: Mapping[str, object], name: str, value: float) -> Any | None:
    """How far both ends of an interval lie from the value (TID 310); None where there is none."""
    intervals = summary.get("intervals_ml")
    ends = intervals.get(name) if isinstance(intervals, Mapping) else None
    if ends is None:
        return None
    from highdicom import sr

    low, high = (float(end) for end in ends)
    return sr.MeasurementProperties(
        upper_measurement_uncertainty=max(high - value, 0.0), lower_measurement_uncertainty=max(value - low, 0.0)
    )


def _add_evidence(built: Dataset, source: Source, segmentation: Dataset | None) -> None:
    """The objects that the report rests on: the segmentation, and one image of every slice."""
    from pydicom import Dataset

    by_series: dict[str, dict[str, Dataset]] = {}
    for _, images in source.slices:
        by_series.setdefault(images[0].series, {})[images[0].uid] = references(images[:1], purpose=False)[0]
    if segmentation is not None:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = (
            segmentation.SOPClassUID,
            segmentation.SOPInstanceUID,
        )
        by_series[segmentation.SeriesInstanceUID] = {"": item}
    built.pop("CurrentRequestedProcedureEvidenceSequence", None)
    if not by_series:
        return
    study = Dataset()
    study.StudyInstanceUID = built.StudyInstanceUID
    study.ReferencedSeriesSequence = []
    for series, members in by_series.items():
        one = Dataset()
        one.SeriesInstanceUID = series
        one.ReferencedSOPSequence = list(members.values())
        study.ReferencedSeriesSequence.append(one)
    built.CurrentRequestedProcedureEvidenceSequence = [study]
