"""A zip or tar of a series, unpacked into a folder: every member once, under limits on size, ratio and number."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ctp_torch.errors import UnreadableFileError
from ctp_torch.io.limits import DAMAGE, unpack_limit

__all__ = ["archive_kind", "is_archive", "unpack"]

_MOST_MEMBERS = 250_000  # a study of 320 slices and 60 frames has 19,200
_MOST_DENSE = 200  # times that a large archive may grow; CT images grow 2 to 20 times
_SMALL = 256 << 20  # bytes: below this any ratio will do


_KINDS = (
    (0, b"PK\3\4", "zip"),
    (0, b"PK\5\6", "zip"),
    (257, b"ustar", "tar"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"Rar!\x1a\x07", "rar"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
)
"""Where a kind of archive has its mark."""


def archive_kind(head: bytes) -> str:
    """What kind of archive begins with these bytes; empty for none."""
    return next((kind for at, mark, kind in _KINDS if head[at : at + len(mark)] == mark), "")


def is_archive(place: Path) -> bool:
    """Whether `unpack` can open a file."""
    if zipfile.is_zipfile(place):
        return True
    try:
        with place.open("rb") as stream:
            packed = archive_kind(stream.read(512)) in ("tar", "gzip", "bzip2", "xz")
        return packed and tarfile.is_tarfile(place)
    except (*DAMAGE, OSError):
        return False


def unpack(place: Path, folder: Path, *, most: float | None = None) -> list[Path]:
    """The members of an archive as files in a folder, and the paths of those that are damaged, which aren't there.

    Parameters
    ----------
    place
        the zip or tar
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
    if not zipfile.is_zipfile(place):
        _unpack_tar(place, folder, unpack_limit(most))
        return []
    try:
        with zipfile.ZipFile(place) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            _check(place, [(member.filename, member.file_size) for member in members], unpack_limit(most))
            for member in members:
                target = folder / _name_within(member.filename)
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


def _unpack_tar(place: Path, folder: Path, limit: int) -> None:
    """The plain files of a tar, compressed or not; links and devices are left where they are."""
    try:
        with tarfile.open(place) as archive:
            members: list[tuple[str, int]] = []
            size = 0
            for member in archive:
                if not member.isfile():
                    continue
                size += member.size
                members.append((member.name, member.size))
                if size > min(limit, max(_SMALL, _MOST_DENSE * place.stat().st_size)) or len(members) > _MOST_MEMBERS:
                    _check(place, members, limit)
                target = folder / _name_within(member.name)
                source = archive.extractfile(member)
                if source is None or target.exists():
                    continue  # a name given twice is refused below
                target.parent.mkdir(parents=True, exist_ok=True)
                with source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
            _check(place, members, limit)
    except (*DAMAGE, OSError, tarfile.TarError) as error:
        reason = str(error) or type(error).__name__
        raise UnreadableFileError(
            f"{place} can't be unpacked ({reason}); copy it again, or unpack it yourself"
        ) from error


def _name_within(name: str) -> str:
    """The name of a member below the folder, whatever root or parent it asks for."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return "/".join(parts) or "unnamed"


def _check(place: Path, members: Iterable[tuple[str, int]], limit: int) -> None:
    """Refuse by names and sizes of members alone; no unpacker of Python's gives more than a member tells."""
    members = list(members)
    size = sum(size for _, size in members)
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
    counted = Counter(_name_within(name).casefold() for name, _ in members)
    twice = [name for name, n in counted.items() if n > 1]
    if twice:
        raise UnreadableFileError(
            f"{place} holds {len(twice)} file name{'s' if len(twice) > 1 else ''} more than once, and only one of each"
            " can be read: unpack it yourself, keep the right ones, and give the folder"
        )
