"""Which files a run of ours wrote into a folder: a list beside them, so that no other file is ever removed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ctp_torch.io.workplace import PREFIX

__all__ = ["LISTING", "Fingerprint", "Listing", "fingerprints", "flush", "read_listing", "tree", "write_listing"]

LISTING = ".ctp-torch.json"
"""Name of the list in a folder of results."""

Fingerprint = tuple[int, str]
"""Size [bytes] and SHA-256 of a file; "" where the size alone was noted."""


@dataclass(frozen=True)
class Listing:
    """The files of a run by their paths below its folder, with slashes."""

    files: Mapping[str, Fingerprint]
    earlier: Mapping[str, Fingerprint] = field(default_factory=dict)
    """Files of the run before, for as long as they are being replaced."""
    unfinished: bool = False
    """A delivery began; it stays so where one was interrupted."""

    @property
    def names(self) -> list[str]:
        """Of all files, this run's and the one's before."""
        return sorted({*self.files, *self.earlier})

    def wrote(self, root: Path, name: str) -> bool:
        """Whether the file of that name is, byte for byte, one that a run of ours wrote there."""
        return any(name in listed and _matches(root, name, listed[name]) for listed in (self.files, self.earlier))

    def untouched(self, root: Path, mark: str) -> bool:
        """Whether an interrupted delivery hasn't begun to take the results of the run before away."""
        return mark in self.earlier and _matches(root, mark, self.earlier[mark])


def read_listing(path: Path) -> Listing | None:
    """The list in a file; None where there is none, or nothing that could be one."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        parts = [
            {str(name): (int(size), str(digest)) for name, (size, digest) in record.get(key, {}).items()}
            for key in ("files", "earlier")
        ]
        unfinished = bool(record.get("unfinished", False))
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    # a list that points outside its folder is none of ours
    if any(PurePosixPath(n).is_absolute() or ".." in PurePosixPath(n).parts for part in parts for n in part):
        return None
    return Listing(parts[0], parts[1], unfinished)


def write_listing(path: Path, listing: Listing, *, workplace: Path) -> None:
    """The list into a file, whole and on the disk before it has its name; ``workplace`` lies on the same disk."""
    record: dict[str, object] = {
        "about": "files that ctp-torch wrote here: size and SHA-256; --force removes these and no others",
        "files": dict(listing.files),
    }
    if listing.unfinished:
        record |= {"unfinished": True, "earlier": dict(listing.earlier)}
    partial = workplace / "listing.json"
    partial.write_text(json.dumps(record, indent=0) + "\n", encoding="utf-8")
    flush(partial)
    partial.replace(path)


def tree(root: Path) -> tuple[list[str], list[str]]:
    """The folders and the files below a folder by their paths with slashes, workplaces aside."""
    folders, files = [], []
    for place, below, names in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith(PREFIX))
        home = Path(place).relative_to(root)
        folders += [(home / name).as_posix() for name in below]
        files += [(home / name).as_posix() for name in sorted(names)]
    return folders, files


def fingerprints(root: Path, names: Sequence[str], *, digest: bool = True) -> dict[str, Fingerprint]:
    """Size and SHA-256 of the files, each of which is on the disk then; without ``digest`` their sizes."""
    if not digest:
        return {name: ((root / name).stat().st_size, "") for name in names}
    with ThreadPoolExecutor(8) as pool:  # the disk takes files together that it would take long over one by one
        return dict(zip(names, pool.map(lambda name: _read(root / name, sync=True), names), strict=True))


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk; errors of late writing are raised here."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    except OSError:
        if not path.is_dir():  # some network disks know no such thing for folders
            raise
    finally:
        os.close(handle)


def _read(path: Path, *, sync: bool = False) -> Fingerprint:
    """Size and SHA-256."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if sync:
            os.fsync(stream.fileno())
        return stream.tell(), digest


def _matches(root: Path, name: str, expected: Fingerprint) -> bool:
    """Whether a plain file, reached through no link, has that fingerprint."""
    path = root / name
    above = [root.joinpath(*PurePosixPath(name).parts[:n]) for n in range(1, len(PurePosixPath(name).parts))]
    if any(folder.is_symlink() for folder in (path, *above)) or not path.is_file():
        return False
    size, digest = expected
    return path.stat().st_size == size and (not digest or _read(path)[1] == digest)
