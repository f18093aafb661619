"""Coloured perfusion maps as a console sends them: RGB pictures, told apart by calculation, in the order of slices."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctp_torch.data.geometry import Geometry
from ctp_torch.data.maps import QUANTITIES
from ctp_torch.errors import NoSeriesError, UnreadableFileError
from ctp_torch.io.cohort.origin import Origin, check_one_case, joined
from ctp_torch.io.cohort.quantity_names import is_mask_name, quantity_in
from ctp_torch.io.color.captures import PRIVATE_BLOCK, ColorMaps
from ctp_torch.io.limits import dicom_damage, parsing

if TYPE_CHECKING:
    from pydicom import Dataset
    from torch import Tensor

__all__ = ["read_color_maps"]


def read_color_maps(folder: str | Path) -> ColorMaps:
    """The RGB maps found in a folder, ours or a console's, slices ascending along their normal.

    The quantity is taken from our private block, or from the series description (rCBV, CBF, MTT, Tmax, TTP ...);
    pictures whose description speaks of a mask or a threshold are none. Pictures that tell no position come in the
    order of their numbers, which may run from the vertex down: `read_target_indices` holds them against the CT.

    Raises
    ------
    NoSeriesError
        when there is no RGB picture whose quantity is told
    UnreadableFileError
        when the pictures of a map differ in size, one is truncated, or maps of two patients, studies or calculations
        lie there
    """
    from pydicom import dcmread

    groups: dict[str, dict[Origin, list[tuple[Path, Dataset]]]] = {}
    folder = Path(folder)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else []:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                dataset = dcmread(path)
                name, samples = _quantity(dataset), dataset.get("SamplesPerPixel")
                colored = samples == 3 or dataset.get("PhotometricInterpretation") == "PALETTE COLOR"
        except dicom_damage():  # a map that lacks a slice for it is refused where it meets its series
            continue
        if name and colored:
            groups.setdefault(name, {}).setdefault(Origin.of(dataset), []).append((path, dataset))
    if not groups:
        raise NoSeriesError(
            f"{folder} holds no RGB map that names its quantity ({', '.join(QUANTITIES)}) in its series description"
        )
    check_one_case((origin for one in groups.values() for origin in one), folder)
    with parsing(folder):
        return _put_together(groups, folder)


def _put_together(groups: Mapping[str, Mapping[Origin, list[tuple[Path, Dataset]]]], folder: Path) -> ColorMaps:
    """The maps of the pictures of each quantity."""
    colors, ranges, grids = {}, {}, {}
    for name in sorted(groups, key=list(QUANTITIES).index):
        calculations = joined(groups[name])
        (pairs, colors[name]), *others = [_stack(name, pairs) for pairs in calculations.values()]
        if any(other.shape != colors[name].shape or bool((other != colors[name]).any()) for _, other in others):
            raise UnreadableFileError(
                f"{folder} holds {len(calculations)} different {name} maps"
                f" ({', '.join(origin.label for origin in calculations)}): keep one of them, or give its folder"
            )
        grid = _grid([dataset for _, dataset in pairs])
        if grid:
            grids[name] = grid
        block = _private(pairs[0][1])
        if block is not None:
            ranges[name] = (float(block[2].value), float(block[3].value))
    first = next(iter(grids.values()), None)
    same = first if first and len(grids) == len(colors) and all(g.matches(first) for g in grids.values()) else None
    return ColorMaps(colors, same, grids, ranges)


def _stack(name: str, pairs: list[tuple[Path, Dataset]]) -> tuple[list[tuple[Path, Dataset]], Tensor]:
    """The pictures of one calculation in their order, ``(z, y, x, 3)``."""
    import torch

    placed = all(_is_placed(dataset) for _, dataset in pairs)
    pairs = sorted(pairs, key=lambda pair: _order(pair[1]) if placed else (0.0, _order(pair[1])[1]))
    pictures = [_pixels(path, dataset) for path, dataset in pairs]
    for (path, _), picture in zip(pairs, pictures, strict=True):
        if picture.shape[1:] != pictures[0].shape[1:]:
            raise UnreadableFileError(f"{path}: this {name} map has another size than {pairs[0][0]}; keep one of them")
    return pairs, torch.cat(pictures)


def _private(dataset: Dataset) -> Any | None:
    """Our private block, if the picture is ours."""
    try:
        return dataset.private_block(*PRIVATE_BLOCK)
    except KeyError:
        return None


def _quantity(dataset: Dataset) -> str | None:
    """Which map a picture shows."""
    block = _private(dataset)
    if block is not None:
        return str(block[1].value)
    words = f"{dataset.get('SeriesDescription', '')} {dataset.get('ImageComments', '')}"
    return None if is_mask_name(words) else quantity_in(words)


def _is_placed(dataset: Dataset) -> bool:
    """Whether a picture tells its position."""
    return bool(dataset.get("ImagePositionPatient")) and bool(dataset.get("ImageOrientationPatient"))


def _order(dataset: Dataset) -> tuple[float, int]:
    """Position along the normal where it is told, else the number of the picture."""
    number = int(dataset.get("InstanceNumber") or 0)
    if not _is_placed(dataset):
        return 0.0, number
    return sum(p * n for p, n in zip(dataset.ImagePositionPatient, _normal(dataset), strict=True)), number


def _normal(dataset: Dataset) -> tuple[float, float, float]:
    """Row direction times column direction."""
    a, b, c, d, e, f = (float(v) for v in dataset.ImageOrientationPatient)
    return b * f - c * e, c * d - a * f, a * e - b * d


def _pixels(path: Path, dataset: Dataset) -> Tensor:
    """The pictures of a file ``(frames, y, x, 3)`` uint8, whatever its colour space."""
    import torch
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    try:
        pixels = pixel_array(dataset)  # YBR becomes RGB
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            pixels = apply_color_lut(pixels, dataset)
            pixels = pixels >> 8 if pixels.dtype.itemsize > 1 else pixels
        pictures = torch.from_numpy(pixels.astype("u1"))
        return pictures if pictures.ndim == 4 else pictures[None]
    except dicom_damage() as error:
        raise UnreadableFileError(f"{path}: the pixels of this map can't be read ({error}); export it again") from error


def _grid(datasets: list[Dataset]) -> Geometry | None:
    """The grid of a stack of pictures, when they tell one."""
    first = datasets[0]
    if any(int(d.get("NumberOfFrames") or 1) > 1 for d in datasets):
        return None
    if not all(k in d for d in datasets for k in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")):
        return None
    offsets = [_order(dataset)[0] for dataset in datasets]
    step = (
        (offsets[-1] - offsets[0]) / (len(offsets) - 1) if len(offsets) > 1 else float(first.get("SliceThickness", 1))
    )
    if step <= 0:
        return None
    row, column, normal = first.ImageOrientationPatient[:3], first.ImageOrientationPatient[3:], _normal(first)
    return Geometry(
        (len(datasets), int(first.Rows), int(first.Columns)),
        (step, float(first.PixelSpacing[0]), float(first.PixelSpacing[1])),
        tuple(float(v) for v in first.ImagePositionPatient),  # type: ignore[arg-type]
        tuple(float(v) for triple in zip(row, column, normal, strict=True) for v in triple),  # type: ignore[arg-type]
    )
