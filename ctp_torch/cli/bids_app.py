"""``ctp-torch-bids``: a data set as BIDS Apps take it, ``BIDS OUT participant``, mapped subject by subject."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from ctp_torch.cli import choices, console
from ctp_torch.errors import CTPError, NoSeriesError

__all__ = ["find_series", "main"]

_SERIES = ("*_ctp.nii", "*_ctp.nii.gz", "*_ct.nii", "*_ct.nii.gz")
"""What a perfusion series is called; BIDS has no rule yet, ISLES'24 says ctp."""
_SOME_FAILED = 8

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def find_series(root: Path, labels: list[str]) -> list[tuple[str, Path]]:
    """``SUBJECT/SESSION`` and series of the subjects named, of all where none is.

    Parameters
    ----------
    root
        of the data set, with folders ``sub-X`` or ``sub-X/ses-Y``
    labels
        subjects, with or without ``sub-``

    Raises
    ------
    NoSeriesError
        when a subject isn't there, or there is nothing to map
    """
    from ctp_torch.io.nifti.nifti_file import nifti_shape

    wanted = [label.removeprefix("sub-") for label in labels]
    subjects = [root / f"sub-{label}" for label in wanted] or sorted(p for p in root.glob("sub-*") if p.is_dir())
    if missing := [one.name for one in subjects if not one.is_dir()]:
        raise NoSeriesError(f"{root} has no {', '.join(missing)}; give --participant-label as the folders are called")
    found = []
    for subject in subjects:
        files = sorted({path for pattern in _SERIES for path in subject.rglob(pattern)})
        for path in files:
            session = next((part for part in path.parts if re.fullmatch(r"ses-[0-9A-Za-z]+", part)), "ses-01")
            if len(nifti_shape(path)) == 4:
                found.append((f"{subject.name}/{session}", path))
    if not found:
        raise NoSeriesError(f"{root} has no perfusion series; sought are sub-X/**/*_ctp.nii.gz of 4 dimensions")
    twice = {name for name, _ in found if sum(name == other for other, _ in found) > 1}
    if twice:
        raise NoSeriesError(f"{', '.join(sorted(twice))} hold several perfusion series; leave one for each session")
    return found


@app.command()
def run(
    bids: Annotated[Path, typer.Argument(help="Data set: sub-X/ses-Y/**/*_ctp.nii.gz, times in the JSON beside.")],
    output: Annotated[Path, typer.Argument(help="Derivatives to write: sub-X/ses-Y/perf.")],
    level: Annotated[str, typer.Argument(help="participant; there is no group level.", metavar="LEVEL")],
    participant_label: Annotated[
        list[str] | None, typer.Option(help="Subjects, with or without sub-; may be repeated [default: all].")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Deconvolution [default: csvd].", metavar="NAME", callback=choices.as_method)
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model file, or physics, in place of a deconvolution.")] = None,
    dt: Annotated[float | None, typer.Option(help="Time between frames [s], where no JSON tells it.")] = None,
    device: console.DeviceOption = "auto",
    force: console.ForceOption = False,
) -> None:
    """Map the CT perfusion series of a BIDS data set; a subject that fails stops no other (exit code 8)."""
    if level != "participant":
        raise CTPError(f"analysis level {level!r}: there is participant alone")
    from ctp_torch.pipeline.analysis import MapSettings, analyse
    from ctp_torch.report.analysis import write_analysis

    settings = MapSettings(method=method, model=model, dt=dt, device=str(console.pick_device(device)))
    settings.check()
    failed = 0
    for name, series in console.track(find_series(bids, participant_label or []), "subjects"):
        try:
            place = write_analysis(analyse(series, settings), output, bids=name, force=force)
        except CTPError as error:
            failed += 1
            console.complain(f"{name}: {error}")
        else:
            console.say(f"wrote {place}")
    if failed:
        raise typer.Exit(_SOME_FAILED)


def main() -> None:
    """Run the command; a user's mistake ends with one message and its own exit code."""
    try:
        app()
    except CTPError as error:
        console.complain(str(error))
        sys.exit(error.exit_code)
