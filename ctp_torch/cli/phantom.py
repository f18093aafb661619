"""``ctp-torch phantom``: digital patients and test objects as DICOM, with the truth beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ctp_torch.cli import choices, console
from ctp_torch.cli.group import CommandGroup

__all__ = ["app"]

app = typer.Typer(
    cls=CommandGroup, help="Make digital patients and test objects as DICOM, with their truth.", no_args_is_help=True
)

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
    from ctp_torch.learning.teacher import console_teacher
    from ctp_torch.phantom.cohort import CohortDesign, write_cohort

    design = CohortDesign(
        patients=patients, train=train, rejects=rejects, size=size, slices=slices, frames=frames, dt=dt, dose=dose,
        seed=seed,
    )  # fmt: skip
    teacher = console_teacher(choices.pick_registration(registration))
    steps = write_cohort(out, design, teacher=teacher, force=force)
    for _ in console.track(steps, "scanning digital patients", total=patients + rejects):
        pass
    tests = patients - train
    console.say(f"{train} training, {tests} test and {rejects} rejected patients in {out}")


@app.command()
def tiles(
    out: OutArgument,
    aif: Annotated[str, typer.Option(help="textbook (6 s wide) or clinical (11 s).", metavar="NAME")] = "textbook",
    residue: Annotated[
        str, typer.Option(help="exponential, box, linear or gamma transit.", metavar="NAME")
    ] = "exponential",
    noise: Annotated[float, typer.Option(help="Noise, standard deviation [HU].")] = 0.0,
    dt: Annotated[float, typer.Option(help="Time between frames [s].")] = 1.0,
    frames: Annotated[int, typer.Option(help="Time points.")] = 60,
    seed: Annotated[int, typer.Option(help="Another seed, other noise.")] = 0,
    force: console.ForceOption = False,
) -> None:
    """Write the tile phantom on which perfusion programs are compared: 7 delays x 7 transit times x 5 volumes.

    Example: ctp-torch phantom tiles TILES --aif clinical --noise 2
    """
    from ctp_torch import phantom
    from ctp_torch.phantom.tiles import write_tiles

    boluses = {"textbook": phantom.TEXTBOOK, "clinical": phantom.CLINICAL}
    curves = {
        "exponential": phantom.exponential_tissue_curve,
        "box": phantom.box_tissue_curve,
        "linear": phantom.linear_tissue_curve,
        "gamma": phantom.gamma_tissue_curve,
    }
    bolus, curve = choices.pick("--aif", aif, boluses), choices.pick("--residue", residue, curves)
    write_tiles(out, bolus=bolus, curve=curve, noise_hu=noise, dt=dt, frames=frames, seed=seed, force=force)
    console.say(f"49 tiles in 5 slices, {frames} frames of {dt:g} s in {out}")
