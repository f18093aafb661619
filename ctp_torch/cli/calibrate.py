"""``ctp-torch calibrate``: the thresholds of core and hypoperfusion that a deconvolution needs."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctp_torch.cli import choices, console
from ctp_torch.errors import CTPError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ctp_torch.data.maps import PerfusionMaps
    from ctp_torch.io import CohortPatient
    from ctp_torch.lesions.calibration import CalibrationCase
    from ctp_torch.pipeline import Registration, Scan

__all__ = ["calibrate"]


def calibrate(
    cohort: Annotated[Path, typer.Argument(help="Cohort folder with known lesions (truth/core.nii.gz).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for thresholds.json, calibration.csv, .png.")],
    method: Annotated[
        str,
        typer.Option(help=f"Deconvolution: {', '.join(choices.METHODS)}.", metavar="NAME", callback=choices.as_method),
    ] = "csvd",
    sigma_mm: choices.SigmaOption = None,
    smoothing: choices.SmoothingOption = "beside",
    registration: choices.RegistrationOption = choices.DEFAULT_REGISTRATION,
    device: console.DeviceOption = "auto",
    force: console.ForceOption = False,
) -> None:
    """Find the Tmax, rCBF and rCBV thresholds that give the true volumes on a cohort's training patients.

    The test patients are left out of the choice, and scored with it. Then: ctp-torch lesion MAPS -o OUT --thresholds
    OUT/thresholds.json

    Example: ctp-torch calibrate COHORT -o csvd --method csvd
    """
    from ctp_torch.io.results.derivation import versions

    deconvolution, how = choices.pick_method(method), choices.pick_smoothing(smoothing)
    align = choices.pick_registration(registration)
    target = console.pick_device(device)
    console.claim(output, force=force, inputs=(cohort,))

    from ctp_torch import pipeline
    from ctp_torch.io import read_cohort
    from ctp_torch.lesions import calibration as steps
    from ctp_torch.lesions.belonging import MapsOrigin, bind, conventional_thresholds
    from ctp_torch.lesions.thresholds import write_thresholds
    from ctp_torch.report.calibration import calibration_csv, calibration_figure, error_summary
    from ctp_torch.report.figures import to_png

    patients = [p for p in read_cohort(cohort).patients if p.split in ("train", "test")]
    known = [p for p in patients if p.truth_path is not None and (p.truth_path / "core.nii.gz").is_file()]
    if not any(p.split == "train" for p in known):
        raise CTPError(
            f"{cohort} holds no training patient with truth/core.nii.gz; calibration needs known lesions, as "
            "ctp-torch phantom cohort makes them"
        )
    cases: dict[str, list[CalibrationCase]] = {"train": [], "test": []}
    maps_of = partial(pipeline.deconvolve, method=deconvolution, sigma_mm=sigma_mm, smoothing=how)
    for patient in console.track(known, "mapping patients"):
        cases[patient.split].append(_case(patient, maps_of, align, target))
    calibration = steps.calibrate(cases["train"], method=method, track=console.track)
    width = pipeline.SMOOTHINGS[how] if sigma_mm is None else sigma_mm
    rows = {case.survey.maps.geometry.shape[1] for case in cases["train"]}
    limits = bind(calibration.thresholds, [MapsOrigin(method, how, width, n) for n in sorted(rows)])
    parts = [
        (split, name, steps.compare(listed, rules))
        for split, listed in cases.items()
        if listed
        for name, rules in (("conventional", conventional_thresholds(method)), ("calibrated", limits))
    ]
    facts = {
        "method": method,
        "smoothing": how,
        "sigma_mm": width,
        "registration": registration,
        "patients": {split: len(listed) for split, listed in cases.items()},
        "errors": {f"{split} {name}": _rounded(error_summary(rows)) for split, name, rows in parts},
        "tmax_errors_ml": {f"{k:g}": round(v, 2) for k, v in calibration.tmax_errors.items()},
        "rcbf_errors_ml": {f"{k:g}": round(v, 2) for k, v in calibration.rcbf_errors.items()},
        "rcbv_errors_ml": {f"{k:g}": round(v, 2) for k, v in calibration.rcbv_errors.items()},
        "versions": versions(),
    }
    with console.delivered(output) as folder:
        write_thresholds(limits, folder / "thresholds.json", facts=facts)
        (folder / "calibration.csv").write_text(calibration_csv(parts), encoding="utf-8")
        figure = calibration_figure(calibration, parts[0][2], parts[1][2])
        (folder / "calibration.png").write_bytes(to_png(figure))
    console.say(f"{method}: core {limits.core_rule}, hypoperfusion {limits.late_rule}\n")
    for line in _table([(f"{split}, {name}", error_summary(rows)) for split, name, rows in parts]):
        console.say(line)
    file = output / "thresholds.json"
    console.say(f"\nwrote {file}; use it by ctp-torch lesion MAPS -o OUT --thresholds {shlex.quote(str(file))}")


def _case(
    patient: CohortPatient,
    maps_of: Callable[[Scan], PerfusionMaps],
    align: Registration | None,
    device: torch.device,
) -> CalibrationCase:
    """One patient mapped as ``ctp-torch maps`` would, with the true lesions."""
    from ctp_torch import pipeline
    from ctp_torch.data.slabs import Slabs
    from ctp_torch.io import read_series, read_volume
    from ctp_torch.lesions.calibration import CalibrationCase
    from ctp_torch.lesions.find import survey

    series = read_series(patient.series_path, dt=patient.dt).to(device)
    scan = pipeline.prepare(series, registration=align)
    maps = maps_of(scan)
    surveyed = survey(maps, baseline=scan.anatomy.baseline)
    masks: list[Tensor | None] = []
    for name in ("core", "penumbra"):
        file = (patient.truth_path or Path()) / f"{name}.nii.gz"
        if not file.is_file():
            masks.append(None)
            continue
        volume, grid = read_volume(file)
        if not grid.matches(series.geometry, tolerance_mm=1.0):
            raise CTPError(f"{file} doesn't lie on the slices of {patient.series_path}")
        masks.append(Slabs.of(grid).mask(volume > 0).to(device))
    core, penumbra = masks
    if core is None:
        raise CTPError(f"{patient.name} lost its truth/core.nii.gz")
    return CalibrationCase(patient.name, surveyed, core, None if penumbra is None else core | penumbra)


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
