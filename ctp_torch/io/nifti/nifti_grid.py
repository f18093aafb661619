"""Where the voxels of a NIfTI file lie: matrix, quaternion and voxel sizes held against each other."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

from ctp_torch.data.geometry import Geometry
from ctp_torch.errors import UnreadableFileError

__all__ = ["NiftiGrid", "nifti_grid"]

_ROUNDED = 0.015
"""Products of cosines up to here are rounding of some tool: 0.9 degrees."""
_TOLD = 1e-4
"""And below this it isn't worth a word."""
_SLIP_MM = 0.3
"""By which a stack may lean in all and still be straightened by turning its axis; beyond, its slices are moved."""
_SMALLEST_MM, _LARGEST_MM, _FARTHEST_MM = 1e-3, 1e3, 1e6
_MILLIMETRES = {"meter": 1e3, "mm": 1.0, "micron": 1e-3, "unknown": 1.0}
_AGREE = 0.01


class NiftiGrid(NamedTuple):
    """The grid of a file."""

    geometry: Geometry
    """At right angles."""
    lean: tuple[float, float, float] | None
    """The step from slice to slice (LPS, mm) of a stack that leans, whose slices must be moved; else None."""
    notes: list[str]
    """What was mended or doesn't agree."""


def nifti_grid(header: Any, pixdim: Any, shape: tuple[int, ...], path: Path) -> NiftiGrid:
    """The grid in LPS millimetres: from the matrix (sform), else the quaternion (qform), else the voxel sizes.

    Parameters
    ----------
    header
        nibabel's, mended where it could
    pixdim
        its voxel sizes as they stand in the file
    shape
        ``(z, y, x)``
    path
        for messages

    Raises
    ------
    UnreadableFileError
        for axes or voxel sizes that can't be
    """
    import numpy as np

    affine, notes = _affine(header, np.asarray(pixdim, "f8"), path)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine * _MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)
    axes = affine[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    if not (
        spacing.min() > _SMALLEST_MM and spacing.max() < _LARGEST_MM and np.abs(affine[:3, 3]).max() < _FARTHEST_MM
    ):
        raise UnreadableFileError(
            f"{path} tells voxels of {' x '.join(f'{s:g}' for s in spacing)} mm at"
            f" {affine[:3, 3].round(3).tolist()} mm, which no scan has; convert it again"
        )
    cosines = axes / spacing
    n_z, n_y, n_x = shape
    normal = np.cross(cosines[:, 0], cosines[:, 1])
    normal /= np.linalg.norm(normal)
    rise = float(axes[:, 2] @ normal)
    slip = float(np.linalg.norm(axes[:, 2] - rise * normal)) * (n_z - 1)
    skew = _skew(cosines)
    lean = None
    if abs(float(cosines[:, 0] @ cosines[:, 1])) > _ROUNDED or abs(rise) < 0.3 * spacing[2]:
        raise UnreadableFileError(
            f"{path} has axes that are not at right angles, or no valid ones at all; resample it to a straight grid"
        )
    if skew > _ROUNDED or (skew > _TOLD and slip > _SLIP_MM):
        lean = (float(axes[0, 2]), float(axes[1, 2]), float(axes[2, 2]))
        spacing[2] = abs(rise)
        cosines = np.stack([cosines[:, 0], cosines[:, 1], normal * np.sign(rise)], axis=1)
    elif skew > _TOLD:
        notes.append(
            f"the axes in the header are rounded, {math.degrees(math.asin(min(1.0, skew))):.2f} degrees off right"
            " angles; they were straightened"
        )
    left, _, right = np.linalg.svd(cosines)  # the nearest orthonormal axes
    geometry = Geometry(
        (n_z, n_y, n_x),
        (float(spacing[2]), float(spacing[1]), float(spacing[0])),
        (float(affine[0, 3]), float(affine[1, 3]), float(affine[2, 3])),
        tuple((left @ right).reshape(-1).tolist()),
    )
    return NiftiGrid(geometry, lean, notes)


def _affine(header: Any, pixdim: Any, path: Path) -> tuple[Any, list[str]]:
    """Index to RAS in the file's unit, and what doesn't agree with it."""
    import numpy as np

    sizes = pixdim[1:4]
    shown = " x ".join(f"{size:g}" for size in sizes)
    lost = not np.isfinite(sizes).all() or bool((sizes == 0).any())
    by_matrix = int(header["sform_code"]) > 0
    matrix = np.asarray(header.get_sform(), "f8") if by_matrix else None
    notes: list[str] = []
    if matrix is not None and _is_usable(matrix):
        spacing = np.linalg.norm(matrix[:3, :3], axis=0)
        if lost or (np.abs(np.abs(sizes) - spacing) > _AGREE * spacing).any():
            notes.append(
                f"the header's voxel sizes ({shown}) and its matrix ({' x '.join(f'{s:g}' for s in spacing)}) don't"
                " agree; the matrix was taken"
            )
        if int(header["qform_code"]) > 0 and not lost:
            other = np.asarray(header.get_qform(), "f8")[:3, :3]
            if ((other * matrix[:3, :3]).sum(axis=0) < 0).any():
                notes.append(
                    "quaternion and matrix of the header point opposite ways; the matrix was taken: is left where left"
                    " is?"
                )
        return matrix, notes
    if lost:
        raise UnreadableFileError(
            f"{path} tells voxels of {shown} mm: sizes must be above 0, and volumes rest on them; convert it again, or"
            " mend pixdim in its header"
        )
    if (sizes < 0).any():
        notes.append(f"the header tells voxel sizes below 0 ({shown}); their magnitudes were taken")
    if int(header["qform_code"]) > 0:
        return np.asarray(header.get_qform(), "f8"), notes
    if by_matrix:
        raise UnreadableFileError(
            f"{path} has axes that are not at right angles, or no valid ones at all; resample it to a straight grid"
        )
    notes.append("the header tells no orientation: left and right, front and back are those that most files have")
    return np.asarray(header.get_base_affine(), "f8"), notes


def _is_usable(affine: Any) -> bool:
    """Whether a matrix has three axes, the first two at about right angles."""
    import numpy as np

    axes = affine[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    if not np.isfinite(affine).all() or not (spacing > 0).all():
        return False
    cosines = axes / spacing
    return bool(abs(cosines[:, 0] @ cosines[:, 1]) <= _ROUNDED and abs(np.linalg.det(cosines)) > 0.1)


def _skew(cosines: Any) -> float:
    """How far axes are from right angles: the largest product of two of them."""
    import numpy as np

    return float(np.abs(cosines.T @ cosines - np.eye(3)).max())
