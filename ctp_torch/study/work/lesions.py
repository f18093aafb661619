"""Core and penumbra that maps show, their volumes and overlap, against the teacher's and the truth's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ctp_torch.data.maps import QUANTITIES, PerfusionMaps
from ctp_torch.errors import CTPError, NoNormalTissueError
from ctp_torch.lesions.calibration import CalibrationCase, calibrate
from ctp_torch.lesions.find import Survey, delineate, survey
from ctp_torch.lesions.overlap import dice
from ctp_torch.lesions.thresholds import Thresholds
from ctp_torch.phantom.cohort import MAPS
from ctp_torch.study.design.patients import PatientContext, load_patient
from ctp_torch.study.design.rows import LesionRow
from ctp_torch.study.work.models import MODELS, load_prediction

__all__ = ["calibrate_teacher", "outline", "physical_maps"]


def calibrate_teacher(folder: Path, *, names: Sequence[str], **_: Any) -> dict[str, float]:
    """The thresholds with which the teacher's maps give the true volumes on the training patients."""
    cases = []
    for name in names:
        patient, context = load_patient(folder, name, "train")
        if (truth := context.truth) is None:
            return {}
        maps = physical_maps(patient.targets, patient.brain, context)
        surveyed = survey(maps, baseline=context.baseline)
        cases.append(CalibrationCase(name, surveyed, truth.core, truth.core | truth.penumbra))
    try:
        thresholds = calibrate(cases, method="csvd").thresholds
    except CTPError:
        return {}  # no training patient has a core
    return {name: value for name, value in asdict(thresholds).items() if isinstance(value, float)}


def outline(folder: Path, *, name: str, calibrated: dict[str, Any], **_: Any) -> list[LesionRow]:
    """Rows of one test patient: every set of maps, with the conventional and the calibrated thresholds."""
    patient, context = load_patient(folder, name, "test")
    sets = {"teacher": patient.targets, **{model: load_prediction(folder, model, patient) for model in MODELS}}
    surveys = {
        predictor: survey(physical_maps(indices, patient.brain, context), baseline=context.baseline)
        for predictor, indices in sets.items()
    }
    limits = {"conventional": Thresholds(), **({"calibrated": Thresholds(**calibrated)} if calibrated else {})}
    true = {} if context.truth is None else _named_parts(context.truth.core, context.truth.penumbra)
    ml = context.geometry.voxel_volume_ml
    rows = []
    for label, thresholds in limits.items():
        parts = {predictor: _parts(surveyed, thresholds) or {} for predictor, surveyed in surveys.items()}
        for predictor, masks in parts.items():
            for part, mask in masks.items():
                numbers = [int(mask.sum()) * ml]
                for other in (true.get(part), parts["teacher"].get(part)):
                    numbers += [float("nan")] * 2 if other is None else [int(other.sum()) * ml, dice(mask, other)]
                rows.append(LesionRow(name, predictor, label, part, *(round(number, 4) for number in numbers)))
    return rows


def physical_maps(indices: Tensor, brain: Tensor, context: PatientContext) -> PerfusionMaps:
    """Maps in physical units of colour indices ``(maps, z, y, x)``, as far as their colours tell."""
    values = {}
    for name, volume in zip(MAPS, indices.clamp_min(0).float(), strict=True):
        low, high = QUANTITIES[name].display
        values[name] = torch.where(brain, low + volume / 255 * (high - low), torch.zeros_like(volume))
    return PerfusionMaps(values, brain, context.geometry)


def _parts(surveyed: Survey, limits: Thresholds) -> dict[str, Tensor] | None:
    """Masks by part; None where no tissue is normal, so that nothing can be told."""
    try:
        lesions = delineate(surveyed, limits)
    except NoNormalTissueError:
        return None
    return _named_parts(lesions.core, lesions.penumbra)


def _named_parts(core: Tensor, penumbra: Tensor) -> dict[str, Tensor]:
    """Masks by the names of `LesionRow`."""
    return {"core": core, "penumbra": penumbra, "hypoperfusion": core | penumbra}
