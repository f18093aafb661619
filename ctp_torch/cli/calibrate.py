"""``ctp-torch calibrate``: the thresholds of core and hypoperfusion that a deconvolution or a model needs."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from ctp_torch.cli import choices, console
from ctp_torch.cli.kept import CacheOption, cache_of
from ctp_torch.errors import CTPError

if TYPE_CHECKING:
    import torch

    from ctp_torch.data.maps import PerfusionMaps
    from ctp_torch.data.series import CTPSeries
    from ctp_torch.io import CohortPatient
    from ctp_torch.lesions.belonging import MapsOrigin
    from ctp_torch.lesions.calibration import Calibration, CalibrationCase, CalibrationRow
    from ctp_torch.lesions.thresholds import Thresholds
    from ctp_torch.pipeline import Registration, Scan
    from ctp_torch.pipeline.deconvolve import Smoothing

    _Part = tuple[str, str, list[CalibrationRow]]
    """Split, name of the rules, and every patient by them."""

__all__ = ["calibrate"]


def calibrate(
    cohort: Annotated[Path, typer.Argument(help="Cohort folder with known lesions (truth/core.nii.gz).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for thresholds.json, calibration.csv, .png.")],
    method: Annotated[
        str | None,
        typer.Option(
            help=f"Deconvolution: {', '.join(choices.METHODS)} [default: csvd].",
            metavar="NAME",
            callback=choices.as_method,
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Model file: its own thresholds, kept in it and used with it from then on; or physics, which comes "
            "with the package and stays as it is.",
            show_default=False,
        ),
    ] = None,
    sigma_mm: choices.SigmaOption = None,
    smoothing: choices.SmoothingOption = "beside",
    registration: choices.RegistrationOption = choices.DEFAULT_REGISTRATION,
    cache: CacheOption = None,
    device: console.DeviceOption = "auto",
    force: console.ForceOption = False,
) -> None:
    """Find the Tmax, rCBF and rCBV thresholds that give the true volumes on a cohort's training patients.

    The test patients are left out of the choice, and scored with it. Then: ctp-torch lesion MAPS -o OUT --thresholds
    OUT/thresholds.json

    Example: ctp-torch calibrate COHORT -o csvd --method csvd

    Example: ctp-torch calibrate COHORT -o krr --model krr.safetensors
    """
    if method is not None and model is not None:
        raise CTPError("--model and --method exclude each other: give the one that makes the maps")
    from ctp_torch.models.load import model_file

    target = console.pick_device(device)
    if model is None:
        align = choices.pick_registration(registration)
        how = choices.pick_smoothing(smoothing)
        source = _by_method(method or "csvd", sigma_mm, how, (registration, align), cache_of(cache, cohort))
    else:
        source = _by_model(model_file(model), target)
    own = Path(model) if model is not None and Path(model).is_file() else None
    console.claim(output, force=force, inputs=(cohort, *((own,) if own is not None else ())))

    from ctp_torch.io import read_cohort
    from ctp_torch.io.cohort.true_lesions import knows_lesions
    from ctp_torch.lesions import calibration as steps
    from ctp_torch.lesions.belonging import bind, conventional_thresholds
    from ctp_torch.lesions.thresholds import write_thresholds
    from ctp_torch.report.calibration import calibration_csv, calibration_figure
    from ctp_torch.report.figures import to_png

    patients = [p for p in read_cohort(cohort).patients if p.split in ("train", "test")]
    known = [p for p in patients if knows_lesions(p)]
    if not any(p.split == "train" for p in known):
        raise CTPError(
            f"{cohort} holds no training patient with truth/core.nii.gz; calibration needs known lesions, as "
            "ctp-torch phantom cohort makes them"
        )
    cases: dict[str, list[CalibrationCase]] = {"train": [], "test": []}
    for patient in console.track(known, "mapping patients"):
        cases[patient.split].append(_case(patient, source.mapped, target))
    calibration = steps.calibrate(cases["train"], method=source.name, track=console.track)
    matrices = sorted({case.survey.maps.geometry.shape[1] for case in cases["train"]})
    limits = bind(calibration.thresholds, [source.origin._replace(matrix=n) for n in matrices])
    parts = [
        (split, name, steps.compare(listed, rules))
        for split, listed in cases.items()
        if listed
        for name, rules in (("conventional", conventional_thresholds(source.name)), ("calibrated", limits))
    ]
    facts = _facts(source, {split: len(listed) for split, listed in cases.items()}, parts, calibration)
    with console.delivered(output) as folder:
        write_thresholds(limits, folder / "thresholds.json", facts=facts)
        (folder / "calibration.csv").write_text(calibration_csv(parts), encoding="utf-8")
        figure = calibration_figure(calibration, parts[0][2], parts[1][2])
        (folder / "calibration.png").write_bytes(to_png(figure))
    if own is not None:
        _keep(own, limits, parts[-1][2] if cases["test"] else [])
    _say(source.name, limits, parts)
    if own is not None:
        console.say(f"\nkept in {own}; ctp-torch maps --model uses it, unless --thresholds says otherwise")
    else:
        file = output / "thresholds.json"
        console.say(f"\nwrote {file}; use it by ctp-torch lesion MAPS -o OUT --thresholds {shlex.quote(str(file))}")


def _say(name: str, limits: Thresholds, parts: Sequence[_Part]) -> None:
    """The rules found, and how far volumes lie off with them and with the conventional ones."""
    from ctp_torch.lesions.calibration import false_cores
    from ctp_torch.report.calibration import error_summary

    console.say(f"{name}: core {limits.core_rule}, hypoperfusion {limits.late_rule}\n")
    for line in _table([(f"{split}, {rules}", error_summary(rows)) for split, rules, rows in parts]):
        console.say(line)
    for split, rules, rows in parts:
        n, mean, largest = false_cores(rows)
        console.say(f"{split}, {rules}: {n} late without a core, who read {mean:.1f} mL of it, {largest:.1f} at most")


def _facts(source: _Source, sizes: dict[str, int], parts: Sequence[_Part], found: Calibration) -> dict[str, object]:
    """How the thresholds were found and what they are worth, for their file."""
    from ctp_torch.io.results.derivation import versions
    from ctp_torch.lesions.calibration import false_cores
    from ctp_torch.report.calibration import error_summary

    return {
        **source.facts,
        "patients": sizes,
        "errors": {f"{split} {rules}": _rounded(error_summary(rows)) for split, rules, rows in parts},
        "false_cores": {f"{split} {rules}": false_cores(rows) for split, rules, rows in parts},
        "tmax_errors_ml": {f"{k:g}": round(v, 2) for k, v in found.tmax_errors.items()},
        "rcbf_errors_ml": {f"{k:g}": round(v, 2) for k, v in found.rcbf_errors.items()},
        "rcbv_errors_ml": {f"{k:g}": round(v, 2) for k, v in found.rcbv_errors.items()},
        "versions": versions(),
    }


class _Source(NamedTuple):
    """What makes the maps that are calibrated."""

    name: str
    origin: MapsOrigin
    mapped: Callable[[CTPSeries], tuple[Scan, PerfusionMaps]]
    facts: dict[str, object]


def _by_method(
    method: str, sigma_mm: float | None, how: Smoothing, named: tuple[str, Registration | None], cache: Path | None
) -> _Source:
    """Maps by deconvolution, as ``ctp-torch maps`` makes them."""
    from ctp_torch import pipeline
    from ctp_torch.lesions.belonging import VOLUMES, MapsOrigin
    from ctp_torch.pipeline.kept_motion import kept_motion

    deconvolution = choices.pick_method(method)

    def mapped(series: CTPSeries) -> tuple[Scan, PerfusionMaps]:
        scan = pipeline.prepare(series, registration=kept_motion(series, named[1], cache))
        return scan, pipeline.deconvolve(scan, deconvolution, sigma_mm=sigma_mm, smoothing=how)

    width = pipeline.SMOOTHINGS[how] if sigma_mm is None else sigma_mm
    facts = {"method": method, "smoothing": how, "sigma_mm": width, "registration": named[0]}
    return _Source(method, MapsOrigin(method, how, width, 0, VOLUMES[how == "beside"]), mapped, facts)


def _by_model(path: Path, device: torch.device) -> _Source:
    """Maps by a trained model, each scan prepared by its recipe."""
    from ctp_torch.io.results.derivation import file_digest
    from ctp_torch.lesions.belonging import MapsOrigin
    from ctp_torch.models import load_model
    from ctp_torch.pipeline.predict import predict, prepare_by_recipe
    from ctp_torch.pipeline.recipe import Recipe

    model = load_model(path, device)
    recipe = Recipe.of(model)
    if not {"cbf", "tmax"} <= set(recipe.targets):
        raise CTPError(f"{path} predicts {', '.join(recipe.targets)}; lesions need cbf and tmax")

    def mapped(series: CTPSeries) -> tuple[Scan, PerfusionMaps]:
        scan = prepare_by_recipe(series, recipe)
        return scan, predict(scan, model)

    name = type(model).__name__
    return _Source(name, MapsOrigin(name, "", 0.0, 0), mapped, {"model": name, "model_sha256": file_digest(path)})


def _keep(path: Path, limits: Thresholds, tested: Sequence[CalibrationRow]) -> None:
    """The thresholds in the model's file, and how far volumes lie off with them on patients that neither saw."""
    from ctp_torch.learning.conformal import volume_margins
    from ctp_torch.lesions.thresholds import THRESHOLDS_KEY
    from ctp_torch.models import load_model
    from ctp_torch.pipeline.intervals import Intervals

    model = load_model(path)
    about = {**model.metadata_, THRESHOLDS_KEY: asdict(limits)}
    if (intervals := Intervals.of(model)) is not None:
        margins = volume_margins([_volumes(row) for row in tested], intervals.level)
        if not margins:
            console.warn(
                f"the model's intervals of volumes are dropped: with new thresholds they need more test patients with "
                f"known lesions than {len(tested)}"
            )
        about |= replace(intervals, volumes=margins, thresholds=asdict(limits)).as_metadata()
    model.save(path, metadata=about)


