"""``ctp-torch qc``: whether a series, or every patient of a cohort, is good enough for perfusion maps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctp_torch.cli import choices, console, reading
from ctp_torch.errors import QualityError

if TYPE_CHECKING:
    from ctp_torch.pipeline import Examination

__all__ = ["qc"]


def qc(
    series: Annotated[Path, typer.Argument(help="A series (folder of CT images, zip, NIfTI), or a cohort's folder.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for qc.json, motion.tsv and motion.png.")
    ] = None,
    times: reading.TimesOption = None,
    dt: reading.DtOption = None,
    uid: reading.UidOption = None,
    drop_incomplete: Annotated[
        bool, typer.Option("--drop-incomplete", help="Always done here: such time points are left out and counted.")
    ] = True,
    duplicates: reading.DuplicatesOption = "refuse",
    max_unpacked: reading.MaxUnpackedOption = None,
    expected_frames: Annotated[
        int | None, typer.Option(min=1, help="Frames of the protocol, where gaps in time don't tell.")
    ] = None,
    registration: choices.RegistrationOption = choices.DEFAULT_REGISTRATION,
    strict: Annotated[bool, typer.Option("--strict", help="End with code 7 when a flag is raised.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    device: console.DeviceOption = "auto",
    force: console.ForceOption = False,
) -> None:
    """Check frames, slice locations, motion, baseline, bolus and arterial input of a series or a cohort.

    Example: ctp-torch qc DICOM_FOLDER --json

    Example: ctp-torch qc COHORT -o quality
    """
    repeated = choices.pick_duplicates(duplicates)
    reading.check_there(series)
    target = console.pick_device(device)
    estimate = choices.pick_registration(registration)
    if output is not None:
        console.claim(output, force=force, inputs=(series, times))

    from ctp_torch.io import read_cohort
    from ctp_torch.pipeline import examine

    examinations: dict[str, Examination] = {}
    cohort = (series / "cohort.json").is_file()
    if cohort:
        source = read_cohort(series)
        planned = source.settings.get("frames")
        frames = expected_frames or (planned if isinstance(planned, int) else None)
        for patient in console.track(source.patients, "checking patients"):
            examinations[patient.name] = examine(
                patient.series_path,
                patient.maps_path,
                registration=estimate,
                expected_frames=frames,
                dt=patient.dt,
                duplicates=repeated,
                device=target,
            )
    else:
        examinations["series"] = examine(
            series,
            registration=estimate,
            expected_frames=expected_frames,
            times=times,
            dt=dt,
            series=uid,
            duplicates=repeated,
            device=target,
        )
    record = {name: one.as_dict() for name, one in examinations.items()}
    shown = {"patients": record} if cohort else record["series"]
    if output is not None:
        _write(output, examinations, shown, cohort)
    if as_json:
        console.say(json.dumps(shown, indent=2))
    else:
        for name, one in examinations.items():
            _tell(name if cohort else series.name, one)
    flagged = [name for name, one in examinations.items() if one.quality.flags]
    if strict and flagged:
        subject = f"{len(flagged)} of {len(examinations)} patients" if cohort else "the series"
        raise QualityError(
            f"{subject} failed: {', '.join(sorted({f for n in flagged for f in examinations[n].quality.flags}))}"
        )


def _tell(name: str, examination: Examination) -> None:
    """The raised flags of a series, one line each."""
    lines = examination.quality.lines()
    console.say(f"{name}: {'no flag raised' if not lines else f'{len(lines)} flag(s) raised'}")
    for line in lines:
        console.say(f"  {line}")


def _write(output: Path, examinations: dict[str, Examination], record: object, cohort: bool) -> None:
    """qc.json, and the motion of every series as a table and a picture."""
    from ctp_torch.report.motion import write_motion

    with console.delivered(output) as folder:
        (folder / "qc.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        for name, one in examinations.items():
            if one.motion is not None:
                home = folder / name if cohort else folder
                home.mkdir(exist_ok=True)
                write_motion(home, one.motion, one.times)
