"""Students that see more than one raw curve: the artery, wider neighbourhoods, the truth, or no patient at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ctp_torch.learning.prepared import PreparedPatient
from ctp_torch.learning.training import TrainingSet, paper_model, recipe_for
from ctp_torch.models.base import Regressor
from ctp_torch.models.load import load_model
from ctp_torch.models.network.recurrent import Recurrent
from ctp_torch.phantom.cohort import MAPS
from ctp_torch.study.design.patients import PatientContext, index_of, load_patient
from ctp_torch.study.design.rows import ScoreRow
from ctp_torch.study.design.views import VIEWS, load_view
from ctp_torch.study.work.models import Pool, Scored, load_pool, score_predictions

__all__ = ["STUDENTS", "score_student"]


class Student(NamedTuple):
    """How a student learns."""

    words: str
    sees: str
    """A view, or maps (the teacher's at three widths), or hu (before contrast)."""
    make: Callable[[], Regressor]
    truth: bool = False
    """Whether it is taught the truth instead of the teacher."""


STUDENTS: Mapping[str, Student] = {
    "student_krr": Student("kernel ridge, arterial features at 2 mm", "arterial", lambda: paper_model("krr")),
    "student_krr_medians": Student(
        "kernel ridge, arterial features of 3 x 3 medians", "medians", lambda: paper_model("krr")
    ),
    "student_rf": Student("random forest, arterial features at 2 mm", "arterial", lambda: paper_model("rf")),
    "student_mlp": Student("network on residues at 2 mm", "residue", lambda: paper_model("mlp")),
    "student_gru": Student("GRU on arterial features", "arterial", lambda: Recurrent(cell="gru", steps=1500)),
    "student_lstm": Student("LSTM on arterial features", "arterial", lambda: Recurrent(cell="lstm", steps=1500)),
    "student_truth": Student(
        "kernel ridge, arterial features at 2 mm, taught the truth", "arterial", lambda: paper_model("krr"), truth=True
    ),
    "student_maps": Student(
        "the teacher's maps at three widths, network taught the truth", "maps", lambda: paper_model("mlp"), truth=True
    ),
    "student_hu": Student("HU before contrast, network taught the truth", "hu", lambda: paper_model("mlp"), truth=True),
    "student_physics": Student("physics student, no patient", "physics", lambda: load_model("physics")),
}
"""By the name that rows have."""


def score_student(
    folder: Path, *, name: str, size: int, names: Sequence[str], scored: Scored, **_: Any
) -> list[ScoreRow]:
    """Rows of scores of a student on the test patients; it learned from the pixels of the first seed."""
    student = STUDENTS[name]
    people = [(one, "test") for one in scored.test]
    if student.sees == "physics":
        return _score_physics(folder, name, size, people, scored)
    if student.truth and any(load_patient(folder, one, "train")[1].truth is None for one in names):
        return []
    pool = load_pool(folder, 0).first(size)
    features, targets = _training_set(folder, student, pool, names)
    view = VIEWS.get(student.sees)
    scale: Callable[[Tensor], Tensor] = _identity
    if view is not None:
        data = TrainingSet(features, targets, {}, float(pool.dt))
        scale = recipe_for(data, dict.fromkeys(MAPS, (0.0, 1.0)), view=view).scale
    model = student.make().fit(scale(features), targets)

    def predict(patient: PreparedPatient, _: PatientContext) -> Mapping[int, Tensor]:
        return {size: model.predict(scale(_known(folder, patient, student.sees)))}

    return score_predictions(folder, (name, 0), predict, people, scored, largest=size)


def _score_physics(
    folder: Path, name: str, size: int, people: Sequence[tuple[str, str]], scored: Scored
) -> list[ScoreRow]:
    """Rows of the physics student; scans that it refused have none, and stand in a table of their own."""

    def predict(patient: PreparedPatient, _: PatientContext) -> Mapping[int, Tensor]:
        values = load_view(folder, patient, "physics")
        return {} if values is None else {size: values}

    return score_predictions(folder, (name, 0), predict, people, scored, largest=size)


def _training_set(folder: Path, student: Student, pool: Pool, names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Features and targets of the pool's pixels."""
    features, targets = None, pool.targets.clone()
    for i, name in enumerate(names):
        rows = pool.patient == i
        patient, context = load_patient(folder, name, "train")
        row_of = patient.brain.flatten().cumsum(0) - 1  # flat index -> row of the brain's voxels
        seen = _known(folder, patient, student.sees)[row_of[pool.pixel[rows]]]
        features = seen.new_empty(len(pool.patient), seen.shape[1]) if features is None else features
        features[rows] = seen
        if student.truth and context.truth is not None:
            true = torch.stack([index_of(v, q) for v, q in zip(context.truth.maps, MAPS, strict=True)])
            targets[rows] = true.flatten(1)[:, pool.pixel[rows]].T.to(targets)
    assert features is not None  # a study trains on somebody
    return features, targets


def _known(folder: Path, patient: PreparedPatient, what: str) -> Tensor:
    """A view that every patient has."""
    values = load_view(folder, patient, what)
    assert values is not None  # all but the physics student see every scan
    return values


def _identity(values: Tensor) -> Tensor:
    """As they are: networks standardise by themselves."""
    return values
