"""Stored values to Hounsfield units: read or decode every image of a grid into one tensor."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctp_torch.errors import UnreadableFileError
from ctp_torch.io.dicom.codecs import decode_frames, excess_is_an_error
from ctp_torch.io.dicom.image import ImageHeader, PixelLayout
from ctp_torch.io.limits import check_memory

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PADDING_HU", "raw_values", "read_hounsfield", "read_what_can_be", "stored_values"]

PADDING_HU = -1024.0
"""What pixels outside the measured circle are set to: the bottom of the CT scale."""


def read_hounsfield(cells: list[list[ImageHeader]]) -> Tensor:
    """HU ``(time, z, y, x)`` float32: stored * slope + intercept, by the slope and intercept of each image.

    Parameters
    ----------
    cells
        images ``[time][slice]`` of one matrix

    Raises
    ------
    UnreadableFileError
        naming the file that is truncated or can't be decoded
    """
    hu, failed = read_what_can_be(cells)
    if failed:
        raise next(iter(failed.values()))
    return hu


def read_what_can_be(cells: list[list[ImageHeader]]) -> tuple[Tensor, dict[Path, UnreadableFileError]]:
    """The same, and the files whose cells stay empty because they are damaged, with the reason for each."""
    import torch

    first = cells[0][0].pixels
    check_memory(4 * len(cells) * len(cells[0]) * first.rows * first.columns, f"the series of {first.path.parent}")
    hu = torch.empty(len(cells), len(cells[0]), first.rows, first.columns)
    out = hu.numpy()
    by_file: dict[Path, list[tuple[int, int, ImageHeader]]] = {}
    for t, row in enumerate(cells):
        for z, image in enumerate(row):
            by_file.setdefault(image.path, []).append((t, z, image))

    def filled(jobs: list[tuple[int, int, ImageHeader]]) -> UnreadableFileError | None:
        try:
            _fill(out, jobs)
        except UnreadableFileError as error:
            return error
        return None

    # reading, decoding and scaling happen outside Python's lock
    with excess_is_an_error(), ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        errors = dict(zip(by_file, pool.map(filled, by_file.values()), strict=True))
    return hu, {path: error for path, error in errors.items() if error is not None}


def _fill(out: Any, jobs: list[tuple[int, int, ImageHeader]]) -> None:
    """Fill the cells that one file holds."""
    import numpy as np

    if jobs[0][2].pixels.offset is None:
        decoded = decode_frames(jobs[0][2].path, [image.pixels for _, _, image in jobs])
    else:
        decoded = [_native(image.pixels) for _, _, image in jobs]
    for (t, z, image), stored in zip(jobs, decoded, strict=True):
        stored = stored_values(stored, image.pixels)
        np.copyto(out[t, z], stored, casting="unsafe")  # a plain cast, faster than multiplying integers
        if image.slope != 1:
            out[t, z] *= np.float32(image.slope)
        out[t, z] += np.float32(image.intercept)
        if image.padding is not None:
            out[t, z][_is_padding(stored, image)] = PADDING_HU


def _native(layout: PixelLayout) -> Any:
    """The stored values of an uncompressed frame."""
    import numpy as np

    if layout.bits_allocated not in ((32, 64) if layout.floating else (8, 16, 32)) or layout.offset is None:
        raise UnreadableFileError(
            f"{layout.path}: {layout.bits_allocated} bits a pixel can't be read, only 8, 16 or 32"
        )
    big = layout.transfer_syntax == "1.2.840.10008.1.2.2"
    kind = (
        f"{'>' if big else '<'}{'f' if layout.floating else 'i' if layout.signed else 'u'}{layout.bits_allocated // 8}"
    )
    count = layout.rows * layout.columns
    n_bytes = count * layout.bits_allocated // 8
    at = layout.offset + layout.frame * n_bytes
    short = layout.length < n_bytes * layout.n_frames
    try:
        stored = np.fromfile(layout.path, kind, count, offset=at)
    except OSError as error:
        raise UnreadableFileError(f"{layout.path} can't be read ({error.strerror})") from error
    if short or stored.size < count:
        there = min(layout.length, max(0, layout.path.stat().st_size - layout.offset))
        raise UnreadableFileError(
            f"{layout.path} is truncated: {there} of {n_bytes * layout.n_frames} bytes of pixels are there;"
            " copy it again, or take it out of the folder"
        )
    return stored.reshape(layout.rows, layout.columns)


def stored_values(raw: Any, layout: PixelLayout) -> Any:
    """The values without the bits beside them, which may hold overlays; the sign bit is the highest stored one."""
    import numpy as np

    if layout.floating:
        return raw
    width = 8 * raw.dtype.itemsize
    kind = "i" if layout.signed else "u"
    if raw.dtype.kind != kind:
        raw = raw.view(np.dtype(f"{kind}{raw.dtype.itemsize}").newbyteorder(raw.dtype.byteorder))
    if layout.bits_stored >= width:
        return raw
    left = width - 1 - layout.high_bit
    return (raw << left) >> (width - layout.bits_stored)


def raw_values(image: ImageHeader) -> Any:
    """The values of an image as they stand in the file, unused bits and all.

    Raises
    ------
    UnreadableFileError
        naming the file that is truncated or can't be decoded
    """
    if image.pixels.offset is not None:
        return _native(image.pixels)
    with excess_is_an_error():
        return next(iter(decode_frames(image.path, [image.pixels])))


def _is_padding(stored: Any, image: ImageHeader) -> Any:
    """Where an image says that it measured nothing; writers mix up signed and unsigned, the bits decide."""
    assert image.padding is not None
    low, high = image.padding
    size = 1 << image.pixels.bits_stored
    if image.pixels.signed:
        low, high = ((v + size // 2) % size - size // 2 for v in (low, high))
    else:
        low, high = low % size, high % size
    return (stored >= min(low, high)) & (stored <= max(low, high))
