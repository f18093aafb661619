"""How much a foreign file may ask for: bytes unpacked, memory, and what is opened at all."""

from __future__ import annotations

import io
import os
import shutil
import struct
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from zipfile import BadZipFile

from ctp_torch.errors import CTPError, UnreadableFileError

try:
    from lzma import LZMAError
except ImportError:  # a Python built without it: zipfile then refuses such members by itself
    LZMAError = BadZipFile  # type: ignore[misc,assignment]

__all__ = [
    "DAMAGE",
    "MOST_SQUEEZED",
    "BoundedReader",
    "available_cores",
    "check_memory",
    "check_regular",
    "dicom_damage",
    "free_memory",
    "inflated_size",
    "parsing",
    "read_text",
    "unpack_limit",
    "unpacking",
]

DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BadZipFile,
    EOFError,
    LZMAError,
    LookupError,
    MemoryError,
    RuntimeError,  # and with it RecursionError and NotImplementedError
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What the parsers of others raise over damaged bytes: a file that makes them do so is broken."""
MOST_SQUEEZED = 1032
"""Bytes that one byte of a deflate stream can stand for, at the very most."""
_GIB = 1 << 30
_MOST_TEXT = 64 << 20  # bytes of a JSON or text file that we read whole
_MOST_HEADER = 256 << 20  # bytes of one element before the pixels: the frames of an enhanced image take some 40 MB


@cache
def dicom_damage() -> tuple[type[Exception], ...]:
    """The same, with pydicom's own and the disk's."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return (*DAMAGE, OSError, BytesLengthException, InvalidDicomError)


@contextmanager
def parsing(path: Path) -> Iterator[None]:
    """A block that reads DICOM elements; what breaks in it is the file's fault, and odd values are not spoken of.

    Raises
    ------
    UnreadableFileError
        naming the path
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except dicom_damage() as error:
        if isinstance(error, CTPError):
            raise
        reason = str(error).strip() or type(error).__name__
        raise UnreadableFileError(f"{path} is damaged or no such file ({reason}); copy it again") from error


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory() -> int:
    """Bytes of memory that can be had without swapping."""
    from ctp_torch.ops.compute.memory import free_bytes

    return free_bytes("cpu")


class _Unpacking:
    """The user's own limit for a whole process."""

    most: float | None = None
    """[GB]"""


unpacking = _Unpacking()


def unpack_limit(most: float | None = None) -> int:
    """Bytes that an archive may unpack to: the smallest of 64 GiB, 8 times the free memory and half the free disk.

    Parameters
    ----------
    most
        the user's own limit [GB] in place of the first two; the disk counts always
    """
    most = unpacking.most if most is None else most
    disk = shutil.disk_usage(tempfile.gettempdir()).free // 2
    return min(disk, int(most * 1e9)) if most is not None else min(64 * _GIB, 8 * free_memory(), disk)


def check_memory(n_bytes: int, what: str) -> None:
    """Refuse what can't fit into the free memory, before it is asked for.

    Raises
    ------
    CTPError
        naming both numbers
    """
    free = free_memory()
    if n_bytes > free:
        raise CTPError(
            f"{what} needs {n_bytes / 1e9:,.1f} GB of memory, {free / 1e9:,.1f} GB are free: if its header tells the"
            " truth, use a machine with more, or give fewer slices or frames"
        )


def check_regular(path: Path) -> None:
    """Refuse pipes, devices and sockets, from which a read may never come back.

    Raises
    ------
    UnreadableFileError
        when the path is neither a file nor a folder
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UnreadableFileError(
            f"{path} is a pipe, a device or a socket: copy its content into a file, and give that"
        )


def read_text(path: Path) -> str:
    """The text of a small file of the user's: times, thresholds, a curve.

    Raises
    ------
    OSError
        when it can't be read
    ValueError
        when it is no text, or far larger than such a file can be
    """
    check_regular(path)
    size = path.stat().st_size
    if size > _MOST_TEXT:
        raise ValueError(f"{size / 1e6:,.0f} MB is too much for such a file")
    return path.read_text(encoding="utf-8")


def inflated_size(stream: io.BufferedIOBase, most: int) -> int:
    """Bytes that the raw deflate stream from here on stands for; counting stops above ``most``.

    Raises
    ------
    zlib.error
        when it is damaged
    """
    inflate, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while size <= most and not inflate.eof and (piece := inflate.unconsumed_tail or stream.read(1 << 16)):
        size += len(inflate.decompress(piece, 1 << 22))
    return size


class BoundedReader(io.BufferedReader):
    """A file that never hands out, or makes room for, more than it holds, whatever length a header tells."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """So many bytes, fewer at the end of the file."""
        if size is not None and size > 1 << 16:
            size = min(size, self.size - self.tell())
            if size > _MOST_HEADER:
                raise ValueError(f"an element of {size} bytes before the pixels")
        return super().read(size)
