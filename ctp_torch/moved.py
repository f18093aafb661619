"""Modules under their names of 0.1: they still import, with a warning that names the new place, for one release."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType

__all__ = ["MOVED", "MovedModules"]

MOVED = {
    "calibration": "lesions.calibration",
    "curves": "data.curves",
    "evaluate": "learning.evaluate",
    "geometry": "data.geometry",
    "lesion": "lesions.find",
    "maps": "data.maps",
    "models.kernel_ridge": "models.kernel.kernel_ridge",
    "models.random_forest": "models.forest.random_forest",
    "prepared": "learning.prepared",
    "recipe": "pipeline.recipe",
    "sampling": "learning.sampling",
    "series": "data.series",
    "slices": "data.slabs",
    "survey": "lesions.survey",
    "thresholds": "lesions.thresholds",
    "training": "learning.training",
}
"""Old name to new, both below ``ctp_torch``."""


class MovedModules(MetaPathFinder, Loader):
    """Imports a module that moved from where it is now."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """A specification for the old names of this package alone."""
        return spec_from_loader(fullname, self) if fullname.removeprefix("ctp_torch.") in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        """Puts the module of the new place where the old name is looked up."""
        place = f"ctp_torch.{MOVED[module.__name__.removeprefix('ctp_torch.')]}"
        warnings.warn(f"{module.__name__} is now {place}; the old name goes with 0.3", DeprecationWarning, stacklevel=2)
        sys.modules[module.__name__] = import_module(place)
