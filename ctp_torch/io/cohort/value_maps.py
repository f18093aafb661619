"""Scalar perfusion maps: NIfTI by name, or DICOM with rescaled or real-world values, as volumes on their grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ctp_torch.errors import NoSeriesError, UnreadableFileError
from ctp_torch.io.cohort.quantity_names import quantity_in
from ctp_torch.io.dicom.index import ImageHeader, find_files, index_files
from ctp_torch.io.limits import parsing

if TYPE_CHECKING:
    from pydicom import Dataset
    from torch import Tensor

    from ctp_torch.data.geometry import Geometry

__all__ = ["ValueMap", "read_value_maps"]


@dataclass(frozen=True)
class ValueMap:
    """A scalar map as its file tells it."""

    quantity: str
    """cbv, cbf, mtt, tmax or ttp."""
    values: Tensor
    """``(z, y, x)`` float32, real-world values where the file maps to them."""
    geometry: Geometry
    """The grid, slices ascending along the normal."""
    unit: str
    """As the file tells it; empty when it doesn't."""
    palette: Tensor | None = None
    """``(colours, 3)`` uint8 the file displays the map with, where it brings one."""
    palette_first: int = 0
    """Stored value of the first colour."""


def read_value_maps(place: str | Path) -> dict[str, ValueMap]:
    """The scalar maps found under a place, by quantity.

    The quantity comes from the file name (NIfTI), and for DICOM from the image type, the series description, or the
    name of the file or its folder.

    Parameters
    ----------
    place
        a folder (searched to the bottom) or one file

    Raises
    ------
    NoSeriesError
        when there is no scalar map whose quantity is told
    UnreadableFileError
        when a map can't be read
    """
    place = Path(place)
    paths = find_files(place) if place.is_dir() else [place] if place.is_file() else []
    maps: dict[str, ValueMap] = {}
    others: list[Path] = []
    for path in paths:
        if path.name.lower().endswith((".nii", ".nii.gz")):
            name = quantity_in(path.name)
            if name and name not in maps:
                maps[name] = _from_nifti(name, path)
        else:
            others.append(path)
    for name, images in _dicom_groups(others).items():
        if name not in maps:
            maps[name] = _from_dicom(name, images)
    if not maps:
        raise NoSeriesError(f"{place} holds no scalar map that names its quantity (CBF, CBV, MTT, Tmax, TTP)")
    return maps


def _from_nifti(name: str, path: Path) -> ValueMap:
    """A NIfTI volume."""
    import torch

    from ctp_torch.io.nifti.nifti import ascending, read_volume

    volume, geometry = read_volume(path)
    if volume.ndim != 3:
        raise UnreadableFileError(f"{path} is a series of volumes, a map is one")
    nothing = torch.zeros(1, volume.shape[0])
    turned, _, geometry = ascending(volume.float()[None], nothing, geometry)
    return ValueMap(name, turned[0], geometry, "")


def _dicom_groups(paths: list[Path]) -> dict[str, list[ImageHeader]]:
    """Single-channel DICOM images by quantity; of one map in several forms, the floating-point one."""
    groups: dict[str, dict[tuple[bool, str], list[ImageHeader]]] = {}
    headers, _ = index_files(paths)
    for image in headers:
        if image.pixels.samples != 1 or image.position is None or image.orientation is None:
            continue
        words = (" ".join(image.image_type), image.description, image.path.name, image.path.parent.name)
        name = next((quantity for quantity in map(quantity_in, words) if quantity), None)
        if name:
            form = not image.pixels.floating, image.sop_class
            groups.setdefault(name, {}).setdefault(form, []).append(image)
    return {name: forms[min(forms)] for name, forms in groups.items()}


def _from_dicom(name: str, images: list[ImageHeader]) -> ValueMap:
    """The slices of a map put together."""
    import torch

    from ctp_torch.io.dicom.candidates import stack
    from ctp_torch.io.dicom.pixels import read_hounsfield
    from ctp_torch.io.dicom.straight import straighten

    slices = stack(images)
    if any(len(one) > 1 for one in slices):
        doubled = next(one for one in slices if len(one) > 1)
        raise UnreadableFileError(
            f"two {name} maps of one slice ({doubled[0].path} and {doubled[1].path}); keep those of one calculation"
        )
    row = [one[0] for one in slices]
    first = row[0]
    slope, intercept, unit, palette, start = _display(first)
    values = read_hounsfield([row])[0]  # slope and intercept of each image
    if slope is not None:  # real-world values count from the stored ones
        own = torch.tensor([[i.slope, i.intercept] for i in row])[:, :, None, None]
        values = (values - own[:, 1]) / own[:, 0] * slope + intercept
    volume, _, geometry, _ = straighten(
        values[None],
        torch.zeros(1, len(row)),
        [i.position or (0.0, 0.0, 0.0) for i in row],  # type: ignore[misc]
        first.orientation or (),
        first.spacing or (1.0, 1.0),  # type: ignore[arg-type]
        thickness=first.thickness,
    )
    return ValueMap(name, volume[0], geometry, unit, palette, start)


def _display(image: ImageHeader) -> tuple[float | None, float, str, Tensor | None, int]:
    """Real-world slope, intercept and unit, and the palette with its first stored value."""
    from pydicom import dcmread

    from ctp_torch.io.dicom.lookup import Lookup

    with parsing(image.path):
        dataset = dcmread(image.path, stop_before_pixels=True, force=True)
        groups = dataset.get("PerFrameFunctionalGroupsSequence")
        get = Lookup.frames(dataset)[image.pixels.frame] if groups else Lookup([dataset])
        mapping = get.value("RealWorldValueMappingSequence")
        if mapping:
            get = Lookup([mapping[0]])
        slope, intercept = get.number("RealWorldValueSlope"), get.number("RealWorldValueIntercept")
        units = get.value("MeasurementUnitsCodeSequence")
        unit = str(units[0].get("CodeValue", "")) if units else ""
        palette, start = _palette(dataset)
    return slope, intercept or 0.0, unit, palette, start


def _palette(dataset: Dataset) -> tuple[Tensor | None, int]:
    """The colours of a (supplemental) palette, and the stored value they begin at."""
    import numpy as np
    import torch

    channels = []
    start = 0
    for color in ("Red", "Green", "Blue"):
        descriptor = dataset.get(f"{color}PaletteColorLookupTableDescriptor")
        data = dataset.get(f"{color}PaletteColorLookupTableData")
        if descriptor is None or data is None:
            return None, 0
        n, start, bits = int(descriptor[0]) or 65536, int(descriptor[1]), int(descriptor[2])
        values = np.frombuffer(data, "<u2" if bits > 8 else "u1")[:n]
        channels.append((values >> 8).astype("u1") if bits > 8 else values)
    return torch.from_numpy(np.stack(channels, axis=-1)), start
