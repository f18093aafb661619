"""``ctp-torch maps``: a CT perfusion series to maps in physical units, with a picture and a record of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ctp_torch.cli import choices, console, formats, reading, vessels
from ctp_torch.cli.lesion import ThresholdsOption, lesion_lines
from ctp_torch.cli.stopwatch import Stopwatch
from ctp_torch.errors import CTPError, NoSeriesError, QualityError
from ctp_torch.lesions.thresholds import Thresholds, read_thresholds

if TYPE_CHECKING:
    from ctp_torch.data.maps import PerfusionMaps
    from ctp_torch.data.series import CTPSeries
    from ctp_torch.lesions.find import Lesions
    from ctp_torch.ops import RigidMotion
    from ctp_torch.pipeline import Anatomy, Registration
    from ctp_torch.quality import Quality

__all__ = ["maps"]


def maps(
    series: reading.SeriesArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for cbf.nii.gz, cbv, mtt, tmax and the rest.")],
    model: Annotated[Path | None, typer.Option(help="Predict with this model file.")] = None,
    method: Annotated[
        str | None, typer.Option(help=f"Deconvolve: {', '.join(choices.METHODS)} [default: csvd].", metavar="NAME")
    ] = None,
    aif: Annotated[str, typer.Option(help=f"Arterial input: {vessels.VESSEL_HELP}.", metavar="CHOICE")] = "auto",
    vof: Annotated[str, typer.Option(help="Venous outflow, as --aif.", metavar="CHOICE")] = "auto",
    mask: Annotated[Path | None, typer.Option(help="NIfTI mask of where to make maps [default: the brain].")] = None,
    vof_scaling: Annotated[bool, typer.Option(help="Scale the arterial input to the venous outflow.")] = True,
    sigma_mm: Annotated[float, typer.Option(min=0.0, help="Gaussian before deconvolution [mm].")] = 2.0,
    slab_mm: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Average thin slices to slabs of this [mm], 0 to keep them [default: 5; 0 with --model].",
        ),
    ] = None,
    registration: Annotated[
        str | None,
        typer.Option(help=f"{choices.REGISTRATION_HELP} [default: the model's, else {choices.DEFAULT_REGISTRATION}]."),
    ] = None,
    lesions: Annotated[bool, typer.Option(help="Measure core, hypoperfusion and penumbra too.")] = True,
    thresholds: ThresholdsOption = None,
    report: Annotated[
        bool, typer.Option(help="Write report.html too: a page to look through the scan and its maps.")
    ] = True,
    times: reading.TimesOption = None,
    dt: reading.DtOption = None,
    uid: reading.UidOption = None,
    drop_incomplete: reading.DropOption = False,
    duplicates: reading.DuplicatesOption = "refuse",
    max_unpacked: reading.MaxUnpackedOption = None,
    write: formats.FormatsOption = "nifti",
    bids: formats.BidsOption = None,
    keep_identity: formats.KeepIdentityOption = False,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse a series that fails quality control.")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Print where the time went.")] = False,
    device: console.DeviceOption = "auto",
    force: console.ForceOption = False,
) -> None:
    """Make CBF, CBV, MTT and Tmax maps of one CT perfusion series.

    Example: ctp-torch maps DICOM_FOLDER -o maps

    Example: ctp-torch maps DICOM_FOLDER -o maps --model krr.safetensors

    Example: ctp-torch maps DICOM_FOLDER -o maps --formats nifti,ct,rgb,seg,sr
    """
    if model is not None and method is not None:
        raise CTPError("--model and --method exclude each other: predict with a model, or deconvolve with a method")
    deconvolution = choices.pick_method(method or "csvd")
    vessels.check_choice(aif, "--aif")
    vessels.check_choice(vof, "--vof")
    twice = choices.pick_duplicates(duplicates)
    limits = Thresholds() if thresholds is None else read_thresholds(thresholds)
    wanted, tree = formats.pick_formats(write, lesions=lesions), formats.pick_bids(bids)
    target = console.pick_device(device)
    place = output if tree is None else output / tree.folder
    console.claim(place, force=force, inputs=(series, model, mask, times, thresholds, aif, vof))

    from ctp_torch import pipeline
    from ctp_torch.data.slabs import SLAB_MM, slab_mask, slices_per_slab
    from ctp_torch.io import read_series
    from ctp_torch.io.results.bids import describe_dataset
    from ctp_torch.models import load_model
    from ctp_torch.pipeline.recipe import Recipe

    regressor = None if model is None else load_model(model, target)
    recipe = None if regressor is None else Recipe.of(regressor)
    alignment = registration or (recipe.registration if recipe else choices.DEFAULT_REGISTRATION)
    estimate = choices.pick_registration(alignment)
    median_size = recipe.median_size if recipe else 1  # a deconvolution smooths by its own Gaussian
    thickness = slab_mm if slab_mm is not None else SLAB_MM if recipe is None else 0.0  # a model learned its slices

    watch = Stopwatch()
    source = read_series(series, times=times, dt=dt, series=uid, drop_incomplete=drop_incomplete, duplicates=twice).to(
        target
    )
    if recipe is not None:
        recipe.check(source.n_frames, source.dt)
    n = slices_per_slab(source.geometry, thickness)
    inside = None if mask is None else slab_mask(vessels.read_mask(mask, source), n)
    study = formats.find_source(series, uid, wanted, keep=keep_identity)
    watch.lap("read")
    scan = _prepare(source, estimate, median_size, thickness, watch)
    if not scan.anatomy.brain.any() and inside is None:
        raise NoSeriesError(f"{series}: no skull with a brain in it was found; is it a head CT? Give --mask otherwise")
    warnings = scan.quality.lines()
    if strict and warnings:
        raise QualityError(f"{series} fails quality control: {'; '.join(warnings)}")
    if regressor is not None:
        result = pipeline.predict(scan.ready, regressor, mask=scan.anatomy.brain if inside is None else inside)
    else:
        result = pipeline.deconvolve(
            scan.ready,
            deconvolution,
            aif=vessels.read_vessel(aif, "--aif", source, scan.motion, scan.anatomy, n, warnings),
            vof=vessels.read_vessel(vof, "--vof", source, scan.motion, scan.anatomy, n, warnings),
            mask=inside,
            sigma_mm=sigma_mm,
            scale_by_vof=vof_scaling,
        )
    watch.lap("maps")
    found = _find_lesions(result, scan.anatomy, limits, warnings) if lesions else None
    watch.lap("lesions")
    warnings += _warnings(scan.ready.notes) + _warnings(result.notes)
    settings: dict[str, object] = {
        "registration": alignment,
        "motion_through_plane": _through_plane(scan.ready.notes),
        "median_size": median_size,
        "slab_mm": thickness,
        "mask": "brain" if mask is None else mask.name,
    }
    if model is not None:
        settings["model"] = model.name
    else:
        settings |= {
            "method": method or "csvd",
            "aif": vessels.named(aif),
            "vof": vessels.named(vof),
            "vof_scaling": vof_scaling,
            "sigma_mm": sigma_mm,
        }
    ranges = None if recipe is None else recipe.targets
    record = {"settings": settings, "warnings": warnings, "device": str(target)}
    derivation = formats.derivation_of(
        {**settings, "dt": dt, "drop_incomplete": drop_incomplete, "duplicates": twice, "thresholds": asdict(limits)},
        model=model,
        files=(mask, times, aif, vof),
        flags=scan.quality.flags,
    )
    delivery = formats.Delivery(wanted, study, derivation, tree, keep_identity)
    _write(place, scan, result, found, ranges, record, watch, delivery, page=report)
    if tree is not None:
        describe_dataset(output)
    for warning in warnings:
        console.warn(warning)
    if profile:
        console.say(watch.table())
    for line in lesion_lines(found) if found is not None else ():
        console.say(line)
    if n > 1:
        before, after = source.geometry, scan.ready.geometry
        console.say(
            f"{before.shape[0]} slices every {before.spacing[0]:g} mm averaged to {after.shape[0]} slabs of "
            f"{after.spacing[0]:g} mm; --slab-mm 0 keeps them"
        )
    look = "report.html" if report else "montage.png"
    console.say(f"wrote {', '.join(result.values)} to {place} in {watch.total:.1f} s; see {look}")


class _Scan(NamedTuple):
    """A series ready for maps, and what was found on the way."""

    ready: CTPSeries
    motion: RigidMotion | None
    anatomy: Anatomy
    quality: Quality


def _prepare(
    source: CTPSeries, estimate: Registration | None, median_size: int, slab_mm: float, watch: Stopwatch
) -> _Scan:
    """Filtered, aligned, thin slices averaged, and looked over."""
    from ctp_torch import pipeline
    from ctp_torch.data.slabs import slabs
    from ctp_torch.quality import assess

    ready = pipeline.preprocess(source, median_size=median_size)
    watch.lap("median filter")
    motion = None if estimate is None else pipeline.estimate_motion(source, estimate)
    watch.lap("motion estimate")
    ready = slabs(ready if motion is None else pipeline.align(ready, motion), slab_mm)
    watch.lap("motion correction")
    anatomy = pipeline.locate(ready)
    watch.lap("masks")
    quality = assess(ready, motion, anatomy=anatomy)
    watch.lap("quality control")
    return _Scan(ready, motion, anatomy, quality)


def _through_plane(notes: Mapping[str, object]) -> object:
    """What was done about motion through the plane."""
    motion = notes.get("motion")
    return motion["through_plane"] if isinstance(motion, dict) else "left"


def _find_lesions(maps: PerfusionMaps, anatomy: Anatomy, limits: Thresholds, warnings: list[str]) -> Lesions | None:
    """Core and penumbra; where they can't be told, a warning says why."""
    from ctp_torch.lesions.find import find_lesions

    if not {"cbf", "tmax"} <= set(maps.values):
        warnings.append("no lesions measured: they need CBF and Tmax maps")
        return None
    try:
        found = find_lesions(maps, baseline=anatomy.baseline, thresholds=limits)
    except CTPError as error:
        warnings.append(f"no lesions measured: {error}")
        return None
    warnings.extend(found.warnings)
    return found


