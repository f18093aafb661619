"""Scalar perfusion maps: NIfTI or DICOM, told from the masks, doubles and strangers beside them, as volumes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ctp_torch.data.maps import QUANTITIES
from ctp_torch.errors import NoSeriesError, UnreadableFileError
from ctp_torch.io.cohort.dicom_maps import origin_of, quantity_of, read_dicom_map, unit_factor
from ctp_torch.io.cohort.origin import Origin, check_one_case, joined
from ctp_torch.io.cohort.quantity_names import is_mask_name, quantity_in
from ctp_torch.io.dicom.index import ImageHeader, LeftOut, find_files, index_files
from ctp_torch.io.limits import read_text
from ctp_torch.io.nifti.nifti_file import is_nifti, is_picture, nifti_shape

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.data.geometry import Geometry

__all__ = ["FoundMaps", "ValueMap", "find_value_maps", "read_value_maps"]

_FEWEST_VALUES = 6
"""A volume of at most so many whole numbers is a mask or a label map."""
_SAME = 0.01
"""Share of the range by which two forms of one map may differ: the rounding of 8 bits is half of it."""
_PLAUSIBLE = {"cbv": (0.02, 200.0), "cbf": (0.2, 1000.0), "oefmax": (0.5, 100.0)}
"""Medians that brains have, in the units of `QUANTITIES`; of times 0.02 to 300 s."""
_NAMED = 3


@dataclass(frozen=True)
class ValueMap:
    """A scalar map, in the unit of its quantity."""

    quantity: str
    """cbv, cbf, mtt, tmax or ttp."""
    values: Tensor
    """``(z, y, x)`` float32 in the unit of `QUANTITIES`, real-world values where the file maps to them."""
    geometry: Geometry
    """The grid, slices ascending along the normal."""
    unit: str
    """As the file tells it; empty when it doesn't."""
    palette: Tensor | None = None
    """``(colours, 3)`` uint8 the file displays the map with, where it brings one."""
    palette_first: int = 0
    """Stored value of the first colour."""
    warnings: tuple[str, ...] = ()
    """What is doubtful about its values."""


class FoundMaps(NamedTuple):
    """The maps of a place, and what lies beside them."""

    maps: Mapping[str, ValueMap]
    """By quantity."""
    left_out: Sequence[LeftOut]
    """Masks, pictures, reports, and what names no quantity."""


class _Candidate(NamedTuple):
    """A file or series that may be the map of a quantity."""

    quantity: str
    origin: Origin
    path: Path
    floating: bool
    read: Callable[[], ValueMap]


def read_value_maps(place: str | Path) -> dict[str, ValueMap]:
    """The scalar maps found under a place, by quantity; `find_value_maps` tells what lies beside them too.

    The quantity comes from the file name (NIfTI), and for DICOM from the image type, the series description, the name
    of the file or its folder, or the label and code of its real-world mapping. Masks are no maps, whatever they are
    called: a name that speaks of a mask, a threshold or a lesion, or a volume of a few whole values, is left out. Of
    one map in several forms the floating-point one is taken.

    Parameters
    ----------
    place
        a folder (searched to the bottom) or one file

    Raises
    ------
    NoSeriesError
        when there is no scalar map whose quantity is told
    UnreadableFileError
        when a map can't be read, tells an unknown unit, or maps of two patients, studies or calculations lie there
    """
    return dict(find_value_maps(place).maps)


def find_value_maps(place: str | Path) -> FoundMaps:
    """The same maps, and the files that were not taken for maps, with the reason for each."""
    place = Path(place)
    paths = find_files(place) if place.is_dir() else [place] if place.is_file() else []
    volumes = [path for path in paths if is_nifti(path)]
    found = [_nifti_candidate(path, place) for path in volumes]
    headers, left_out = index_files([path for path in paths if not is_nifti(path)])
    found += _dicom_candidates(headers)
    left_out = [*left_out, *(one for one in found if isinstance(one, LeftOut))]
    candidates = [one for one in found if isinstance(one, _Candidate)]
    loaded: dict[str, list[tuple[_Candidate, ValueMap]]] = {}
    for one in candidates:
        value_map = one.read()
        if reason := _mask_by_values(value_map.values):
            left_out.append(LeftOut(one.path, reason))
        else:
            loaded.setdefault(one.quantity, []).append((one, value_map))
    check_one_case((one.origin for several in loaded.values() for one, _ in several), place)
    maps = {name: _the_one(name, loaded[name], place) for name in QUANTITIES if name in loaded}
    if not maps:
        raise NoSeriesError(
            f"{place} holds no scalar map that names its quantity (CBF, CBV, MTT, Tmax, TTP){_listed(left_out)}"
        )
    return FoundMaps(maps, left_out)


