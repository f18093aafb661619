"""What all objects of a result share: patient, study, place, maker, and the images they were made from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ctp_torch.errors import CTPError
from ctp_torch.io.dicom.bytes import encoded_items
from ctp_torch.io.dicom.header import ds
from ctp_torch.io.results.derivation import Code, package_version

if TYPE_CHECKING:
    from pydicom import Dataset

    from ctp_torch.data.geometry import Geometry
    from ctp_torch.io.results.derivation import Derivation
    from ctp_torch.io.results.source import Source, SourceImage

__all__ = [
    "MAKER",
    "TECHNIQUE",
    "carrier",
    "code_item",
    "common_elements",
    "finish",
    "need_highdicom",
    "planes",
    "references",
    "references_at",
]

MAKER = "ctp_torch"
"""Manufacturer and model of the equipment that made the result: this package."""
TECHNIQUE = Code("126301", "DCM", "Perfusion analysis by IV Iodinated Contrast CT technique")
_IMAGE_PROCESSING = Code("121322", "DCM", "Source image for image processing operation")
_ACQUISITION = Code("109101", "DCM", "Acquisition Equipment")


def need_highdicom(what: str) -> Any:
    """The package that builds parametric maps, segmentations and reports.

    Raises
    ------
    CTPError
        when it isn't installed, with the command that installs it
    """
    try:
        import highdicom
    except ImportError as error:
        raise CTPError(f"{what} needs highdicom, which is missing here: pip install highdicom") from error
    return highdicom


def code_item(code: Code) -> Dataset:
    """An item of a code sequence."""
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return item


def common_elements(source: Source, derivation: Derivation, *, kind: str, offset: int, what: str) -> Dataset:
    """Patient, study, series, frame of reference and maker.

    Parameters
    ----------
    source, derivation
        what the object is made from, and how
    kind
        name of the series; its UID depends on it
    offset
        series number behind 100 times the source's
    what
        title of the series, such as rCBF
    """
    from pydicom import Dataset

    elements = Dataset()
    elements.update(source.identity)
    date, time = source.moment
    elements.SeriesInstanceUID = derivation.uid(source, kind)
    elements.SeriesNumber = source.series_number * 100 + offset
    elements.SeriesDescription = derivation.title(what)
    elements.SeriesDate, elements.SeriesTime = date, time
    elements.ContentDate, elements.ContentTime = date, time
    elements.FrameOfReferenceUID = source.frame_of_reference
    elements.PositionReferenceIndicator = ""
    elements.BodyPartExamined = "HEAD"
    elements.PatientPosition = source.position
    elements.Manufacturer = elements.ManufacturerModelName = MAKER
    elements.SoftwareVersions = elements.DeviceSerialNumber = package_version()
    if source.scanner[0]:
        scanner = Dataset()
        scanner.PurposeOfReferenceCodeSequence = [code_item(_ACQUISITION)]
        scanner.Manufacturer = source.scanner[0]
        if source.scanner[1]:
            scanner.ManufacturerModelName = source.scanner[1]
        elements.ContributingEquipmentSequence = [scanner]
    return elements


def references(images: Iterable[SourceImage], *, purpose: bool = True) -> list[Dataset]:
    """Items that refer to source images, one an object (and its frame)."""
    from pydicom import Dataset

    items = []
    for image in images:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.sop_class, image.uid
        if purpose:
            if image.frame:
                item.ReferencedFrameNumber = image.frame
            item.PurposeOfReferenceCodeSequence = [code_item(_IMAGE_PROCESSING)]
        items.append(item)
    return items


def references_at(source: Source, position: Sequence[float]) -> bytes | None:
    """The encoded items that refer to the images of the slice at a position; None where there are none.

    Encoded once for all maps of a source.
    """
    images = source.images_at(position)
    if not images:
        return None
    key = images[0].uid, images[0].frame
    if key not in source.encoded:
        source.encoded[key] = encoded_items(references(images))
    return source.encoded[key]


def carrier(source: Source, geometry: Geometry) -> Dataset:
    """A stand-in for the source image of an object that highdicom builds; ``finish`` writes the true identity."""
    from pydicom import Dataset

    image = Dataset()
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"):
        setattr(image, keyword, "")  # highdicom refuses values that hospitals have
    for keyword in ("StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"):
        setattr(image, keyword, "")
    first = source.slices[0][1][0] if source.slices else None
    image.SOPClassUID = first.sop_class if first and not first.frame else "1.2.840.10008.5.1.4.1.1.2"
    image.SOPInstanceUID = first.uid if first else source.frame_of_reference
    image.SeriesInstanceUID = first.series if first else source.frame_of_reference
    image.StudyInstanceUID = source.identity.StudyInstanceUID
    image.FrameOfReferenceUID = source.frame_of_reference
    image.Modality = "CT"
    image.Rows, image.Columns = geometry.shape[1:]
    d = geometry.direction
    image.ImageOrientationPatient = [ds(c) for c in (d[0], d[3], d[6], d[1], d[4], d[7])]
    image.ImagePositionPatient = [ds(p) for p in geometry.position(0, 0, 0)]
    image.PixelSpacing = [ds(s) for s in geometry.spacing[1:]]
    image.SliceThickness = ds(geometry.spacing[0])
    return image


def planes(geometry: Geometry) -> dict[str, Any]:
    """The place of a volume in highdicom's words; frames in the order of the slices."""
    highdicom = need_highdicom("a multi-frame object")
    d = geometry.direction
    return {
        "pixel_measures": highdicom.PixelMeasuresSequence(
            pixel_spacing=geometry.spacing[1:],
            slice_thickness=geometry.spacing[0],
            spacing_between_slices=geometry.spacing[0],
        ),
        "plane_orientation": highdicom.PlaneOrientationSequence("PATIENT", (d[0], d[3], d[6], d[1], d[4], d[7])),
        "plane_positions": [
            highdicom.PlanePositionSequence("PATIENT", geometry.position(z, 0, 0)) for z in range(geometry.shape[0])
        ],
    }


