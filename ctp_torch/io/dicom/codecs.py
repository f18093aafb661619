"""Compressed pixels to stored values, by permissively licensed decoders alone."""

from __future__ import annotations

import io
import re
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctp_torch.errors import UnreadableFileError
from ctp_torch.io.dicom.image import PixelLayout
from ctp_torch.io.dicom.lookup import uid_name
from ctp_torch.io.limits import dicom_damage
from ctp_torch.io.workplace import beside

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["SIMPLEITK_SYNTAXES", "decode_frames", "excess_is_an_error"]

SIMPLEITK_SYNTAXES = {
    "1.2.840.10008.1.2.4.50": "JPEG Baseline",
    "1.2.840.10008.1.2.4.51": "JPEG Extended, 12 bit",
    "1.2.840.10008.1.2.4.53": "JPEG Spectral Selection, 12 bit",
    "1.2.840.10008.1.2.4.55": "JPEG Full Progression, 12 bit",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless (Process 14)",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless (Process 14, first-order prediction)",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Near-Lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.5": "RLE Lossless",
}
"""What the GDCM inside SimpleITK decodes (IJG libjpeg for 8, 12 and 16 bits, CharLS, OpenJPEG: all permissive)."""
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_PYDICOM_FIRST = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5")
"""Deflate and RLE need nothing but pydicom."""


def decode_frames(path: Path, layouts: Sequence[PixelLayout]) -> list[Any]:
    """The stored values ``(y, x)`` of frames of a compressed file, as numpy arrays.

    Parameters
    ----------
    path
        the file
    layouts
        the frames wanted

    Raises
    ------
    UnreadableFileError
        naming the file and its transfer syntax when the pixels are damaged or no decoder knows them
    """
    from pydicom import dcmread

    syntax = layouts[0].transfer_syntax
    name = uid_name(syntax)
    if syntax in _NATIVE:
        raise UnreadableFileError(
            f"{path}: its pixels are packed in fragments, its transfer syntax ({name}) tells plain ones; export it anew"
        )
    try:
        dataset = dcmread(path, force=True)
        if "PixelData" not in dataset:
            raise UnreadableFileError(f"{path} is truncated: its pixels are missing; copy it again")
        if syntax in SIMPLEITK_SYNTAXES and syntax not in _PYDICOM_FIRST:
            return _with_simpleitk(dataset, layouts)
        return _with_pydicom(dataset, layouts, name)
    except UserWarning as excess:  # made an error by `excess_is_an_error`
        actual, declared = (int(n) for n in re.findall(r"(\d+) vs. (\d+)", str(excess))[0])
        if actual - declared < layouts[0].columns:  # some writers pad
            return _with_simpleitk(dataset, layouts)
        raise UnreadableFileError(
            f"{path} holds more pixels than Rows and Columns tell ({excess}); export it again"
        ) from excess
    except dicom_damage() as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise UnreadableFileError(
            f"{path}: its pixels ({name}, {syntax}) can't be decoded, they are damaged or truncated ({reason});"
            " copy it again, or take it out of the folder"
        ) from error


@contextmanager
def excess_is_an_error() -> Iterator[None]:
    """A block in which pydicom is silent but for pixels beyond those told; around threads, for filters are shared."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message="The decoded RLE segment contains", category=UserWarning)
        yield


def _with_pydicom(dataset: Dataset, layouts: Sequence[PixelLayout], name: str) -> list[Any]:
    """The frames through the decoders that pydicom finds installed."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import pixel_array
    from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

    syntax = layouts[0].transfer_syntax
    if syntax != DeflatedExplicitVRLittleEndian:
        try:
            available = get_decoder(UID(syntax)).is_available
        except NotImplementedError:
            available = False
        if not available:
            raise UnreadableFileError(
                f"{layouts[0].path}: no decoder for its transfer syntax {name} ({syntax}); install the extra"
                ' decoders with pip install "ctp-torch[codecs]", or decompress it first (dcmdjpeg, gdcmconv --raw)'
            )
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    return [pixel_array(dataset, index=layout.frame, raw=True) for layout in layouts]


def _with_simpleitk(dataset: Dataset, layouts: Sequence[PixelLayout]) -> list[Any]:
    """The frames through SimpleITK, one by one in a bare file without rescale, so that stored values come back."""
    import numpy as np
    import SimpleITK
    from pydicom.encaps import generate_frames

    by_frame = {layout.frame: layout for layout in layouts}
    decoded: dict[int, Any] = {}
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    frames = generate_frames(io.BytesIO(dataset.PixelData), number_of_frames=layouts[0].n_frames)
    with beside(Path(tempfile.gettempdir()) / "frame.dcm") as folder:  # found and removed after a kill
        for index, frame in enumerate(frames):
            if index not in by_frame:
                continue
            layout = by_frame[index]
            bare = folder / "frame.dcm"
            _write_bare(bare, frame, layout)
            reader.SetFileName(str(bare))
            kind = np.dtype(f"{'i' if layout.signed else 'u'}{layout.bits_allocated // 8}")
            decoded[index] = (
                SimpleITK.GetArrayFromImage(reader.Execute()).reshape(layout.rows, layout.columns).astype(kind)
            )
    return [decoded[layout.frame] for layout in layouts]


def _write_bare(path: Path, frame: bytes, layout: PixelLayout) -> None:
    """A DICOM file that holds one compressed frame and what is needed to decode it."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID

    bare = Dataset()
    bare.file_meta = FileMetaDataset()
    bare.SOPClassUID, bare.SOPInstanceUID = UID("1.2.840.10008.5.1.4.1.1.2"), UID("2.25.1")
    bare.file_meta.MediaStorageSOPClassUID = bare.SOPClassUID
    bare.file_meta.MediaStorageSOPInstanceUID = bare.SOPInstanceUID
    bare.file_meta.TransferSyntaxUID = UID(layout.transfer_syntax)
    bare.Modality = "CT"
    bare.SamplesPerPixel, bare.PhotometricInterpretation = 1, "MONOCHROME2"
    bare.Rows, bare.Columns = layout.rows, layout.columns
    bare.BitsAllocated, bare.BitsStored, bare.HighBit = layout.bits_allocated, layout.bits_stored, layout.high_bit
    bare.PixelRepresentation = int(layout.signed)
    bare.RescaleSlope, bare.RescaleIntercept = "1", "0"
    bare.PixelData = encapsulate([frame])
    bare["PixelData"].VR = "OB"
    bare.save_as(path, enforce_file_format=True)
