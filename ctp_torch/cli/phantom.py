"""``ctp-torch phantom``: digital patients and test objects as DICOM, with the truth beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ctp_torch.cli import choices, console

__all__ = ["app"]

app = typer.Typer(help="Make digital patients and test objects as DICOM, with their truth.", no_args_is_help=True)

OutArgument = Annotated[Path, typer.Argument(help="Folder to write; it appears when all is done.", metavar="OUT")]


@app.callback()
def _phantom() -> None:
    """Make digital patients and test objects as DICOM, with their truth."""


@app.command()
def cohort(
    out: OutArgument,
    patients: Annotated[int, typer.Option(help="Patients, training and test together.")] = 38,
    train: Annotated[int, typer.Option(help="How many of them train.")] = 30,
    rejects: Annotated[int, typer.Option(help="Patients more, who move too much to be used.")] = 0,
    size: Annotated[int, typer.Option(help="Rows and columns.")] = 512,
    slices: Annotated[int, typer.Option(help="Slices.")] = 6,
    frames: Annotated[int, typer.Option(help="Time points.")] = 60,
    dt: Annotated[float, typer.Option(help="Time between them [s].")] = 1.0,
    dose: Annotated[float, typer.Option(help="Relative to the reference; noise goes with its inverse root.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Another seed, other patients.")] = 0,
    registration: choices.RegistrationOption = choices.DEFAULT_REGISTRATION,
    force: console.ForceOption = False,
) -> None:
    """Write a cohort of digital stroke patients: CT slices, a console's colour maps, hidden truth.

    An interrupted run goes on where it stopped when the same command is given again.

    Example: ctp-torch phantom cohort COHORT --patients 4 --train 3 --size 256
    """
    from ctp_torch.phantom.cohort import write_cohort

    steps = write_cohort(
        out, patients=patients, train=train, rejects=rejects, size=size, slices=slices, frames=frames, dt=dt,
        dose=dose, seed=seed, registration=choices.pick_registration(registration), force=force,
    )  # fmt: skip
    for _ in console.track(steps, "scanning digital patients", total=patients + rejects):
        pass
    tests = patients - train
    console.say(f"{train} training, {tests} test and {rejects} rejected patients in {out}")
