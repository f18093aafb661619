"""What a user calls a series, opened: the files of a folder, a zip or tar, a DICOMDIR, or one file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ctp_torch.errors import NoSeriesError
from ctp_torch.io.archive import is_archive, unpack
from ctp_torch.io.dicom.image import LeftOut
from ctp_torch.io.dicom.index import find_files, hidden_images, looks_like_dicom
from ctp_torch.io.limits import check_regular
from ctp_torch.io.nifti.candidates import choose_nifti
from ctp_torch.io.nifti.nifti_file import is_nifti
from ctp_torch.io.workplace import temporary_folder

__all__ = ["Opened", "nifti_at", "opened"]


class Opened(NamedTuple):
    """The files of a place."""

    files: Sequence[Path]
    """Those that may be DICOM."""
    left_out: Sequence[LeftOut] = ()
    """Those that somebody may miss: hidden ones, and damaged ones of a zip."""


def nifti_at(place: Path) -> Path | None:
    """The NIfTI series that a place is, or holds beside volumes, reports and JSON; None where there is DICOM to read.

    Raises
    ------
    NoSeriesError
        when there is nothing at that place, or NIfTI volumes but no series
    IncompleteSeriesError
        when there are several NIfTI series, with what each is
    UnreadableFileError
        when it is a pipe, a device or a socket
    """
    if not place.exists():
        raise NoSeriesError(f"{place} doesn't exist: give a DICOM folder, a zip or tar of one, or a 4-D NIfTI")
    check_regular(place)
    if place.is_dir():
        files = find_files(place)
        volumes = [path for path in files if is_nifti(path)]
        others = [path for path in files if not is_nifti(path)]
        if not volumes or any(looks_like_dicom(path) or is_archive(path) for path in others):
            return None
        return choose_nifti(volumes, place)
    return place if is_nifti(place) else None


@contextmanager
def opened(place: Path, *, max_unpacked: float | None = None) -> Iterator[Opened]:
    """The files that may be DICOM, for as long as the block runs; an archive is unpacked meanwhile.

    Parameters
    ----------
    place
        what the user calls the series
    max_unpacked
        largest size that an archive may unpack to [GB]

    Raises
    ------
    UnreadableFileError
        when an archive can't be unpacked, or is too large
    """
    if place.is_dir():
        yield Opened(find_files(place), hidden_images(place))
    elif is_archive(place):
        with temporary_folder() as folder:
            damaged = unpack(place, Path(folder), most=max_unpacked)
            lost = [LeftOut(path, "damaged in the zip", broken=True) for path in damaged]
            yield Opened(find_files(Path(folder)), [*lost, *hidden_images(Path(folder))])
    elif place.name.upper() == "DICOMDIR":
        from ctp_torch.io.dicom.dicomdir import referenced_files

        yield Opened(referenced_files(place))
    else:
        yield Opened([place])
