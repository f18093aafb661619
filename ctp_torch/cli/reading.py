"""The options with which every command reads a series, for headers that leave a question open."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ctp_torch.errors import NoSeriesError

__all__ = [
    "DropOption",
    "DtOption",
    "DuplicatesOption",
    "JoinOption",
    "LutOption",
    "MaxUnpackedOption",
    "SeriesArgument",
    "TimesOption",
    "UidOption",
    "check_there",
]


def _set_limit(gigabytes: float | None) -> float | None:
    """Let the whole run unpack that much."""
    if gigabytes is not None or "ctp_torch.io.limits" in sys.modules:  # a light start otherwise
        from ctp_torch.io.limits import unpacking

        unpacking.most = gigabytes
    return gigabytes


def check_there(place: Path) -> None:
    """Refuse a place that doesn't exist before torch is loaded, which takes seconds."""
    if not place.exists():
        raise NoSeriesError(f"{place} doesn't exist: give a DICOM folder, a zip or tar of one, or a 4-D NIfTI")


SeriesArgument = Annotated[
    Path,
    typer.Argument(help="Folder of CT images (DICOM, any file names), a zip of one, a DICOMDIR, or a 4-D NIfTI."),
]
TimesOption = Annotated[
    Path | None, typer.Option("--times", help="File of frame times [s], where the headers tell none.", metavar="FILE")
]
DtOption = Annotated[
    float | None, typer.Option("--dt", min=1e-3, help="Time between frames [s], where the headers tell none.")
]
UidOption = Annotated[
    str | None, typer.Option("--series", help="Which series, when several could be meant.", metavar="UID")
]
JoinOption = Annotated[
    str | None,
    typer.Option(
        "--join", help="Identifiers that an anonymiser drew anew: series, frame-of-reference or study.", metavar="WHICH"
    ),
]
DropOption = Annotated[bool, typer.Option("--drop-incomplete", help="Leave out time points that lack a slice.")]
DuplicatesOption = Annotated[
    str, typer.Option("--duplicates", help="Of several images of one slice and time: refuse them, or take the first.")
]
MaxUnpackedOption = Annotated[
    float | None,
    typer.Option(
        "--max-unpacked",
        min=1e-3,
        callback=_set_limit,
        help="Most that a zip or .nii.gz may unpack to [GB; default: 64 GiB, 8 x free memory or half the free disk].",
        metavar="GB",
    ),
]
LutOption = Annotated[
    str,
    typer.Option(
        "--lut", help="Colours of the cohort's maps: jet, siemens, siemens-time, asist, a file, or bar (read each bar)."
    ),
]
