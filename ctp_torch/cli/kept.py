"""Where ``train``, ``tune``, ``evaluate`` and ``calibrate`` keep what they prepare of a cohort's patients."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctp_torch.cli import console

if TYPE_CHECKING:
    import torch

    from ctp_torch.learning.desk import Desk

__all__ = ["CacheOption", "cache_of", "desk_of"]

_FOLDER = ".prepared"

CacheOption = Annotated[
    str | None,
    typer.Option(
        help="Folder to keep prepared patients in, so that other models, tune, evaluate and calibrate needn't prepare "
        f"them again; none for none; may be removed at any time [default: {_FOLDER} in the cohort].",
        metavar="DIR",
    ),
]


def cache_of(asked: str | None, cohort: Path) -> Path | None:
    """The folder asked for, or the one in the cohort where it can be written."""
    if asked is not None:
        return None if asked == "none" else Path(asked)
    home = cohort.parent if cohort.is_file() else cohort
    place = home / _FOLDER
    if os.access(place if place.exists() else home, os.W_OK):
        return place
    console.note(f"{home} can't be written: prepared patients aren't kept; --cache DIR keeps them elsewhere")
    return None


def desk_of(asked: str | None, cohort: Path, device: torch.device, *, check: bool = False) -> Desk:
    """How patients are prepared: by several processes, unless a GPU does it, with what is kept."""
    from ctp_torch.learning.desk import Desk
    from ctp_torch.pipeline.engine import LocalEngine

    return Desk(cache_of(asked, cohort), LocalEngine() if device.type == "cpu" else None, check)
