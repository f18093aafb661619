"""The files that a DICOMDIR lists."""

from __future__ import annotations

from pathlib import Path

from ctp_torch.errors import UnreadableFileError

__all__ = ["referenced_files"]


def referenced_files(path: Path) -> list[Path]:
    """The files of all image records, beside the DICOMDIR, whatever the case of their names on disk.

    Raises
    ------
    UnreadableFileError
        when it is no DICOMDIR, or a listed file isn't there
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        records = dcmread(path).get("DirectoryRecordSequence")
    except (InvalidDicomError, OSError, EOFError, ValueError) as error:
        raise UnreadableFileError(f"{path} can't be read as a DICOMDIR ({error})") from error
    if records is None:
        raise UnreadableFileError(f"{path} is no DICOMDIR: it lists no files")
    files, missing = [], []
    for record in records:
        parts = record.get("ReferencedFileID")
        if parts:
            found = _found(path.parent, [parts] if isinstance(parts, str) else list(parts))
            files.append(found) if found else missing.append("/".join([parts] if isinstance(parts, str) else parts))
    if missing:
        raise UnreadableFileError(
            f"{path} lists {len(missing)} files that aren't there, {missing[0]} first; copy the whole medium, or read"
            f" the folder {path.parent} itself"
        )
    return files


def _found(folder: Path, parts: list[str]) -> Path | None:
    """The file of that name, upper or lower case."""
    here = folder
    for part in parts:
        choices = (here / part, here / part.lower())
        there = next((choice for choice in choices if choice.exists()), None)
        if there is None:
            return None
        here = there
    return here