def _write(
    output: Path,
    scan: _Scan,
    result: PerfusionMaps,
    lesions: Lesions | None,
    ranges: Mapping[str, tuple[float, float]] | None,
    record: Mapping[str, object],
    watch: Stopwatch,
    delivery: formats.Delivery,
    *,
    page: bool,
) -> None:
    """The maps, the montage, the page and run.json, all or nothing."""
    from ctp_torch.data.maps import QUANTITIES
    from ctp_torch.io.results.write_maps import Output
    from ctp_torch.ops import patient_axes
    from ctp_torch.report.figures import montage_figure, to_png
    from ctp_torch.report.lesions import write_lesions
    from ctp_torch.report.motion import write_motion
    from ctp_torch.report.result import write_record

    series = scan.ready
    shown = ranges or {name: QUANTITIES[name].display for name in result.values if name != "ttp"}
    in_patient = None if scan.motion is None else patient_axes(scan.motion, series.geometry.direction)
    with console.delivered(output) as folder:
        formats.write_outputs(folder, Output(result, lesions, scan.anatomy.baseline, ranges), delivery)
        (folder / "montage.png").write_bytes(to_png(montage_figure(scan.anatomy.baseline, result, shown)))
        if lesions is not None:
            write_lesions(folder, lesions, result, baseline=scan.anatomy.baseline)
        if in_patient is not None:
            write_motion(folder, in_patient, series.times.median(dim=1).values.tolist())
        watch.lap("write")
        if page:
            _write_page(folder, scan, result, lesions, in_patient, shown, record)
            watch.lap("report")
        told = {
            "command": "maps",
            **delivery.identity(),
            "formats": delivery.formats,
            "versions": console.versions(),
            **record,
            "series": {
                "frames": series.n_frames,
                "dt_s": series.dt,
                "shape_zyx": series.geometry.shape,
                **series.notes,
            },
            "maps": {"units": {name: QUANTITIES[name].unit for name in result.values}, **result.notes},
            "quality": scan.quality.as_dict(),
            "timings_s": watch.laps,
        }
        write_record(folder, told)


