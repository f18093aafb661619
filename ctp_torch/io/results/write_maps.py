"""Maps and lesions to files: NIfTI for programs, DICOM objects for archives and viewers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ctp_torch.data.maps import PerfusionMaps, named_quantity
from ctp_torch.errors import check_type
from ctp_torch.io.claims import delivered
from ctp_torch.io.nifti.nifti import ascending, write_volume
from ctp_torch.io.results.derivation import Derivation, content_digest
from ctp_torch.io.results.protocols import LesionResult, RegionNumbers
from ctp_torch.io.results.source import Source, anonymous_source, read_source

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.data.geometry import Geometry

__all__ = [
    "FORMATS",
    "OF_LESIONS",
    "LesionResult",
    "Output",
    "check_formats",
    "write_formats",
    "write_maps",
    "write_masks",
]

FORMATS: Mapping[str, str] = {
    "nifti": "NIfTI, one file a map",
    "ct": "CT images of 16 bits, for every archive and viewer",
    "rgb": "coloured map sheets",
    "pm": "Parametric Maps, floating point",
    "seg": "core and penumbra as a Segmentation",
    "sr": "volumes and mismatch as a Structured Report",
}
"""Names of the formats, and what they are for."""
OF_LESIONS = ("seg", "sr")
"""Formats of lesions."""
_Task = Callable[[], list[Path]]
"""Writes something, and tells which files."""


@dataclass(frozen=True)
class Output:
    """What there is to write."""

    maps: PerfusionMaps
    """In the units of ``QUANTITIES``."""
    lesions: LesionResult | None = None
    """For ``seg`` and ``sr``, and the last column of the sheets."""
    baseline: Tensor | None = None
    """``(z, y, x)`` CT before contrast [HU], for the sheets."""
    ranges: Mapping[str, tuple[float, float]] | None = None
    """Quantity to the ends of its colour bar; those of ``QUANTITIES`` when None."""
    regions: Sequence[RegionNumbers] = ()
    """For a report of their own in ``sr``."""


def write_maps(
    maps: PerfusionMaps,
    folder: str | Path,
    *,
    formats: Sequence[str] = ("nifti",),
    source: str | Path | Source | None = None,
    lesions: LesionResult | None = None,
    baseline: Tensor | None = None,
    derivation: Derivation | None = None,
    force: bool = False,
) -> list[Path]:
    """Maps (and lesions) written to a folder: NIfTI in it, DICOM objects under ``dicom/``.

    DICOM objects belong to the patient, study and frame of reference of their source, in new series. Their identifiers
    follow from source, derivation and version: a second run makes the same objects. NIfTI holds no identity.

    Parameters
    ----------
    maps
        in the units of ``QUANTITIES``
    folder
        appears when all is written
    formats
        any of nifti, ct, rgb, pm, seg, sr
    source
        the DICOM series that the maps were made from; without one, DICOM objects make an anonymous study of their own
    lesions
        needed for seg and sr
    baseline
        ``(z, y, x)`` CT before contrast [HU], shown beside the maps in rgb
    derivation
        how the maps were made; without it their identifiers follow from the values
    force
        replace what an earlier run wrote there

    Returns
    -------
    list
        the files

    Raises
    ------
    ValueError
        when a format is unknown, or seg or sr is asked for without lesions
    CTPError
        when pm, seg or sr is asked for and highdicom isn't installed, or the maps lie elsewhere than the source
    OutputExistsError
        when the folder holds something already

    Examples
    --------
    >>> ctp_torch.write_maps(maps, "out", formats=("nifti", "ct", "pm"), source="DICOM_FOLDER")  # doctest: +SKIP
    """
    check_type(maps, PerfusionMaps, "write_maps: maps", "ctp_torch.deconvolve and predict make them")
    formats = (formats,) if isinstance(formats, str) else tuple(formats)
    output = Output(maps, lesions, baseline)
    check_formats(formats, lesions=lesions is not None)
    origin = read_source(source) if isinstance(source, str | Path) else source
    with delivered(folder, force=force) as place:
        written = write_formats(place, output, formats, source=origin, derivation=derivation)
        names = [path.relative_to(place) for path in written]
    return [Path(folder) / name for name in names]


def check_formats(formats: Sequence[str], *, lesions: bool = True) -> None:
    """Refuse what can't be written, before anything is.

    Raises
    ------
    ValueError
        when a format is unknown, or needs lesions that aren't there
    CTPError
        when a format needs highdicom, which isn't installed
    """
    from ctp_torch.io.results.objects import need_highdicom

    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ValueError(f"unknown format {', '.join(unknown) or '(none given)'}; known are {', '.join(FORMATS)}")
    wanting = [name for name in formats if name in OF_LESIONS]
    if wanting and not lesions:
        raise ValueError(f"{' and '.join(wanting)} need lesions; find them with ctp_torch.lesions.find.find_lesions")
    built = [name for name in formats if name in ("pm", "seg", "sr")]
    if built:
        need_highdicom(", ".join(built))


def write_formats(
    folder: Path,
    output: Output,
    formats: Sequence[str],
    *,
    source: Source | None = None,
    derivation: Derivation | None = None,
) -> list[Path]:
    """The formats written into a folder that exists; the arguments are those of ``write_maps``."""
    if source is not None:
        source.check_place(output.maps.geometry)
    tasks: list[_Task] = []
    if "nifti" in formats:
        tasks += _nifti_tasks(folder, output)
    dicom_formats = [name for name in formats if name != "nifti"]
    if dicom_formats:
        straight = _right_handed(output)
        lesions, maps = straight.lesions, straight.maps
        masks = () if lesions is None else (lesions.core, lesions.penumbra)
        origin = source or anonymous_source(f"{maps.geometry}{content_digest(replace(maps, values={}))}")
        dicom_derivation = derivation or Derivation(settings={"content": content_digest(maps, *masks)})
        tasks += _dicom_tasks(folder / "dicom", straight, dicom_formats, origin, dicom_derivation)
    # numpy, zlib and the file system work outside Python's lock
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        return [path for paths in pool.map(lambda task: task(), tasks) for path in paths]


def _nifti_tasks(folder: Path, output: Output) -> list[_Task]:
    """Maps, mask, baseline, and the lesions' masks."""
    maps, lesions = output.maps, output.lesions
    volumes = {**maps.values, "mask": maps.mask.byte()}
    if output.baseline is not None:
        volumes["baseline"] = output.baseline

    def written(name: str, volume: Tensor) -> list[Path]:
        return [write_volume(folder / f"{name}.nii.gz", volume, maps.geometry, note=_note(name))]

    tasks: list[_Task] = [partial(written, name, volume) for name, volume in volumes.items()]
    return tasks if lesions is None else [*tasks, partial(write_masks, folder, lesions, maps.geometry)]


