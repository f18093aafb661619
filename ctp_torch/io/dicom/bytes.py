"""DICOM elements as bytes (explicit VR, little endian): a header built once, a few elements changed per file."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["HeaderTemplate", "encoded_items"]

_LITTLE_EXPLICIT = "1.2.840.10008.1.2.1"
_IMPLEMENTATION = "2.25.276012357432870265424713384612934018011"
_LONG = ("OB", "OW", "SQ", "UN")


def _element(tag: int, vr: str, value: str | bytes) -> bytes:
    """One element: tag, VR, length, value padded to even length."""
    if isinstance(value, str):
        value = value.encode("utf-8")
        value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    else:
        value += b"\0" * (len(value) % 2)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    return head + (struct.pack("<HI", 0, len(value)) if vr in _LONG else struct.pack("<H", len(value))) + value


def encoded_items(items: Iterable[Dataset]) -> bytes:
    """The value of a sequence element: its items, of defined length."""
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    parts = []
    for item in items:
        with DicomBytesIO() as stream:
            stream.is_little_endian, stream.is_implicit_VR = True, False
            write_dataset(stream, item)
            value = stream.getvalue()
        parts.append(struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value)
    return b"".join(parts)


class HeaderTemplate:
    """The constant part of many files' headers, encoded once; ``file`` adds what changes from image to image."""

    def __init__(self, constant: Dataset) -> None:
        from pydicom import Dataset
        from pydicom.filebase import DicomBytesIO
        from pydicom.filewriter import write_dataset

        self._sop_class = str(constant.SOPClassUID)
        self._encoded: dict[int, bytes] = {}
        charset = constant.get("SpecificCharacterSet") or "ISO_IR 6"
        for element in constant:
            with DicomBytesIO() as stream:
                stream.is_little_endian, stream.is_implicit_VR = True, False
                write_dataset(stream, Dataset({element.tag: element}), charset)
                self._encoded[int(element.tag)] = stream.getvalue()

    def file(
        self, sop_instance: str, changing: Mapping[int, tuple[str, str | bytes]], pixels: bytes, *, pixel_vr: str
    ) -> bytes:
        """A whole DICOM file.

        Parameters
        ----------
        sop_instance
            SOP Instance UID
        changing
            tag to (VR, text or bytes) of the elements of this image alone; they override constant ones
        pixels
            value of Pixel Data
        pixel_vr
            OW or OB
        """
        parts = self._encoded | {tag: _element(tag, vr, text) for tag, (vr, text) in changing.items()}
        parts[0x00080018] = _element(0x00080018, "UI", sop_instance)
        parts[0x7FE00010] = _element(0x7FE00010, pixel_vr, pixels)
        meta = (
            _element(0x00020001, "OB", b"\0\1")
            + _element(0x00020002, "UI", self._sop_class)
            + _element(0x00020003, "UI", sop_instance)
            + _element(0x00020010, "UI", _LITTLE_EXPLICIT)
            + _element(0x00020012, "UI", _IMPLEMENTATION)
        )
        group_length = _element(0x00020000, "UL", struct.pack("<I", len(meta)))
        return b"".join([b"\0" * 128, b"DICM", group_length, meta, *(parts[tag] for tag in sorted(parts))])
