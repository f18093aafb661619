"""Test patients for the page's viewer: the scan with the maps of teacher, students and truth, and their lesions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ctp_torch import ops, pipeline
from ctp_torch.data.maps import PerfusionMaps
from ctp_torch.errors import NoNormalTissueError
from ctp_torch.lesions.find import Lesions, find_lesions
from ctp_torch.phantom.cohort import MAPS
from ctp_torch.quality import assess
from ctp_torch.report.tables import MODEL_LABELS
from ctp_torch.report.viewer.payload import PatientView, patient_view
from ctp_torch.study.design.patients import load_patient
from ctp_torch.study.work.lesions import physical
from ctp_torch.study.work.models import load_prediction, spread_out

if TYPE_CHECKING:
    from ctp_torch.study.engine.running import Findings

__all__ = ["views"]

_SHOWN = ("krr", "rf")
_LIMIT_MB = 7.0


def views(folder: Path, found: Findings, names: Iterable[str]) -> list[PatientView]:
    """What the viewer shows of test patients; scanned again, since steps keep no series.

    Parameters
    ----------
    folder
        of all steps
    found
        of the run
    names
        test patients
    """
    return [_view(folder, found, name) for name in names if f"patients/test/{name}" in found.results]


def _view(folder: Path, found: Findings, name: str) -> PatientView:
    """One patient."""
    ready, around = load_patient(folder, name, "test")
    series = found.study.source.scan(name).series
    motion = pipeline.estimate_motion(series, ops.register_rigid)
    aligned = pipeline.align(series, motion)
    anatomy = pipeline.locate(aligned)
    sets: dict[str, PerfusionMaps] = {
        "cSVD (teacher)": physical(ready.targets.clamp_min(0).float(), ready.brain, around)
    }
    for model in _SHOWN:
        if (folder / "predictions" / model / f"{name}.safetensors").is_file():
            indices = spread_out(load_prediction(folder, model, name), ready.brain)
            sets[MODEL_LABELS[model]] = physical(indices, ready.brain, around)
    lesions: dict[str, Lesions] = {}
    for label, maps in sets.items():
        try:
            lesions[label] = find_lesions(maps, baseline=around.baseline)
        except NoNormalTissueError:
            continue  # this set of maps shows no lesion
    if around.truth is not None:
        true = dict(zip(MAPS, around.truth, strict=True))
        sets["truth"] = PerfusionMaps(true, ready.brain, around.geometry)
    return patient_view(
        name=f"Test patient {name}",
        series=aligned,
        maps=sets,
        lesions=lesions,
        anatomy=anatomy,
        motion=ops.patient_axes(motion, series.geometry.direction),
        quality=assess(aligned, motion, anatomy=anatomy),
        limit_mb=_LIMIT_MB,
    )