def write_masks(folder: Path, lesions: LesionResult, geometry: Geometry) -> list[Path]:
    """``core.nii.gz``, ``penumbra.nii.gz`` and ``hypoperfusion.nii.gz`` in a folder that exists."""
    masks = {"core": lesions.core, "penumbra": lesions.penumbra, "hypoperfusion": lesions.hypoperfusion}
    return [write_volume(folder / f"{name}.nii.gz", mask.byte(), geometry, note=name) for name, mask in masks.items()]


def _note(name: str) -> str:
    """What a NIfTI header says of its values."""
    if name in ("baseline", "mask"):
        return "CT before contrast [HU]" if name == "baseline" else name
    return f"{named_quantity(name).label} [{named_quantity(name).unit}]"


def _dicom_tasks(
    folder: Path, output: Output, formats: Sequence[str], source: Source, derivation: Derivation
) -> list[_Task]:
    """The DICOM objects, a folder for each kind."""
    maps = output.maps
    ranges = {name: (output.ranges or {}).get(name, named_quantity(name).display) for name in maps.values}
    folder.mkdir(exist_ok=True)
    for name in formats:
        (folder / name).mkdir(exist_ok=True)
    tasks: list[_Task] = []
    for name, values in maps.values.items():
        common = (name, values, maps.geometry)
        if "pm" in formats:
            from ctp_torch.io.results.parametric_map import write_parametric_map

            place = folder / "pm" / f"{name}.dcm"
            tasks.append(partial(write_parametric_map, *common, place, source, derivation, display=ranges[name]))
        if "ct" in formats:
            from ctp_torch.io.results.ct import write_ct_map

            tasks.append(partial(write_ct_map, *common, folder / "ct", source, derivation, display=ranges[name]))
    if "rgb" in formats:
        tasks.append(partial(_sheets, folder / "rgb", output, ranges, source, derivation))
    if output.regions and "sr" in formats:
        from ctp_torch.io.results.region_report import write_region_report

        place = folder / "sr" / "regions.dcm"
        tasks.append(partial(write_region_report, output.regions, maps.geometry, place, source, derivation))
    if output.lesions is not None and set(formats) & set(OF_LESIONS):
        tasks.append(partial(_lesions, folder, output.lesions, maps.geometry, formats, source, derivation))
    return tasks


