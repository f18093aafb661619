"""Predictors that know little: how much of a score is anatomy, one number of the curve, or nothing at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ctp_torch import ops
from ctp_torch.learning.prepared import PreparedPatient
from ctp_torch.learning.training import paper_model
from ctp_torch.models import RandomForest
from ctp_torch.models.base import Regressor
from ctp_torch.study.design.patients import PatientContext, load_patient
from ctp_torch.study.design.rows import ScoreRow
from ctp_torch.study.work.models import Pool, Scored, load_pool, score_predictions, score_values

__all__ = ["FLOORS", "one_number", "score_floor", "score_subtracted", "score_teachers", "without_baseline"]

FLOORS = {
    "constant": "one constant",
    "tissue": "one constant per tissue (true labels)",
    "baseline": "HU before contrast alone",
    "peak": "peak enhancement alone",
}
"""Name to what it knows."""

_LEAF = 25
"""Samples in a leaf of the forests on one number: a smooth conditional mean."""

Predict = Callable[[PreparedPatient, PatientContext], Tensor]


def score_floor(
    folder: Path, *, name: str, size: int, names: Sequence[str], scored: Scored, **_: Any
) -> list[ScoreRow]:
    """Rows of scores of a floor, learned from the same pixels as the models of the first seed."""
    pool = load_pool(folder, 0).first(size)
    predict: Predict
    if name == "constant":
        mean = pool.targets.mean(dim=0)

        def predict(patient: PreparedPatient, _: PatientContext) -> Tensor:
            return mean.expand(len(patient.curves), -1)

    elif name == "tissue":
        people = [*((one, "train") for one in names), *((one, "test") for one in scored.test)]
        if any(load_patient(folder, *person)[1].truth is None for person in people):
            return []
        table = _tissue_means(folder, pool, names)

        def predict(patient: PreparedPatient, context: PatientContext) -> Tensor:
            return table[_tissue(context)[patient.brain]]

    else:
        predict = _learned(folder, RandomForest(30, min_samples_leaf=_LEAF), pool, names,
                           lambda curves, n: one_number(curves, name, n)[:, None])  # fmt: skip
    return _score_tests(folder, f"floor_{name}", predict, scored, size)


def score_subtracted(
    folder: Path, *, name: str, size: int, names: Sequence[str], scored: Scored, **_: Any
) -> list[ScoreRow]:
    """Rows of scores of a model that sees curves without their baseline: haemodynamics without anatomy."""
    predict = _learned(folder, paper_model(name), load_pool(folder, 0).first(size), names, without_baseline)
    return _score_tests(folder, f"subtracted_{name}", predict, scored, size)


def score_teachers(folder: Path, *, scored: Scored, **_: Any) -> list[ScoreRow]:
    """Rows of scores of other deconvolutions of the same scans against the teacher: the ceiling."""
    rows = []
    for name in scored.test:
        patient, context = load_patient(folder, name, "test")
        for teacher, indices in context.teachers.items():
            values = indices.clamp_min(0).float()[:, patient.brain].T
            rows += score_values((f"teacher_{teacher}", 0, 0), values, patient, scored.widths)
    return rows


def one_number(curves: Tensor, name: str, n_baseline: int) -> Tensor:
    """The one feature ``(voxels,)`` of curves ``(voxels, time)`` in 0..1: baseline, or peak enhancement."""
    baseline = curves[:, :n_baseline].mean(dim=1)
    if name == "baseline":
        return baseline
    return ops.smooth_in_time(curves.T).amax(dim=0) - baseline


def without_baseline(curves: Tensor, n_baseline: int) -> Tensor:
    """Curves less their mean before contrast."""
    return curves - curves[:, :n_baseline].mean(dim=1, keepdim=True)


def _score_tests(folder: Path, name: str, predict: Predict, scored: Scored, size: int) -> list[ScoreRow]:
    """Rows of the test patients."""
    people = [(patient, "test") for patient in scored.test]

    def of_size(patient: PreparedPatient, context: PatientContext) -> Mapping[int, Tensor]:
        return {size: predict(patient, context)}

    return score_predictions(folder, (name, 0), of_size, people, scored, largest=size)


def _learned(
    folder: Path, model: Regressor, pool: Pool, names: Sequence[str], change: Callable[[Tensor, int], Tensor]
) -> Predict:
    """The prediction of a model fitted to changed curves; the change needs the number of frames before contrast."""
    order = pool.patient.argsort(stable=True)
    parts = [change(pool.curves[pool.patient == i], _baseline_frames(folder, "train", name))
             for i, name in enumerate(names)]  # fmt: skip
    features = torch.cat(parts)[order.argsort()]  # back in the order of the pool
    model.fit(features, pool.targets)

    def predict(patient: PreparedPatient, _: PatientContext) -> Tensor:
        values: Tensor = model.predict(change(patient.curves, _baseline_frames(folder, "test", patient.name)))
        return values

    return predict


def _baseline_frames(folder: Path, split: str, name: str) -> int:
    """Frames before contrast of a prepared patient."""
    record = json.loads((folder / "patients" / split / f"{name}.json").read_text(encoding="utf-8"))
    return int(record["result"]["baseline_frames"])


def _tissue_means(folder: Path, pool: Pool, names: Sequence[str]) -> Tensor:
    """Mean targets ``(256, maps)`` by tissue; of tissues that no sample has, the mean of all."""
    label = torch.empty(len(pool.patient), dtype=torch.int64)
    for i, name in enumerate(names):
        rows = pool.patient == i
        label[rows] = _tissue(load_patient(folder, name, "train")[1]).flatten()[pool.pixel[rows]]
    table = pool.targets.mean(dim=0).repeat(256, 1)
    for tissue in label.unique().tolist():
        table[tissue] = pool.targets[label == tissue].mean(dim=0)
    return table


def _tissue(context: PatientContext) -> Tensor:
    """True labels ``(z, y, x)``, to index with."""
    assert context.truth is not None  # asked for before
    return context.truth.labels.long()