def _volumes(row: CalibrationRow) -> dict[str, tuple[float, float]]:
    """Measured and true volumes of a patient [mL]."""
    return {
        "core_ml": (row.core, row.core_true),
        "hypoperfusion_ml": (row.hypoperfusion, row.hypoperfusion_true),
        "mismatch_ml": (row.hypoperfusion - row.core, row.hypoperfusion_true - row.core_true),
    }


def _case(
    patient: CohortPatient, mapped: Callable[[CTPSeries], tuple[Scan, PerfusionMaps]], device: torch.device
) -> CalibrationCase:
    """One patient mapped as ``ctp-torch maps`` would, with the true lesions."""
    from ctp_torch.io import read_series
    from ctp_torch.io.cohort.true_lesions import read_true_lesions
    from ctp_torch.lesions.calibration import CalibrationCase
    from ctp_torch.lesions.find import survey

    series = read_series(patient.series_path, dt=patient.dt).to(device)
    scan, maps = mapped(series)
    core, slow = read_true_lesions(patient, series.geometry)
    surveyed = survey(maps, baseline=scan.anatomy.baseline)
    return CalibrationCase(patient.name, surveyed, core.to(device), None if slow is None else slow.to(device))


def _rounded(errors: dict[str, float]) -> dict[str, float | None]:
    """For JSON, which knows no NaN."""
    return {name: round(value, 2) if value == value else None for name, value in errors.items()}


def _table(rows: Sequence[tuple[str, dict[str, float]]]) -> list[str]:
    """Median absolute errors, one line a set."""
    lines = [f"{'median absolute error [mL]':<28}{'core':>8}{'penumbra':>10}{'hypoperfusion':>15}"]
    for name, errors in rows:
        numbers = [errors[f"{part}_median_ml"] for part in ("core", "penumbra", "hypoperfusion")]
        lines.append(f"{name:<28}{numbers[0]:>8.1f}{numbers[1]:>10.1f}{numbers[2]:>15.1f}")
    return lines
