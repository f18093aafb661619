"""The one place where the name of a deconvolution becomes its function."""

from __future__ import annotations

from ctp_torch import ops
from ctp_torch.pipeline.deconvolve import Method
from ctp_torch.pipeline.per_scan import per_scan

__all__ = ["method_of"]


def method_of(name: str) -> Method:
    """The function of a method in ``METHODS``."""
    if name == "per_scan":
        return per_scan
    method: Method = getattr(ops, name)
    return method
