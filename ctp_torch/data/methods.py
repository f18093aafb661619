"""The deconvolutions by name: what they are in words and in DICOM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ctp_torch.data.maps import OWN_SCHEME

__all__ = ["METHODS", "MethodFacts"]


class MethodFacts(NamedTuple):
    """What is said of a deconvolution."""

    words: str
    """What it is, in at most 64 characters."""
    code: tuple[str, str, str]
    """DICOM code value, scheme and meaning (CID 4105, or our own scheme)."""


def _own(name: str, words: str) -> MethodFacts:
    """A method that DICOM has no code for."""
    return MethodFacts(words, (name[:16].upper(), OWN_SCHEME, words))


_SVD = ("126311", "DCM", "SVD Deconvolution")
METHODS: Mapping[str, MethodFacts] = {
    "csvd": MethodFacts("block-circulant SVD", _SVD),
    "osvd": MethodFacts("block-circulant SVD, oscillation-limited", _SVD),
    "ssvd": MethodFacts("standard SVD", _SVD),
    "delay_corrected_ssvd": MethodFacts("standard SVD after shifting each curve's arrival", _SVD),
    "tikhonov": _own("tikhonov", "Tikhonov regularisation, L-curve per voxel"),
    "gaussian_process_deconvolution": _own("gaussian_process_deconvolution", "Gaussian process"),
    "expectation_maximization": _own("expectation_maximization", "expectation maximisation"),
    "bayesian": _own("bayesian", "Bayesian, delay and smoothness integrated out"),
    "vascular_model": _own("vascular_model", "gamma-distributed transit times, with CTH and OEFmax"),
    "box_nlr": _own("box_nlr", "box-shaped residue, nonlinear regression"),
    "max_slope": _own("max_slope", "maximum slope, no deconvolution"),
}
"""Name in ``ctp_torch.ops`` and on the command line to its facts."""
