"""What a user calls a series, opened: the files of a folder, a zip, a DICOMDIR, or one file."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ctp_torch.errors import NoSeriesError, UnreadableFileError
from ctp_torch.io.dicom.index import find_files
from ctp_torch.io.workplace import temporary_folder

__all__ = ["nifti_at", "opened"]


def nifti_at(place: Path) -> Path | None:
    """The NIfTI file that a place is, or holds alone (or with its JSON); None where DICOM is to be looked for.

    Raises
    ------
    NoSeriesError
        when there is nothing at that place
    """
    if not place.exists():
        raise NoSeriesError(f"{place} doesn't exist: give a DICOM folder, a zip of one, or a 4-D NIfTI")
    if place.is_dir():
        files = find_files(place)
        volumes = [path for path in files if path.name.lower().endswith((".nii", ".nii.gz"))]
        return volumes[0] if len(volumes) == 1 and len(files) <= 2 else None
    return place if place.name.lower().endswith((".nii", ".nii.gz")) else None


@contextmanager
def opened(place: Path) -> Iterator[Sequence[Path]]:
    """The files that may be DICOM, for as long as the block runs; a zip is unpacked meanwhile.

    Raises
    ------
    UnreadableFileError
        when a zip can't be unpacked
    """
    if place.is_dir():
        yield find_files(place)
    elif zipfile.is_zipfile(place):
        with temporary_folder() as folder:
            try:
                with zipfile.ZipFile(place) as archive:
                    archive.extractall(folder)
            except (zipfile.BadZipFile, OSError, RuntimeError) as error:
                raise UnreadableFileError(f"{place} can't be unpacked ({error}); copy it again") from error
            yield find_files(Path(folder))
    elif place.name.upper() == "DICOMDIR":
        from ctp_torch.io.dicom.dicomdir import referenced_files

        yield referenced_files(place)
    else:
        yield [place]
