"""DICOM headers to where and when every image of a series was taken, before anything is sorted into a grid."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ctp_torch.errors import IncompleteSeriesError
from ctp_torch.io.dicom.image import Join
from ctp_torch.io.dicom.index import find_files
from ctp_torch.io.dicom.read import find_series
from ctp_torch.io.dicom.select import along_normal
from ctp_torch.io.dicom.times import choose_clock

__all__ = ["read_slice_locations"]


def read_slice_locations(path: str | Path, *, series: str | None = None, join: Join | None = None) -> Tensor | None:
    """Position along the slice normal [mm] and time [s] of every image, also of a series that can't be read as a grid.

    Parameters
    ----------
    path
        a folder of DICOM files
    series
        Series Instance UID, when several could be meant; the one with most images otherwise
    join
        as for `read_series`

    Returns
    -------
    ``(images, 2)`` float64; None for what is no folder, or tells no times

    Raises
    ------
    NoSeriesError
        when there is no CT image
    UnreadableFileError
        when a header is broken
    """
    place = Path(path)
    if not place.is_dir():
        return None
    candidates, _ = find_series(find_files(place), place, series=series, join=join)
    by_uid: dict[str, list[int]] = {}
    for i, candidate in enumerate(candidates):
        by_uid.setdefault(candidate.key.split("#")[0], []).append(i)
    most = max(by_uid.values(), key=lambda members: sum(len(candidates[i].images) for i in members))
    slices = [images for i in most for images in candidates[i].slices]
    try:
        clock = choose_clock(slices)
    except IncompleteSeriesError:
        return None
    if not clock.seconds:
        return None
    rows = [(along_normal(image), clock.read(image)) for images in slices for image in images]
    return torch.tensor(rows, dtype=torch.float64)
