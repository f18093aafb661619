"""Which images could be a CT perfusion series, and why the others are left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache, lru_cache

from ctp_torch.io.dicom.image import ImageHeader, LeftOut
from ctp_torch.io.dicom.terms import image_type_term, modality_term, photometric_term, scale_term, uid_term

__all__ = ["alike_but_for_thickness", "along_normal", "ct_images", "grids", "measured_alike", "measurements", "normal"]

_CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2",  # CT Image Storage
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT Image Storage
    "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT Image Storage
}
_SMALLEST_MM, _LARGEST_MM, _FARTHEST_MM = 0.01, 20.0, 1e5
"""Pixels, and places from the scanner's origin, beyond these are damage."""
_VIEW_MM, _VIEW_PIXELS = (25.0, 1200.0), 64
"""Field of view of an image of so many rows or more: less shows no head, more fits into no scanner."""
_SKEW = 0.02
"""Of the products of direction cosines: decimal strings are rounded, but no image is askew."""
_STEEPEST, _HIGHEST = 1000.0, 1e6
"""Slope, and intercept [HU], beyond which stored values are no CT numbers."""
_HOUNSFIELD = {"", "HU", "US", "HOUNSFIELD", "HOUNSFIELDUNIT", "HOUNSFIELDUNITS", "UNSPECIFIED"}
"""Rescale Types of CT numbers, or of what may be some."""
_NO_HOUNSFIELD = {
    "VMI", "MONOENERGETIC", "MAT_SPECIFIC", "MAT_REMOVED", "MAT_MODIFIED", "MAT_FRACTIONAL", "MAT_VALUE_BASED",
    "EFF_ATOMIC_NUM", "ELECTRON_DENSITY",
}  # fmt: skip
"""Fourth values of Image Type (PS3.3 C.8.15.3.10) of what is computed from several spectra."""
_QUANTITIES = {"RCBF", "RCBV", "RMTT", "CBF", "CBV", "MTT", "TTP", "TMAX", "TTD", "PBF", "PBV", "PS", "FE", "K_TRANS"}
"""Fourth values of Image Type that name a perfusion map."""
_MEASURED = ("kernel", "thickness", "kvp")
_SAME_PART = 0.05
"""Thicknesses that differ by less of themselves are one."""
_RESCALE = ("RescaleSlope", "RescaleIntercept")
_SHORT_OF = (
    ("position", "position", "ImagePositionPatient"),
    ("orientation", "orientation", "ImageOrientationPatient"),
    ("pixel spacing", "spacing", "PixelSpacing"),
)


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
    for image in _completed(list(headers)):
        reason = _reason_against(image, series_uid)
        # some anonymisers give all files one UID, so that a copy must agree in place and time as well
        identity = (image.uid, image.pixels.frame, image.position, tuple(image.moments.items()), *image.orders.values())
        if not reason and image.uid and identity in identities:
            reason = "copy of another file (same SOP Instance UID)"
        identities.add(identity)
        if reason:
            left_out.append(LeftOut(image.path, reason, image=image))
        elif impossible := _impossible(image):
            what, shown = impossible
            left_out.append(LeftOut(image.path, f"impossible {what}", shown, broken=True, image=image))
        else:
            accepted.append(image)
    return accepted, left_out


def _completed(headers: list[ImageHeader]) -> list[ImageHeader]:
    """The images, those that tell no orientation or pixel spacing with that of all others of their series."""
    lacking = {one.series for one in headers if one.series and one.position and not (one.orientation and one.spacing)}
    if not lacking:
        return headers
    shared: dict[str, ImageHeader | None] = {}
    for image in headers:
        if image.series in lacking and image.orientation and image.spacing:
            known = shared.setdefault(image.series, image)
            if known is not None and not _share_a_grid(known, image):
                shared[image.series] = None

    def whole(image: ImageHeader) -> ImageHeader:
        like = shared.get(image.series)
        short = [
            (name, field)
            for name, field, word in _SHORT_OF[1:]
            if getattr(image, field) is None and word not in image.unreadable
        ]
        if like is None or not short or image.position is None or image.pixels.rows != like.pixels.rows:
            return image
        completed = replace(
            image, orientation=image.orientation or like.orientation, spacing=image.spacing or like.spacing,
            completed=" and ".join(name for name, _ in short),
        )  # fmt: skip
        return completed if _share_a_grid(like, completed) else image

    return [whole(image) for image in headers]


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
    if "PERFUSION" in kind[2:] and (kind[0] == "DERIVED" or not _QUANTITIES.isdisjoint(kind[3:])):
        return f"perfusion map, no source image ({image_type_term(kind)})"
    only_compressed = image.lossy and kind[1:3] == ("PRIMARY", "AXIAL") and len(kind) == 3
    if kind and kind[0] == "DERIVED" and not only_compressed and series_uid != image.series:
        return f"derived image ({image_type_term(kind)})"
    if not _is_hounsfield(image.rescale_type):
        return f"no CT numbers (Rescale Type {scale_term(image.rescale_type)})"
    if not _NO_HOUNSFIELD.isdisjoint(kind[3:]):
        return f"no CT numbers ({image_type_term(kind)})"
    missing = [
        name for name, field, word in _SHORT_OF if getattr(image, field) is None and word not in image.unreadable
    ]
    return f"no {' and '.join(missing)}" if missing else ""


