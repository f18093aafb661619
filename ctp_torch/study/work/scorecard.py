"""One test patient's card: student against teacher, student against truth, teacher against truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ctp_torch.study.design.patients import load_patient
from ctp_torch.study.work.comparison import against, compare, regions
from ctp_torch.study.work.floors import FLOORS
from ctp_torch.study.work.models import MODELS, load_prediction, spread_out

__all__ = ["card"]


def card(folder: Path, *, name: str, widths: Sequence[float], **_: Any) -> list[list[Any]]:
    """Rows of one patient: what is compared with, then the columns of `ctp_torch.study.work.comparison.compare`.

    Parameters
    ----------
    folder
        of all steps
    name
        test patient
    widths
        Gaussians [pixels], the same for teacher, students and floors
    """
    ready, around = load_patient(folder, name, "test")
    truth = around.known
    teachers = {"teacher": ready.targets.clamp_min(0).float()}
    teachers |= {f"teacher_{label}": values.clamp_min(0).float() for label, values in around.teachers.items()}
    students = {model: _volumes(folder, model, name, ready.brain) for model in MODELS}
    for floor in (f"floor_{floor}" for floor in FLOORS):
        if (folder / "predictions" / floor / f"{name}.safetensors").is_file():  # not of the other cohort
            students[floor] = _volumes(folder, floor, name, ready.brain)
    masks = regions(ready.brain, truth)
    other = {label: values for label, values in teachers.items() if label != "teacher"}
    rows = [
        ["teacher", name, *row]
        for row in against({**students, **other}, ready.targets, ready.brain, ready.head, masks, widths=widths)
    ]
    if truth is not None:
        found = compare({**teachers, **students}, truth, ready.brain, ready.head, widths=widths)
        rows += [["truth", name, *row] for row in found]
    return rows


def _volumes(folder: Path, model: str, name: str, brain: Tensor) -> Tensor:
    """A kept prediction as volumes."""
    return spread_out(load_prediction(folder, model, name), brain).to(torch.float32)
