"""What the headers of a folder's DICOM files say: one record for every image, no pixel read."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple

from ctp_torch.io.archive import archive_kind
from ctp_torch.io.dicom.amount import too_large_inflated, wrong_amount
from ctp_torch.io.dicom.image import ImageHeader, LeftOut, PixelLayout
from ctp_torch.io.dicom.lookup import Lookup
from ctp_torch.io.dicom.moments import orders, times_told
from ctp_torch.io.dicom.terms import uid_term
from ctp_torch.io.limits import BoundedReader, dicom_damage

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = [
    "ARCHIVE",
    "HIDDEN",
    "ImageHeader",
    "LeftOut",
    "find_files",
    "hidden_images",
    "index_files",
    "looks_like_dicom",
]

_HEAD = 1 << 16
"""Bytes of a file read at once; headers of single images are shorter."""
ARCHIVE = "an archive within, which is not opened"
HIDDEN = "hidden: its name, or its folder's, begins with a dot"
_PIXELS = ((0x7FE0, 0x0010), (0x7FE0, 0x0008), (0x7FE0, 0x0009))
"""Pixel Data of integers, of 32-bit and of 64-bit floating point."""


def find_files(folder: Path) -> list[Path]:
    """All files under a folder, hidden files and folders aside, in the order of their names."""
    return [path for path, hidden in _walk(folder) if not hidden]


def hidden_images(folder: Path) -> list[LeftOut]:
    """The hidden files under a folder that are DICOM: somebody may miss them."""
    images = [path for path, hidden in _walk(folder) if hidden and _start_of(path)[128:] == b"DICM"]
    return [LeftOut(path, HIDDEN) for path in images]


def _walk(folder: Path) -> list[tuple[Path, bool]]:
    """All files under a folder in the order of their names, and whether a dot hides each, or a folder it lies in."""
    files: list[tuple[tuple[str, ...], str, bool]] = []
    waiting: list[tuple[str, tuple[str, ...], bool]] = [(str(folder), (), False)]
    while waiting:
        place, parts, within = waiting.pop()
        try:
            entries = os.scandir(place)
        except OSError:
            continue
        with entries:
            for entry in entries:
                names, hidden = (*parts, entry.name), within or entry.name.startswith(".")
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, names, hidden))
                elif _is_file(entry):
                    files.append((names, entry.path, hidden))
    return [(Path(path), hidden) for _, path, hidden in sorted(files)]


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file or leads to one; what can't be asked is none."""
    try:
        return entry.is_file()
    except OSError:
        return False


def looks_like_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does, with a preamble or without."""
    head = _start_of(path)
    return head[128:] == b"DICM" or _starts_like_dicom(head)


def _start_of(path: Path) -> bytes:
    """The first 132 bytes, or none where the file can't be opened."""
    try:
        with path.open("rb") as stream:
            return stream.read(132)
    except OSError:
        return b""


def index_files(paths: Iterable[Path]) -> tuple[list[ImageHeader], list[LeftOut]]:
    """The images of the files, and the files that are no DICOM images."""
    headers: list[ImageHeader] = []
    left_out: list[LeftOut] = []
    with warnings.catch_warnings():
        # odd values in elements nobody asked for are daily bread and no reason to speak
        warnings.simplefilter("ignore")
        for path in paths:
            try:
                with BoundedReader(path) as stream:
                    outcome = _read_headers(path, stream)
            except OSError as error:
                outcome = LeftOut(
                    path, "can't be opened", error.strerror or str(error) or type(error).__name__, broken=True
                )
            if isinstance(outcome, LeftOut):
                left_out.append(outcome)
            else:
                headers.extend(outcome)
    return headers, left_out


