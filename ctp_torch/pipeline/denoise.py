"""A prepared scan with less noise, before anything is measured on it: for low doses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal, get_args

from torch import Tensor

from ctp_torch.data.provenance import Preparation
from ctp_torch.ops.bolus.concentration import curve_noise
from ctp_torch.ops.image.denoise import denoise_bilateral, denoise_by_itself, denoise_low_rank
from ctp_torch.pipeline.scan import Scan

__all__ = ["DENOISERS", "Denoiser", "denoise"]

Denoiser = Literal["none", "bilateral", "low-rank", "noise2noise"]
DENOISERS: tuple[Denoiser, ...] = get_args(Denoiser)
"""Names of the ways, as on the command line."""

_Filter = Callable[[Tensor, Tensor, tuple[float, float, float], float], Tensor]


def denoise(scan: Scan, how: Denoiser) -> Scan:
    """The scan with its frames denoised; masks and baseline stay those of the scan as it was.

    Parameters
    ----------
    scan
        from `ctp_torch.prepare`
    how
        ``bilateral``: means of curves that run alike (TIPS); ``low-rank``: patches cut to what stands out of the
        noise; ``noise2noise``: every frame told from its neighbours by a network that learns on this scan;
        ``none``: as it is

    Returns
    -------
    Scan
        ``series.provenance.preparation.denoise`` names it

    Raises
    ------
    ValueError
        for another name
    """
    if how == "none":
        return scan
    if how not in _FILTERS:
        raise ValueError(f"unknown way to denoise {how!r}; choose among {', '.join(DENOISERS)}")
    brain, series = scan.anatomy.brain, scan.series
    noise = max(curve_noise(scan.enhancement[:, brain].T), 1e-3)
    hu = _FILTERS[how](series.hu, brain, series.geometry.spacing, noise)
    done = (series.provenance.preparation or Preparation("none", 1))._replace(denoise=how)
    return Scan(
        replace(series, hu=hu, provenance=replace(series.provenance, preparation=done)), scan.motion, scan.anatomy
    )


_FILTERS: Mapping[str, _Filter] = {
    "bilateral": lambda hu, _, spacing, noise: denoise_bilateral(hu, spacing, noise=noise),
    "low-rank": lambda hu, brain, _, noise: denoise_low_rank(hu, brain, noise=noise),
    "noise2noise": lambda hu, brain, *_: denoise_by_itself(hu, brain),
}