@cache
def _is_hounsfield(rescale_type: str) -> bool:
    """Whether a Rescale Type, however it is written, is that of CT numbers, or of what may be some."""
    return "".join(c for c in rescale_type.upper() if not c.isspace() and c not in "._-()[]") in _HOUNSFIELD


def _impossible(image: ImageHeader) -> tuple[str, str] | None:
    """Which numbers of a header no image can have, and what stands there; None when all can be."""
    if image.unreadable:
        for name, words in (*((name, (word,)) for name, _, word in _SHORT_OF), ("rescale", _RESCALE)):
            for word in words:
                if word in image.unreadable:
                    return name, f"{word} '{image.unreadable[word]}'"
    position, pixels = image.position or (), image.pixels
    if not all(abs(p) < _FARTHEST_MM for p in position):
        return "position", ", ".join(f"{value:g}" for value in position)
    return _impossible_grid(
        image.orientation or (), image.spacing or (), (pixels.rows, pixels.columns), (image.slope, image.intercept)
    )


@lru_cache(maxsize=4096)
def _impossible_grid(
    orientation: tuple[float, ...], spacing: tuple[float, ...], sizes: tuple[int, int], rescale: tuple[float, float]
) -> tuple[str, str] | None:
    """The same of what all images of a series share."""
    row, column = orientation[:3], orientation[3:]
    products = [
        sum(a * b for a, b in zip(*pair, strict=True)) for pair in ((row, row), (column, column), (row, column))
    ]
    views = [s * n for s, n in zip(spacing, sizes, strict=True) if min(sizes) >= _VIEW_PIXELS]
    for name, possible, values in (
        ("pixel spacing", all(_SMALLEST_MM < s < _LARGEST_MM for s in spacing), spacing),
        ("pixel spacing", all(_VIEW_MM[0] < view < _VIEW_MM[1] for view in views), spacing),
        ("orientation", all(abs(p - q) < _SKEW for p, q in zip(products, (1.0, 1.0, 0.0), strict=True)), orientation),
        ("rescale", 0 < abs(rescale[0]) < _STEEPEST and abs(rescale[1]) < _HIGHEST, rescale),
    ):
        if not possible:
            return name, ", ".join(f"{value:g}" for value in values)
    return None


def grids(images: Iterable[ImageHeader]) -> list[list[ImageHeader]]:
    """The images sorted into groups of one patient, matrix, spacing and orientation: those that can share a grid."""
    groups: list[list[ImageHeader]] = []
    for image in images:
        for group in reversed(groups):
            if _share_a_grid(group[0], image):
                group.append(image)
                break
        else:
            groups.append([image])
    return groups


def _share_a_grid(a: ImageHeader, b: ImageHeader) -> bool:
    """Whether two images can lie in one volume (decimal strings such as 0.625 and 0.625000 are one number)."""
    return (
        a.patient == b.patient
        and (a.pixels.rows, a.pixels.columns) == (b.pixels.rows, b.pixels.columns)
        and _close(a.spacing, b.spacing, 1e-3)
        and _close(a.orientation, b.orientation, 2e-3)
    )


def measurements(images: Iterable[ImageHeader]) -> list[list[ImageHeader]]:
    """The images of one grid sorted by how they were measured: kernel, thickness and tube voltage.

    What an image doesn't tell separates it from none: it joins the one group that it fits, or makes its own where it
    fits several.
    """
    groups: list[list[ImageHeader]] = []
    told: list[list[ImageHeader]] = []  # of each group, its first image and the first ones to tell what that lacks
    partial: list[ImageHeader] = []
    for image in images:
        if not (image.kernel and image.thickness and image.kvp):
            partial.append(image)
            continue
        for group in reversed(groups):
            if measured_alike(group[0], image):
                group.append(image)
                break
        else:
            groups.append([image])
            told.append([image])
    for image in partial:
        fitting = [k for k, some in enumerate(told) if all(measured_alike(one, image) for one in some)]
        if len(fitting) != 1:
            groups.append([image])
            told.append([image])
            continue
        group, some = groups[fitting[0]], told[fitting[0]]
        group.append(image)
        if any(getattr(image, name) and not any(getattr(one, name) for one in some) for name in _MEASURED):
            some.append(image)
    return groups


def measured_alike(a: ImageHeader, b: ImageHeader) -> bool:
    """Whether kernel, thickness and tube voltage agree as far as both tell them (5.02 mm is 5 mm written otherwise)."""
    return (
        (a.kernel == b.kernel or not a.kernel or not b.kernel)
        and (not a.thickness or not b.thickness or abs(a.thickness - b.thickness) <= _SAME_PART * a.thickness)
        and (not a.kvp or not b.kvp or abs(a.kvp - b.kvp) <= 0.5)
    )


def alike_but_for_thickness(a: ImageHeader, b: ImageHeader) -> bool:
    """Whether images of one grid and series differ in nothing but their thickness."""
    return measured_alike(a, replace(b, thickness=a.thickness)) and a.series == b.series


def _close(a: Sequence[float] | None, b: Sequence[float] | None, tolerance: float) -> bool:
    """Whether all numbers agree."""
    return a is not None and b is not None and all(abs(x - y) <= tolerance for x, y in zip(a, b, strict=True))
