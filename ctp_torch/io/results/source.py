"""What a result is made from: the patient, the study, the frame of reference, and the images of every slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ctp_torch.errors import CTPError
from ctp_torch.io.dicom.uids import make_uid
from ctp_torch.io.opened import nifti_at, opened
from ctp_torch.io.results.identity import anonymous_elements, identity_elements

if TYPE_CHECKING:
    from pydicom import Dataset

    from ctp_torch.data.geometry import Geometry
    from ctp_torch.io.dicom.image import ImageHeader, Join

__all__ = ["Source", "SourceImage", "anonymous_source", "find_source", "read_source"]

_NO_DATE, _NO_TIME = "19000101", "000000"
"""Of results whose source tells none; the clock would make every run another object."""


class SourceImage(NamedTuple):
    """One image that a result refers to."""

    sop_class: str
    """SOP Class UID."""
    uid: str
    """SOP Instance UID."""
    frame: int
    """From 1, in a multi-frame object; 0 in an object of one image."""
    series: str
    """Series Instance UID."""


@dataclass(frozen=True)
class Source:
    """The study a result belongs to; made by `read_source` or `anonymous_source`."""

    identity: Dataset
    """Patient and study elements, as every object of the study repeats them."""
    frame_of_reference: str
    """Frame of Reference UID."""
    series_number: int
    """Of the source series."""
    moment: tuple[str, str]
    """Date and time of the images, as DICOM writes them."""
    position: str
    """Patient Position (HFS ...), empty when not told."""
    scanner: tuple[str, str]
    """Manufacturer and model."""
    slices: Sequence[tuple[float, Sequence[SourceImage]]] = ()
    """Position along the normal [mm] and images, slice by slice."""
    normal: tuple[float, float, float] = (0.0, 0.0, 1.0)
    """Row direction x column direction."""
    key: str = ""
    """What tells this source from others: a digest of all its images."""
    encoded: dict[tuple[str, int], bytes] = field(default_factory=dict, repr=False, compare=False)
    """References to the images of a slice as bytes, kept from one map to the next."""

    def images_at(self, position: Sequence[float]) -> Sequence[SourceImage]:
        """The images of the source slice nearest to an LPS position [mm]."""
        if not self.slices:
            return ()
        along = sum(float(p) * n for p, n in zip(position, self.normal, strict=True))
        return min(self.slices, key=lambda one: abs(one[0] - along))[1]

    def check_place(self, geometry: Geometry) -> None:
        """Refuse a grid whose slices don't lie where the images lie: results would join the wrong study.

        Raises
        ------
        CTPError
            naming both ranges
        """
        if not self.slices:
            return
        d, n = geometry.direction, self.normal
        places = [place for place, _ in self.slices]
        map_places = [
            sum(p * c for p, c in zip(geometry.position(z, 0, 0), n, strict=True)) for z in range(geometry.shape[0])
        ]
        reach = 0.6 * geometry.spacing[0]
        far = max(min(abs(place - one) for place in places) for one in map_places)
        turned = abs(d[2] * n[0] + d[5] * n[1] + d[8] * n[2]) < 0.999
        if turned or (far > reach and len(places) > 1):
            raise CTPError(
                f"the maps lie elsewhere than the images of the source: slices from {min(map_places):.1f} to "
                f"{max(map_places):.1f} mm, images from {min(places):.1f} to {max(places):.1f} mm along their normal"
                f"{', and turned' if turned else ''}; give the series that the maps were made from"
            )


def read_source(path: str | Path, *, series: str | None = None, join: Join | None = None) -> Source:
    """The study that results of a DICOM series belong to; only headers are read.

    Parameters
    ----------
    path
        what `ctp_torch.io.read_series` takes
    series, join
        as given there

    Raises
    ------
    NoSeriesError
        when there is no CT perfusion series
    IncompleteSeriesError
        when several could be meant
    UnreadableFileError
        when a header is broken
    """
    from ctp_torch.io.dicom.candidates import choose
    from ctp_torch.io.dicom.read import find_series

    place = Path(path)
    with opened(place) as there:
        candidates, _ = find_series(there.files, place, series=series, join=join)
        slices = choose(candidates, series).slices
        return _source(slices)


def find_source(place: str | Path, *, series: str | None = None, join: Join | None = None) -> Source:
    """The study that results of a series join: its own, or an anonymous one for NIfTI, which tells no patient.

    Parameters
    ----------
    place, series, join
        as for `read_source`, or a 4-D NIfTI
    """
    from ctp_torch.io.results.derivation import file_digest

    volume = nifti_at(Path(place))
    return read_source(place, series=series, join=join) if volume is None else anonymous_source(file_digest(volume))


def anonymous_source(key: str) -> Source:
    """A study of its own for data without a patient, such as NIfTI; the same for the same key."""
    uid = make_uid("ctp_torch", "anonymous", key)
    patient = f"ANON-{uid[-8:]}"
    identity = anonymous_elements(uid, patient)
    frame = make_uid("ctp_torch", "frame of reference", key)
    return Source(identity, frame, 1, (_NO_DATE, _NO_TIME), "", ("", ""), key=key)


def _source(slices: list[list[ImageHeader]]) -> Source:
    """The study of a chosen series."""
    import hashlib

    from pydicom import dcmread

    from ctp_torch.io.dicom.select import along_normal, normal
    from ctp_torch.io.limits import parsing

    first = min((image for images in slices for image in images), key=lambda i: (i.uid, i.pixels.frame))
    with parsing(first.path):
        header = dcmread(first.path, stop_before_pixels=True, force=True)
        identity = identity_elements(header)
        moment = _moment(header)
        position = str(header.get("PatientPosition") or "")
        number = header.get("SeriesNumber")
    references = [(along_normal(images[0]), _in_order(images)) for images in slices]
    names = sorted(f"{one.uid} {one.frame}" for _, images in references for one in images)
    study = str(identity.StudyInstanceUID or make_uid("ctp_torch", "study", *names))
    identity.StudyInstanceUID = study
    return Source(
        identity=identity,
        frame_of_reference=first.frame_of_reference or make_uid("ctp_torch", "frame of reference", study),
        series_number=int(number) if number is not None and 0 < int(number) < 20_000_000 else 1,
        moment=moment,
        position=position,
        scanner=(first.vendor, first.model),
        slices=references,
        normal=normal(first.orientation or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)),
        key=hashlib.sha256("\n".join([study, *names]).encode()).hexdigest(),
    )


def _in_order(images: list[ImageHeader]) -> list[SourceImage]:
    """The images of a slice, those taken first in front."""
    return [
        SourceImage(
            image.sop_class, image.uid, image.pixels.frame + 1 if image.pixels.n_frames > 1 else 0, image.series
        )
        for image in sorted(images, key=lambda i: (min(i.moments.values(), default=0.0), i.uid, i.pixels.frame))
    ]


def _moment(header: Dataset) -> tuple[str, str]:
    """Date and time of the images; of results too, so that a second run makes the same objects."""
    for what in ("Content", "Acquisition", "Series", "Study"):
        date, time = header.get(f"{what}Date"), header.get(f"{what}Time")
        if date and len(str(date)) == 8 and str(date).isdigit():
            return str(date), str(time or _NO_TIME)
    return _NO_DATE, _NO_TIME
