"""A NIfTI file as an array on its grid: whole, checked against its header, whatever the case of its name."""

from __future__ import annotations

import gzip
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ctp_torch.errors import UnreadableFileError
from ctp_torch.io.limits import DAMAGE, MOST_SQUEEZED, check_memory, unpack_limit
from ctp_torch.io.nifti.nifti_grid import NiftiGrid, nifti_grid

__all__ = [
    "Box",
    "NiftiFile",
    "is_nifti",
    "is_picture",
    "nifti_shape",
    "nifti_step",
    "nifti_volumes",
    "read_nifti_file",
]

Box = tuple[slice, slice, slice]
"""Slices, rows and columns."""
_PIECE = 1 << 24  # bytes at a time
_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}


class NiftiFile(NamedTuple):
    """What a file holds."""

    values: Any
    """numpy array ``(z, y, x)`` or ``(time, z, y, x)``, scaled as the header tells."""
    grid: NiftiGrid
    """Where the voxels lie."""
    spare: int
    """Bytes behind the last voxel, which the header doesn't account for."""
    kind: Any
    """numpy's type of the voxels on disk."""
    slope: float
    """As the header tells it, valid or not: 0 and 1 for none."""

    @property
    def scaled(self) -> bool:
        """Whether values may be other than whole numbers, or none at all."""
        return bool(self.kind.kind == "f") or self.slope not in (0.0, 1.0)


