"""Times that the user gives for the frames of a series: a file or numbers, one a frame or one a frame and slice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctp_torch.data.series import implausible_times
from ctp_torch.errors import IncompleteSeriesError, OptionError, UnreadableFileError
from ctp_torch.io.limits import DAMAGE, read_text

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["check_times", "read_times", "spread", "times_in"]

_KEYS = ("SliceTimes", "FrameTimes", "VolumeTiming", "FrameTimesStart")
"""Of the package's own JSON, of BIDS, and of converters."""


def read_times(times: str | Path | Sequence[float] | Sequence[Sequence[float]] | Tensor) -> Tensor:
    """Times ``(time,)`` or ``(time, z)`` [s], float64.

    Parameters
    ----------
    times
        numbers, or a file: JSON with ``SliceTimes``, ``FrameTimes``, ``VolumeTiming`` or ``FrameTimesStart`` (or a bare
        list), or text with one frame a line, its slices separated by blanks or commas

    Raises
    ------
    UnreadableFileError
        when the file holds no such times
    OptionError
        when the numbers are none, or not finite
    """
    import torch

    if not isinstance(times, (str, Path)):
        try:
            numbers = torch.as_tensor(times, dtype=torch.float64)
        except DAMAGE as error:
            raise OptionError(f"times must be seconds ({error}): give one a frame, or one a frame and slice") from error
        if numbers.ndim not in (1, 2) or not numbers.numel() or not bool(numbers.isfinite().all()):
            raise OptionError(
                f"times must be finite seconds, got {times!r:.200}: give one a frame, or one a frame and slice"
            )
        return numbers
    path = Path(times)
    try:
        text = read_text(path)
        if text.lstrip().startswith(("{", "[")):
            told, _ = times_in(json.loads(text), path)
            if told is not None:
                return told
            content: Any = None
        else:
            rows = [[float(word) for word in line.replace(",", " ").split()] for line in text.splitlines()]
            content = [row for row in rows if row]
            if len(content) == 1 or all(len(row) == 1 for row in content):  # one line, or one column
                content = [seconds for row in content for seconds in row]
        values = torch.tensor(content, dtype=torch.float64)
    except (*DAMAGE, OSError) as error:
        raise UnreadableFileError(
            f"{path} holds no times ({error}): one number of seconds a line, or JSON with FrameTimes"
        ) from error
    if values.ndim not in (1, 2) or not values.numel() or not bool(values.isfinite().all()):
        raise UnreadableFileError(f"{path} holds no times: one number of seconds a line, or JSON with FrameTimes")
    return values


def times_in(content: Any, place: Path) -> tuple[Tensor | None, str]:
    """The times that the content of a JSON tells, ``(time,)`` or ``(time, z)`` [s], and under which name.

    A ``SliceTiming`` beside volumes' times is the moment of each slice within its volume.

    Raises
    ------
    UnreadableFileError
        when what stands there is no list of numbers
    """
    import torch

    own = isinstance(content, Mapping)
    name = next((key for key in _KEYS if content.get(key)), "") if own else "the list"
    if not name or not content:
        return None, ""
    try:
        values = torch.tensor(content[name] if own else content, dtype=torch.float64)
        within = torch.tensor(content.get("SliceTiming") or [], dtype=torch.float64) if own else values.new_empty(0)
    except DAMAGE as error:
        raise UnreadableFileError(f"{place} holds no times ({name}: {error}): numbers of seconds are needed") from error
    if values.ndim not in (1, 2) or not values.numel() or not bool(values.isfinite().all()):
        raise UnreadableFileError(f"{place} holds no times ({name}): finite numbers of seconds are needed")
    if values.ndim == 1 and within.ndim == 1 and len(within) > 1 and bool(within.isfinite().all()):
        values = values[:, None] + within
        name += " and SliceTiming"
    return values, name


def spread(times: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The times on every (time, slice) of a series of that shape.

    Raises
    ------
    IncompleteSeriesError
        when their number doesn't fit, or they don't rise
    """
    wide = times[:, None].expand(-1, shape[1]).clone() if times.ndim == 1 else times
    if tuple(wide.shape) != tuple(shape):
        raise IncompleteSeriesError(
            f"the times given are for {' x '.join(map(str, times.shape))} (time, slice), the series has"
            f" {shape[0]} x {shape[1]}; give one time a frame"
        )
    if bool((wide.diff(dim=0) <= 0).any()):
        raise IncompleteSeriesError("the times given must rise from frame to frame, in seconds")
    return wide


def check_times(times: Tensor, place: Path) -> None:
    """Refuse times that no scanner takes images at: what follows would work on lags without end.

    Parameters
    ----------
    times
        ``(time, z)`` [s]
    place
        where they come from, for the message

    Raises
    ------
    IncompleteSeriesError
        naming the steps found and what may be meant
    """
    if amiss := implausible_times(times):
        raise IncompleteSeriesError(f"{place}: {amiss}; give the true times with --times FILE or --dt S, in seconds")
