"""The values of a NIfTI file that are no numbers: ITK's reader puts 0 in their place without a word."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["find_nonfinite"]

_FLOATS = {16: 4, 64: 8}  # datatype codes of the header: bytes
_PIECE = 1 << 24  # bytes at a time


def find_nonfinite(path: Path) -> tuple[Any, Any] | None:
    """Positions (in the file's order, x fastest) and values of NaN and infinity; None when there are none.

    Files of integers hold none and aren't looked through.

    Parameters
    ----------
    path
        ends in ``.nii`` or ``.nii.gz``; whole

    References
    ----------
    NIfTI-1 header: https://nifti.nimh.nih.gov
    """
    import numpy as np

    opener: Any = gzip.open if path.name.endswith(".gz") else Path.open
    with opener(path, "rb") as stream:
        head = _read(stream, 348)
        order = "<" if int.from_bytes(head[:4], "little") == 348 else ">"
        code = int(np.frombuffer(head[70:72], f"{order}i2")[0])
        offset = int(np.frombuffer(head[108:112], f"{order}f4")[0])
        if code not in _FLOATS:
            return None
        _read(stream, offset - 348)
        positions, values, start = [], [], 0
        while len(piece := _read(stream, _PIECE)) >= _FLOATS[code]:
            numbers = np.frombuffer(piece[: len(piece) // _FLOATS[code] * _FLOATS[code]], f"{order}f{_FLOATS[code]}")
            bad = np.flatnonzero(~np.isfinite(numbers))
            if len(bad):
                positions.append(bad + start)
                values.append(numbers[bad].astype("f8"))
            start += len(numbers)
    return (np.concatenate(positions), np.concatenate(values)) if positions else None


def _read(stream: BinaryIO, n_bytes: int) -> bytes:
    """So many bytes, fewer only at the end of the file."""
    parts, left = [], n_bytes
    while left > 0 and (part := stream.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