def is_nifti(path: Path) -> bool:
    """Whether a file is named as NIfTI, in capitals or not."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def read_nifti_file(
    path: Path,
    *,
    max_unpacked: float | None = None,
    floating: bool = False,
    box: Box | None = None,
    first_only: bool = False,
) -> NiftiFile:
    """All voxels of a NIfTI-1 or -2 file, volume by volume; of a compressed one, the checksum is compared as well.

    Parameters
    ----------
    path
        the file
    max_unpacked
        largest size it may unpack to [GB]
    floating
        values as float32, whatever the file holds: no second copy of a large series
    box
        what to keep of each volume; all when None
    first_only
        read the first volume alone, ``(1, z, y, x)``, and nothing behind it

    Raises
    ------
    UnreadableFileError
        when it is damaged, truncated, no NIfTI, or has voxels that are no numbers or another number of dimensions
    CTPError
        when it doesn't fit into memory
    """
    import numpy as np

    with _parsing(path) as stream:
        layout = _at_voxels(stream, path, max_unpacked)
        n = 1 if first_only or len(layout.shape) == 3 else layout.shape[0]
        one = math.prod(layout.shape[-3:]) * layout.kind.itemsize
        kept = box or (slice(None), slice(None), slice(None))
        values: Any = None
        for t, volume in zip(range(n), _volumes(stream, layout, path), strict=False):
            part = volume[kept]
            if values is None:
                made = np.dtype("f4") if floating else part.dtype
                check_memory(n * part.size * made.itemsize + 3 * one, str(path))
                values = np.empty((n, *part.shape), made)
            values[t] = part
        spare = 0 if first_only else _skip(stream, layout.size + (1 << 26))  # where gzip compares its checksum
        single = len(layout.shape) == 3 and not first_only
        whole = values.reshape(-1, *values.shape[2:]) if single else values
        return NiftiFile(whole, layout.grid, spare, layout.kind, float(layout.header["scl_slope"]))


def nifti_volumes(path: Path, box: Box | None = None, *, max_unpacked: float | None = None) -> Iterator[Any]:
    """The volumes ``(z, y, x)`` of a file, or that part of them, as float32: one at a time, each time from the start.

    Raises
    ------
    UnreadableFileError
        when it is damaged or truncated
    """
    kept = box or (slice(None), slice(None), slice(None))
    with _parsing(path) as stream:
        layout = _at_voxels(stream, path, max_unpacked)
        for volume in _volumes(stream, layout, path):
            yield volume[kept].astype("f4")  # a copy: the next volume is read where this one was
        _skip(stream, 1 << 26)


class _Layout(NamedTuple):
    """What a header tells of the voxels behind it."""

    header: Any
    shape: tuple[int, ...]
    kind: Any
    grid: NiftiGrid
    start: int
    """Bytes before the first voxel."""
    size: int
    """Bytes of all voxels."""


def _at_voxels(stream: Any, path: Path, max_unpacked: float | None) -> _Layout:
    """The layout, and the stream moved on to the first voxel."""
    header, pixdim = _header(stream)
    shape, kind = _shape(header, path), header.get_data_dtype()
    size, start = math.prod(shape) * kind.itemsize, int(header.get_data_offset())
    grid = nifti_grid(header, pixdim, shape[-3:], path)
    _check_size(path, size + start, unpack_limit(max_unpacked))
    _skip(stream, start - stream.tell())
    return _Layout(header, shape, kind, grid, start, size)


def _volumes(stream: Any, layout: _Layout, path: Path) -> Iterator[Any]:
    """The volumes ``(z, y, x)`` as the header scales them; a view where it doesn't, of what the next one replaces."""
    import numpy as np

    one = math.prod(layout.shape[-3:]) * layout.kind.itemsize
    raw = np.empty(one, "u1")
    for t in range(layout.size // one):
        there = 0
        while there < one and (more := stream.readinto(raw[there : there + _PIECE].data)):
            there += more
        if there < one:
            raise UnreadableFileError(
                f"{path} is truncated: {layout.start + t * one + there} of {layout.size + layout.start} bytes are"
                " there; copy it again"
            )
        yield _scaled(raw.view(layout.kind).reshape(layout.shape[-3:]), layout.header)


def is_picture(path: Path) -> bool:
    """Whether the voxels are colours, no numbers."""
    with _parsing(path) as stream:
        return bool(_header(stream)[0].get_data_dtype().kind == "V")


def nifti_step(path: Path) -> float | None:
    """Seconds between volumes as the header's last spacing and time unit tell; None where it tells no unit."""
    with _parsing(path) as stream:
        header, _ = _header(stream)
        unit = _SECONDS.get(header.get_xyzt_units()[1])
        zooms = [float(zoom) for zoom in header.get_zooms()]
    step = zooms[-1] * unit if unit and len(zooms) > 3 else 0.0
    return step if math.isfinite(step) and step > 0 else None


def nifti_shape(path: Path, *, max_unpacked: float | None = None) -> tuple[int, ...]:
    """``(z, y, x)`` or ``(time, z, y, x)`` as the header tells, held against the size of the file; no voxel is read."""
    with _parsing(path) as stream:
        header, _ = _header(stream)
        shape = _shape(header, path)
        size = math.prod(shape) * header.get_data_dtype().itemsize + int(header.get_data_offset())
        _check_size(path, size, unpack_limit(max_unpacked))
        return shape


@contextmanager
def _parsing(path: Path) -> Iterator[Any]:
    """The file, unpacked on the way where its bytes (not its name) are gzip's; errors in the block are its fault."""
    import numpy as np
    from nibabel.spatialimages import HeaderDataError, HeaderTypeError

    try:
        with gzip.open(path) if _is_packed(path) else path.open("rb") as stream, np.errstate(all="ignore"):
            yield stream  # what becomes infinite or no number is found later, and told
    except EOFError as error:
        raise UnreadableFileError(f"{path} is truncated ({error}); copy it again") from error
    except (*DAMAGE, HeaderDataError, HeaderTypeError, OSError) as error:
        reason = str(error).strip() or type(error).__name__
        raise UnreadableFileError(f"{path} can't be read as an image ({reason}); copy it again") from error


def _is_packed(path: Path) -> bool:
    """Whether a file begins as gzip does."""
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def _header(stream: BinaryIO) -> tuple[Any, Any]:
    """The header, checked and where possible mended by nibabel, and its voxel sizes before that."""
    import nibabel

    size = stream.read(4)
    order = "<" if int.from_bytes(size, "little") in (348, 540) else ">"
    length = int.from_bytes(size, "little" if order == "<" else "big")
    block = size + stream.read(length - 4) if length in (348, 540) else b""
    if not block or len(block) < length or (length == 348 and block[344:347] != b"n+1"):
        raise ValueError("it has no NIfTI header")
    kind = nibabel.Nifti1Header if length == 348 else nibabel.Nifti2Header
    header = kind(block, endianness=order, check=False)
    pixdim = header["pixdim"].copy()
    header.check_fix(logger=logging.Logger("nifti", logging.CRITICAL + 1), error_level=40)
    return header, pixdim


def _shape(header: Any, path: Path) -> tuple[int, ...]:
    """``(z, y, x)`` or ``(time, z, y, x)``; time may stand fifth, as some tools write it."""
    n = int(header["dim"][0])
    sizes = [int(size) for size in header["dim"][1 : 1 + n]]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if len(sizes) == 5 and sizes[3] == 1:
        sizes.pop(3)
    if len(sizes) not in (3, 4) or not 0 < n < 8:
        raise UnreadableFileError(f"{path} is {n}-dimensional; a volume (3) or a series of volumes (4) is needed")
    if min(sizes) < 1 or header.get_data_dtype().kind not in "iuf" or header.get_data_dtype().itemsize > 8:
        raise UnreadableFileError(
            f"{path} holds {' x '.join(map(str, sizes))} voxels of type {header.get_data_dtype()}; numbers are needed,"
            " integers or floating point"
        )
    return tuple(sizes[::-1])


def _check_size(path: Path, declared: int, limit: int) -> None:
    """Hold the declared size against the file's and against what may be unpacked, before anything is read."""
    there, packed = path.stat().st_size, _is_packed(path)
    most = there * MOST_SQUEEZED if packed else there
    if most < declared:
        raise UnreadableFileError(
            f"{path} is truncated: its {there} bytes can't hold the {declared} its header tells; copy it again"
        )
    if packed and declared > limit:
        raise UnreadableFileError(
            f"{path} unpacks to {declared / 1e9:,.1f} GB, the limit is {limit / 1e9:,.1f} GB; unpack it yourself if you"
            " trust it, or move the limit with --max-unpacked GB"
        )


def _skip(stream: BinaryIO, most: int) -> int:
    """How many bytes there were to pass over, up to ``most``."""
    left = most
    while left > 0 and (piece := stream.read(min(left, _PIECE))):
        left -= len(piece)
    return most - left


def _scaled(raw: Any, header: Any) -> Any:
    """The values in this machine's byte order; scaled ones as float32, unsigned ones in a wider signed type."""
    import numpy as np

    slope, shift = header.get_slope_inter()
    if slope is None or (slope, shift) == (1.0, 0.0):
        own = raw.dtype.str[1:]
        return raw.astype({"u2": "i4", "u4": "i8", "u8": "i8", "f2": "f4"}.get(own, own), copy=False)
    scaled = np.empty(raw.shape, "f8" if raw.dtype.str[1:] == "f8" else "f4")
    for index in np.ndindex(raw.shape[:-2]):  # slice by slice: the product is formed in float64
        scaled[index] = raw[index] * np.float64(slope) + shift
    return scaled
