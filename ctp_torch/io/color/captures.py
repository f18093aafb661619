"""Coloured perfusion maps as RGB Secondary Captures: the pictures a console sends to the archive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ctp_torch.data.geometry import Geometry
from ctp_torch.data.maps import QUANTITIES
from ctp_torch.io.atomic import whole
from ctp_torch.io.color.legend import draw_legend
from ctp_torch.io.dicom.bytes import HeaderTemplate
from ctp_torch.io.dicom.header import StudyHeader, da, ds, plane_elements, study_elements, tm

if TYPE_CHECKING:
    from pydicom import Dataset
    from torch import Tensor

__all__ = ["PRIVATE_BLOCK", "SECONDARY_CAPTURE_STORAGE", "ColorMaps", "patient_letters", "write_color_maps"]

SECONDARY_CAPTURE_STORAGE = "1.2.840.10008.5.1.4.1.1.7"
PRIVATE_BLOCK = (0x0077, "CTP_TORCH")
"""Group and creator of the elements that tell quantity and range."""


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
    block = elements.private_block(*PRIVATE_BLOCK, create=True)
    for offset, text in enumerate((name, f"{limits[0]!r}", f"{limits[1]!r}", quantity.ucum), start=1):
        block.add_new(offset, "LO", text)
    return elements


def patient_letters(x: float, y: float, z: float) -> str:
    """The way a direction points in the patient: left, posterior, head ... the largest part first."""
    parts = sorted([(abs(x), "RL"[x > 0]), (abs(y), "AP"[y > 0]), (abs(z), "FH"[z > 0])], reverse=True)
    return "".join(letter for size, letter in parts if size > 0.1)
