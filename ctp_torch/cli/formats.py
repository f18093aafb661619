"""The options that say what is written, and for whom: formats, the BIDS-like tree, and identity."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from ctp_torch.cli import choices, console
from ctp_torch.errors import CTPError

__all__ = ["BidsOption", "FormatsOption", "KeepIdentityOption", "pick_formats", "warn_anonymous"]

_NAMES = ("nifti", "ct", "rgb", "pm", "seg", "sr")
_OF_LESIONS = {"seg", "sr"}

FormatsOption = Annotated[
    str,
    typer.Option(
        "--formats",
        help="What to write, separated by commas: nifti; and as DICOM ct (CT images), rgb (map sheets), "
        "pm (parametric maps), seg (core, penumbra), sr (volumes); or all.",
        metavar="NAMES",
    ),
]
BidsOption = Annotated[
    str | None,
    typer.Option("--bids", help="Write into a BIDS-like tree, as SUBJECT or SUBJECT/SESSION.", metavar="LABEL"),
]
KeepIdentityOption = Annotated[
    bool,
    typer.Option(
        "--keep-identity", help="Note the patient in the JSON record too; DICOM results always carry their patient."
    ),
]


def pick_formats(text: str, *, lesions: bool = True) -> tuple[str, ...]:
    """The formats named in ``nifti,ct,...``, each once; refused before anything is computed."""
    names = choices.split_names("--formats", "format", text, (*_NAMES, "all"))
    if "all" in names:
        names = _NAMES if lesions else tuple(name for name in _NAMES if name not in _OF_LESIONS)
    of_lesions = [name for name in names if name in _OF_LESIONS]
    if of_lesions and not lesions:
        raise CTPError(f"--formats {','.join(of_lesions)} needs lesions; leave out --no-lesions")
    if {"pm", "seg", "sr"} & set(names):
        from ctp_torch.io.results.objects import need_highdicom

        need_highdicom(f"--formats {text}")
    return names


def warn_anonymous(series: Path | None, formats: Iterable[str]) -> None:
    """A word where DICOM results are asked for and nothing tells the patient they belong to."""
    from ctp_torch.io.opened import nifti_at

    if not set(formats) - {"nifti"}:
        return
    if series is None:
        console.warn("no --source was given: DICOM results make an anonymous study of their own")
    elif nifti_at(series) is not None:
        console.warn("a NIfTI tells no patient: DICOM results make an anonymous study of their own")
