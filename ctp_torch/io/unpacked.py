"""How many bytes of images a scan unpacks to, from its headers: what its memory is reckoned by."""

from __future__ import annotations

import math
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from ctp_torch.io.limits import DAMAGE

__all__ = ["unpacked_size"]

_BYTES = 2
"""Of a stored voxel."""
_SQUEEZED = 8
"""Times that a tar's images grow, whose members aren't told without unpacking it."""


def unpacked_size(files: Sequence[Path]) -> float:
    """Bytes of images in 16 bits; those of a compressed file as its header tells, not as it lies on the disk.

    Parameters
    ----------
    files
        of one scan

    Raises
    ------
    OSError
        when they are gone
    """
    sizes = {path: path.stat().st_size for path in files}
    try:
        if len(files) == 1 and (packed := _of_file(files[0])):
            return max(packed, sizes[files[0]])
        image = _of_images(files[0]) if files else 0.0
        return sum(max(size, image) for size in sizes.values())
    except (*DAMAGE, tarfile.TarError):  # a damaged scan fails by itself, with its own message
        return float(sum(sizes.values()))


def _of_file(path: Path) -> float:
    """Of a zip, a tar or a NIfTI file; 0 for any other."""
    name = path.name.lower()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return float(sum(member.file_size for member in archive.infolist()))
    if name.endswith((".tar", ".tgz", ".tar.gz")):
        return float(path.stat().st_size * (1 if name.endswith(".tar") else _SQUEEZED))
    if name.endswith((".nii", ".nii.gz")):
        import nibabel
        from nibabel.filebasedimages import ImageFileError

        try:
            shape = nibabel.load(path).shape
        except ImageFileError:
            return 0.0
        return float(math.prod(shape) * _BYTES)
    return 0.0


def _of_images(path: Path) -> float:
    """Of a DICOM file, by its header; 0 for what is none."""
    import pydicom

    try:
        names = ["Rows", "Columns", "NumberOfFrames"]
        one = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(names))
    except pydicom.errors.InvalidDicomError:
        return 0.0
    return float(one.get("Rows", 0) * one.get("Columns", 0) * int(one.get("NumberOfFrames") or 1) * _BYTES)
