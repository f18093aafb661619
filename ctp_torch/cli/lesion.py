"""``ctp-torch lesion``: core, penumbra and mismatch of a folder of maps."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctp_torch.cli import console, formats, reading
from ctp_torch.errors import CTPError, NoNormalTissueError, NoSeriesError

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.data.geometry import Geometry
    from ctp_torch.data.maps import PerfusionMaps
    from ctp_torch.lesions.find import Lesions
    from ctp_torch.lesions.thresholds import Thresholds

__all__ = ["lesion"]

_SETTINGS = (
    *("registration", "motion_through_plane", "median_size", "slab_mm", "mask", "model", "method"),
    *("aif", "vof", "vof_scaling", "smoothing", "sigma_mm", "complete_cbv"),
)
_OURS = re.compile(r"[\d, ]+|file, sha256 [0-9a-f]{16}|[A-Za-z]+ [0-9a-f]{8}")
"""A voxel, a file, a model: as `maps` notes them."""

ThresholdsOption = Annotated[
    str | None,
    typer.Option(
        "--thresholds",
        metavar="FILE",
        help="Thresholds file of ctp-torch calibrate, or conventional (30 %, 6 s) [default: those of the method].",
    ),
]
ForceThresholdsOption = Annotated[
    bool, typer.Option("--force-thresholds", help="Apply thresholds to maps that they weren't calibrated for.")
]


def lesion(
    maps: Annotated[
        Path, typer.Argument(help="Folder of CBF and Tmax maps, NIfTI or DICOM, as ctp-torch maps writes it.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for masks, lesion.json, .csv and .png.")],
    thresholds: ThresholdsOption = None,
    force_thresholds: ForceThresholdsOption = False,
    rcbf: Annotated[float | None, typer.Option(help="Core: CBF below this fraction of normal.")] = None,
    tmax: Annotated[float | None, typer.Option(help="Hypoperfusion: Tmax above this [s].")] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="NIfTI of the CT before contrast [default: MAPS/baseline.nii.gz].")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option("--against", help="NIfTI mask of the known lesion, on any grid: Dice and volumes are told too."),
    ] = None,
    slice_mm: Annotated[
        float | None, typer.Option(min=0.01, help="Height given to a slice [mm; default: the slices' distance].")
    ] = None,
    write: formats.FormatsOption = "nifti",
    source: Annotated[
        Path | None,
        typer.Option("--source", help="The series the maps were made from, whose study DICOM results join."),
    ] = None,
    uid: reading.UidOption = None,
    keep_identity: formats.KeepIdentityOption = False,
    force: console.ForceOption = False,
) -> None:
    """Measure core (low CBF), hypoperfusion (late Tmax), penumbra and mismatch in maps.

    Example: ctp-torch lesion maps -o lesions

    Example: ctp-torch lesion maps -o lesions --thresholds csvd.json

    Example: ctp-torch lesion maps -o lesions --against lesion-msk.nii.gz

    Example: ctp-torch lesion maps -o lesions --formats nifti,seg,sr --source DICOM_FOLDER
    """
    names = formats.pick_formats(write)
    from ctp_torch.io.results.derivation import content_digest
    from ctp_torch.io.results.identity import identity_record
    from ctp_torch.io.results.source import find_source
    from ctp_torch.io.results.write_maps import Output, write_masks
    from ctp_torch.pipeline.measure import measure_lesions
    from ctp_torch.report.analysis import derivation_of, write_results
    from ctp_torch.report.lesions import write_lesions

    file = None if thresholds in (None, "conventional") else Path(str(thresholds))
    console.claim(output, force=force, inputs=(maps, file, baseline, source, against))
    perfusion = read_maps_folder(maps)
    made = _settings_of(maps)
    limits = _limits(maps, made, perfusion.geometry, thresholds, own=(rcbf, tmax), force=force_thresholds)
    plain = _read_baseline(baseline, maps, perfusion.geometry)
    measured = measure_lesions(perfusion, plain, limits, str(made.get("method", "")), slice_mm=slice_mm)
    if measured.lesions is None:
        raise NoNormalTissueError(measured.why_none)
    lesions = measured.lesions
    known = None if against is None else _known_lesion(against, perfusion.geometry)
    compared = {} if known is None else _compared(lesions, known)
    needs_study = keep_identity or bool(set(names) - {"nifti"})
    study = find_source(source, series=uid) if needs_study and source is not None else None
    formats.warn_anonymous(source, names)
    settings = made | {"thresholds": asdict(limits), "slice_mm": slice_mm}
    derivation = derivation_of(settings | {"maps": content_digest(perfusion)}, files=(baseline,))
    identity = {"patient": identity_record(study.identity)} if keep_identity and study is not None else {}
    with console.delivered(output) as folder:
        facts = {**identity, **compared}
        write_lesions(folder, lesions, perfusion, baseline=plain, facts=facts, conventional=measured.conventional)
        if "nifti" in names:
            write_masks(folder, lesions, perfusion.geometry)
        others = tuple(name for name in names if name != "nifti")
        write_results(folder, Output(perfusion, lesions, plain), others, study=study, derivation=derivation)
    for warning in measured.warnings():
        console.warn(warning)
    for line in lesion_lines(lesions, measured.conventional):
        console.say(line)
    for part, one in compared.get("against", {}).items():
        told = "-" if one["dice"] is None else f"{one['dice']:.3f}"
        console.say(f"{part:<14} against the known lesion of {one['known_ml']:.1f} mL: Dice {told}")
    console.say(f"wrote {', '.join(names)}, lesion.json, lesion.csv and lesion.png to {output}")


def _limits(
    folder: Path,
    made: Mapping[str, object],
    geometry: Geometry,
    thresholds: str | None,
    *,
    own: tuple[float | None, float | None],
    force: bool,
) -> Thresholds:
    """The thresholds to apply: named, by own numbers for rCBF and Tmax, or those that belong to the maps.

    Raises
    ------
    CTPError
        none belong to the maps, or those named belong to others
    """
    from ctp_torch.lesions.belonging import CONVENTIONAL, VOLUMES, MapsOrigin, conventional_thresholds
    from ctp_torch.lesions.thresholds import read_thresholds
    from ctp_torch.pipeline.measure import choose_thresholds

    method, width = str(made.get("method", "")), made.get("sigma_mm")
    width_mm = float(width) if isinstance(width, int | float) else 0.0
    smoothing = str(made.get("smoothing", "inside" if method else ""))  # runs that tell no smoothing knew no other
    volume = VOLUMES[bool(made.get("complete_cbv"))] if method else ""
    rcbf, tmax = own
    given = None
    if thresholds is not None and thresholds != CONVENTIONAL:
        given = read_thresholds(Path(thresholds))
    elif thresholds == CONVENTIONAL or not (method or "model" in made) or own != (None, None):
        given = conventional_thresholds(method)
    elif "model" in made:
        given = _kept_thresholds(folder)
    origin = MapsOrigin(method, smoothing, width_mm, geometry.shape[1], volume)
    limits, why = choose_thresholds(given, origin, force=force)
    if limits is None:
        raise CTPError(f"no lesions measured: {why}")
    if rcbf is not None:
        limits = replace(limits, rcbf=rcbf)
    if tmax is not None:
        limits = replace(limits, tmax=tmax, severe_tmax=max(limits.severe_tmax, tmax))
    return limits


def _kept_thresholds(folder: Path) -> Thresholds:
    """The thresholds that ``maps`` applied to a model's maps, as its record tells."""
    from ctp_torch.lesions.thresholds import thresholds_from

    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    if not record.get("thresholds"):
        why = record.get("no_volumes") or "the model that made the maps has no thresholds of its own"
        raise CTPError(f"no lesions measured: {why}")
    return thresholds_from(record["thresholds"], str(folder / "run.json"))


