"""Maps as CT images of 16 bits: what every archive stores and every viewer measures in."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from ctp_torch.data.maps import QUANTITIES, named_quantity
from ctp_torch.io.dicom.bytes import HeaderTemplate
from ctp_torch.io.dicom.header import ds, plane_elements
from ctp_torch.io.dicom.write import CT_IMAGE_STORAGE
from ctp_torch.io.results.objects import TECHNIQUE, code_item, common_elements, references_at
from ctp_torch.io.results.quantities import quantity_definition, unit_code

if TYPE_CHECKING:
    from pydicom import Dataset
    from torch import Tensor

    from ctp_torch.data.geometry import Geometry
    from ctp_torch.io.results.derivation import Derivation
    from ctp_torch.io.results.source import Source

__all__ = ["write_ct_map"]

_TOP = 65535
_FINEST = 1e-4
"""No map is known better than this, in its unit."""


def write_ct_map(
    name: str,
    values: Tensor,
    geometry: Geometry,
    folder: Path,
    source: Source,
    derivation: Derivation,
    *,
    display: tuple[float, float],
) -> list[Path]:
    """One map as a series of CT images, one file a slice: value = stored * slope + intercept.

    The slope is the finest of 1, 2, 5 x 10^k that holds the largest value; it stands as Rescale Slope and, with the
    codes of quantity and unit, as a Real World Value Mapping. What isn't finite is stored as 0.

    Parameters
    ----------
    name
        quantity
    values
        ``(z, y, x)`` in the unit of the quantity
    geometry
        the grid
    folder
        exists
    source, derivation
        what the map is made from, and how
    display
        window [unit of the quantity]
    """
    import numpy as np
    import torch

    known = values.detach().float().cpu()
    low, high = (float(v) for v in known.aminmax())
    if not math.isfinite(high - low):
        known = torch.nan_to_num(known, nan=0.0, posinf=0.0, neginf=0.0)
        low, high = (float(v) for v in known.aminmax())
    slope, intercept = precision(low, high)
    offset = list(QUANTITIES).index(name) if name in QUANTITIES else len(QUANTITIES)
    common = common_elements(source, derivation, kind=f"ct {name}", offset=offset, what=named_quantity(name).label)
    constant = _elements(common, name, geometry, derivation, (slope, intercept), display)
    template = HeaderTemplate(constant)
    paths = []
    for z in range(geometry.shape[0]):
        position = geometry.position(z, 0, 0)
        d = geometry.direction
        along = sum(p * n for p, n in zip(position, (d[2], d[5], d[8]), strict=True))
        changing: dict[int, tuple[str, str | bytes]] = {
            0x00200013: ("IS", str(z + 1)),
            0x00200032: ("DS", "\\".join(ds(p) for p in position)),
            0x00201041: ("DS", ds(along)),
        }
        if (sequence := references_at(source, position)) is not None:
            changing[0x00082112] = ("SQ", sequence)
        stored = ((known[z] - intercept) / slope).numpy()
        np.clip(np.rint(stored, out=stored), 0, _TOP, out=stored)
        uid = derivation.uid(source, "ct", name, z + 1)
        path = folder / f"{name}_{z + 1:04d}.dcm"
        path.write_bytes(template.file(uid, changing, stored.astype("<u2").tobytes(), pixel_vr="OW"))
        paths.append(path)
    return paths


def precision(low: float, high: float) -> tuple[float, float]:
    """Slope and intercept of 16 bits that hold values from low (or 0) to high."""
    bottom = min(0.0, low)
    least = max((high - bottom) / (_TOP - 1), _FINEST)
    power = math.floor(math.log10(least) + 1e-9)
    slope = next(s for k in (power, power + 1) for m in (1, 2, 5) if (s := float(f"{m}e{k}")) >= least * (1 - 1e-12))
    steps = math.ceil(-bottom / slope)
    return slope, float(f"{-steps * slope:.10g}") + 0.0


def _elements(
    common: Dataset,
    name: str,
    geometry: Geometry,
    derivation: Derivation,
    scale: tuple[float, float],
    display: tuple[float, float],
) -> Dataset:
    """What all slices of one map say."""
    from pydicom import Dataset

    quantity, (slope, intercept) = named_quantity(name), scale
    elements = common
    elements.update(plane_elements(geometry))
    elements.SOPClassUID = CT_IMAGE_STORAGE
    elements.Modality = "CT"
    elements.ImageType = ["DERIVED", "SECONDARY", "AXIAL", name.upper()]
    elements.DerivationDescription = derivation.describe(f"{quantity.label} [{quantity.unit}]")
    elements.DerivationCodeSequence = [code_item(TECHNIQUE)]
    elements.AcquisitionNumber = None
    elements.KVP = None
    elements.BurnedInAnnotation = "NO"
    elements.LossyImageCompression = "00"
    elements.SamplesPerPixel, elements.PhotometricInterpretation = 1, "MONOCHROME2"
    elements.BitsAllocated, elements.BitsStored, elements.HighBit, elements.PixelRepresentation = 16, 16, 15, 0
    elements.RescaleSlope, elements.RescaleIntercept, elements.RescaleType = ds(slope), ds(intercept), "US"
    low, high = display
    elements.WindowCenter, elements.WindowWidth = ds((low + high) / 2), ds(high - low)
    mapping = Dataset()
    mapping.LUTLabel = name.upper()
    mapping.LUTExplanation = f"{quantity.label} [{quantity.unit}]"
    mapping.RealWorldValueFirstValueMapped, mapping.RealWorldValueLastValueMapped = 0, _TOP
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = slope, intercept
    mapping.MeasurementUnitsCodeSequence = [code_item(unit_code(name))]
    mapping.QuantityDefinitionSequence = quantity_definition(name, derivation)
    elements.RealWorldValueMappingSequence = [mapping]
    return elements