def finish(built: Dataset, common: Dataset, source: Source, *, uid: str, step: Code) -> None:
    """Give an object that highdicom built its patient, its sources, and nothing that changes from run to run.

    Parameters
    ----------
    built
        changed in place
    common
        from `common_elements`
    source
        as there
    uid
        of its dimensions
    step
        what was done to the source images
    """
    built.update(common)
    for keyword in ("InstanceCreationDate", "InstanceCreationTime", "SourceImageSequence", "ReferencedSeriesSequence"):
        built.pop(keyword, None)
    built.DimensionOrganizationSequence[0].DimensionOrganizationUID = uid
    for item in built.DimensionIndexSequence:
        item.DimensionOrganizationUID = uid
    _refer(built, source, step)


def _refer(built: Dataset, source: Source, step: Code) -> None:
    """For every frame the images of its slice at one moment; for the object, all images."""
    from pydicom import Dataset

    for group in built.PerFrameFunctionalGroupsSequence:
        group.pop("DerivationImageSequence", None)
        images = source.images_at(group.PlanePositionSequence[0].ImagePositionPatient)[:1]
        if images:
            derived = Dataset()
            derived.DerivationCodeSequence = [code_item(step)]
            derived.SourceImageSequence = references(images)
            for item in derived.SourceImageSequence:
                item.SpatialLocationsPreserved = "YES"
            group.DerivationImageSequence = [derived]
    if source.slices:
        built.ReferencedSeriesSequence = _by_series([image for _, images in source.slices for image in images])


def _by_series(images: Sequence[SourceImage]) -> list[Dataset]:
    """Every object once, under its series."""
    from pydicom import Dataset

    by_series: dict[str, dict[str, SourceImage]] = {}
    for image in images:
        by_series.setdefault(image.series, {})[image.uid] = image
    items = []
    for series, members in by_series.items():
        item = Dataset()
        item.SeriesInstanceUID = series
        item.ReferencedInstanceSequence = references(members.values(), purpose=False)
        items.append(item)
    return items
