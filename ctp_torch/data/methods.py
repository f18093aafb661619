"""The one table of deconvolution methods: their names, in words and in DICOM, and what they map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ctp_torch.data.maps import OWN_SCHEME

__all__ = ["METHODS", "DeconvolutionMethod"]

_MAPS = ("cbv", "cbf", "mtt", "tmax")


class DeconvolutionMethod(NamedTuple):
    """What a method is called, and what it maps."""

    words: str
    """For people."""
    code: tuple[str, str, str]
    """DICOM code value (CID 4105 where it has one), scheme and meaning."""
    quantities: tuple[str, ...] = _MAPS
    """Names in ``QUANTITIES``."""
    tmax_is_delay: bool = False
    """Whether its Tmax is the arrival of the blood, without the time that the residue takes to its maximum."""


def _svd(words: str) -> DeconvolutionMethod:
    return DeconvolutionMethod(words, ("126311", "DCM", "SVD Deconvolution"))


def _own(value: str, words: str, *more: str, delay: bool = False) -> DeconvolutionMethod:
    return DeconvolutionMethod(words, (value, OWN_SCHEME, words), (*_MAPS, *more), delay)


METHODS: Mapping[str, DeconvolutionMethod] = {
    "csvd": _svd("block-circulant SVD"),
    "osvd": _svd("block-circulant SVD, oscillation-limited"),
    "ssvd": _svd("standard SVD"),
    "delay_corrected_ssvd": _svd("standard SVD after shifting each curve's arrival"),
    "tikhonov": _own("TIKHONOV", "Tikhonov regularisation, L-curve per voxel"),
    "gaussian_process_deconvolution": _own("GAUSSIAN_PROCESS", "Gaussian process"),
    "expectation_maximization": _own("EXPECTATION_MAXI", "expectation maximisation"),
    "bayesian": _own("BAYESIAN", "Bayesian, delay and smoothness integrated out", delay=True),
    "vascular_model": _own(
        "VASCULAR_MODEL", "gamma-distributed transit times, with CTH and OEFmax", "cth", "oefmax", delay=True
    ),
    "box_nlr": _own("BOX_NLR", "box-shaped residue, nonlinear regression"),
    "per_scan": _own(
        "PER_SCAN",
        "kernel ridge regression on curves simulated from the scan's own artery",
        "cbf_sd",
        "mtt_sd",
        "tmax_sd",
        "p_late",
        "p_core",
    ),
    "max_slope": _own("MAX_SLOPE", "maximum slope, no deconvolution"),
}
"""By name on the command line and, but for ``per_scan``, in ctp_torch.ops."""