def _write_page(
    folder: Path,
    scan: _Scan,
    result: PerfusionMaps,
    lesions: Lesions | None,
    motion: RigidMotion | None,
    ranges: Mapping[str, tuple[float, float]],
    record: Mapping[str, Any],
) -> None:
    """report.html, and its numbers in report/."""
    from ctp_torch.report.viewer.files import write_report
    from ctp_torch.report.viewer.payload import patient_view

    series, settings = scan.ready, record["settings"]
    label = str(settings.get("model") or settings["method"])
    notes = {name: value for name, value in series.notes.items() if name not in ("motion", "warnings")}
    view = patient_view(
        name="Patient",
        series=series,
        maps={label: result},
        lesions={} if lesions is None else {label: lesions},
        anatomy=scan.anatomy,
        ranges=ranges,
        motion=motion,
        quality=scan.quality,
        settings={
            **settings,
            "device": record["device"],
            "series": {"dt_s": series.dt, **notes},
            "warnings": record["warnings"],
        },
    )
    write_report(folder, title="CT perfusion of the brain", facts=console.versions(), patients=[view])


def _warnings(notes: Mapping[str, object]) -> list[str]:
    """The warnings among notes."""
    found = notes.get("warnings", [])
    return [str(entry) for entry in found] if isinstance(found, list | tuple) else []
