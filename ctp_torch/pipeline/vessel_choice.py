"""An artery or a vein chosen by hand: a voxel, a mask file, or a curve file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ctp_torch import ops
from ctp_torch.data.slabs import Slabs
from ctp_torch.data.stored import StoredSeries
from ctp_torch.errors import CTPError, UnreadableFileError
from ctp_torch.io.limits import read_text
from ctp_torch.io.results.derivation import file_digest
from ctp_torch.pipeline.scan import Scan, align, held_still

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.data.series import CTPSeries
    from ctp_torch.ops import VesselCurve

__all__ = ["check_choice", "name_of", "read_mask", "read_vessel"]

_VOXEL = re.compile(r"\s*-?\d+\s*(,\s*-?\d+\s*)*")


def check_choice(choice: str, option: str) -> None:
    """Refuse a choice that is neither a voxel nor a file, before anything is computed."""
    if choice != "auto" and not Path(choice).is_file():
        _voxel(choice, option)


def name_of(choice: str | Path) -> str:
    """A choice as results may tell it: of a file the hash, because files and folders may be named after people."""
    return f"file, sha256 {file_digest(choice)[:16]}" if Path(choice).is_file() else str(choice)


def read_vessel(
    choice: str, option: str, scan: Scan, source: CTPSeries | StoredSeries
) -> tuple[VesselCurve | None, list[str]]:
    """The enhancement [HU] of the chosen vessel in the unfiltered series, aligned when the maps are; and what is odd.

    Parameters
    ----------
    choice
        ``auto`` (gives None), ``x,y,z``, or a file
    option
        its name, for messages
    scan
        made ready; its slices may be slabs, on which the place is told
    source
        the series as read: voxel, mask and curve are those of its grid
    """
    if choice == "auto":
        return None, []
    path, anatomy = Path(choice), scan.anatomy
    if path.is_file() and not path.name.lower().endswith((".nii", ".nii.gz")):
        return ops.VesselCurve(_from_curve_file(path, source), anatomy.brain.new_zeros(anatomy.brain.shape)), []
    where = read_mask(path, source) if path.is_file() else _one_voxel(choice, option, source)
    slabs = scan.series.provenance.slabs
    thick = Slabs(1 if slabs is None else slabs.slices)
    outside = int((where & ~thick.spread(anatomy.brain, len(where))).sum())
    odd = (
        [f"{option} {name_of(choice)}: {outside} of {int(where.sum())} voxels lie outside the brain"] if outside else []
    )
    curve = _unfiltered(scan, source, where)
    return ops.VesselCurve(curve - curve[: anatomy.n_baseline].mean(), thick.average(where) > 0), odd


def _unfiltered(scan: Scan, source: CTPSeries | StoredSeries, where: Tensor) -> Tensor:
    """Mean HU ``(time,)`` of some voxels of the series as read, its motion undone."""
    prepared = scan.series.provenance
    if isinstance(source, StoredSeries):
        return torch.stack([frame[where].mean() for frame in held_still(source, scan.motion)])
    if scan.motion is None:
        hu = source.hu
    elif prepared.slabs is None and prepared.preparation is not None and prepared.preparation.median_size == 1:
        hu = scan.series.hu
    else:
        hu = align(source, scan.motion).hu
    return hu[:, where].mean(dim=1)


def _at_hand(source: CTPSeries | StoredSeries) -> Tensor:
    """Voxels of the series that are in memory."""
    return source.coarse.hu if isinstance(source, StoredSeries) else source.hu


def read_mask(path: Path, source: CTPSeries | StoredSeries) -> Tensor:
    """A mask ``(z, y, x)`` from NIfTI that lies on the grid of the series."""
    from ctp_torch.io import read_volume

    volume, geometry = read_volume(path)
    if volume.ndim != 3:
        raise CTPError(f"{path}: a mask is one volume, this file holds {len(volume)}; save the one you mean alone")
    if not geometry.matches(source.geometry):
        raise CTPError(
            f"{path}: the mask is {geometry.shape} at {geometry.origin} mm, the series {source.geometry.shape} at "
            f"{source.geometry.origin} mm; draw it on the series itself"
        )
    inside: Tensor = (volume > 0).to(_at_hand(source).device)
    if not inside.any():
        raise CTPError(f"{path}: the mask is empty")
    return inside


def _voxel(text: str, option: str) -> tuple[int, int, int]:
    """Column, row and slice of ``x,y,z``."""
    parts = [int(part) for part in text.split(",")] if _VOXEL.fullmatch(text) else []
    if len(parts) != 3:
        raise CTPError(f"{option} {text!r}: give auto, three whole numbers x,y,z, or a file that exists")
    return parts[0], parts[1], parts[2]


def _one_voxel(text: str, option: str, source: CTPSeries | StoredSeries) -> Tensor:
    """A mask of that voxel alone."""
    x, y, z = _voxel(text, option)
    shape = source.geometry.shape
    if not (0 <= x < shape[2] and 0 <= y < shape[1] and 0 <= z < shape[0]):
        raise CTPError(
            f"{option} {text} lies outside the series of {shape[2]} columns, {shape[1]} rows and {shape[0]} slices"
        )
    where = _at_hand(source).new_zeros(shape).bool()
    where[z, y, x] = True
    return where


def _from_curve_file(path: Path, source: CTPSeries | StoredSeries) -> Tensor:
    """One enhancement [HU] a line, or time [s] and enhancement; a first line of words is passed over."""
    rows: list[list[float]] = []
    try:
        lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
        for number, line in enumerate(lines):
            try:
                rows.append([float(part) for part in re.split(r"[,;\s]+", line)])
            except ValueError:
                if number:
                    raise
    except (OSError, ValueError) as error:
        raise UnreadableFileError(
            f"{path}: not a curve ({error}); give one number a line, or time,enhancement"
        ) from error
    if not rows or len({len(row) for row in rows}) != 1 or len(rows[0]) > 2:
        raise UnreadableFileError(f"{path}: not a curve; give one number a line, or time,enhancement")
    table = source.times.new_tensor(rows)  # (rows, 1 or 2)
    if not bool(table.isfinite().all()):
        raise UnreadableFileError(f"{path}: not a curve; it holds NaN or infinity, give finite numbers alone")
    if table.shape[1] == 2 and bool((table[:, 0].diff() <= 0).any()):
        raise UnreadableFileError(f"{path}: the times of the curve must rise from line to line, in seconds")
    values = table[:, -1].to(_at_hand(source))
    if len(rows[0]) == 2:
        clock = source.times.median(dim=1).values
        values = ops.resample_curves(values[None], clock.new_tensor([row[0] for row in rows]), clock)[0]
    if len(values) != source.n_frames:
        raise CTPError(f"{path}: the curve has {len(values)} numbers, the series {source.n_frames} frames")
    return values