def _sheets(
    folder: Path,
    output: Output,
    ranges: Mapping[str, tuple[float, float]],
    source: Source,
    derivation: Derivation,
) -> list[Path]:
    """The map sheets."""
    from ctp_torch.io.results.rgb import write_sheets
    from ctp_torch.io.results.sheet import columns_of, draw_sheets

    maps, lesions = output.maps, output.lesions
    masks = None if lesions is None else {"core": lesions.core, "penumbra": lesions.penumbra}
    columns = columns_of(maps.without_ends(), ranges, output.baseline, masks)
    sheets = draw_sheets(columns, maps.mask.cpu(), maps.geometry, lines=_lines(lesions, derivation))
    return write_sheets(sheets, ranges, folder, source, derivation)


def _lesions(
    folder: Path,
    lesions: LesionResult,
    geometry: Geometry,
    formats: Sequence[str],
    source: Source,
    derivation: Derivation,
) -> list[Path]:
    """The segmentation, then the report, which refers to it."""
    paths, segmentation = [], None
    if "seg" in formats:
        from ctp_torch.io.results.segmentation import write_segmentation

        paths.append(folder / "seg" / "lesions.dcm")
        masks = {"core": lesions.core, "penumbra": lesions.penumbra}
        segmentation = write_segmentation(masks, geometry, paths[-1], source, derivation)
    if "sr" in formats:
        from ctp_torch.io.results.measurements import write_measurements

        paths.append(folder / "sr" / "lesions.dcm")
        summary = lesions.summary()
        write_measurements(summary, geometry, paths[-1], source, derivation, segmentation=segmentation)
    return paths


def _lines(lesions: LesionResult | None, derivation: Derivation) -> list[str]:
    """The foot of a sheet: the volumes, and how they were made."""
    made = derivation.method or "ctp_torch"
    flags = f"   QC: {', '.join(derivation.flags.values())}" if derivation.flags else ""
    if lesions is None:
        return [made + flags]
    summary = lesions.summary()
    volumes = [f"{name} {summary[f'{name}_ml']:.1f} mL" for name in ("core", "hypoperfusion", "mismatch")]
    ratio = summary.get("mismatch_ratio")
    return ["   ".join([*volumes, f"ratio {'-' if ratio is None else f'{ratio:.1f}'}"]), made + flags]


@dataclass(frozen=True)
class _Turned:
    """A lesion result whose slices were turned."""

    core: Tensor
    penumbra: Tensor
    hypoperfusion: Tensor
    numbers: dict[str, object]

    def summary(self) -> dict[str, object]:
        """As before."""
        return self.numbers


def _right_handed(output: Output) -> Output:
    """The same with slices ascending along row direction x column direction, which is all that DICOM can say."""
    import torch

    maps = output.maps

    def turned(volume: Tensor) -> tuple[Tensor, Geometry]:
        series, _, geometry = ascending(volume[None], torch.zeros(1, volume.shape[0]), maps.geometry)
        return series[0], geometry

    mask, geometry = turned(maps.mask)
    if geometry == maps.geometry:
        return output
    values = {name: turned(volume)[0] for name, volume in maps.values.items()}
    original = output.lesions
    lesions: LesionResult | None = None
    if original is not None:
        core, penumbra, slow = (turned(mask)[0] for mask in (original.core, original.penumbra, original.hypoperfusion))
        lesions = _Turned(core, penumbra, slow, original.summary())
    return Output(
        replace(maps, values=values, mask=mask, geometry=geometry),
        lesions,
        None if output.baseline is None else turned(output.baseline)[0],
        output.ranges,
    )
