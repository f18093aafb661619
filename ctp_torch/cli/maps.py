"""``ctp-torch maps``: a CT perfusion series to maps in physical units, with a picture and a record of the run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from ctp_torch.cli import choices, console, reading, vessels
from ctp_torch.errors import CTPError, NoSeriesError

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
    registration: Annotated[
        str | None,
        typer.Option(help=f"{choices.REGISTRATION_HELP} [default: the model's, else {choices.DEFAULT_REGISTRATION}]."),
    ] = None,
    times: reading.TimesOption = None,
    dt: reading.DtOption = None,
    uid: reading.UidOption = None,
    drop_incomplete: reading.DropOption = False,
    duplicates: reading.DuplicatesOption = "refuse",
    device: console.DeviceOption = "auto",
    force: console.ForceOption = False,
) -> None:
    """Make CBF, CBV, MTT and Tmax maps of one CT perfusion series.

    Example: ctp-torch maps DICOM_FOLDER -o maps

    Example: ctp-torch maps DICOM_FOLDER -o maps --model krr.safetensors
    """
    if model is not None and method is not None:
        raise CTPError("--model and --method exclude each other: predict with a model, or deconvolve with a method")
    deconvolution = choices.pick_method(method or "csvd")
    vessels.check_choice(aif, "--aif")
    vessels.check_choice(vof, "--vof")
    target = console.pick_device(device)
    console.claim(output, force=force)

    from ctp_torch import pipeline
    from ctp_torch.io import read_series
    from ctp_torch.maps import QUANTITIES
    from ctp_torch.models import load_model
    from ctp_torch.recipe import Recipe
    from ctp_torch.report.result import write_result

    regressor = None if model is None else load_model(model, target)
    recipe = None if regressor is None else Recipe.of(regressor)
    name = registration or (recipe.registration if recipe else choices.DEFAULT_REGISTRATION)
    estimate = choices.pick_registration(name)

    watch = _Stopwatch()
    source = read_series(
        series,
        times=times,
        dt=dt,
        series=uid,
        drop_incomplete=drop_incomplete,
        duplicates=choices.pick_duplicates(duplicates),
    ).to(target)
    if recipe is not None:
        recipe.check(source.n_frames, source.dt)
    inside = None if mask is None else vessels.read_mask(mask, source)
    watch.lap("read")
    median_size = recipe.median_size if recipe else 1  # a deconvolution smooths by its own Gaussian
    ready = pipeline.preprocess(source, median_size=median_size)
    watch.lap("median filter")
    motion = None if estimate is None else pipeline.estimate_motion(source, estimate)
    watch.lap("motion estimate")
    ready = ready if motion is None else pipeline.align(ready, motion)
    watch.lap("motion correction")
    anatomy = pipeline.locate(ready)
    if not anatomy.brain.any() and inside is None:
        raise NoSeriesError(f"{series}: no skull with a brain in it was found; is it a head CT? Give --mask otherwise")
    warnings: list[str] = []
    if regressor is not None:
        result = pipeline.predict(ready, regressor, mask=inside)
    else:
        result = pipeline.deconvolve(
            ready,
            deconvolution,
            aif=vessels.read_vessel(aif, "--aif", source, motion, anatomy, warnings),
            vof=vessels.read_vessel(vof, "--vof", source, motion, anatomy, warnings),
            mask=inside,
            sigma_mm=sigma_mm,
            scale_by_vof=vof_scaling,
        )
    watch.lap("maps")
    warnings += _warnings(ready.notes) + _warnings(result.notes)
    for warning in warnings:
        console.warn(warning)

    settings = {
        "model": None if model is None else model.name,
        "method": None if regressor is not None else method or "csvd",
        "aif": None if regressor is not None else aif,
        "vof": None if regressor is not None else vof,
        "vof_scaling": None if regressor is not None else vof_scaling,
        "sigma_mm": None if regressor is not None else sigma_mm,
        "median_size": median_size,
        "registration": name,
        "mask": "brain" if mask is None else mask.name,
    }
    record = {
        "command": "maps",
        "versions": console.versions(),
        "device": str(target),
        "settings": settings,
        "series": {"frames": source.n_frames, "dt_s": source.dt, "shape_zyx": source.geometry.shape, **ready.notes},
        "deconvolution" if regressor is None else "prediction": dict(result.notes),
        "units": {quantity: QUANTITIES[quantity].unit for quantity in result.values},
        "warnings": warnings,
        "timings_s": watch.laps,
    }
    ranges = recipe.targets if recipe else {n: QUANTITIES[n].display for n in ("cbv", "cbf", "mtt", "tmax")}
    with console.delivered(output) as folder:
        write_result(folder, result, anatomy.baseline, ranges, record)
    console.say(f"wrote {', '.join(result.values)} to {output} in {sum(watch.laps.values()):.1f} s; see montage.png")


class _Stopwatch:
    """Seconds per stage, for people."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a stage."""
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 3)
        self._last = now


def _warnings(notes: Mapping[str, object]) -> list[str]:
    """The warnings among notes."""
    found = notes.get("warnings", [])
    return [str(entry) for entry in found] if isinstance(found, list | tuple) else []
