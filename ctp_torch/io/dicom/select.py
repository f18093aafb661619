"""Which images could be a CT perfusion series, and why the others are left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ctp_torch.io.dicom.index import ImageHeader, LeftOut
from ctp_torch.io.dicom.terms import image_type_term, modality_term, photometric_term, uid_term

__all__ = ["along_normal", "ct_images", "grids", "normal"]

_CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2",  # CT Image Storage
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT Image Storage
    "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT Image Storage
}
_SMALLEST_MM, _LARGEST_MM, _FARTHEST_MM = 1e-3, 100.0, 1e5
"""Pixels, and places from the scanner's origin, beyond these are damage."""
_SKEW = 0.05
"""Of the products of direction cosines: decimal strings are rounded, but no image is askew."""
_STEEPEST = 1e6
"""Slope and intercept [HU] that still leave float32 whole."""


def normal(orientation: Sequence[float]) -> tuple[float, float, float]:
    """The slice normal: row direction times column direction."""
    a, b, c, d, e, f = orientation
    return b * f - c * e, c * d - a * f, a * e - b * d


def along_normal(image: ImageHeader) -> float:
    """Where an image lies along its normal [mm]."""
    position, orientation = image.position or (0.0, 0.0, 0.0), image.orientation or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    return sum(p * n for p, n in zip(position, normal(orientation), strict=True))


def ct_images(headers: Iterable[ImageHeader], *, series: str | None = None) -> tuple[list[ImageHeader], list[LeftOut]]:
    """The images that measure CT numbers at a known place, and the rest with a reason for each.

    Parameters
    ----------
    headers
        what the index found
    series
        a Series Instance UID (or ``UID#2``) asked for by name: then its derived images serve as well
    """
    accepted: list[ImageHeader] = []
    left_out: list[LeftOut] = []
    identities: set[tuple[object, ...]] = set()
    series_uid = (series or "").split("#")[0]
    for image in headers:
        reason = _reason_against(image, series_uid)
        # some anonymisers give all files one UID, so that a copy must agree in place and time as well
        identity = (image.uid, image.pixels.frame, image.position, tuple(image.moments.items()), *image.orders.values())
        if not reason and image.uid and identity in identities:
            reason = "copy of another file (same SOP Instance UID)"
        identities.add(identity)
        if reason:
            left_out.append(LeftOut(image.path, reason))
        elif impossible := _impossible(image):
            left_out.append(LeftOut(image.path, f"impossible {impossible}", broken=True))
        else:
            accepted.append(image)
    return accepted, left_out


def _reason_against(image: ImageHeader, series_uid: str) -> str:
    """Why an image can't be part of a series; empty when it can."""
    kind = image.image_type
    if image.sop_class not in _CT_CLASSES or image.modality not in ("CT", ""):
        name, modality = uid_term(image.sop_class) or "no SOP class", modality_term(image.modality) or "not told"
        return f"no CT image ({name}, modality {modality})"
    if image.pixels.samples != 1 or image.pixels.photometric not in ("MONOCHROME2", ""):
        return f"no CT numbers ({photometric_term(image.pixels.photometric)}, {image.pixels.samples} samples a pixel)"
    if any("LOCALIZER" in word for word in kind):
        return "localizer"
    if "PERFUSION" in kind:
        return f"perfusion map, no source image ({image_type_term(kind)})"
    only_compressed = image.lossy and kind[1:3] == ("PRIMARY", "AXIAL") and len(kind) == 3
    if kind and kind[0] == "DERIVED" and not only_compressed and series_uid != image.series:
        return f"derived image ({image_type_term(kind)})"
    missing = [
        name
        for name, value in (
            ("position", image.position),
            ("orientation", image.orientation),
            ("pixel spacing", image.spacing),
        )
        if value is None
    ]
    return f"no {' and '.join(missing)}" if missing else ""


def _impossible(image: ImageHeader) -> str:
    """Which numbers of a header no image can have; empty when all can be."""
    position, orientation, spacing = image.position or (), image.orientation or (), image.spacing or ()
    row, column = orientation[:3], orientation[3:]
    products = [
        sum(a * b for a, b in zip(*pair, strict=True)) for pair in ((row, row), (column, column), (row, column))
    ]
    for name, possible in (
        ("pixel spacing", all(_SMALLEST_MM < s < _LARGEST_MM for s in spacing)),
        ("orientation", all(abs(p - q) < _SKEW for p, q in zip(products, (1.0, 1.0, 0.0), strict=True))),
        ("position", all(abs(p) < _FARTHEST_MM for p in position)),
        ("rescale", 0 < abs(image.slope) < _STEEPEST and abs(image.intercept) < _STEEPEST),
    ):
        if not possible:
            return name
    return ""


def grids(images: Iterable[ImageHeader]) -> list[list[ImageHeader]]:
    """The images sorted into groups of one patient, study, matrix, orientation, kernel, thickness and tube voltage."""
    groups: list[list[ImageHeader]] = []
    for image in images:
        for group in reversed(groups):
            if _belong_together(group[0], image):
                group.append(image)
                break
        else:
            groups.append([image])
    return groups


def _belong_together(a: ImageHeader, b: ImageHeader) -> bool:
    """Whether two images can lie in one volume (decimal strings such as 0.625 and 0.625000 are one number)."""
    return (
        a.patient == b.patient
        and a.study == b.study
        and a.frame_of_reference == b.frame_of_reference
        and (a.pixels.rows, a.pixels.columns) == (b.pixels.rows, b.pixels.columns)
        and a.kernel == b.kernel
        and _close(a.spacing, b.spacing, 1e-3)
        and _close(a.orientation, b.orientation, 2e-3)
        and _close((a.thickness or 0.0,), (b.thickness or 0.0,), 0.01)
        and _close((a.kvp or 0.0,), (b.kvp or 0.0,), 0.5)
    )


def _close(a: Sequence[float] | None, b: Sequence[float] | None, tolerance: float) -> bool:
    """Whether all numbers agree."""
    return a is not None and b is not None and all(abs(x - y) <= tolerance for x, y in zip(a, b, strict=True))
