"""What the headers of many DICOM files say about which series they belong to, read once and kept."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from ctp_torch.cohorts.plain import plain_elements
from ctp_torch.io.atomic import private_file
from ctp_torch.io.limits import DAMAGE

__all__ = ["Header", "digest", "read_headers"]

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


@dataclass(frozen=True)
class Header:
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


def digest(text: str) -> str:
    """Sixteen hexadecimal digits that tell texts apart and don't give them away at a glance."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def read_headers(
    root: Path, files: Sequence[Path], *, index: Path | None = None, progress: Callable[[str], None] | None = None
) -> dict[Path, Header | None]:
    """The headers of the files; None for what is no DICOM image.

    Parameters
    ----------
    root
        the files lie below it
    files
        in any order
    index
        what was read is kept there, readable for this user alone, and files that didn't change aren't opened again
    progress
        called with how far it is
    """
    known = _read_index(index)
    stamps = {path: _stamp(path) for path in files}
    names = {path: os.path.relpath(path, root) for path in files}
    found: dict[Path, Header | None] = {}
    missing = []
    for path in files:
        entry = known.get(names[path])
        if entry is not None and entry[0] == stamps[path]:
            found[path] = None if entry[1] is None else Header(*entry[1])
        else:
            missing.append(path)
    for done, (path, header) in enumerate(zip(missing, _read_all(missing), strict=True), start=1):
        found[path] = header
        if progress is not None and done % _CHUNK == 0:
            progress(f"{done} of {len(missing)} headers")
    if missing and index is not None:
        rows = {names[p]: [stamps[p], None if h is None else astuple(h)] for p, h in found.items()}
        _write_index(index, rows)
    return found


def _read_all(files: Iterable[Path]) -> Iterator[Header | None]:
    """The headers, one after another."""
    for path in files:
        try:
            texts = plain_elements(path, _TAGS)
            yield _header(_parsed(path) if texts is None else texts)
        except (_NoDicomError, *DAMAGE, OSError):
            yield None


def _parsed(path: Path) -> dict[int, str]:
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


def _stamp(path: Path) -> list[int]:
    """What changes when a file does."""
    try:
        facts = path.stat()
    except OSError:
        return [-1, -1]
    return [facts.st_size, facts.st_mtime_ns]


def _read_index(index: Path | None) -> Mapping[str, tuple[list[int], list[Any] | None]]:
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
