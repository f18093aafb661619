"""A NIfTI file as an array on its grid: whole, checked against its header, whatever the case of its name."""

from __future__ import annotations

import gzip
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ctp_torch.data.geometry import Geometry
from ctp_torch.errors import UnreadableFileError
from ctp_torch.io.limits import DAMAGE, MOST_SQUEEZED, check_memory, unpack_limit

__all__ = ["NiftiFile", "is_nifti", "nifti_step", "read_nifti_file"]

_PIECE = 1 << 24  # bytes at a time
_SKEW = 1e-3  # of the cosines' products: the rounding of float32 headers is a thousand times smaller
_SMALLEST_MM, _LARGEST_MM, _FARTHEST_MM = 1e-3, 1e3, 1e6
_MILLIMETRES = {"meter": 1e3, "mm": 1.0, "micron": 1e-3, "unknown": 1.0}
_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}


class NiftiFile(NamedTuple):
    """What a file holds."""

    values: Any
    """numpy array ``(z, y, x)`` or ``(time, z, y, x)``, scaled as the header tells."""
    geometry: Geometry
    """The grid."""
    spare: int
    """Bytes behind the last voxel, which the header doesn't account for."""


def is_nifti(path: Path) -> bool:
    """Whether a file is named as NIfTI, in capitals or not."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def read_nifti_file(path: Path, *, max_unpacked: float | None = None) -> NiftiFile:
    """All voxels of a NIfTI-1 or -2 file; of a compressed one, the checksum is compared as well.

    Raises
    ------
    UnreadableFileError
        when it is damaged, truncated, no NIfTI, or has voxels that are no numbers or another number of dimensions
    CTPError
        when it doesn't fit into memory
    """
    import numpy as np

    with _parsing(path) as stream:
        header = _header(stream)
        shape, kind = _shape(header, path), header.get_data_dtype()
        size, start = math.prod(shape) * kind.itemsize, int(header.get_data_offset())
        grid = _grid(header, shape[-3:], path)
        _check_size(path, size + start, unpack_limit(max_unpacked))
        _skip(stream, start - stream.tell())
        raw = np.empty(size, "u1")
        there = 0
        while there < size and (more := stream.readinto(raw[there : there + _PIECE].data)):
            there += more
        if there < size:
            raise UnreadableFileError(
                f"{path} is truncated: {there + start} of {size + start} bytes are there; copy it again"
            )
        spare = _skip(stream, size + (1 << 26))  # to the end, where gzip compares its checksum
        return NiftiFile(_scaled(raw.view(kind).reshape(shape), header), grid, spare)


def nifti_step(path: Path) -> float | None:
    """Seconds between volumes as the header's last spacing and time unit tell; None where it tells no unit."""
    with _parsing(path) as stream:
        header = _header(stream)
        unit = _SECONDS.get(header.get_xyzt_units()[1])
        zooms = [float(zoom) for zoom in header.get_zooms()]
    step = zooms[-1] * unit if unit and len(zooms) > 3 else 0.0
    return step if math.isfinite(step) and step > 0 else None


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


def _header(stream: BinaryIO) -> Any:
    """The header, checked and where possible mended by nibabel."""
    import nibabel

    size = stream.read(4)
    order = "<" if int.from_bytes(size, "little") in (348, 540) else ">"
    length = int.from_bytes(size, "little" if order == "<" else "big")
    block = size + stream.read(length - 4) if length in (348, 540) else b""
    if not block or len(block) < length or (length == 348 and block[344:347] != b"n+1"):
        raise ValueError("it has no NIfTI header")
    kind = nibabel.Nifti1Header if length == 348 else nibabel.Nifti2Header
    header = kind(block, endianness=order, check=False)
    header.check_fix(logger=logging.Logger("nifti", logging.CRITICAL + 1), error_level=40)
    return header


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
    """Hold the declared size against the file's and against what may be unpacked, before memory is asked for."""
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
    check_memory(2 * declared, str(path))


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


def _grid(header: Any, shape: tuple[int, ...], path: Path) -> Geometry:
    """The grid in LPS millimetres; from the quaternion where the matrix beside it is skewed."""
    import numpy as np

    affine = np.asarray(header.get_best_affine(), "f8")
    if _skew(affine) > _SKEW and int(header["qform_code"]) > 0:
        affine = np.asarray(header.get_qform(), "f8")
    if not _skew(affine) <= _SKEW:  # also where it is no number
        raise UnreadableFileError(
            f"{path} has axes that are not at right angles, or no valid ones at all; resample it to a straight grid"
        )
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine * _MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not (
        spacing.min() > _SMALLEST_MM and spacing.max() < _LARGEST_MM and np.abs(affine[:3, 3]).max() < _FARTHEST_MM
    ):
        raise UnreadableFileError(
            f"{path} tells voxels of {' x '.join(f'{s:g}' for s in spacing)} mm at"
            f" {affine[:3, 3].round(3).tolist()} mm, which no scan has; convert it again"
        )
    cosines = affine[:3, :3] / spacing
    n_z, n_y, n_x = shape
    return Geometry(
        (n_z, n_y, n_x),
        (float(spacing[2]), float(spacing[1]), float(spacing[0])),
        (float(affine[0, 3]), float(affine[1, 3]), float(affine[2, 3])),
        tuple(cosines.reshape(-1).tolist()),
    )


def _skew(affine: Any) -> float:
    """How far the axes are from right angles: the largest product of two cosines; infinite without axes."""
    import numpy as np

    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not (spacing > 0).all():
        return math.inf
    cosines = affine[:3, :3] / spacing
    return float(np.abs(cosines.T @ cosines - np.eye(3)).max())
