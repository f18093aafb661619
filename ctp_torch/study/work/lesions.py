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
from ctp_torch.lesions.thresholds import Thresholds
from ctp_torch.phantom.cohort import MAPS
from ctp_torch.study.design.patients import Surroundings, load_patient
from ctp_torch.study.work.models import MODELS, load_prediction, spread_out

__all__ = ["COLUMNS", "calibrate_teacher", "dice", "outline", "physical"]

COLUMNS = ("patient", "predictor", "thresholds", "part", "volume_ml", "true_ml", "dice_truth", "teacher_ml",
           "dice_teacher")  # fmt: skip
"""Of `outline`; the parts are core, penumbra and hypoperfusion (both together)."""


def calibrate_teacher(folder: Path, *, names: Sequence[str], **_: Any) -> dict[str, float]:
    """The thresholds with which the teacher's maps give the true volumes on the training patients."""
    cases = []
    for name in names:
        ready, around = load_patient(folder, name, "train")
        if around.core is None or around.penumbra is None:
            return {}
        maps = physical(ready.targets.clamp_min(0).float(), ready.brain, around)
        cases.append(
            CalibrationCase(name, survey(maps, baseline=around.baseline), around.core, around.core | around.penumbra)
        )
    try:
        found = calibrate(cases, method="csvd").thresholds
    except CTPError:
        return {}  # no training patient has a core
    return {name: value for name, value in asdict(found).items() if isinstance(value, float)}


def outline(folder: Path, *, name: str, calibrated: dict[str, Any], **_: Any) -> list[list[Any]]:
    """Rows of one test patient: every set of maps, with the conventional thresholds and the teacher's calibrated ones.

    Parameters
    ----------
    folder
        of all steps
    name
        test patient
    calibrated
        from `calibrate_teacher`; empty when there are none
    """
    ready, around = load_patient(folder, name, "test")
    sets = {"teacher": ready.targets.clamp_min(0).float()}
    sets |= {model: spread_out(load_prediction(folder, model, name), ready.brain) for model in MODELS}
    limits = {"conventional": Thresholds()}
    if calibrated:
        limits["calibrated"] = Thresholds(**calibrated)
    found: dict[str, Survey] = {}
    for predictor, indices in sets.items():
        found[predictor] = survey(physical(indices, ready.brain, around), baseline=around.baseline)
    rows = []
    for label, chosen in limits.items():
        drawn = {predictor: _parts(one, chosen) for predictor, one in found.items()}
        for predictor, parts in drawn.items():
            for part, mask in (parts or {}).items():
                true, ml = _true(around, part), around.geometry.voxel_volume_ml
                taught = (drawn["teacher"] or {}).get(part)
                rows.append([name, predictor, label, part, *_volumes(mask, true, taught, ml)])
    return rows


def physical(indices: Tensor, brain: Tensor, around: Surroundings) -> PerfusionMaps:
    """Maps in physical units of colour indices ``(maps, z, y, x)``, as far as their colours tell."""
    values = {}
    for name, volume in zip(MAPS, indices, strict=True):
        low, high = QUANTITIES[name].display
        values[name] = torch.where(brain, low + volume / 255 * (high - low), torch.zeros_like(volume))
    return PerfusionMaps(values, brain, around.geometry)


def dice(first: Tensor, second: Tensor) -> float:
    """Twice the overlap over the sum of the sizes; NaN where both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 2.0 * int((first & second).sum()) / total if total else float("nan")


def _parts(found: Survey, limits: Thresholds) -> dict[str, Tensor] | None:
    """Masks by part; None where no tissue is normal, so that nothing can be told."""
    try:
        lesions = delineate(found, limits)
    except NoNormalTissueError:
        return None
    return {"core": lesions.core, "penumbra": lesions.penumbra, "hypoperfusion": lesions.hypoperfusion}


def _true(around: Surroundings, part: str) -> Tensor | None:
    """The true mask of a part, where it is known."""
    if around.core is None or around.penumbra is None:
        return None
    return {"core": around.core, "penumbra": around.penumbra, "hypoperfusion": around.core | around.penumbra}[part]


def _volumes(mask: Tensor, true: Tensor | None, taught: Tensor | None, ml: float) -> list[float]:
    """Volumes [mL] and Dice of a mask, in the order of ``COLUMNS``."""
    numbers = [int(mask.sum()) * ml]
    for other in (true, taught):
        numbers += [float("nan")] * 2 if other is None else [int(other.sum()) * ml, dice(mask, other)]
    return [round(value, 4) for value in numbers]
