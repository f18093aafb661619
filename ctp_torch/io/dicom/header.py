"""What the headers of a written study say besides the voxels, and the elements every object of ours shares."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ctp_torch.io.dicom.uids import make_uid

if TYPE_CHECKING:
    from pydicom import Dataset

    from ctp_torch.data.geometry import Geometry

__all__ = ["StudyHeader", "da", "ds", "plane_elements", "study_elements", "tm"]


@dataclass(frozen=True)
class StudyHeader:
    """Patient, study and equipment of a written series; identifiers follow from ``seed`` and ``patient``."""

    patient: str = "PHANTOM"
    """Patient ID, and the patient's name; a made-up one."""
    seed: object = 0
    """Root of all UIDs of the study."""
    started: datetime = datetime(2026, 1, 1, 10, 0, 0)
    """Moment of the first image (time 0 of the series), local time of the scanner."""
    description: str = "CT perfusion"
    """Series description."""
    series_number: int = 2
    """Number of the series within its study."""
    sex: str = "O"
    """M, F or O."""
    manufacturer: str = "ctp_torch"
    """Who made the scanner."""
    model: str = "digital phantom"
    """Which scanner."""
    kvp: float = 80.0
    """Tube voltage [kV]."""
    tube_current_ma: float = 200.0
    """Tube current [mA]."""
    exposure_ms: float = 500.0
    """Exposure time of an image [ms]."""
    kernel: str = "SMOOTH"
    """Convolution kernel."""

    def uid(self, *words: object) -> str:
        """The UID of a thing within this study."""
        return make_uid("ctp_torch", self.seed, self.patient, *words)


def da(moment: datetime) -> str:
    """A DICOM date."""
    return f"{moment:%Y%m%d}"


def tm(moment: datetime) -> str:
    """A DICOM time with its fraction."""
    return f"{moment:%H%M%S.%f}"


def ds(value: float) -> str:
    """A DICOM decimal string: at most 16 characters, as exact as those allow."""
    from pydicom.valuerep import format_number_as_ds

    text = repr(float(value)).removesuffix(".0")
    return text if len(text) <= 16 else str(format_number_as_ds(float(value)))


def study_elements(header: StudyHeader) -> Dataset:
    """Patient, study, frame of reference and equipment: the same in every object of the study."""
    from pydicom import Dataset

    elements = Dataset()
    elements.SpecificCharacterSet = "ISO_IR 192"
    elements.PatientName = f"{header.patient}^Made"
    elements.PatientID = header.patient
    elements.PatientBirthDate = ""
    elements.PatientSex = header.sex
    elements.StudyInstanceUID = header.uid("study")
    elements.StudyDate = da(header.started)
    elements.StudyTime = tm(header.started)
    elements.StudyID = "1"
    elements.AccessionNumber = ""
    elements.ReferringPhysicianName = ""
    elements.FrameOfReferenceUID = header.uid("frame of reference")
    elements.PositionReferenceIndicator = ""
    elements.BodyPartExamined = "HEAD"
    elements.PatientPosition = "HFS"
    elements.Manufacturer = header.manufacturer
    elements.ManufacturerModelName = header.model
    return elements


def plane_elements(geometry: Geometry) -> Dataset:
    """Orientation, spacing and size of the slices of a grid."""
    from pydicom import Dataset

    d = geometry.direction
    elements = Dataset()
    elements.ImageOrientationPatient = [ds(c) for c in (d[0], d[3], d[6], d[1], d[4], d[7])]
    elements.PixelSpacing = [ds(geometry.spacing[1]), ds(geometry.spacing[2])]
    elements.SliceThickness = ds(geometry.spacing[0])
    elements.Rows = geometry.shape[1]
    elements.Columns = geometry.shape[2]
    return elements
