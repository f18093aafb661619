"""The door: a DICOM folder, a zip of one, a DICOMDIR, one DICOM file, or a 4-D NIfTI, read as a CT perfusion series."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from ctp_torch.data.series import CTPSeries
from ctp_torch.data.slabs import SLAB_MM
from ctp_torch.errors import OptionError, check_type
from ctp_torch.io.dicom.image import Join
from ctp_torch.io.dicom.read import read_dicom
from ctp_torch.io.nifti.frame_times import read_times
from ctp_torch.io.opened import nifti_at, opened

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.data.stored import StoredSeries

__all__ = ["open_series", "read_series"]


def read_series(
    path: str | Path,
    *,
    times: str | Path | Sequence[float] | Sequence[Sequence[float]] | Tensor | None = None,
    dt: float | None = None,
    series: str | None = None,
    join: Join | None = None,
    drop_incomplete: bool = False,
    duplicates: Literal["refuse", "first"] = "refuse",
    keep_identity: bool = False,
    max_unpacked: float | None = None,
) -> CTPSeries:
    """A CT perfusion series, HU ``(time, z, y, x)`` with times ``(time, z)`` [s] and grid, as scanners write it.

    Slices ascend along the normal (row direction x column direction); every image is scaled by its own slope and
    intercept; the time of every image comes from the best source in its header. What was inferred or left out stands in
    ``provenance``.

    Parameters
    ----------
    path
        a folder (searched to the bottom, any file names), a zip or tar of one, a DICOMDIR, a DICOM file, or a 4-D NIfTI
    times
        seconds, one a frame or one a frame and slice, or a file of them; for data whose headers tell no times
    dt
        seconds between frames, in place of ``times``
    series
        Series Instance UID (``UID#2`` where one holds several), when several could be meant; derived images are read
        only when asked for so
    join
        identifiers that an anonymiser drew anew and that don't separate images: "series"; "frame-of-reference" (and
        series); "study" (and both). What has the places and times of one scan is joined without being asked
    drop_incomplete
        leave out time points that lack a slice
    duplicates
        "first" keeps the first of several images of one slice and time; "refuse" names them
    keep_identity
        names of files that are left out, and the scanner in the headers' own words, stand in ``provenance``; else the
        numbers of those files (from 1, in the order of their names), and known terms or hashes
    max_unpacked
        largest size [GB] that a zip or a compressed file may unpack to; by default the smallest of 64 GiB, 8 times the
        free memory and half the free disk

    Raises
    ------
    NoSeriesError
        nothing there, or no CT perfusion images
    IncompleteSeriesError
        (slice, time) cells are missing or doubled, several series could be meant, or no times are told
    UnreadableFileError
        a file is truncated or can't be decoded
    OptionError
        when an option can't be meant, or times and dt are both given; a ``ValueError`` too

    Examples
    --------
    >>> series = read_series("patient/ct")  # doctest: +SKIP
    >>> series.hu.shape, series.dt  # doctest: +SKIP
    (torch.Size([60, 6, 512, 512]), 1.0)
    """
    check_type(path, (str, os.PathLike), "read_series: path", "from_numpy makes a series of an array")
    with open_series(
        path, times=times, dt=dt, series=series, join=join, drop_incomplete=drop_incomplete, duplicates=duplicates,
        keep_identity=keep_identity, max_unpacked=max_unpacked, slab_mm=0.0,
    ) as whole:  # fmt: skip
        assert isinstance(whole, CTPSeries), "slices that are not averaged are read whole"
        return whole


@contextmanager
def open_series(
    path: str | Path,
    *,
    times: str | Path | Sequence[float] | Sequence[Sequence[float]] | Tensor | None = None,
    dt: float | None = None,
    series: str | None = None,
    join: Join | None = None,
    drop_incomplete: bool = False,
    duplicates: Literal["refuse", "first"] = "refuse",
    keep_identity: bool = False,
    max_unpacked: float | None = None,
    slab_mm: float = SLAB_MM,
) -> Iterator[CTPSeries | StoredSeries]:
    """A series for `ctp_torch.prepare`, which may be too large to hold: open for as long as the block runs.

    Thin slices that are averaged to slabs later, and would take more than 2 GiB in float32, stay on disk. All frames
    are read once to be looked at, and again whenever the ``frames`` of the series are asked for; a copy in
    blocks of about 1 x 1.5 x 1.5 mm is in memory. Other series are read as `read_series` does.

    Parameters
    ----------
    path, times, dt, series, join, drop_incomplete, duplicates, keep_identity, max_unpacked
        as of `read_series`, which raises the same errors
    slab_mm
        thickness to which thin slices are averaged later [mm]; 0 keeps them, and reads every series whole

    Examples
    --------
    >>> with ctp_torch.open_series("DICOM_FOLDER") as series:  # doctest: +SKIP
    ...     scan = ctp_torch.prepare(series)
    """
    place = Path(path)
    _check_options(times, dt, duplicates, join, max_unpacked)
    clock = None if times is None else read_times(times)
    volume = nifti_at(place)
    if volume is not None:
        from ctp_torch.io.nifti.series import read_nifti_series

        yield read_nifti_series(volume, times=clock, dt=dt, max_unpacked=max_unpacked, slab_mm=slab_mm)
        return
    with opened(place, max_unpacked=max_unpacked) as there:
        yield read_dicom(
            there, place, times=clock, dt=dt, series=series, join=join, drop_incomplete=drop_incomplete,
            duplicates=duplicates, keep_identity=keep_identity, slab_mm=slab_mm,
        )  # fmt: skip


def _check_options(
    times: object, dt: float | None, duplicates: str, join: str | None, max_unpacked: float | None
) -> None:
    """Refuse options that can't be meant."""
    if duplicates not in ("refuse", "first"):
        raise OptionError(f"duplicates must be 'refuse' or 'first', got {duplicates!r}: give one of them")
    if join not in (None, *get_args(Join)):
        raise OptionError(f"join must be one of {', '.join(get_args(Join))}, got {join!r}: give one of them")
    if times is not None and dt is not None:
        raise OptionError("give times (--times FILE) or dt (--dt S), not both")
    if not _is_positive(dt):
        raise OptionError(
            f"dt must be a positive number of seconds, got {dt!r}: give the time between frames, such as 1.5"
        )
    if not _is_positive(max_unpacked):
        raise OptionError(
            f"max_unpacked must be a positive number of GB, got {max_unpacked!r}: give such as 100, or leave it out"
        )


def _is_positive(number: object) -> bool:
    """Whether it is a finite number above 0, or None."""
    return number is None or (isinstance(number, Real) and 0 < float(number) < math.inf)
