"""Target maps of a patient, coloured or scalar, as colour indices on the grid of the series."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ctp_torch.errors import IncompleteSeriesError, NoSeriesError

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.data.geometry import Geometry
    from ctp_torch.io.cohort.value_maps import ValueMap
    from ctp_torch.io.color.captures import ColorMaps

__all__ = ["on_grid", "read_target_indices", "values_on"]

_TOLERANCE_MM = 1.0


def read_target_indices(
    path: str | Path,
    quantities: Sequence[str],
    geometry: Geometry,
    ranges: Mapping[str, tuple[float, float]],
    *,
    lut: str | Path = "jet",
    baseline: Tensor | None = None,
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
    baseline
        ``(z, y, x)`` [HU], the CT on that grid: coloured maps that tell no position are put in its order by the outline
        of the head, with a warning where that isn't the order of their numbers; without it the numbers decide

    Raises
    ------
    IncompleteSeriesError
        when a map is missing or doesn't lie on the slices of the series, or the outlines don't decide its order
    """
    import torch

    from ctp_torch.io.cohort.value_maps import read_value_maps
    from ctp_torch.io.color.read_captures import read_color_maps

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
        return torch.stack([_of_colors(path, name, colored, geometry, lut, baseline) for name in quantities])
    return torch.stack([_of_values(path, scalar[name], geometry, ranges[name]) for name in quantities])


def _of_colors(
    path: str | Path, name: str, maps: ColorMaps, geometry: Geometry, lut: str | Path, baseline: Tensor | None
) -> Tensor:
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
    if grid is None and baseline is not None:
        stack = _in_order(path, name, stack, baseline, geometry)
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


def _in_order(path: str | Path, name: str, stack: Tensor, baseline: Tensor, geometry: Geometry) -> Tensor:
    """Pictures without positions in the order of the CT's slices."""
    from ctp_torch.io.cohort.outline import order_of_slices

    try:
        order, warning = order_of_slices(stack, baseline.cpu(), geometry.spacing)
    except IncompleteSeriesError as error:
        raise IncompleteSeriesError(f"{path}: the {name} map: {error}") from error
    if warning:
        warnings.warn(f"{path}: the {name} map: {warning}", UserWarning, stacklevel=2)
    return stack[order]


def _of_values(path: str | Path, scalar: ValueMap, geometry: Geometry, limits: tuple[float, float]) -> Tensor:
    """Indices of a scalar map."""
    import torch

    values = values_on(path, scalar, geometry)
    low, high = limits
    index = ((values - low) / (high - low) * 255).round().clamp(0, 255)
    empty = values.isnan() | (values == 0)
    return index.masked_fill(empty, -1).to(torch.int16)


def values_on(path: str | Path, scalar: ValueMap, geometry: Geometry) -> Tensor:
    """Values of a scalar map on the grid of the series; NaN beyond its own."""
    import torch

    if scalar.geometry.matches(geometry, tolerance_mm=_TOLERANCE_MM):
        return scalar.values
    covered = on_grid(torch.ones_like(scalar.values), scalar.geometry, geometry) > 0
    if not bool(covered.any()):
        raise IncompleteSeriesError(
            f"{path}: the {scalar.quantity} map lies outside the series; leave this patient out"
        )
    return torch.where(covered, on_grid(scalar.values, scalar.geometry, geometry), torch.nan)


def on_grid(values: Tensor, there: Geometry, here: Geometry) -> Tensor:
    """A volume interpolated to another grid (nearest voxel, so that background stays background); 0 outside."""
    import SimpleITK
    import torch

    from ctp_torch.io.nifti.nifti import to_image

    image = to_image(values, there)
    like = to_image(torch.zeros(here.shape, dtype=torch.uint8), here)
    moved = SimpleITK.Resample(image, like, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, 0.0)
    return torch.from_numpy(SimpleITK.GetArrayFromImage(moved))
