"""Targets in their own units: the truth of digital patients, and whatever volume lies in each patient's folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ctp_torch.errors import CTPError, IncompleteSeriesError
from ctp_torch.io.cohort.target_maps import values_on

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.data.geometry import Geometry
    from ctp_torch.io.cohort.cohort import CohortPatient

__all__ = ["read_target_file", "read_target_values", "target_name"]


def read_target_values(path: Path | None, quantities: Sequence[str], geometry: Geometry, *, of: str) -> Tensor:
    """Scalar maps as values in their units ``(maps, z, y, x)`` float32; NaN where all of them are 0 or unknown.

    Parameters
    ----------
    path
        folder of the maps, or None where a patient has none
    quantities
        which maps, in order
    geometry
        the grid of the series; maps on another are brought to it (nearest voxel)
    of
        the patient, for messages

    Raises
    ------
    IncompleteSeriesError
        when there is no folder, a map is missing, or it lies outside the series
    """
    import torch

    from ctp_torch.io.cohort.value_maps import read_value_maps

    if path is None:
        raise IncompleteSeriesError(f"{of} has no truth to learn from: only digital patients have; learn their maps")
    maps = read_value_maps(path)
    missing = [name for name in quantities if name not in maps]
    if missing:
        raise IncompleteSeriesError(
            f"{path} holds no {', '.join(missing)} map (found: {', '.join(maps)}); choose among those with --maps"
        )
    values = torch.stack([values_on(path, maps[name], geometry) for name in quantities])
    return values.masked_fill(((values == 0) | values.isnan()).all(dim=0), torch.nan)


def read_target_file(patient: CohortPatient, pattern: str, geometry: Geometry) -> Tensor:
    """The one NIfTI volume ``(z, y, x)`` float32 in a patient's folder whose name fits; NaN where it holds none.

    Parameters
    ----------
    patient
        whose folder is searched, down to the bottom: the folder named after the patient, or that of the series
    pattern
        file name, as ``followup.nii.gz`` or ``*_lesion-msk.nii.gz``
    geometry
        the grid of the series; a volume on another is brought to it (nearest voxel)

    Raises
    ------
    IncompleteSeriesError
        when no file fits, several do, or it lies outside the series
    """
    from ctp_torch.io.cohort.value_maps import ValueMap
    from ctp_torch.io.nifti.nifti import ascending, read_volume

    target_name(pattern)
    homes = {_home(place, patient.name) for place in (patient.series_path, patient.maps_path)}
    files = sorted({path for home in homes for path in home.rglob(pattern) if path.is_file()})
    if len(files) != 1:
        listing = "; ".join(str(path) for path in files[:3]) or "none"
        raise IncompleteSeriesError(
            f"{patient.name}: one file {pattern} is needed in {', '.join(str(home) for home in sorted(homes))}, "
            f"found {listing}; leave this patient out or name the file more closely"
        )
    volume, grid = read_volume(files[0])
    if volume.ndim != 3:
        raise IncompleteSeriesError(f"{files[0]}: a target is one volume, this file holds {len(volume)}")
    turned, _, grid = ascending(volume.float()[None], volume.new_zeros(1, volume.shape[0]).float(), grid)
    return values_on(files[0], ValueMap(target_name(pattern), turned[0], grid, ""), geometry)


def target_name(pattern: str) -> str:
    """What a map learned from files of that name is called: ``*_lesion-msk.nii.gz`` gives ``lesion_msk``.

    Raises
    ------
    CTPError
        when it is no name of a NIfTI file
    """
    if Path(pattern).name != pattern or not pattern.lower().endswith((".nii", ".nii.gz")):
        raise CTPError(
            f"--target {pattern!r}: give teacher, truth, or the name of a NIfTI file in each patient's folder"
        )
    stem = re.sub(r"\.nii(\.gz)?$", "", pattern.lower())
    name = re.sub(r"[^a-z0-9]+", "_", stem).strip("_")
    return (name if name[:1].isalpha() else f"target_{name}")[:32].rstrip("_")


def _home(place: Path, name: str) -> Path:
    """The folder of a patient: the highest one above a place that is named after the patient, else the one around."""
    named = [folder for folder in (place, *place.parents) if folder.name == name and folder.is_dir()]
    return named[-1] if named else place.parent
