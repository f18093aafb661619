"""When the frames of a NIfTI series were taken: what the JSON beside it and its header say, held against each other."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ctp_torch.data.series import implausible_times
from ctp_torch.errors import IncompleteSeriesError, UnreadableFileError
from ctp_torch.io.limits import DAMAGE, read_text
from ctp_torch.io.nifti.frame_times import spread, times_in

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FileTimes", "file_times", "file_times_told", "read_sidecar"]

_AGREE = 0.02
"""Part of a step by which two sources may differ."""


class FileTimes(NamedTuple):
    """The times of a file."""

    times: Tensor
    """``(time, z)`` [s]."""
    source: str
    warnings: list[str]


def read_sidecar(beside: Path) -> Mapping[str, Any] | Sequence[Any] | None:
    """What the JSON holds; None where there is none.

    Raises
    ------
    UnreadableFileError
        when it can't be read
    """
    if not beside.is_file():
        return None
    try:
        content = json.loads(read_text(beside))
    except (*DAMAGE, OSError) as error:
        raise UnreadableFileError(
            f"{beside} holds no times ({error}): mend it, take it away, or give --times FILE or --dt S"
        ) from error
    return content if isinstance(content, dict | list) else {}


def file_times_told(beside: Path) -> bool:
    """Whether the JSON tells times at all."""
    content = read_sidecar(beside)
    return bool(content) and (
        times_in(content, beside)[0] is not None or _seconds(content, "RepetitionTime") is not None
    )


def file_times(content: Mapping[str, Any] | Sequence[Any] | None, step: float | None, shape: tuple[int, int],
               place: Path) -> FileTimes | None:  # fmt: skip
    """The times that a file tells; None where it tells none.

    Lists of the JSON count before even steps of the JSON (``RepetitionTime``), these before the header's. Where two
    sources differ by 1,000, one was written in milliseconds, and the other proves it.

    Parameters
    ----------
    content
        the JSON
    step
        between volumes, as the header tells it [s]
    shape
        frames, slices
    place
        the file, for messages

    Raises
    ------
    IncompleteSeriesError
        when the sources contradict each other, or the numbers don't fit the series
    UnreadableFileError
        when a list holds no numbers
    """
    import torch

    told, name = times_in(content, place) if content else (None, "")
    usual = _seconds(content, "RepetitionTime")
    warnings: list[str] = []
    if told is not None:
        if name == "FrameTimesStart" and bool((told.diff(dim=0) <= 0).any()):
            raise IncompleteSeriesError(
                f"{place}: {name} in the JSON beside it doesn't rise from frame to frame (converters write so of"
                " shuttle scans, whose slices have times of their own): give the true times with --times FILE or --dt S"
            )
        times, scaled = _in_seconds(spread(told, shape), [s for s in (usual, step) if s])
        if scaled:
            warnings.append(f"{name} tells milliseconds, as the {'JSON' if usual else 'header'}'s step bears out")
        return FileTimes(times, name, warnings)
    source = "RepetitionTime in the JSON beside it" if usual else "pixdim[4]"
    if usual and step and not math.isclose(usual, step, rel_tol=_AGREE):
        if math.isclose(usual, 1000 * step, rel_tol=_AGREE):
            usual = step
            warnings.append("RepetitionTime tells milliseconds, as the header's step bears out")
        elif math.isclose(step, 1000 * usual, rel_tol=_AGREE):
            warnings.append("the header tells its step in milliseconds, as RepetitionTime bears out")
        elif step == 1.0:  # what tools write that lose the step
            warnings.append(f"the header tells a step of 1 s, RepetitionTime {usual:g} s; the latter was taken")
        else:
            raise IncompleteSeriesError(
                f"{place}: the header tells {step:g} s between frames, the JSON beside it {usual:g} s: give the true"
                " times with --times FILE or --dt S"
            )
    if not (usual or step):
        return None
    even = torch.arange(shape[0], dtype=torch.float64) * (usual or step or 0.0)
    where = "the JSON beside it" if usual else "the NIfTI header"
    warnings.insert(0, f"times are even steps of {usual or step:g} s from {where}; real frames often aren't even")
    return FileTimes(spread(even, shape), source, warnings)


def _seconds(content: Mapping[str, Any] | Sequence[Any] | None, key: str) -> float | None:
    """A positive number of the JSON."""
    value = content.get(key) if isinstance(content, Mapping) else None
    return float(value) if isinstance(value, int | float) and math.isfinite(value) and value > 0 else None


def _in_seconds(times: Tensor, steps: Sequence[float]) -> tuple[Tensor, bool]:
    """The times divided by 1,000 where no scanner takes images so slowly and a step of another source proves it."""
    if not implausible_times(times):
        return times, False
    usual = float(times.diff(dim=0).median()) if len(times) > 1 else 0.0
    proven = any(math.isclose(usual, 1000 * step, rel_tol=_AGREE) for step in steps)
    return (times / 1000, True) if proven else (times, False)
