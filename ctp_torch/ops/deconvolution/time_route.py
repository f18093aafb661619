"""Which way a deconvolution takes with frames that aren't evenly spaced, or far apart."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import signature

__all__ = ["NEED_EVEN_FRAMES", "time_route"]

NEED_EVEN_FRAMES = ("ssvd", "csvd", "osvd", "tikhonov", "delay_corrected_ssvd", "max_slope")
"""Methods that resample to an even grid of ``step`` [s]; all others compare curves where they were taken."""


def time_route(method: Callable[..., object], dt: float, *, uneven: bool) -> str:
    """One sentence on the frames that a method worked on.

    Parameters
    ----------
    method
        a deconvolution of this package, perhaps with some arguments bound by `functools.partial`
    dt
        median spacing of the frames [s]
    uneven
        whether frames are unevenly spaced, or slices were taken at different moments
    """
    function = method.func if isinstance(method, partial) else method
    if getattr(function, "__name__", "") not in NEED_EVEN_FRAMES:
        return "exact: every curve at its own moments" if uneven else "as acquired"
    step = signature(method).parameters["step"].default  # or what was bound
    if not uneven and (step is None or dt <= 1.05 * step):
        return "as acquired"
    return f"resampled every {dt if step is None else step:g} s by monotone cubics"