def _listed(left_out: Sequence[LeftOut]) -> str:
    """What was seen instead, by reason."""
    by_reason: dict[str, list[str]] = {}
    for one in left_out:
        by_reason.setdefault(one.reason, []).append(one.path.name)
    parts = [
        f"{names[0]}: {reason}"
        if len(names) == 1
        else f"{len(names)} x {reason} ({', '.join(names[:_NAMED])}{', ...' if len(names) > _NAMED else ''})"
        for reason, names in by_reason.items()
    ]
    return f"; seen were {'; '.join(parts)}" if parts else ""


def _nifti_candidate(path: Path, place: Path) -> _Candidate | LeftOut:
    """A NIfTI file as a candidate, by its name."""
    name = quantity_in(path.name)
    if name is None:
        return LeftOut(path, "names no quantity")
    folders = path.relative_to(place).parent.parts if place.is_dir() else ()
    if is_mask_name(path.name) or any(re.fullmatch(r"(?i)(masks?|segmentations?|thresholds?)", f) for f in folders):
        return LeftOut(path, "a mask or threshold by its name")
    if is_picture(path):
        return LeftOut(path, "a picture, no numbers")
    if len(nifti_shape(path)) == 4 and place.is_dir():
        return LeftOut(path, "a series of volumes, a map is one")
    subject = re.search(r"sub-[A-Za-z0-9]+", path.name)
    origin = Origin(str(path), series=str(path), subject=subject[0] if subject else "")
    return _Candidate(name, origin, path, False, lambda: _from_nifti(name, path))


def _from_nifti(name: str, path: Path) -> ValueMap:
    """A NIfTI volume."""
    import torch

    from ctp_torch.io.nifti.nifti import ascending, read_volume, sidecar

    volume, geometry = read_volume(path)
    if volume.ndim != 3:
        raise UnreadableFileError(f"{path} is a series of volumes, a map is one")
    nothing = torch.zeros(1, volume.shape[0])
    turned, _, geometry = ascending(volume.float()[None], nothing, geometry)
    beside, unit = sidecar(path), ""
    if beside.is_file():
        try:
            told = json.loads(read_text(beside))
        except (OSError, ValueError) as error:
            raise UnreadableFileError(f"{beside} can't be read ({error}): mend it, or take it away") from error
        unit = str(told.get("Units") or told.get("Unit") or "").strip() if isinstance(told, dict) else ""
    return _in_own_unit(ValueMap(name, turned[0], geometry, unit), unit_factor(name, unit, path))


def _dicom_candidates(headers: Sequence[ImageHeader]) -> list[_Candidate | LeftOut]:
    """Single-channel DICOM images by quantity, form and calculation."""
    others: list[_Candidate | LeftOut] = []
    groups: dict[tuple[str, bool, str], dict[Origin, list[ImageHeader]]] = {}
    origins: dict[tuple[str, ...], Origin] = {}
    coded: dict[tuple[str, ...], str | None] = {}
    for image in headers:
        words = (" ".join(image.image_type), image.description, image.path.name, image.path.parent.name)
        name = next((quantity for quantity in map(quantity_in, words) if quantity), None)
        if image.modality == "SEG" or image.pixels.bits_allocated == 1:
            others.append(LeftOut(image.path, "a segmentation"))
            continue
        key = (image.patient, image.study, image.series)
        if name is None and image.pixels.samples == 1:
            name = coded.setdefault(key, quantity_of(image)) if key not in coded else coded[key]
        if name is None:
            others.append(LeftOut(image.path, "names no quantity"))
        elif image.pixels.samples != 1:
            others.append(LeftOut(image.path, "a picture, no numbers"))
        elif image.position is None or image.orientation is None:
            others.append(LeftOut(image.path, "tells no position"))
        elif any(is_mask_name(text) for text in words[:3]):
            others.append(LeftOut(image.path, "a mask or threshold by its name"))
        else:
            origin = origins.setdefault(key, origin_of(image)) if key not in origins else origins[key]
            form = name, image.pixels.floating, image.sop_class
            groups.setdefault(form, {}).setdefault(origin, []).append(image)
    for (name, floating, _), series in groups.items():
        for origin, images in joined(series).items():
            others.append(_dicom_candidate(name, origin, images, floating=floating))
    return others


