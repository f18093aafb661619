"""A scalar map as DICOM images: stored values to real-world ones, image by image, in the unit of its quantity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ctp_torch.data.maps import QUANTITIES
from ctp_torch.errors import UnreadableFileError
from ctp_torch.io.cohort.map_units import KNOWN_UNITS, factor_of
from ctp_torch.io.cohort.origin import Origin
from ctp_torch.io.cohort.quantity_names import quantity_in
from ctp_torch.io.dicom.index import ImageHeader
from ctp_torch.io.limits import parsing

if TYPE_CHECKING:
    from pydicom import Dataset
    from torch import Tensor

    from ctp_torch.data.geometry import Geometry
    from ctp_torch.io.dicom.lookup import Lookup

__all__ = ["DicomMap", "origin_of", "quantity_of", "read_dicom_map", "unit_factor"]

_NO_UNIT = ("", "1")


@dataclass(frozen=True)
class DicomMap:
    """The slices of a map put together."""

    raw: Tensor
    """``(z, y, x)`` float32, as mapped, before any unit was converted."""
    factor: float
    """From the unit told to that of `QUANTITIES`."""
    unit: str
    """As told."""
    geometry: Geometry
    palette: Tensor | None
    palette_first: int


class _Mapping(NamedTuple):
    """One item of a real-world value mapping: a range of stored values, and what they stand for."""

    first: float
    last: float
    slope: float
    intercept: float
    table: Sequence[float]
    unit: str
    factor: float


def origin_of(image: ImageHeader) -> Origin:
    """Whose image it is."""
    from pydicom import dcmread

    tags = ["PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber"]
    with parsing(image.path):
        return Origin.of(dcmread(image.path, stop_before_pixels=True, force=True, specific_tags=tags))


def quantity_of(image: ImageHeader) -> str | None:
    """The quantity that the label or the code of an image's real-world mapping names."""
    from pydicom import dcmread

    from ctp_torch.io.dicom.lookup import Lookup

    codes = {quantity.code[0]: name for name, quantity in QUANTITIES.items()}
    with parsing(image.path):
        dataset = dcmread(image.path, stop_before_pixels=True, force=True)
        grouped = dataset.get("PerFrameFunctionalGroupsSequence")
        get = Lookup.frames(dataset)[image.pixels.frame] if grouped else Lookup([dataset])
        for item in get.value("RealWorldValueMappingSequence") or []:
            named = quantity_in(f"{item.get('LUTLabel', '')} {item.get('LUTExplanation', '')}")
            for definition in item.get("QuantityDefinitionSequence") or []:
                for code in definition.get("ConceptCodeSequence") or []:
                    named = (
                        named
                        or codes.get(str(code.get("CodeValue", "")))
                        or quantity_in(str(code.get("CodeMeaning", "")))
                    )
            if named:
                return named
    return None


def unit_factor(quantity: str, unit: str, place: object) -> float:
    """The factor to the unit of a quantity; 1 where none is told.

    Raises
    ------
    UnreadableFileError
        for a unit that isn't known
    """
    if unit in _NO_UNIT:
        return 1.0
    factor = factor_of(quantity, unit)
    if factor is None:
        raise UnreadableFileError(
            f"{place}: this {quantity} map tells its unit as {unit!r:.60}, which is none of that quantity (known are"
            f" such as {KNOWN_UNITS.get(quantity, 'ms, s, min')}); export it in one of these"
        )
    return factor


def read_dicom_map(quantity: str, images: Sequence[ImageHeader]) -> DicomMap:
    """The images of one map, each by its own mapping, on a straight grid.

    Raises
    ------
    UnreadableFileError
        for two images of one slice, a unit that isn't known, or a mapping that no value falls in
    """
    import torch

    from ctp_torch.io.dicom.candidates import stack
    from ctp_torch.io.dicom.straight import straighten

    slices = stack(images)
    if any(len(one) > 1 for one in slices):
        doubled = next(one for one in slices if len(one) > 1)
        raise UnreadableFileError(
            f"two {quantity} maps of one slice ({doubled[0].path} and {doubled[1].path}); keep those of one calculation"
        )
    row = [one[0] for one in slices]
    first = row[0]
    values, units, palette, start = _mapped(quantity, row)
    volume, _, geometry, _ = straighten(
        values[None],
        torch.zeros(1, len(row)),
        [i.position or (0.0, 0.0, 0.0) for i in row],  # type: ignore[misc]
        first.orientation or (),
        first.spacing or (1.0, 1.0),  # type: ignore[arg-type]
        thickness=first.thickness,
    )
    unit, factor = units
    return DicomMap(volume[0], factor, unit, geometry, palette, start)


