"""What stands in for the console: the maps that digital patients come with, and students learn from."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ctp_torch import ops, pipeline
from ctp_torch.phantom.cohort import Teacher

if TYPE_CHECKING:
    from ctp_torch.data.maps import PerfusionMaps
    from ctp_torch.data.series import CTPSeries

__all__ = ["console_teacher"]


def console_teacher(registration: pipeline.Registration | None = ops.register_rigid) -> Teacher:
    """CSVD at threshold 0.1 on the noisy scan: aligned, not median filtered, smoothed by 2 mm, vessels and all.

    Parameters
    ----------
    registration
        motion estimation, as in `ctp_torch.pipeline.preprocess`; None for none
    """

    def maps(series: CTPSeries) -> PerfusionMaps:
        scan = pipeline.prepare(series, registration=registration, slab_mm=0.0)
        method = partial(ops.csvd, threshold=0.1, step=1.0)  # whatever the defaults become: students learn it
        return pipeline.deconvolve(
            scan, method, sigma_mm=2.0, smoothing="inside", scale_by_vof=True, complete_cbv=False
        )

    name = "none" if registration is None else getattr(registration, "__name__", "custom")
    settings = {"method": "csvd", "threshold": 0.1, "sigma_mm": 2.0, "registration": name, "input": "the noisy scans"}
    return Teacher(maps, settings)
