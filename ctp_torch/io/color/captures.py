"""Coloured perfusion maps as RGB Secondary Captures: the pictures a console sends to the archive, and the way back."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctp_torch.data.geometry import Geometry
from ctp_torch.data.maps import QUANTITIES
from ctp_torch.errors import NoSeriesError, UnreadableFileError
from ctp_torch.io.atomic import whole
from ctp_torch.io.cohort.quantity_names import quantity_in
from ctp_torch.io.color.legend import draw_legend
from ctp_torch.io.dicom.bytes import HeaderTemplate
from ctp_torch.io.dicom.header import StudyHeader, da, ds, plane_elements, study_elements, tm
from ctp_torch.io.limits import dicom_damage, parsing

if TYPE_CHECKING:
    from pydicom import Dataset
    from torch import Tensor

__all__ = ["SECONDARY_CAPTURE_STORAGE", "ColorMaps", "patient_letters", "read_color_maps", "write_color_maps"]

SECONDARY_CAPTURE_STORAGE = "1.2.840.10008.5.1.4.1.1.7"
_PRIVATE_GROUP, _PRIVATE_CREATOR = 0x0077, "CTP_TORCH"


@dataclass(frozen=True)
class ColorMaps:
    """RGB maps by quantity, slices in the order of their positions."""

    colors: Mapping[str, Tensor]
    """Quantity to ``(z, y, x, 3)`` uint8."""
    geometry: Geometry | None
    """The grid, when the pictures tell their positions and all maps share it."""
    grids: Mapping[str, Geometry] = field(default_factory=dict)
    """The grid of each map that tells its positions."""
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """What the ends of the colour bar mean, in the units of ``QUANTITIES``, for the maps that say it."""

    def __getitem__(self, name: str) -> Tensor:
        """The picture stack of that quantity."""
        return self.colors[name]


def write_color_maps(
    colors: Mapping[str, Tensor],
    ranges: Mapping[str, tuple[float, float]],
    lut: Tensor,
    geometry: Geometry,
    folder: str | Path,
    *,
    header: StudyHeader | None = None,
    force: bool = False,
) -> list[Path]:
    """The maps written as RGB Secondary Captures, one series a map, one file a slice.

    A colour bar, the range, the unit and "RESEARCH USE ONLY" are drawn where the map is black; no coloured pixel is
    touched. Position, orientation and spacing of the slices are kept, so that they match the CT series with the same
    header; quantity and range stand in a private block.

    Parameters
    ----------
    colors
        quantity to ``(z, y, x, 3)`` uint8, black outside the brain
    ranges
        quantity to the values of the first and the last colour, in the units of ``QUANTITIES``
    lut
        ``(colours, 3)`` uint8: the colour table that made the maps
    geometry
        the grid
    folder
        where the files go; it appears when all of them are written
    header
        patient, study and equipment; series numbers count on from 100 times its own
    force
        replace a folder that is not empty

    Raises
    ------
    ValueError
        when a map is unknown, not RGB on the grid, or without range
    OutputExistsError
        when the folder holds something already
    """
    header = header or StudyHeader()
    for name, stack in colors.items():
        if name not in QUANTITIES or name not in ranges:
            raise ValueError(f"map {name!r} needs a range and a name among {', '.join(QUANTITIES)}")
        if tuple(stack.shape) != (*geometry.shape, 3):
            raise ValueError(f"map {name!r} must be (z, y, x, 3) = {(*geometry.shape, 3)}, got {tuple(stack.shape)}")
    names = []
    with whole(folder, force=force) as partial:
        partial.mkdir()
        for offset, (name, stack) in enumerate(colors.items()):
            number, quantity = header.series_number * 100 + offset, QUANTITIES[name]
            template = HeaderTemplate(_constant_elements(name, ranges[name], geometry, header, number))
            legend = draw_legend(geometry.shape[1:], lut, *ranges[name], title=quantity.label, unit=quantity.unit)
            cpu = stack.cpu()
            pictures = legend.where((cpu == 0).all(-1, keepdim=True), cpu)  # (z, y, x, 3)
            for z in range(geometry.shape[0]):
                position = geometry.position(z, 0, 0)
                changing = {
                    0x00200013: ("IS", str(z + 1)),
                    0x00200032: ("DS", "\\".join(ds(p) for p in position)),
                }
                uid = header.uid("series", number, "image", z + 1)
                path = f"{name.upper()}{z + 1:03d}.dcm"
                pixels = pictures[z].numpy().tobytes()
                (partial / path).write_bytes(template.file(uid, changing, pixels, pixel_vr="OB"))
                names.append(path)
    return [Path(folder) / path for path in names]


def _constant_elements(
    name: str, limits: tuple[float, float], geometry: Geometry, header: StudyHeader, number: int
) -> Dataset:
    """What all slices of one map say."""
    quantity = QUANTITIES[name]
    elements = study_elements(header)
    elements.update(plane_elements(geometry))
    elements.SOPClassUID = SECONDARY_CAPTURE_STORAGE
    elements.ImageType = ["DERIVED", "SECONDARY", "PERFUSION"]
    elements.Modality = "CT"
    elements.ConversionType = "WSD"
    elements.SeriesInstanceUID = header.uid("series", number)
    elements.SeriesNumber = number
    elements.SeriesDescription = f"{quantity.label} RESEARCH USE ONLY"
    elements.SeriesDate, elements.SeriesTime = da(header.started), tm(header.started)
    elements.ContentDate, elements.ContentTime = da(header.started), tm(header.started)
    elements.BurnedInAnnotation = "NO"  # of a patient's identity
    elements.DerivationDescription = f"{quantity.label} {limits[0]:g} to {limits[1]:g} {quantity.unit} in colours"
    d = geometry.direction
    elements.PatientOrientation = [patient_letters(d[0], d[3], d[6]), patient_letters(d[1], d[4], d[7])]
    elements.SamplesPerPixel = 3
    elements.PhotometricInterpretation = "RGB"
    elements.PlanarConfiguration = 0
    elements.BitsAllocated, elements.BitsStored, elements.HighBit = 8, 8, 7
    elements.PixelRepresentation = 0
    block = elements.private_block(_PRIVATE_GROUP, _PRIVATE_CREATOR, create=True)
    for offset, text in enumerate((name, f"{limits[0]!r}", f"{limits[1]!r}", quantity.ucum), start=1):
        block.add_new(offset, "LO", text)
    return elements


def patient_letters(x: float, y: float, z: float) -> str:
    """The way a direction points in the patient: left, posterior, head ... the largest part first."""
    parts = sorted([(abs(x), "RL"[x > 0]), (abs(y), "AP"[y > 0]), (abs(z), "FH"[z > 0])], reverse=True)
    return "".join(letter for size, letter in parts if size > 0.1)


def read_color_maps(folder: str | Path) -> ColorMaps:
    """The RGB maps found in a folder, ours or a console's, slices ascending along their normal.

    The quantity is taken from our private block, or from the series description (rCBV, CBF, MTT, Tmax, TTP ...).

    Raises
    ------
    NoSeriesError
        when there is no RGB picture whose quantity is told
    UnreadableFileError
        when the pictures of a map differ in size, or one is truncated
    """
    from pydicom import dcmread

    groups: dict[str, list[tuple[Path, Dataset]]] = {}
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
            groups.setdefault(name, []).append((path, dataset))
    if not groups:
        raise NoSeriesError(
            f"{folder} holds no RGB map that names its quantity ({', '.join(QUANTITIES)}) in its series description"
        )
    with parsing(folder):
        return _put_together(groups)


def _put_together(groups: Mapping[str, list[tuple[Path, Dataset]]]) -> ColorMaps:
    """The maps of the pictures of each quantity."""
    import torch

    colors, ranges, grids = {}, {}, {}
    for name in sorted(groups, key=list(QUANTITIES).index):
        pairs = sorted(groups[name], key=lambda pair: _order(pair[1]))
        pictures = [_pixels(path, dataset) for path, dataset in pairs]
        odd = [
            path
            for (path, _), picture in zip(pairs, pictures, strict=True)
            if picture.shape[1:] != pictures[0].shape[1:]
        ]
        if odd:
            raise UnreadableFileError(
                f"{odd[0]}: this {name} map has another size than {pairs[0][0]}; keep one of them"
            )
        colors[name] = torch.cat(pictures)
        grid = _grid([dataset for _, dataset in pairs])
        if grid:
            grids[name] = grid
        block = _private(pairs[0][1])
        if block is not None:
            ranges[name] = (float(block[2].value), float(block[3].value))
    first = next(iter(grids.values()), None)
    same = first if first and len(grids) == len(colors) and all(g.matches(first) for g in grids.values()) else None
    return ColorMaps(colors, same, grids, ranges)


def _private(dataset: Dataset) -> Any | None:
    """Our private block, if the picture is ours."""
    try:
        return dataset.private_block(_PRIVATE_GROUP, _PRIVATE_CREATOR)
    except KeyError:
        return None


def _quantity(dataset: Dataset) -> str | None:
    """Which map a picture shows."""
    block = _private(dataset)
    if block is not None:
        return str(block[1].value)
    return quantity_in(f"{dataset.get('SeriesDescription', '')} {dataset.get('ImageComments', '')}")


def _order(dataset: Dataset) -> tuple[float, int]:
    """Position along the normal where it is told, else the number of the picture."""
    number = int(dataset.get("InstanceNumber") or 0)
    if "ImagePositionPatient" not in dataset or "ImageOrientationPatient" not in dataset:
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