def _mapped(quantity: str, row: Sequence[ImageHeader]) -> tuple[Tensor, tuple[str, float], Tensor | None, int]:
    """Values ``(z, y, x)``, the unit told with its factor, and the palette with the stored value it begins at."""
    import torch

    from ctp_torch.io.dicom.pixels import read_hounsfield

    plain = [replace(image, slope=1.0, intercept=0.0, padding=None) for image in row]
    stored = read_hounsfield([plain])[0]
    if any(image.padding is not None for image in row):  # padding shows where reading without it gives other values
        padded = read_hounsfield([[replace(p, padding=i.padding) for p, i in zip(plain, row, strict=True)]])[0]
        nothing = stored != padded
    else:
        nothing = torch.zeros_like(stored, dtype=torch.bool)
    headers = _headers(row)
    mappings = [_mappings(quantity, get, image) for (get, _), image in zip(headers, row, strict=True)]
    if any(bool(one) != bool(mappings[0]) for one in mappings):
        raise UnreadableFileError(
            f"{row[0].path.parent}: some images of the {quantity} map tell real-world values and others don't;"
            " export them alike"
        )
    values = torch.empty_like(stored)
    units: list[tuple[str, float]] = []
    for z, image in enumerate(row):
        if mappings[z]:
            values[z] = _real_world(stored[z], mappings[z])
            units.append((mappings[z][0].unit, mappings[z][0].factor))
        else:
            values[z] = (stored[z].double() * image.slope + image.intercept).float()
            told = headers[z][0].text("RescaleType")
            units.append((told, factor_of(quantity, told) or 0.0) if factor_of(quantity, told) else ("", 1.0))
    if mappings[0] and not bool((values != 0).any()) and bool((stored != stored[0, 0, 0]).any()):
        raise UnreadableFileError(
            f"{row[0].path.parent}: no value of the {quantity} map lies in the range that its real-world mapping tells;"
            " export it again"
        )
    usual = units[0]
    for z, (_, factor) in enumerate(units):  # to the first image's unit, so that one factor holds for all
        if factor != usual[1]:
            values[z] *= factor / usual[1]
    return values.masked_fill(nothing, 0.0), usual, *_palette(headers[0][1])


def _headers(row: Sequence[ImageHeader]) -> list[tuple[Lookup, Dataset]]:
    """What to ask of each image; a multi-frame file is parsed once."""
    from pydicom import dcmread

    from ctp_torch.io.dicom.lookup import Lookup

    files: dict[Any, tuple[list[Lookup], Dataset]] = {}
    for image in row:
        if image.path not in files:
            with parsing(image.path):
                dataset = dcmread(image.path, stop_before_pixels=True, force=True)
                grouped = dataset.get("PerFrameFunctionalGroupsSequence")
                files[image.path] = (Lookup.frames(dataset) if grouped else [Lookup([dataset])], dataset)
    return [
        (lookups[image.pixels.frame if len(lookups) > 1 else 0], dataset)
        for image in row
        for lookups, dataset in [files[image.path]]
    ]


def _mappings(quantity: str, get: Lookup, image: ImageHeader) -> list[_Mapping]:
    """The items that map to one unit of the quantity; empty where the image tells none."""
    from ctp_torch.io.dicom.lookup import Lookup

    with parsing(image.path):
        items = [Lookup([item]) for item in get.value("RealWorldValueMappingSequence") or []] or [get]
        told = [one for one in map(_mapping, items) if one is not None]
    if not told:
        return []
    known = [
        replaced
        for one in told
        for factor in [1.0 if one.unit in _NO_UNIT else factor_of(quantity, one.unit)]
        if factor is not None
        for replaced in [one._replace(factor=factor)]
    ]
    if not known:
        unit_factor(quantity, told[0].unit, image.path)
    best = next((one for one in known if one.unit not in _NO_UNIT), known[0])
    return [one for one in known if one.unit == best.unit]


def _mapping(item: Lookup) -> _Mapping | None:
    """One item as numbers; None where it maps nothing."""
    slope, intercept = item.number("RealWorldValueSlope"), item.number("RealWorldValueIntercept")
    table = item.value("RealWorldValueLUTData")
    if slope is None and table is None:
        return None
    first, last = (
        item.number(f"RealWorldValue{end}ValueMapped")
        if item.number(f"DoubleFloatRealWorldValue{end}ValueMapped") is None
        else item.number(f"DoubleFloatRealWorldValue{end}ValueMapped")
        for end in ("First", "Last")
    )
    if first is not None and last is not None and first > last:
        first -= 65536  # signed values told as unsigned
    units = item.value("MeasurementUnitsCodeSequence")
    unit = str(units[0].get("CodeValue", "")).strip() if units else ""
    listed = [float(v) for v in ([table] if isinstance(table, int | float) else table)] if table is not None else []
    if listed and first is None:
        first, last = 0.0, len(listed) - 1.0
    infinite = float("inf")
    return _Mapping(
        -infinite if first is None else first,
        infinite if last is None else last,
        1.0 if slope is None else slope,
        intercept or 0.0,
        listed,
        unit,
        1.0,
    )


def _real_world(stored: Tensor, mappings: Sequence[_Mapping]) -> Tensor:
    """Real-world values of an image ``(y, x)``; 0 where no range holds the stored value."""
    import torch

    values = torch.where(stored.isfinite(), 0.0, stored)  # a floating-point map may hold NaN
    for one in mappings:
        inside = (stored >= one.first) & (stored <= one.last)
        if one.table:
            table = torch.tensor(one.table, dtype=torch.float64)
            index = (stored - one.first).long().clamp(0, len(table) - 1)
            values = torch.where(inside, table[index].float(), values)
        else:
            values = torch.where(inside, (stored.double() * one.slope + one.intercept).float(), values)
    return values


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
