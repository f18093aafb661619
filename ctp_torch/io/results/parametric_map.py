"""A map as a Parametric Map: 32-bit floating point, nothing rounded."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from ctp_torch.data.maps import QUANTITIES, named_quantity
from ctp_torch.io.results.objects import (
    MAKER,
    TECHNIQUE,
    carrier,
    code_item,
    common_elements,
    finish,
    need_highdicom,
    planes,
)
from ctp_torch.io.results.quantities import quantity_code, quantity_definition, unit_code

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.data.geometry import Geometry
    from ctp_torch.io.results.derivation import Derivation
    from ctp_torch.io.results.source import Source

__all__ = ["write_parametric_map"]

_OFFSET = 50


def write_parametric_map(
    name: str,
    values: Tensor,
    geometry: Geometry,
    path: Path,
    source: Source,
    derivation: Derivation,
    *,
    display: tuple[float, float],
) -> list[Path]:
    """One map as one Parametric Map object, a frame for every slice; the arguments are those of ``write_ct_map``.

    Raises
    ------
    CTPError
        when highdicom isn't installed
    """
    highdicom = need_highdicom("a parametric map (pm)")
    import numpy as np
    from highdicom.pm import ParametricMap, RealWorldValueMapping
    from pydicom.sr.coding import Code as SrCode

    quantity, series = named_quantity(name), derivation.uid(source, f"pm {name}")
    array = values.detach().float().cpu().contiguous().numpy()
    first, last = float(array.min()), float(array.max())
    if not math.isfinite(last - first):
        known = array[np.isfinite(array)]
        first, last = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    mapping = RealWorldValueMapping(
        lut_label=name.upper(),
        lut_explanation=f"{quantity.label} [{quantity.unit}]",
        unit=SrCode(*unit_code(name)),
        value_range=(first, last),
        slope=1.0,
        intercept=0.0,
        quantity_definition=SrCode(*quantity_code(name)),
    )
    mapping.QuantityDefinitionSequence = quantity_definition(name, derivation)  # type: ignore[assignment]
    offset = _OFFSET + (list(QUANTITIES).index(name) if name in QUANTITIES else len(QUANTITIES))
    common = common_elements(source, derivation, kind=f"pm {name}", offset=offset, what=quantity.label)
    low, high = display
    built = ParametricMap(
        [carrier(source, geometry)],
        array,
        series_instance_uid=series,
        series_number=common.SeriesNumber,
        sop_instance_uid=derivation.uid(source, "pm", name),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=MAKER,
        software_versions=common.SoftwareVersions,
        device_serial_number=common.DeviceSerialNumber,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[highdicom.VOILUTTransformation((low + high) / 2, high - low)],
        content_label=name.upper(),
        content_description=f"{quantity.label} [{quantity.unit}]",
        image_flavor="PERFUSION",
        **planes(geometry),
    )
    built.DerivationDescription = derivation.describe(f"{quantity.label} [{quantity.unit}]")
    built.DerivationCodeSequence = [code_item(TECHNIQUE)]
    finish(built, common, source, uid=derivation.uid(source, "pm", name, "dimensions"), step=TECHNIQUE)
    built.save_as(path, enforce_file_format=True)
    return [path]
