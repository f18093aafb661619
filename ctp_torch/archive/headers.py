"""What a node must know of an object that comes in: whose, which, and whether it could be of a perfusion series."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ctp_torch.errors import UnreadableFileError
from ctp_torch.io.limits import parsing
from ctp_torch.io.results.objects import MAKER

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["CT_CLASSES", "Image", "is_own", "read_image"]

CT_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.2",  # CT Image Storage
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT Image Storage
    "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT Image Storage
)
_TAGS = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "ImageType", "Manufacturer",
    "ManufacturerModelName", "NumberOfTemporalPositions", "Rows", "Columns",
)  # fmt: skip


class Image(NamedTuple):
    """An object that came in."""

    sop: str
    """SOP Instance UID."""
    study: str
    series: str
    frames: int
    """Time points that its series is to have; 0 when the header doesn't tell."""
    ct: bool
    """A CT image."""
    own: bool
    """A result of this package, of whichever node."""


def read_image(path: Path) -> Image:
    """The header of a file.

    Raises
    ------
    UnreadableFileError
        when it is none, or lacks what tells images apart
    """
    import pydicom

    with parsing(path):
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
        sop, study, series = (
            str(header.get(k) or "") for k in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
        )
        told = str(header.get("NumberOfTemporalPositions") or "0")
        ct = str(header.get("SOPClassUID") or "") in CT_CLASSES and bool(header.get("Rows"))
        own = is_own(header)
    if not (sop and study and series) or max(map(len, (sop, study, series))) > 64:
        raise UnreadableFileError("an object without SOP Instance, Study and Series Instance UID can't be kept")
    return Image(sop, study, series, int(told) if told.isdigit() and len(told) < 6 else 0, ct, own)


def is_own(header: Dataset) -> bool:
    """Whether an object is a result of this package: its maker, and an Image Type of what is derived."""
    made = str(header.get("ManufacturerModelName") or header.get("Manufacturer") or "") == MAKER
    kinds = [str(kind).upper() for kind in header.get("ImageType") or ()]
    return made and "ORIGINAL" not in kinds
