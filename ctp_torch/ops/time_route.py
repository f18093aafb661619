"""Which way a deconvolution takes with frames that aren't evenly spaced, or far apart."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

__all__ = ["NEED_EVEN_FRAMES", "time_route"]

NEED_EVEN_FRAMES = ("ssvd", "csvd", "osvd", "tikhonov", "delay_corrected_ssvd", "max_slope")
"""Methods whose filters live on one even grid, 1 s or finer; all others compare curves where they were taken."""


def time_route(method: Callable[..., object], dt: float, *, uneven: bool) -> str:
    """One sentence on the frames that a method worked on.

    Parameters
    ----------
    method
        a deconvolution of this package, perhaps with some arguments bound
    dt
        median spacing of the frames [s]
    uneven
        whether frames are unevenly spaced, or slices were taken at different moments
    """
    given: dict[str, object] = {}
    while isinstance(method, partial):
        given = method.keywords | given
        method = method.func
    name = getattr(method, "__name__", "")
    step = given.get("step", 1.0)
    if name not in NEED_EVEN_FRAMES:
        return "exact: every curve at its own moments" if uneven else "as acquired"
    if not uneven and (step is None or dt <= 1.05 * float(str(step))):
        return "as acquired"
    return f"resampled every {dt if step is None else step:g} s by monotone cubics"
