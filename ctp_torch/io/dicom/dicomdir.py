"""The files that a DICOMDIR lists."""

from __future__ import annotations

import warnings
from pathlib import Path

from ctp_torch.errors import UnreadableFileError
from ctp_torch.io.limits import BoundedReader, dicom_damage

__all__ = ["referenced_files"]


def referenced_files(path: Path) -> list[Path]:
    """The files of all image records, beside the DICOMDIR, whatever the case of their names on disk.

    Raises
    ------
    UnreadableFileError
        when it is no DICOMDIR, or a listed file isn't there
    """
    try:
        listed = _file_ids(path)
        paths = [_path_of(path.parent, parts) for parts in listed or ()]
    except dicom_damage() as error:
        raise UnreadableFileError(
            f"{path} can't be read as a DICOMDIR ({error}); copy it again, or give the folder {path.parent} itself"
        ) from error
    if listed is None:
        raise UnreadableFileError(f"{path} is no DICOMDIR: it lists no files; give the folder {path.parent} itself")
    root = path.parent.resolve()
    foreign = sum(file is not None and not file.resolve().is_relative_to(root) for file in paths)
    if foreign:
        raise UnreadableFileError(
            f"{path} lists {foreign} files outside its medium, which a DICOMDIR can't: give the folder that holds the"
            " images itself"
        )
    if not listed:
        raise UnreadableFileError(f"{path} lists no images; give the folder {path.parent} itself, if it holds some")
    files = [file for file in paths if file is not None]
    missing = ["/".join(parts) for parts, file in zip(listed, paths, strict=True) if file is None]
    if missing:
        raise UnreadableFileError(
            f"{path} lists {len(missing)} files that aren't there, {missing[0]} first; copy the whole medium, or read"
            f" the folder {path.parent} itself"
        )
    return list(dict.fromkeys(files))


def _file_ids(path: Path) -> list[list[str]] | None:
    """The parts of the File ID of every record that has one; None for what is no DICOMDIR."""
    from pydicom import dcmread

    with BoundedReader(path) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        records = dcmread(stream).get("DirectoryRecordSequence")
        if records is None:
            return None
        file_ids = [record.get("ReferencedFileID") for record in records]
    return [[one] if isinstance(one, str) else [str(part) for part in one] for one in file_ids if one]


def _path_of(folder: Path, parts: list[str]) -> Path | None:
    """The file of that name, upper or lower case."""
    here = folder
    for part in parts:
        choices = (here / part, here / part.lower()) if part and "\0" not in part else ()
        there = next((choice for choice in choices if choice.exists()), None)
        if there is None:
            return None
        here = there
    return here if here.is_file() else None
