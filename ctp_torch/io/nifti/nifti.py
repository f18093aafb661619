"""Volumes as NIfTI files, and series written as such; SimpleITK turns LPS into the RAS of the file and back."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctp_torch.data.geometry import Geometry
from ctp_torch.errors import UnreadableFileError
from ctp_torch.io.atomic import expect_size, whole
from ctp_torch.io.limits import check_memory, check_regular
from ctp_torch.io.nifti.nifti_file import is_nifti, read_nifti_file

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.data.series import CTPSeries

__all__ = ["ascending", "read_volume", "sidecar", "to_image", "write_nifti_series", "write_volume"]

_HEADER = 352
"""Bytes before the voxels in a NIfTI-1 file without extensions, as ITK writes it."""


def write_volume(
    path: str | Path, volume: Tensor, geometry: Geometry, *, dt: float = 1.0, note: str = "", force: bool = False
) -> Path:
    """A volume ``(z, y, x)``, or a series of them ``(time, z, y, x)``, written as NIfTI.

    Parameters
    ----------
    path
        ends in ``.nii`` or ``.nii.gz``; the file appears when it is whole
    volume
        floating point is written as float32, bool as uint8, integers as they are (int64 as int32)
    geometry
        the grid
    dt
        time between volumes [s] that the header of a series tells
    note
        what the values are and their unit, at most 79 characters of the header's ``descrip``
    force
        replace a file that is there

    Raises
    ------
    OutputExistsError
        when the file is there already
    ValueError
        when the volume doesn't lie on the grid, or the name has another ending
    """
    path = Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise ValueError(f"a NIfTI file ends in .nii or .nii.gz, not {path.name}")
    if volume.ndim not in (3, 4) or tuple(volume.shape[-3:]) != geometry.shape:
        raise ValueError(f"volume {tuple(volume.shape)} doesn't lie on the grid {geometry.shape}")
    image = to_image(volume, geometry, dt=dt)
    if note:
        image.SetMetaData("ITK_FileNotes", note[:79])
    with whole(path, force=force) as partial:
        if not path.name.endswith(".gz"):
            _write_image(image, partial)
        else:
            plain = partial.with_name(partial.name.removesuffix(".gz"))
            try:
                _write_image(image, plain)
                _compress(plain, partial, noisy=volume.is_floating_point())
            finally:
                plain.unlink(missing_ok=True)
    return path


def _write_image(image: Any, path: Path) -> None:
    """An image as uncompressed NIfTI; ITK says nothing when a disk is full, so the size is looked at."""
    import SimpleITK

    SimpleITK.WriteImage(image, str(path))
    expect_size(path, _HEADER + image.GetNumberOfPixels() * image.GetSizeOfPixelComponent())


def _compress(plain: Path, packed: Path, *, noisy: bool) -> None:
    """A file as gzip; in floating-point maps only runs are looked for, which is faster and packs them better."""
    # no name and no time in the header: the same volume gives the same bytes
    squeeze = zlib.compressobj(1, wbits=31, strategy=zlib.Z_RLE) if noisy else zlib.compressobj(6, wbits=31)
    with plain.open("rb") as source, packed.open("wb") as target:
        while piece := source.read(1 << 22):
            target.write(squeeze.compress(piece))
        target.write(squeeze.flush())


def to_image(volume: Tensor, geometry: Geometry, *, dt: float = 1.0) -> Any:
    """A SimpleITK image of ``(z, y, x)`` or ``(time, z, y, x)``; bool as uint8, int64 as int32, floats as float32."""
    import SimpleITK
    import torch

    kinds = {torch.bool: torch.uint8, torch.int64: torch.int32}
    kind = torch.float32 if volume.is_floating_point() else kinds.get(volume.dtype, volume.dtype)
    image = SimpleITK.GetImageFromArray(volume.detach().cpu().to(kind).numpy(), isVector=False)
    spacing, origin, direction = list(geometry.spacing[::-1]), list(geometry.origin), list(geometry.direction)
    if volume.ndim == 4:
        d = geometry.direction
        direction = [*d[:3], 0.0, *d[3:6], 0.0, *d[6:], 0.0, 0.0, 0.0, 0.0, 1.0]
        spacing, origin = [*spacing, dt], [*origin, 0.0]
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    return image


def read_volume(path: str | Path) -> tuple[Tensor, Geometry]:
    """A NIfTI file (or any SimpleITK reads) as ``(z, y, x)`` or ``(time, z, y, x)``, and its grid.

    Integers stay integers unless the file scales them; floating point comes back as float32 (float64 stays), NaN and
    infinity as such.

    Raises
    ------
    UnreadableFileError
        when the file isn't there, is damaged or truncated, or has another number of dimensions
    CTPError
        when it doesn't fit into memory
    """
    import torch

    path = Path(path)
    check_regular(path)
    if not path.is_file():
        raise UnreadableFileError(f"{path} is no file")
    if not is_nifti(path):
        return _by_simpleitk(path)
    image = read_nifti_file(path)
    if image.grid.lean is not None:
        raise UnreadableFileError(
            f"{path} has axes that are not at right angles, or no valid ones at all; resample it to a straight grid"
        )
    return torch.from_numpy(image.values), image.grid.geometry


def _by_simpleitk(path: Path) -> tuple[Tensor, Geometry]:
    """An image of another format."""
    import SimpleITK
    import torch

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        check_memory(8 * math.prod(reader.GetSize()), str(path))
        image = reader.Execute()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UnreadableFileError(f"{path} can't be read as an image ({reason}); copy it again") from error
    array = SimpleITK.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() != 1 or array.ndim not in (3, 4):
        raise UnreadableFileError(
            f"{path} is {array.ndim}-dimensional; a volume (3) or a series of volumes (4) is needed"
        )
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype("int32" if array.dtype.itemsize == 2 else "int64")
    return torch.from_numpy(array), _grid(image, array.shape[-3:])


def _grid(image: Any, shape: tuple[int, int, int]) -> Geometry:
    """The grid of the first three dimensions."""
    n = image.GetDimension()
    d = image.GetDirection()
    cosines = tuple(d[n * row + column] for row in range(3) for column in range(3))
    x, y, z = image.GetSpacing()[:3]
    return Geometry(shape, (z, y, x), tuple(image.GetOrigin()[:3]), cosines)


def sidecar(path: Path) -> Path:
    """The JSON beside a NIfTI file."""
    name = path.name[: -len(".gz")] if path.name.lower().endswith(".gz") else path.name
    return path.with_name((name[: -len(".nii")] if name.lower().endswith(".nii") else name) + ".json")


def write_nifti_series(path: str | Path, series: CTPSeries, *, force: bool = False) -> Path:
    """A series as 4-D NIfTI (int16 HU where nothing is lost, else float32) with a JSON beside it.

    The JSON holds ``FrameTimes`` (median over the slices), ``SliceTimes`` (one row a frame) in seconds from the first
    image, ``TimeSource``, ``Warnings``, and what else the reader noted; never a patient's identity.

    Raises
    ------
    OutputExistsError
        when the file is there already
    """
    import torch

    path = Path(path)
    whole_numbers = series.hu.round()
    fits = bool((whole_numbers == series.hu).all()) and float(series.hu.abs().max()) < 32768
    notes = {k: v for k, v in series.provenance.as_dict().items() if k not in ("warnings", "time_source")}
    record = {
        "FrameTimes": series.times.median(dim=1).values.tolist(),
        "SliceTimes": series.times.tolist(),
        "TimeUnit": "s",
        "TimeSource": series.provenance.time_source or "not told",
        "Warnings": list(series.provenance.warnings),
        "Notes": notes,
    }
    write_volume(
        path, whole_numbers.to(torch.int16) if fits else series.hu, series.geometry, dt=series.dt or 1.0, force=force
    )
    with whole(sidecar(path), force=True) as partial:
        partial.write_text(json.dumps(record, indent=1, default=str) + "\n", encoding="utf-8")
    return path


def ascending(volumes: Tensor, times: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor, Geometry]:
    """The series with its slices turned, where they descend along row direction x column direction."""
    d = geometry.direction
    cross = (d[3] * d[7] - d[6] * d[4], d[6] * d[1] - d[0] * d[7], d[0] * d[4] - d[3] * d[1])
    if cross[0] * d[2] + cross[1] * d[5] + cross[2] * d[8] > 0:
        return volumes, times, geometry
    turned = (d[0], d[1], -d[2], d[3], d[4], -d[5], d[6], d[7], -d[8])
    last = geometry.position(geometry.shape[0] - 1, 0, 0)
    return volumes.flip(1), times.flip(1), Geometry(geometry.shape, geometry.spacing, last, turned)