def _settings_of(folder: Path) -> dict[str, object]:
    """How the maps were made, from the record beside them: what `maps` notes there, no text of anybody else's."""
    from ctp_torch.cli import choices

    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        settings = record["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    known = {*choices.METHODS, *choices.REGISTRATIONS, *choices.SMOOTHINGS}
    known |= {"auto", "brain", "left", "interpolated", "subtracted", "both"}
    return {
        name: value
        for name, value in (settings.items() if isinstance(settings, dict) else ())
        if name in _SETTINGS and (isinstance(value, int | float) or value in known or _OURS.fullmatch(str(value)))
    }


def read_maps_folder(folder: Path) -> PerfusionMaps:
    """The maps in a folder of NIfTI files, and their mask; without one, where CBF or Tmax is above 0."""
    from ctp_torch.data.maps import QUANTITIES, PerfusionMaps
    from ctp_torch.io import read_volume

    if not folder.is_dir():
        raise NoSeriesError(f"{folder} is no folder; give the folder that ctp-torch maps wrote")
    files = {name: path for name in QUANTITIES if (path := _volume_file(folder, name)) is not None}
    if not files:
        return _read_other_maps(folder)
    missing = [name for name in ("cbf", "tmax") if name not in files]
    if missing:
        raise NoSeriesError(
            f"{folder} holds no {' and no '.join(f'{name}.nii.gz' for name in missing)}; "
            "make the maps by ctp-torch maps SERIES -o MAPS"
        )
    volumes: dict[str, Tensor] = {}
    geometry: Geometry | None = None
    for name, path in files.items():
        volumes[name], grid = read_volume(path)
        geometry = geometry or grid
        if volumes[name].ndim != 3 or not grid.matches(geometry):
            raise CTPError(f"{path} doesn't lie on the grid of the other maps in {folder}")
    if geometry is None:
        raise NoSeriesError(f"{folder} holds no maps")
    mask = (volumes["cbf"] > 0) | (volumes["tmax"] > 0)
    if (path := _volume_file(folder, "mask")) is not None:
        mask = _read_on_grid(path, geometry) > 0
    return PerfusionMaps({name: volume.float() for name, volume in volumes.items()}, mask, geometry)


def _read_other_maps(folder: Path) -> PerfusionMaps:
    """Maps as DICOM objects, or as NIfTI of longer names; the mask is where CBF or Tmax is above 0."""
    from ctp_torch.data.maps import PerfusionMaps
    from ctp_torch.io.cohort.value_maps import find_value_maps

    # of our own results the most exact form alone is read; anybody else's are searched to the bottom
    own = [place for name in ("dicom/pm", "dicom/ct", "perf") if (place := folder / name).is_dir()]
    try:
        maps, left_out = find_value_maps(own[0] if own else folder)
    except NoSeriesError as error:
        raise NoSeriesError(
            f"{folder} holds no cbf.nii.gz and no tmax.nii.gz, nor such maps of other names: {error}; "
            "make the maps by ctp-torch maps SERIES -o MAPS"
        ) from error
    if missing := [name for name in ("cbf", "tmax") if name not in maps]:
        raise NoSeriesError(
            f"{folder} holds no {' and no '.join(missing)} map (found: {', '.join(maps)}); "
            "make the maps by ctp-torch maps SERIES -o MAPS"
        )
    for reason, n in Counter(one.reason for one in left_out).items():
        console.warn(f"{n} file{'s' if n > 1 else ''} beside the maps not taken for maps: {reason}")
    for one in maps.values():
        for warning in one.warnings:
            console.warn(warning)
    geometry = maps["cbf"].geometry
    for name, one in maps.items():
        if not one.geometry.matches(geometry):
            raise CTPError(f"the {name} map in {folder} doesn't lie on the grid of the cbf map")
    values = {name: one.values for name, one in maps.items()}
    return PerfusionMaps(values, (values["cbf"] > 0) | (values["tmax"] > 0), geometry)


_VOLUMES = ("core_ml", "hypoperfusion_ml", "mismatch_ml")


def lesion_lines(lesions: Lesions, conventional: Lesions | None = None) -> list[str]:
    """The numbers of a result, for people; below them those by conventional thresholds, where they are others."""
    summary, limits = lesions.summary(), lesions.thresholds
    ratio, intensity = summary["mismatch_ratio"], summary["hypoperfusion_intensity_ratio"]
    core, slow, mismatch = (f"{summary[n]:8.1f}{_range(lesions, n)} mL" for n in _VOLUMES)
    return [
        f"core                             {core} ({limits.core_rule})",
        f"hypoperfusion                    {slow} ({limits.late_rule})",
        f"mismatch                         {mismatch}",
        f"mismatch ratio                   {'-' if ratio is None else f'{ratio:.2f}':>8}",
        f"hypoperfusion intensity ratio    {'-' if intensity is None else f'{intensity:.2f}':>8}",
        f"side                             {lesions.side:>8}",
        f"by {limits.belonging}",
        *([] if conventional is None else [_beside(conventional)]),
    ]


def _beside(conventional: Lesions) -> str:
    """The volumes by conventional thresholds, for people."""
    volumes, rules = conventional.volumes(), conventional.thresholds
    return (
        f"conventional thresholds ({rules.core_rule}; {rules.late_rule}) would read core {volumes['core_ml']:.1f} mL, "
        f"hypoperfusion {volumes['hypoperfusion_ml']:.1f} mL"
    )


def _known_lesion(path: Path, geometry: Geometry) -> Tensor:
    """The mask of a known lesion on the grid of the maps, by the nearest voxel."""
    from ctp_torch.io import read_volume
    from ctp_torch.io.cohort.target_maps import on_grid

    volume, grid = read_volume(path)
    if volume.ndim != 3:
        raise CTPError(f"--against {path} is a series of volumes; a mask is one")
    known = on_grid((volume > 0).float(), grid, geometry) > 0
    if bool((volume > 0).any()) and not bool(known.any()):
        raise CTPError(f"--against {path} lies outside the maps; give the mask of the same patient and space")
    return known


def _compared(lesions: Lesions, known: Tensor) -> dict[str, dict[str, dict[str, float | None]]]:
    """Core and hypoperfusion held against the known lesion."""
    from ctp_torch.lesions.overlap import agreement

    parts = {"core": lesions.core, "hypoperfusion": lesions.hypoperfusion}
    return {"against": {name: agreement(mask.cpu(), known, lesions.voxel_ml) for name, mask in parts.items()}}


def _range(lesions: Lesions, name: str) -> str:
    """`` (38..53)`` where a model promises it."""
    ends = lesions.intervals.get(name)
    return "" if ends is None else f" ({ends[0]:.0f}..{ends[1]:.0f})"


def _volume_file(folder: Path, name: str) -> Path | None:
    """The NIfTI file of that name in a folder, compressed or not."""
    for suffix in (".nii.gz", ".nii"):
        if (path := folder / f"{name}{suffix}").is_file():
            return path
    return None


def _read_on_grid(path: Path, geometry: Geometry) -> Tensor:
    """A volume that must lie where the maps lie."""
    from ctp_torch.io import read_volume

    volume, grid = read_volume(path)
    if volume.ndim != 3 or not grid.matches(geometry):
        raise CTPError(f"{path} has another grid ({grid.shape}) than the maps ({geometry.shape})")
    return volume


def _read_baseline(path: Path | None, folder: Path, geometry: Geometry) -> Tensor | None:
    """The CT before contrast: the file named, or the one beside the maps."""
    if path is not None and not path.is_file():
        raise NoSeriesError(f"--baseline {path} is no file")
    path = path or _volume_file(folder, "baseline")
    return None if path is None else _read_on_grid(path, geometry).float()
