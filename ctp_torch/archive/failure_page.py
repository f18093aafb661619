"""A page for the study of a scan that gave no maps: that nobody waits for them, and why."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ctp_torch.errors import UnreadableFileError
from ctp_torch.io.claims import delivered
from ctp_torch.io.dicom.uids import make_uid
from ctp_torch.io.limits import parsing
from ctp_torch.io.results.derivation import Derivation
from ctp_torch.io.results.identity import identity_elements
from ctp_torch.io.results.rgb import write_sheets
from ctp_torch.io.results.source import Source

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["write_failure_page"]

_SIZE, _MARGIN = (900, 640), 40
_COLUMNS, _LINES = 92, 22
_WHITE, _GREY, _YELLOW = (255, 255, 255), (170, 170, 170), (255, 214, 0)


def write_failure_page(images: Sequence[Path], folder: Path, reason: str, *, key: str) -> list[Path]:
    """One Secondary Capture in the study of the images, in a folder that appears when it is written.

    Parameters
    ----------
    images
        of the study; the first one that can be read tells whose it is
    folder
        for the page
    reason
        as the package says it; must name nobody
    key
        of the case: the same case and reason make the same object

    Raises
    ------
    UnreadableFileError
        when no image can be read
    """
    source = _source(images, key)
    derivation = Derivation(settings={"reason": reason})
    with delivered(folder, force=True) as place:
        paths = write_sheets(
            [_draw(reason)], {}, place, source, derivation, what="NO PERFUSION MAPS", kind="no maps", offset=39
        )
    return [folder / path.name for path in paths]


def _source(images: Sequence[Path], key: str) -> Source:
    """The study, from one of its images."""
    from pydicom import dcmread

    for path in sorted(images):
        try:
            with parsing(path):
                header = dcmread(path, stop_before_pixels=True)
                identity = identity_elements(header)
                number = str(header.get("SeriesNumber") or "")
                frame = str(header.get("FrameOfReferenceUID") or make_uid("ctp_torch", "no frame of reference", key))
                moment = (str(header.get("StudyDate") or "19000101"), str(header.get("StudyTime") or "000000"))
                position = str(header.get("PatientPosition") or "")
        except UnreadableFileError:
            continue
        n = int(number) if number.isdigit() and 0 < int(number) < 20_000_000 else 1
        return Source(identity, frame, n, moment, position, ("", ""), key=key)
    raise UnreadableFileError("no image of the case can be read: there is no study to put a page into")


def _draw(reason: str) -> Tensor:
    """The page ``(y, x, 3)`` uint8."""
    import numpy as np
    import torch
    from PIL import Image, ImageDraw, ImageFont

    canvas = Image.new("RGB", _SIZE)
    pen = ImageDraw.Draw(canvas)
    big, plain = ImageFont.load_default(26), ImageFont.load_default(15)
    pen.text((_MARGIN, 30), "No perfusion maps were made of this series", _WHITE, big)
    lines = [part for line in reason.splitlines() for part in textwrap.wrap(line, _COLUMNS) or [""]]
    if len(lines) > _LINES:
        lines = [*lines[:_LINES], f"... and {len(lines) - _LINES} more lines in the list of the node"]
    for k, line in enumerate(lines):
        pen.text((_MARGIN, 90 + 21 * k), line, _GREY, plain)
    pen.text((_MARGIN, _SIZE[1] - 50), "ctp_torch   RESEARCH USE ONLY - NOT FOR DIAGNOSIS", _YELLOW, plain)
    return torch.from_numpy(np.array(canvas))