def _read_headers(path: Path, stream: BoundedReader) -> list[ImageHeader] | LeftOut:
    """The images of one file, or why there are none."""
    head = stream.read(_HEAD)
    bare = head[128:132] != b"DICM"
    if bare and not _starts_like_dicom(head[:132]):
        if len(head) < 132 and path.suffix.lower() in (".dcm", ".ima"):
            return LeftOut(path, "broken DICOM file", f"it ends after {len(head)} bytes", broken=True)
        kind = archive_kind(head[:512])
        return LeftOut(path, f"{ARCHIVE} ({kind})" if kind else "no DICOM file")
    try:
        if not bare and (size := too_large_inflated(stream, head)):
            return LeftOut(path, "is deflated and too large", f"more than {size / 1e9:.1f} GB", broken=True)
        images = _images(path, *_parsed(stream, head, bare=bare))
    except dicom_damage() as error:
        return LeftOut(path, "broken DICOM header", type(error).__name__, broken=True)
    if isinstance(images, str):
        return LeftOut(path, images, broken=images.startswith("broken"))
    amiss = wrong_amount(images[0].pixels, stream)
    return LeftOut(path, *amiss, broken=True) if amiss else images


def _parsed(stream: BoundedReader, head: bytes, *, bare: bool) -> tuple[Dataset, _PixelData]:
    """The header, and where the pixels are: from the first bytes where these reach so far, which is quicker."""
    from pydicom import dcmread

    quick = io.BytesIO(head)
    try:
        dataset = dcmread(quick, stop_before_pixels=True, force=bare)
        pixels = _pixel_data(quick, dataset)
        if pixels.length or stream.size <= len(head):
            return dataset, pixels
    except dicom_damage():
        if stream.size <= len(head):
            raise
    stream.seek(0)
    dataset = dcmread(stream, stop_before_pixels=True, force=bare)
    return dataset, _pixel_data(stream, dataset)


def _starts_like_dicom(start: bytes) -> bool:
    """Whether a file without preamble opens with an element of group 0002 or 0008, implicit or explicit."""
    group, element = int.from_bytes(start[:2], "little"), int.from_bytes(start[2:4], "little")
    return len(start) == 132 and group in (2, 8) and element < 0x100


class _PixelData(NamedTuple):
    """The value of a file's pixel data."""

    offset: int | None
    """First byte of native pixels."""
    length: int
    """Bytes declared."""
    floating: bool = False


def _pixel_data(stream: BinaryIO, dataset: Dataset) -> _PixelData:
    """Where the pixels are; without a first byte where they are encapsulated or deflated."""
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    syntax = _transfer_syntax(dataset)
    here = stream.tell()
    if syntax == DeflatedExplicitVRLittleEndian:
        return _PixelData(None, -1)
    implicit, little = dataset.original_encoding
    order: Literal["little", "big"] = "little" if little else "big"
    head = stream.read(12)
    tag = (int.from_bytes(head[:2], order), int.from_bytes(head[2:4], order))
    if tag not in _PIXELS:
        return _PixelData(None, 0)
    field = head[4:8] if implicit else head[8:12]
    length = int.from_bytes(field, order)
    if length == 0xFFFFFFFF:
        return _PixelData(None, -1)
    return _PixelData(here + (8 if implicit else 12), length, tag != (0x7FE0, 0x0010))


def _transfer_syntax(dataset: Dataset) -> str:
    """The transfer syntax; a file without meta header is what its bytes turned out to be."""
    meta = getattr(dataset, "file_meta", None)
    syntax = meta.get("TransferSyntaxUID") if meta is not None else None
    implicit, little = dataset.original_encoding
    return str(syntax or ("1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2." + ("1" if little else "2")))


