"""Test patients for the page's viewer: the scan with the maps of teacher, students and truth, and their lesions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ctp_torch import ops, pipeline
from ctp_torch.data.maps import PerfusionMaps
from ctp_torch.errors import NoNormalTissueError
from ctp_torch.lesions.belonging import VOLUMES, MapsOrigin, shipped_thresholds
from ctp_torch.lesions.find import Lesions, find_lesions
from ctp_torch.lesions.thresholds import Thresholds
from ctp_torch.phantom.cohort import MAPS
from ctp_torch.report.tables import MODEL_LABELS
from ctp_torch.report.viewer.payload import PatientView, patient_view
from ctp_torch.study.design.patients import load_patient
from ctp_torch.study.design.plan import CALIBRATION
from ctp_torch.study.work.lesions import physical_maps
from ctp_torch.study.work.models import load_prediction, prediction_file

if TYPE_CHECKING:
    from ctp_torch.study.engine.running import StudyResults

__all__ = ["views"]

_SHOWN = ("krr", "rf")
_LIMIT_MB = 7.0


def views(folder: Path, results: StudyResults, names: Iterable[str]) -> list[PatientView]:
    """What the viewer shows of test patients; scanned again, since steps keep no series.

    Parameters
    ----------
    folder
        of all steps
    results
        of the run
    names
        test patients
    """
    return [_view(folder, results, name) for name in names if f"patients/test/{name}" in results.results]


def _view(folder: Path, results: StudyResults, name: str) -> PatientView:
    """One patient."""
    patient, context = load_patient(folder, name, "test")
    series = results.study.source.scan(name).series
    scan = pipeline.prepare(series, slab_mm=0.0)
    indices = {"cSVD (teacher)": patient.targets}
    indices |= {MODEL_LABELS[model]: load_prediction(folder, model, patient) for model in _SHOWN
                if prediction_file(folder, model, name).is_file()}  # fmt: skip
    sets = {label: physical_maps(volumes, patient.brain, context) for label, volumes in indices.items()}
    lesions: dict[str, Lesions] = {}
    limits = _limits(results, patient.brain.shape[1])
    for label, maps in sets.items():
        try:
            lesions[label] = find_lesions(maps, baseline=context.baseline, thresholds=limits)
        except NoNormalTissueError:
            continue  # this set of maps shows no lesion
    if context.truth is not None:
        true = dict(zip(MAPS, context.truth.maps, strict=True))
        sets["truth"] = PerfusionMaps(true, patient.brain, context.geometry)
    return patient_view(
        name=f"Test patient {name}",
        series=scan.series,
        maps=sets,
        lesions=lesions,
        anatomy=scan.anatomy,
        motion=None if scan.motion is None else ops.patient_axes(scan.motion, series.geometry.direction),
        quality=scan.quality,
        limit_mb=_LIMIT_MB,
    )


def _limits(results: StudyResults, matrix: int) -> Thresholds | None:
    """Those calibrated on the training patients, else those shipped for such maps; conventional where neither is."""
    origin = MapsOrigin("csvd", "inside", pipeline.SMOOTHINGS["inside"], matrix, VOLUMES[False])
    if calibrated := results.results.get(CALIBRATION):
        return Thresholds(**calibrated, method=origin.method, smoothing=origin.smoothing, width_mm=origin.width_mm)
    return shipped_thresholds(origin)[0]
