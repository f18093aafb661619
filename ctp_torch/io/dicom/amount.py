"""What a DICOM header tells of its pixels, held against the bytes that are there before memory is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctp_torch.io.limits import MOST_SQUEEZED, BoundedReader, free_memory, inflated_size

if TYPE_CHECKING:
    from ctp_torch.io.dicom.image import PixelLayout

__all__ = ["too_large_inflated", "wrong_amount"]

_BIG_ENDIAN = "1.2.840.10008.1.2.2"


def too_large_inflated(stream: BoundedReader, head: bytes) -> int:
    """The limit, where a deflated data set holds more than that; 0 where all is well.

    Parameters
    ----------
    stream
        the file
    head
        its first bytes
    """
    from pydicom.filereader import read_file_meta_info
    from pydicom.uid import DeflatedExplicitVRLittleEndian as deflated

    if deflated.encode() not in head[:4096] or read_file_meta_info(stream.name).get("TransferSyntaxUID") != deflated:
        return 0
    stream.seek(144 + int.from_bytes(head[140:144], "little"))  # behind the file meta information
    limit = min(free_memory() // 4, MOST_SQUEEZED * stream.size)
    return limit if inflated_size(stream, limit) > limit else 0


def wrong_amount(pixels: PixelLayout, stream: BoundedReader) -> tuple[str, str] | None:
    """Kind and detail of why the bytes of a file can't be the pixels that its header tells; None where they can."""
    file_size = stream.size
    frame = pixels.rows * pixels.columns * pixels.bits_allocated // 8
    declared = frame * pixels.n_frames
    if pixels.offset is None:
        # JPEG 2000 packs an even image to a few hundred bytes, whatever its size
        most = 4 * MOST_SQUEEZED * file_size + (1 << 26)
        detail = f"{pixels.columns} x {pixels.rows} x {pixels.n_frames} in {file_size} bytes"
        return ("holds fewer pixels than it tells", detail) if declared > most else None
    if pixels.samples != 1 or pixels.bits_allocated % 8:
        return None
    there = min(pixels.length, file_size - pixels.offset)
    if there < declared:
        detail = f"{max(0, there)} of {declared} bytes of pixels are there"
        return "is truncated", detail
    if pixels.length - declared >= max(2, frame // pixels.rows):  # less is padding
        detail = f"{pixels.length} bytes for {declared}"
        return "holds more pixels than Rows and Columns tell", detail
    if file_size == pixels.offset + pixels.length:
        return None
    stream.seek(pixels.offset + pixels.length)
    behind = stream.read(64)
    group = int.from_bytes(behind[:2], "big" if pixels.transfer_syntax == _BIG_ENDIAN else "little")
    if behind.strip(b"\0") and (len(behind) < 8 or group < 0x7FE0):  # zeros pad, and other elements may follow
        return "holds bytes behind its pixels that are no element", ""
    return None