def _dicom_candidate(name: str, origin: Origin, images: list[ImageHeader], *, floating: bool) -> _Candidate:
    """The images of one calculation as a candidate."""

    def read() -> ValueMap:
        one = read_dicom_map(name, images)
        told = ValueMap(name, one.raw, one.geometry, one.unit, one.palette, one.palette_first)
        return _in_own_unit(told, one.factor)

    return _Candidate(name, origin, images[0].path, floating, read)


def _in_own_unit(told: ValueMap, factor: float) -> ValueMap:
    """The map in the unit of its quantity; a label that no brain can have under that unit is not believed."""
    unit = QUANTITIES[told.quantity].unit
    own = replace(told, values=told.values * factor) if factor != 1 else told
    if _is_plausible(own):
        return own
    middle = float(own.values[own.values > 0].median())
    if factor != 1 and _is_plausible(told):
        warning = (
            f"the {told.quantity} map tells {told.unit}, which would make its median {middle:,.4g} {unit}: the label"
            f" can't be true, and its numbers were taken as {unit}"
        )
        return replace(told, warnings=(warning,))
    return replace(
        own, warnings=(f"the median of the {told.quantity} map is {middle:,.4g} {unit}, which no brain has: its unit?",)
    )


def _is_plausible(one: ValueMap) -> bool:
    """Whether a brain can have such values."""
    low, high = _PLAUSIBLE.get(one.quantity, (0.02, 300.0))
    positive = one.values[one.values > 0]
    return not positive.numel() or low <= float(positive.median()) <= high


def _mask_by_values(values: Tensor) -> str:
    """Why a volume is a mask or labels and no map; empty where it is a map."""
    known = values[values.isfinite()]
    if not known.numel():
        return "no numbers"
    if known[:: 1 + known.numel() // 10_000].unique().numel() > _FEWEST_VALUES:
        return ""
    levels = known.unique()
    if levels.numel() == 1:
        return "one value alone"
    if levels.numel() == 2:
        return "a mask: 2 values alone"
    whole = levels.numel() <= _FEWEST_VALUES and bool((levels == levels.round()).all())
    return f"a mask: {levels.numel()} whole values alone" if whole else ""


def _the_one(name: str, several: Sequence[tuple[_Candidate, ValueMap]], place: Path) -> ValueMap:
    """The map of a quantity: the only one, or the most exact of those that show the same."""
    ordered = sorted(several, key=lambda pair: not pair[0].floating)
    best = ordered[0][1]
    differing = [one for one, value_map in ordered[1:] if not _same(best, value_map)]
    if differing:
        labels = ", ".join(dict.fromkeys(one.origin.label for one, _ in several))
        raise UnreadableFileError(
            f"{place} holds {1 + len(differing)} different {name} maps ({labels}): keep one of them, or give its folder"
        )
    return best


def _same(one: ValueMap, other: ValueMap) -> bool:
    """Whether two maps show the same, but for rounding."""
    if not one.geometry.matches(other.geometry):
        return False
    a, b = one.values.nan_to_num(0.0, 0.0, 0.0), other.values.nan_to_num(0.0, 0.0, 0.0)
    return bool((a - b).abs().max() <= _SAME * (a.max() - a.min()))
