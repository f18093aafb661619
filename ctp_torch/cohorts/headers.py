"""What the headers of many DICOM files say about which series they belong to, read once and kept."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ctp_torch.cohorts.plain import plain_elements
from ctp_torch.io.atomic import private_file
from ctp_torch.io.limits import DAMAGE

__all__ = ["Header", "Stamp", "digest", "list_files", "read_headers"]

_CHUNK = 500
"""Files between two words of how far it is."""
_TAGS = {
    0x00080008: "ImageType",
    0x00080060: "Modality",
    0x00100020: "PatientID",
    0x0020000D: "StudyInstanceUID",
    0x0020000E: "SeriesInstanceUID",
    0x00200032: "ImagePositionPatient",
    0x00201041: "SliceLocation",
    0x00280008: "NumberOfFrames",
}


class _NoDicomError(Exception):
    """A file is none."""


class Header(NamedTuple):
    """One image file, identifiers as hashes."""

    patient: str
    study: str
    series: str
    position: str
    """Of the slice, rounded to 0.1 mm; empty where it tells none."""
    frames: int
    """Images in the file."""
    ct: bool
    derived: bool


Stamp = tuple[int, int]
"""Size and time of change [ns] of a file: what changes when it does."""


def list_files(root: Path) -> dict[str, Stamp]:
    """The files below a folder, hidden ones aside, by their names from there, in order.

    A hundred thousand files are handled as texts here: as paths they take several times as long as their disk.

    Parameters
    ----------
    root
        the folder
    """
    found: dict[str, Stamp] = {}
    folders = [""]
    while folders:
        folder = folders.pop()
        with suppress(OSError), os.scandir(os.path.join(root, folder)) as entries:  # noqa: PTH118 - see above
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                name = f"{folder}{os.sep}{entry.name}" if folder else entry.name
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(name)
                    elif entry.is_file():
                        facts = entry.stat()
                        found[name] = facts.st_size, facts.st_mtime_ns
    in_order = sorted(found, key=lambda name: name.split(os.sep))  # noqa: PTH206 - see above
    return {name: found[name] for name in in_order}


def digest(text: str) -> str:
    """Sixteen hexadecimal digits that tell texts apart and don't give them away at a glance."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def read_headers(
    root: Path,
    files: Mapping[str, Stamp],
    *,
    index: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Header | None]:
    """The headers of the files, by the same names; None for what is no DICOM image.

    Parameters
    ----------
    root
        the files lie below it
    files
        from `list_files`
    index
        what was read is kept there, readable for this user alone, and files that didn't change aren't opened again
    progress
        called with how far it is
    """
    known = _read_index(index)
    found: dict[str, Header | None] = {}
    missing = []
    for name, stamp in files.items():
        entry = known.get(name)
        if entry is not None and (entry[0], entry[1]) == stamp:
            found[name] = None if entry[2] is None else Header._make(entry[2])
        else:
            missing.append(name)
    paths = (f"{root}{os.sep}{name}" for name in missing)
    for done, (name, header) in enumerate(zip(missing, _read_all(paths), strict=True), start=1):
        found[name] = header
        if progress is not None and done % _CHUNK == 0:
            progress(f"{done} of {len(missing)} headers")
    if missing and index is not None:
        _write_index(index, {name: [*files[name], header] for name, header in found.items()})
    return {name: found[name] for name in files}


def _read_all(files: Iterable[str]) -> Iterator[Header | None]:
    """The headers, one after another."""
    for path in files:
        try:
            texts = plain_elements(path, _TAGS)
            yield _header(_parsed(path) if texts is None else texts)
        except (_NoDicomError, *DAMAGE, OSError):
            yield None


def _parsed(path: str) -> dict[int, str]:
    """The same elements by pydicom, which reads whatever is DICOM."""
    import warnings

    import pydicom

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
            values = {tag: one[tag].value for tag in _TAGS if tag in one}
    except pydicom.errors.InvalidDicomError as error:
        raise _NoDicomError from error
    return {tag: _text(value) for tag, value in values.items()}


def _text(value: object) -> str:
    """A value as it stands in a file, several by backslashes."""
    if value is None:
        return ""
    several = isinstance(value, Sequence) and not isinstance(value, str)
    return "\\".join(map(str, value)) if several else str(value)  # type: ignore[call-overload]


def _header(texts: Mapping[int, str]) -> Header:
    """What the elements say."""
    told = {name: texts.get(tag, "") for tag, name in _TAGS.items()}
    place = told["ImagePositionPatient"]
    return Header(
        digest(told["PatientID"]),
        digest(told["StudyInstanceUID"]),
        digest(told["SeriesInstanceUID"]),
        ",".join(f"{float(v):.1f}" for v in place.split("\\")) if place else told["SliceLocation"].strip(),
        max(1, int(told["NumberOfFrames"] or 1)),
        told["Modality"].strip() == "CT",
        "DERIVED" in (kind.strip().upper() for kind in told["ImageType"].split("\\")),
    )


def _read_index(index: Path | None) -> Mapping[str, list[Any]]:
    """What an earlier run kept; nothing where it can't be read."""
    if index is None or not index.is_file():
        return {}
    try:
        rows = json.loads(index.read_text(encoding="utf-8"))
        return rows if isinstance(rows, dict) else {}
    except (OSError, ValueError):
        return {}


def _write_index(index: Path, rows: Mapping[str, object]) -> None:
    """The index, whole, for this user alone: names of files may be names of people."""
    index.parent.mkdir(parents=True, exist_ok=True)
    with private_file(index) as stream:
        json.dump(rows, stream)
