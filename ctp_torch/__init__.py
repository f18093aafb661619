"""CT perfusion of the brain in PyTorch: from raw time curves to CBF, CBV, MTT and Tmax.

Importing this package imports no torch: every name below is fetched when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ctp_torch.curves import TissueCurves as TissueCurves
    from ctp_torch.errors import CTPError as CTPError
    from ctp_torch.geometry import Geometry as Geometry
    from ctp_torch.maps import QUANTITIES as QUANTITIES
    from ctp_torch.maps import PerfusionMaps as PerfusionMaps
    from ctp_torch.series import CTPSeries as CTPSeries

__version__ = version("ctp-torch")

_HOMES = {
    "CTPError": "errors",
    "CTPSeries": "series",
    "Geometry": "geometry",
    "PerfusionMaps": "maps",
    "QUANTITIES": "maps",
    "TissueCurves": "curves",
}

__all__ = [
    "QUANTITIES",
    "CTPError",
    "CTPSeries",
    "Geometry",
    "PerfusionMaps",
    "TissueCurves",
    "__version__",
    "models",
    "ops",
]


def __getattr__(name: str) -> object:
    """The public name, imported on first use (PEP 562)."""
    if name in ("models", "ops"):
        return import_module(f"{__name__}.{name}")
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names."""
    return __all__
