"""``ctp-torch qc``: is a series, or every patient of a cohort, good enough for perfusion maps?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctp_torch.cli import choices, console, reading
from ctp_torch.errors import CTPError, QualityError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctp_torch.io import CohortPatient
    from ctp_torch.pipeline import Registration

__all__ = ["qc"]


def qc(
    series: Annotated[Path, typer.Argument(help="A series (folder of CT images, zip, NIfTI), or a cohort folder.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for motion.tsv, motion.png, qc.json.")] = None,
    times: reading.TimesOption = None,
    dt: reading.DtOption = None,
    uid: reading.UidOption = None,
    duplicates: reading.DuplicatesOption = "refuse",
    expected_frames: Annotated[
        int | None, typer.Option(min=1, help="Frames of the protocol, where gaps in time don't tell.")
    ] = None,
    registration: choices.RegistrationOption = choices.DEFAULT_REGISTRATION,
    strict: Annotated[bool, typer.Option("--strict", help="End with code 7 when a flag is raised.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    device: console.DeviceOption = "auto",
    force: console.ForceOption = False,
) -> None:
    """Check frames, slice locations, motion, baseline, bolus and arterial input; time points that lack a slice are left out.

    Example: ctp-torch qc DICOM_FOLDER --json

    Example: ctp-torch qc COHORT
    """
    from ctp_torch.io import read_cohort
    from ctp_torch.quality_report import Subject, examine, write_quality

    target = console.pick_device(device)
    estimate = choices.pick_registration(registration)
    options = {"times": times, "dt": dt, "series": uid, "duplicates": choices.pick_duplicates(duplicates)}
    if output is not None:
        console.claim(output, force=force)
    if not (series / "cohort.json").is_file():
        subjects = [Subject(series.name, series, None, options)]
    else:
        subjects = [Subject(p.name, p.series_path, p.maps_path, {"dt": p.dt}) for p in read_cohort(series).patients]
