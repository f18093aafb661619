"""Map sheets as Secondary Captures: the picture that every archive, viewer and phone shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ctp_torch.data.maps import named_quantity
from ctp_torch.io.color.captures import SECONDARY_CAPTURE_STORAGE
from ctp_torch.io.dicom.bytes import HeaderTemplate
from ctp_torch.io.results.objects import TECHNIQUE, code_item, common_elements, references

if TYPE_CHECKING:
    from pydicom import Dataset
    from torch import Tensor

    from ctp_torch.io.results.derivation import Derivation
    from ctp_torch.io.results.source import Source

__all__ = ["write_sheets"]

_OFFSET = 30


def write_sheets(
    sheets: Sequence[Tensor],
    ranges: Mapping[str, tuple[float, float]],
    folder: Path,
    source: Source,
    derivation: Derivation,
    *,
    what: str = "perfusion maps",
    kind: str = "rgb",
    offset: int = _OFFSET,
) -> list[Path]:
    """Pages ``(y, x, 3)`` uint8 as one series of RGB Secondary Captures, one file a page.

    Parameters
    ----------
    sheets
        from `ctp_torch.io.results.sheet.draw_sheets`
    ranges
        quantity to the ends of its colour bar, for the description
    folder
        exists
    source, derivation
        what the maps are made from, and how
    what, kind, offset
        of the series, as for `common_elements`
    """
    paths = []
    for number, sheet in enumerate(sheets, start=1):
        common = common_elements(source, derivation, kind=kind, offset=offset, what=what)
        template = HeaderTemplate(_elements(common, sheet, ranges, source, derivation))
        uid = derivation.uid(source, kind, number)
        path = folder / f"sheet_{number:02d}.dcm"
        changing: dict[int, tuple[str, str | bytes]] = {0x00200013: ("IS", str(number))}
        path.write_bytes(template.file(uid, changing, sheet.cpu().numpy().tobytes(), pixel_vr="OB"))
        paths.append(path)
    return paths


def _elements(
    common: Dataset,
    sheet: Tensor,
    ranges: Mapping[str, tuple[float, float]],
    source: Source,
    derivation: Derivation,
) -> Dataset:
    """What all pages say."""
    elements = common
    shown = [(named_quantity(name), ends) for name, ends in ranges.items()]
    legend = ", ".join(f"{quantity.label} {a:g} to {b:g} {quantity.unit}" for quantity, (a, b) in shown)
    elements.SOPClassUID = SECONDARY_CAPTURE_STORAGE
    elements.Modality = "CT"
    elements.ConversionType = "WSD"
    elements.ImageType = ["DERIVED", "SECONDARY", "PERFUSION"]
    elements.DerivationDescription = derivation.describe(legend or "a page in words")
    elements.DerivationCodeSequence = [code_item(TECHNIQUE)]
    if source.slices:
        elements.SourceImageSequence = references(images[0] for _, images in source.slices)
    elements.PatientOrientation = ""
    elements.BurnedInAnnotation = "NO"  # of a patient's identity
    elements.LossyImageCompression = "00"
    elements.SamplesPerPixel, elements.PhotometricInterpretation, elements.PlanarConfiguration = 3, "RGB", 0
    elements.Rows, elements.Columns = sheet.shape[:2]
    elements.BitsAllocated, elements.BitsStored, elements.HighBit, elements.PixelRepresentation = 8, 8, 7, 0
    return elements
