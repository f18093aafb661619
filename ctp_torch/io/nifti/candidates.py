"""Which of several NIfTI files is the series: the only one of several volumes, by its header."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ctp_torch.errors import CTPError, IncompleteSeriesError, NoSeriesError
from ctp_torch.io.nifti.nifti_file import nifti_shape, nifti_step

__all__ = ["choose_nifti"]

_LISTED = 12


def choose_nifti(volumes: Sequence[Path], place: Path) -> Path:
    """The only file, or the only 4-D one of several.

    Raises
    ------
    IncompleteSeriesError
        when several could be meant
    NoSeriesError
        when none is a series
    """
    if len(volumes) == 1:
        return volumes[0]
    shapes: dict[Path, tuple[int, ...]] = {}
    for path in volumes:
        try:
            shapes[path] = nifti_shape(path)
        except CTPError:
            shapes[path] = ()
    series = [path for path, shape in shapes.items() if len(shape) == 4]
    if len(series) == 1:
        return series[0]
    named = series or list(volumes)
    listing = "\n".join(f"  {path}\n    {_described(path, shapes[path])}" for path in named[:_LISTED])
    more = f"\n  and {len(named) - _LISTED} more" if len(named) > _LISTED else ""
    if series:
        raise IncompleteSeriesError(f"{place} holds {len(series)} series as NIfTI; give one of\n{listing}{more}")
    raise NoSeriesError(
        f"{place} holds {len(volumes)} NIfTI files and no DICOM, and none is 4-D, as a perfusion series is:"
        f"\n{listing}{more}"
    )


def _described(path: Path, shape: tuple[int, ...]) -> str:
    """What a file is, as its header tells."""
    if not shape:
        return "can't be read"
    step = nifti_step(path) if len(shape) == 4 else None
    axes = "time x z x y x x" if len(shape) == 4 else "z x y x x"
    return f"{' x '.join(map(str, shape))} ({axes})" + (f", {step:g} s apart" if step else "")