def _images(path: Path, dataset: Dataset, pixels: _PixelData) -> list[ImageHeader] | str:
    """A record for every frame of the file."""
    top = Lookup([dataset])
    if top.text("SOPClassUID") == "1.2.840.10008.1.3.10" or "DirectoryRecordSequence" in dataset:
        return "a DICOMDIR"
    if not top.text("SOPClassUID"):
        return "broken DICOM header (no SOP class)"
    if pixels.length == 0 and top.text("SOPClassUID").startswith("1.2.840.10008.5.1.4.1.1.2"):
        return "broken DICOM file (a CT image that ends before its pixels)"
    if pixels.length == 0 or not top.integer("Rows") or not top.integer("Columns"):
        return f"no pixels ({uid_term(top.text('SOPClassUID')) or 'unknown object'})"
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    n_frames = max(len(groups) if groups else 1, top.integer("NumberOfFrames") or 1)
    if n_frames > 1 and not groups:
        return (
            f"{n_frames} frames without per-frame attributes ({uid_term(top.text('SOPClassUID')) or 'unknown object'})"
        )
    lookups = Lookup.frames(dataset) if groups else [top]
    if groups and len(groups) != (top.integer("NumberOfFrames") or 1):
        return f"broken DICOM header ({len(groups)} frame descriptions for {top.integer('NumberOfFrames')} frames)"
    syntax = _transfer_syntax(dataset)
    return [_image(path, k, n_frames, lookup, pixels, syntax) for k, lookup in enumerate(lookups)]


def _image(path: Path, frame: int, n_frames: int, get: Lookup, pixels: _PixelData, syntax: str) -> ImageHeader:
    """The record of one frame."""
    bits = get.integer("BitsAllocated") or 16
    stored = get.integer("BitsStored") or bits
    layout = PixelLayout(
        path=path,
        frame=frame,
        n_frames=n_frames,
        offset=pixels.offset,
        length=pixels.length,
        transfer_syntax=syntax,
        rows=get.integer("Rows") or 0,
        columns=get.integer("Columns") or 0,
        bits_allocated=bits,
        bits_stored=stored,
        high_bit=get.integer("HighBit", stored - 1),
        signed=get.integer("PixelRepresentation") == 1,
        samples=get.integer("SamplesPerPixel") or 1,
        photometric=get.text("PhotometricInterpretation"),
        floating=pixels.floating,
    )
    slope, intercept = get.number("RescaleSlope"), get.number("RescaleIntercept")
    first = get.integer("PixelPaddingValue")
    times, zones = times_told(get)
    last = get.integer("PixelPaddingRangeLimit", first)
    return ImageHeader(
        pixels=layout,
        uid=get.text("SOPInstanceUID"),
        study=get.text("StudyInstanceUID"),
        series=get.text("SeriesInstanceUID"),
        patient=get.text("PatientID") or _person(get),
        frame_of_reference=get.text("FrameOfReferenceUID"),
        sop_class=get.text("SOPClassUID"),
        modality=get.text("Modality"),
        image_type=get.texts("FrameType") or get.texts("ImageType"),
        series_number=get.integer("SeriesNumber"),
        description=get.text("SeriesDescription"),
        kernel="/".join(get.texts("ConvolutionKernel")),
        thickness=get.positive("SliceThickness"),
        kvp=get.number("KVP"),
        position=get.numbers("ImagePositionPatient", 3),
        orientation=get.numbers("ImageOrientationPatient", 6),
        spacing=get.numbers("PixelSpacing", 2),
        slice_location=get.number("SliceLocation"),
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
        lossy=get.text("LossyImageCompression") == "01",
        rescaled=slope is not None and intercept is not None,
        rescale_type=get.text("RescaleType"),
        padding=None if first is None or last is None else (min(first, last), max(first, last)),
        moments=times,
        zones=zones,
        orders=orders(get),
        unreadable=get.unreadable,
        vendor=get.text("Manufacturer"),
        model=get.text("ManufacturerModelName"),
    )


def _person(get: Lookup) -> str:
    """Who it is where no Patient ID is told: name, whatever its separators and capitals, and date of birth."""
    name = "".join(filter(str.isalnum, get.text("PatientName").casefold()))
    return f"{name} {get.text('PatientBirthDate')}"
