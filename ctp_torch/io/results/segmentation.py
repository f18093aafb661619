"""Core and penumbra as one Segmentation object, two segments on the grid of the maps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ctp_torch.io.results.derivation import Code
from ctp_torch.io.results.objects import MAKER, carrier, common_elements, finish, need_highdicom, planes

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription
    from pydicom import Dataset
    from torch import Tensor

    from ctp_torch.data.geometry import Geometry
    from ctp_torch.io.results.derivation import Derivation
    from ctp_torch.io.results.source import Source

__all__ = ["ABNORMAL", "BRAIN", "SEGMENTS", "tracking", "write_segmentation"]

ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
BRAIN = Code("12738006", "SCT", "Brain")
_SEGMENTING = Code("113076", "DCM", "Segmentation")
_OFFSET = 40


class _Segment(NamedTuple):
    """What a segment is called, is, and looks like."""

    label: str
    kind: Code
    rgb: tuple[int, int, int]


SEGMENTS: Mapping[str, _Segment] = {
    "core": _Segment("Core (low CBF)", Code("55641003", "SCT", "Infarct"), (255, 64, 220)),
    "penumbra": _Segment("Penumbra (late Tmax, CBF above core)", Code("52674009", "SCT", "Ischemia"), (60, 210, 90)),
}
"""In the order of their segment numbers, from 1."""


def write_segmentation(
    masks: Mapping[str, Tensor], geometry: Geometry, path: Path, source: Source, derivation: Derivation
) -> Dataset:
    """The masks as one BINARY Segmentation; slices without any of them have no frame, unless all are empty.

    Parameters
    ----------
    masks
        ``core`` and ``penumbra``, each ``(z, y, x)`` bool
    geometry
        the grid
    path
        the file
    source, derivation
        what the masks are made from, and how

    Returns
    -------
        the object written, for a report to refer to

    Raises
    ------
    CTPError
        when highdicom isn't installed
    """
    need_highdicom("a segmentation (seg)")
    import torch
    from highdicom.seg import Segmentation

    array = torch.stack([masks[name].detach().cpu().byte() for name in SEGMENTS], dim=-1)  # (z, y, x, segments)
    common = common_elements(source, derivation, kind="seg", offset=_OFFSET, what="core, penumbra")
    built = Segmentation(
        [carrier(source, geometry)],
        array.numpy(),
        segmentation_type="BINARY",
        segment_descriptions=_descriptions(source, derivation, common),
        series_instance_uid=common.SeriesInstanceUID,
        series_number=common.SeriesNumber,
        sop_instance_uid=derivation.uid(source, "seg", "object"),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=MAKER,
        software_versions=common.SoftwareVersions,
        device_serial_number=common.DeviceSerialNumber,
        content_label="LESIONS",
        content_description="Core and penumbra of CT perfusion maps",
        omit_empty_frames=bool(array.any()),
        **planes(geometry),
    )
    built.DerivationDescription = derivation.describe("core and penumbra")
    finish(built, common, source, uid=derivation.uid(source, "seg", "dimensions"), step=_SEGMENTING)
    built.save_as(path, enforce_file_format=True)
    return built


def tracking(source: Source, derivation: Derivation, name: str) -> str:
    """The UID under which a finding is followed, in segmentation and report."""
    return derivation.uid(source, "tracking", name)


def _descriptions(source: Source, derivation: Derivation, common: Dataset) -> list[SegmentDescription]:
    """What each segment is."""
    import highdicom
    from highdicom.seg import SegmentDescription
    from pydicom.sr.coding import Code as SrCode

    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="ctp_torch lesion",
        family=SrCode("123104", "DCM", "Morphological Operations"),
        version=common.SoftwareVersions,
        source=MAKER,
    )
    return [
        SegmentDescription(
            segment_number=number,
            segment_label=segment.label,
            segmented_property_category=SrCode(*ABNORMAL),
            segmented_property_type=SrCode(*segment.kind),
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
            tracking_uid=tracking(source, derivation, name),
            tracking_id=name,
            anatomic_regions=[SrCode(*BRAIN)],
            display_color=highdicom.color.CIELabColor.from_rgb(*segment.rgb),
        )
        for number, (name, segment) in enumerate(SEGMENTS.items(), start=1)
    ]
