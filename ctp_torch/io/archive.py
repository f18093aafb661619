"""A zip of a series, unpacked into a folder: every member once, under limits on size, ratio and number."""

from __future__ import annotations

import shutil
import zipfile
from collections import Counter
from pathlib import Path

from ctp_torch.errors import UnreadableFileError
from ctp_torch.io.limits import DAMAGE, unpack_limit

__all__ = ["unpack"]

_MOST_MEMBERS = 250_000  # a study of 320 slices and 60 frames has 19,200
_MOST_DENSE = 200  # times that a large archive may grow; CT images grow 2 to 20 times
_SMALL = 256 << 20  # bytes: below this any ratio will do


def unpack(place: Path, folder: Path, *, most: float | None = None) -> list[Path]:
    """The members of a zip as files in a folder, and the paths of those that are damaged, which aren't there.

    Parameters
    ----------
    place
        the zip
    folder
        an empty folder
    most
        largest size unpacked [GB]; None for the smallest of 64 GiB, 8 times the free memory and half the free disk

    Raises
    ------
    UnreadableFileError
        when it is damaged as a whole, holds a name twice, or too many or too large files
    """
    damaged: list[Path] = []
    try:
        with zipfile.ZipFile(place) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            _check(place, members, unpack_limit(most))
            for member in members:
                target = folder / _name_within(member)
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    with archive.open(member) as source, target.open("wb") as sink:
                        shutil.copyfileobj(source, sink, 1 << 20)
                except DAMAGE:
                    if len(members) == len(damaged) + 1:
                        raise
                    damaged.append(target)
                    target.unlink(missing_ok=True)
    except (*DAMAGE, OSError, zipfile.LargeZipFile) as error:
        reason = str(error) or type(error).__name__
        raise UnreadableFileError(
            f"{place} can't be unpacked ({reason}); copy it again, or unpack it yourself"
        ) from error
    return damaged


def _name_within(member: zipfile.ZipInfo) -> str:
    """The name of a member below the folder, whatever root or parent it asks for."""
    parts = [part for part in member.filename.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return "/".join(parts) or "unnamed"


def _check(place: Path, members: list[zipfile.ZipInfo], limit: int) -> None:
    """Refuse by the list of members alone, before a byte is unpacked; zipfile never unpacks more than it tells."""
    size = sum(member.file_size for member in members)
    there = place.stat().st_size
    if len(members) > _MOST_MEMBERS:
        raise UnreadableFileError(
            f"{place} holds {len(members):,} files, more than the {_MOST_MEMBERS:,} of any study; unpack the series"
            " alone, and give that folder"
        )
    if size > limit or (size > _SMALL and size > _MOST_DENSE * there):
        raise UnreadableFileError(
            f"{place} of {there / 1e6:,.1f} MB unpacks to {size / 1e9:,.2f} GB, the limit is"
            f" {min(limit, max(_SMALL, _MOST_DENSE * there)) / 1e9:,.2f} GB: if you trust it, unpack it yourself and"
            " give the folder (--max-unpacked GB moves the limit of size alone)"
        )
    counted = Counter(_name_within(member).casefold() for member in members)
    twice = [name for name, n in counted.items() if n > 1]
    if twice:
        raise UnreadableFileError(
            f"{place} holds {len(twice)} file name{'s' if len(twice) > 1 else ''} more than once, and only one of each"
            " can be read: unpack it yourself, keep the right ones, and give the folder"
        )
