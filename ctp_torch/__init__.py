"""CT perfusion of the brain in PyTorch: from raw time curves to CBF, CBV, MTT and Tmax.

Importing this package imports no torch: every name below is fetched when it is first used.

Examples
--------
>>> import ctp_torch
>>> analysis = ctp_torch.analyse("DICOM_FOLDER")  # doctest: +SKIP
>>> analysis.maps["cbf"]  # (z, y, x) in mL/100 g/min  # doctest: +SKIP
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from ctp_torch.moved import MovedModules

if TYPE_CHECKING:
    from ctp_torch.data.curves import TissueCurves as TissueCurves
    from ctp_torch.data.geometry import Geometry as Geometry
    from ctp_torch.data.maps import QUANTITIES as QUANTITIES
    from ctp_torch.data.maps import PerfusionMaps as PerfusionMaps
    from ctp_torch.data.series import CTPSeries as CTPSeries
    from ctp_torch.data.slabs import slabs as slabs
    from ctp_torch.errors import CTPError as CTPError
    from ctp_torch.io import from_nibabel as from_nibabel
    from ctp_torch.io import from_numpy as from_numpy
    from ctp_torch.io import from_sitk as from_sitk
    from ctp_torch.io import read_cohort as read_cohort
    from ctp_torch.io import to_monai as to_monai
    from ctp_torch.io import to_nibabel as to_nibabel
    from ctp_torch.io import to_sitk as to_sitk
    from ctp_torch.io import to_torchio as to_torchio
    from ctp_torch.io import write_maps as write_maps
    from ctp_torch.io.read_series import open_series as open_series
    from ctp_torch.io.read_series import read_series as read_series
    from ctp_torch.learning.datasets import Curves as Curves
    from ctp_torch.learning.datasets import Scans as Scans
    from ctp_torch.learning.evaluate import score_patient as score_patient
    from ctp_torch.learning.sampling import sample_pixels as sample_pixels
    from ctp_torch.learning.scoring import score_maps as score_maps
    from ctp_torch.lesions.find import find_lesions as find_lesions
    from ctp_torch.lesions.thresholds import read_thresholds as read_thresholds
    from ctp_torch.models.load import load_model as load_model
    from ctp_torch.pipeline.analysis import Analysis as Analysis
    from ctp_torch.pipeline.analysis import MapSettings as MapSettings
    from ctp_torch.pipeline.analysis import analyse as analyse
    from ctp_torch.pipeline.deconvolve import deconvolve as deconvolve
    from ctp_torch.pipeline.predict import features as features
    from ctp_torch.pipeline.predict import predict as predict
    from ctp_torch.pipeline.recipe import Recipe as Recipe
    from ctp_torch.pipeline.scan import Scan as Scan
    from ctp_torch.pipeline.scan import prepare as prepare
    from ctp_torch.pipeline.scan import preprocess as preprocess
    from ctp_torch.quality import assess as assess
    from ctp_torch.report.analysis import write_analysis as write_analysis

__version__ = version("ctp-torch")
sys.meta_path.append(MovedModules())

_HOMES = {
    "Analysis": "pipeline.analysis",
    "CTPError": "errors",
    "CTPSeries": "data.series",
    "Curves": "learning.datasets",
    "Geometry": "data.geometry",
    "MapSettings": "pipeline.analysis",
    "PerfusionMaps": "data.maps",
    "QUANTITIES": "data.maps",
    "Recipe": "pipeline.recipe",
    "Scan": "pipeline.scan",
    "Scans": "learning.datasets",
    "TissueCurves": "data.curves",
    "analyse": "pipeline.analysis",
    "assess": "quality",
    "deconvolve": "pipeline",
    "features": "pipeline",
    "find_lesions": "lesions.find",
    "from_nibabel": "io",
    "from_numpy": "io",
    "from_sitk": "io",
    "load_model": "models.load",
    "open_series": "io",
    "predict": "pipeline",
    "prepare": "pipeline",
    "preprocess": "pipeline",
    "read_cohort": "io",
    "read_series": "io",
    "read_thresholds": "lesions.thresholds",
    "sample_pixels": "learning.sampling",
    "score_maps": "learning.scoring",
    "score_patient": "learning.evaluate",
    "slabs": "data.slabs",
    "to_monai": "io",
    "to_nibabel": "io",
    "to_sitk": "io",
    "to_torchio": "io",
    "write_analysis": "report.analysis",
    "write_maps": "io",
}

__all__ = [
    "QUANTITIES",
    "Analysis",
    "CTPError",
    "CTPSeries",
    "Curves",
    "Geometry",
    "MapSettings",
    "PerfusionMaps",
    "Recipe",
    "Scan",
    "Scans",
    "TissueCurves",
    "__version__",
    "analyse",
    "assess",
    "deconvolve",
    "features",
    "find_lesions",
    "from_nibabel",
    "from_numpy",
    "from_sitk",
    "load_model",
    "models",
    "open_series",
    "ops",
    "predict",
    "prepare",
    "preprocess",
    "read_cohort",
    "read_series",
    "read_thresholds",
    "sample_pixels",
    "score_maps",
    "score_patient",
    "slabs",
    "to_monai",
    "to_nibabel",
    "to_sitk",
    "to_torchio",
    "write_analysis",
    "write_maps",
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
