"""What the headers of many DICOM files say about which series they belong to, read once and kept."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ctp_torch.io.limits import DAMAGE, available_cores

__all__ = ["Header", "digest", "read_headers"]

_CHUNK = 500
"""Files that a process reads before it answers."""
_FEW = 2_000
"""Files from which on starting processes pays."""
_TAGS = (
    "Modality", "ImageType", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "ImagePositionPatient",
    "SliceLocation", "NumberOfFrames",
)  # fmt: skip


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


def _read_all(files: Sequence[Path]) -> Iterable[Header | None]:
    """The headers, by several processes where there are many."""
    chunks = [files[i : i + _CHUNK] for i in range(0, len(files), _CHUNK)]
    if len(files) < _FEW:
        return [header for chunk in chunks for header in _read_some(chunk)]
    with ProcessPoolExecutor(available_cores(), mp_context=get_context("spawn")) as pool:
        return [header for part in pool.map(_read_some, chunks) for header in part]


def _read_some(files: Sequence[Path]) -> list[Header | None]:
    """The headers of a chunk of files."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [_read(path) for path in files]


def _read(path: Path) -> Header | None:
    """One header; None for what is none."""
    import pydicom

    try:
        one = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
        place = one.get("ImagePositionPatient")
        position = ",".join(f"{float(v):.1f}" for v in place) if place else str(one.get("SliceLocation") or "")
        kinds = [str(kind).upper() for kind in one.get("ImageType") or []]
        return Header(
            digest(str(one.get("PatientID", ""))),
            digest(str(one.get("StudyInstanceUID", ""))),
            digest(str(one.get("SeriesInstanceUID", ""))),
            position,
            max(1, int(one.get("NumberOfFrames") or 1)),
            str(one.get("Modality", "")) == "CT",
            "DERIVED" in kinds,
        )
    except (pydicom.errors.InvalidDicomError, *DAMAGE):
        return None


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
    partial = index.with_name(f"{index.name}.{os.getpid()}")
    index.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as stream:
        json.dump(rows, stream)
    partial.replace(index)
