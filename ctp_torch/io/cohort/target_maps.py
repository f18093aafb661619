"""Target maps of a patient, on the grid of the series: a console's as colour indices, others as values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ctp_torch.errors import CTPError, IncompleteSeriesError, NoSeriesError

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.data.geometry import Geometry
    from ctp_torch.io.cohort.cohort import CohortPatient
    from ctp_torch.io.cohort.value_maps import ValueMap
    from ctp_torch.io.color.captures import ColorMaps

__all__ = ["read_target_file", "read_target_indices", "read_target_values", "target_name"]

_TOLERANCE_MM = 1.0


def read_target_indices(
    path: str | Path,
    quantities: Sequence[str],
    geometry: Geometry,
    ranges: Mapping[str, tuple[float, float]],
    *,
    lut: str | Path = "jet",
) -> Tensor:
    """The maps of a patient as indices ``(maps, z, y, x)`` int16: 0..255, -1 background, -2 no colour of the table.

    Coloured maps (RGB DICOM images) become the index of the nearest colour of the table, spread over 0..255. Scalar
    maps (NIfTI or DICOM) become round(255 (v - low) / (high - low)), clipped; 0 and NaN are background, as in the
    public data sets. Scalar maps on another grid are brought to that of the series (nearest voxel).

    Parameters
    ----------
    path
        folder of the maps
    quantities
        which maps, in order
    geometry
        the grid of the series
    ranges
        quantity to the values of index 0 and 255, for scalar maps
    lut
        table of the colours: jet, siemens, asist, a file, or ``bar`` to read it from each picture

    Raises
    ------
    IncompleteSeriesError
        when a map is missing or doesn't lie on the slices of the series
    """
    import torch

    from ctp_torch.io.cohort.value_maps import read_value_maps
    from ctp_torch.io.color.captures import read_color_maps

    colored: ColorMaps | None = None
    scalar: Mapping[str, ValueMap] = {}
    try:
        colored = read_color_maps(path)
    except NoSeriesError:
        scalar = read_value_maps(path)
    names = list(colored.colors if colored else scalar)
    missing = [name for name in quantities if name not in names]
    if missing:
        raise IncompleteSeriesError(
            f"{path} holds no {', '.join(missing)} map (found: {', '.join(names)}); choose among those with --maps"
        )
    if colored:
        return torch.stack([_of_colors(path, name, colored, geometry, lut) for name in quantities])
    return torch.stack([_of_values(path, scalar[name], geometry, ranges[name]) for name in quantities])


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
    values = torch.stack([_values_on(path, maps[name], geometry) for name in quantities])
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
    return _values_on(files[0], ValueMap(target_name(pattern), turned[0], grid, ""), geometry)


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


def _of_colors(path: str | Path, name: str, maps: ColorMaps, geometry: Geometry, lut: str | Path) -> Tensor:
    """Indices of a coloured map."""
    import torch

    from ctp_torch.io.color.colorbar import find_color_bars
    from ctp_torch.io.color.inversion import invert_colors
    from ctp_torch.io.color.luts import read_lut

    stack = maps[name]
    grid = maps.grids.get(name)
    if tuple(stack.shape[:3]) != geometry.shape or (grid and not grid.matches(geometry, tolerance_mm=_TOLERANCE_MM)):
        raise IncompleteSeriesError(
            f"{path}: the {name} map {tuple(stack.shape[:3])} doesn't lie on the slices of the series {geometry.shape};"
            " mismatched slice locations can't be learned from, leave this patient out"
        )
    if str(lut) != "bar":
        table = read_lut(lut)
    else:
        bars = find_color_bars(stack[0])
        if len(bars) != 1:
            raise IncompleteSeriesError(
                f"{path}: the {name} map shows {len(bars)} colour bars, one is needed; name --lut"
            )
        table = bars[0].lut
        stack = stack.clone()
        stack[:, slice(*bars[0].rows), slice(*bars[0].columns)] = 0
    index = invert_colors(stack, table).index
    if len(table) == 256:
        return index
    spread = (index.float() * 255 / (len(table) - 1)).round().to(torch.int16)
    return torch.where(index < 0, index, spread)


def _of_values(path: str | Path, scalar: ValueMap, geometry: Geometry, limits: tuple[float, float]) -> Tensor:
    """Indices of a scalar map."""
    import torch

    values = _values_on(path, scalar, geometry)
    low, high = limits
    index = ((values - low) / (high - low) * 255).round().clamp(0, 255)
    empty = values.isnan() | (values == 0)
    return index.masked_fill(empty, -1).to(torch.int16)


def _values_on(path: str | Path, scalar: ValueMap, geometry: Geometry) -> Tensor:
    """Values of a scalar map on the grid of the series; NaN beyond its own."""
    import torch

    if scalar.geometry.matches(geometry, tolerance_mm=_TOLERANCE_MM):
        return scalar.values
    covered = _on_grid(torch.ones_like(scalar.values), scalar.geometry, geometry) > 0
    if not bool(covered.any()):
        raise IncompleteSeriesError(
            f"{path}: the {scalar.quantity} map lies outside the series; leave this patient out"
        )
    return torch.where(covered, _on_grid(scalar.values, scalar.geometry, geometry), torch.nan)


def _on_grid(values: Tensor, there: Geometry, here: Geometry) -> Tensor:
    """A volume interpolated to another grid (nearest voxel, so that background stays background); 0 outside."""
    import SimpleITK
    import torch

    from ctp_torch.io.nifti.nifti import to_image

    image = to_image(values, there)
    like = to_image(torch.zeros(here.shape, dtype=torch.uint8), here)
    moved = SimpleITK.Resample(image, like, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, 0.0)
    return torch.from_numpy(SimpleITK.GetArrayFromImage(moved))
