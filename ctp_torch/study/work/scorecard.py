"""Teacher, students and truth against each other, in the brain, its tissue and the lesion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from ctp_torch.data.maps import QUANTITIES
from ctp_torch.learning.scoring import measure_inside, reference_of
from ctp_torch.phantom.cohort import MAPS
from ctp_torch.phantom.patient import LABELS
from ctp_torch.study.design.patients import index_of, load_patient
from ctp_torch.study.design.rows import ReferenceRow, six_digits
from ctp_torch.study.design.sources import Truth
from ctp_torch.study.work.floors import FLOORS
from ctp_torch.study.work.models import MODELS, load_prediction, prediction_file
from ctp_torch.study.work.students import STUDENTS

__all__ = ["compare", "regions", "score_card", "true_indices"]

Kind = TypeVar("Kind")
_GREY = LABELS.index("grey")
_TISSUE = tuple(LABELS.index(name) for name in ("grey", "white", "old infarct"))


def score_card(folder: Path, *, name: str, widths: Sequence[float], **_: Any) -> list[ReferenceRow]:
    """Rows of one test patient: students and other teachers against the teacher, and everybody against the truth."""
    patient, context = load_patient(folder, name, "test")
    predictors = [*MODELS, *STUDENTS, *(f"floor_{floor}" for floor in FLOORS)]
    students = {one: load_prediction(folder, one, patient).float() for one in predictors
                if one in MODELS or prediction_file(folder, one, name).is_file()}  # fmt: skip
    others = {f"teacher_{one}": values.clamp_min(0).float() for one, values in context.teachers.items()}
    masks = (patient.brain, patient.head, regions(patient.brain, context.truth))
    against_teacher = partial(ReferenceRow, "teacher", name)
    rows = compare({**students, **others}, patient.targets, *masks, widths=widths, row=against_teacher)
    if context.truth is not None:
        predictions = {"teacher": patient.targets.clamp_min(0).float(), **others, **students}
        against_truth = partial(ReferenceRow, "truth", name)
        rows += compare(predictions, true_indices(context.truth), *masks, widths=widths, row=against_truth)
    return rows


def compare(
    predictions: Mapping[str, Tensor], reference: Tensor, brain: Tensor, head: Tensor, masks: Mapping[str, Tensor],
    *, widths: Sequence[float], row: Callable[..., Kind],
) -> list[Kind]:  # fmt: skip
    """Rows of every prediction against reference indices, in each region.

    Parameters
    ----------
    predictions
        name to ``(maps, z, y, x)`` colour indices
    reference
        ``(maps, z, y, x)`` indices; negative ones count as 0
    brain, head
        ``(z, y, x)`` bool, from the CT
    masks
        region to ``(z, y, x)`` bool, as from `regions`
    widths
        Gaussians [pixels] on the predictions
    row
        makes a row of predictor, width, region, map and scores
    """
    prepared = reference_of(reference, brain, head)
    rows = []
    for name, volumes in predictions.items():
        inside = torch.where(brain, volumes.clamp_min(0).float(), 0.0)
        for width in widths:
            scores = measure_inside(prepared, inside, list(masks.values()), filter_px=width)  # (masks, maps, 3)
            for region, part in zip(masks, scores.tolist(), strict=True):
                for quantity, (ssim, mae, r) in zip(MAPS, part, strict=True):
                    low, high = QUANTITIES[quantity].display
                    numbers = map(six_digits, (ssim, mae * (high - low) / 255, r))
                    rows.append(row(name, width, region, quantity, *numbers))
    return rows


def true_indices(truth: Truth) -> Tensor:
    """Unrounded colour indices ``(maps, z, y, x)`` of the true maps."""
    return torch.stack([index_of(values, name) for values, name in zip(truth.maps, MAPS, strict=True)])


def regions(brain: Tensor, truth: Truth | None) -> dict[str, Tensor]:
    """The brain; with a truth also its tissue without fluid and large vessels, and the lesion (core and penumbra)."""
    masks = {"brain": brain}
    if truth is not None:
        masks["grey"] = brain & (truth.labels == _GREY)
        masks["tissue"] = brain & torch.isin(truth.labels, torch.tensor(_TISSUE, dtype=truth.labels.dtype))
        lesion = brain & (truth.core | truth.penumbra)
        if bool(lesion.any()):
            masks["lesion"] = lesion
    return masks
