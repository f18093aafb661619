"""Predictors that know little: how much of a score is anatomy, one number of the curve, or nothing at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ctp_torch import ops
from ctp_torch.models import RandomForest
from ctp_torch.study.design.patients import load_patient
from ctp_torch.study.work.models import Pool, Scored, keep_prediction, load_pool, made, score_values

__all__ = ["FLOORS", "one_number", "score_floor", "score_subtracted", "score_teachers"]

FLOORS = {
    "constant": "one constant",
    "tissue": "one constant per tissue (true labels)",
    "baseline": "HU before contrast alone",
    "peak": "peak enhancement alone",
}
"""Name to what it knows."""

_LEAF = 25
"""Samples in a leaf of the forests on one number: a smooth conditional mean."""


def score_floor(
    folder: Path, *, name: str, size: int, names: Sequence[str], scored: Scored, **_: Any
) -> list[list[Any]]:
    """Rows of scores of a floor, learned from the same pixels as the models of the first seed.

    Parameters
    ----------
    folder
        of all steps
    name
        one of ``FLOORS``; ``tissue`` has no rows where tissues aren't known
    size
        training pixels
    names
        training patients
    scored
        who is scored
    """
    pool = load_pool(folder, 0)
    pool = Pool(*(values[:size] for values in pool))
    if name == "tissue" and load_patient(folder, names[0], "train")[1].labels is None:
        return []
    if name in ("constant", "tissue"):
        knows, wanted = _constants(folder, pool, names, per_tissue=name == "tissue"), None
    else:
        n_before = torch.tensor([baseline_frames(folder, "train", one) for one in names])
        feature = torch.empty(len(pool.curves), 1)
        for patient, n in enumerate(n_before.tolist()):
            rows = pool.patient == patient
            feature[rows, 0] = one_number(pool.curves[rows], name, n)
        knows, wanted = None, RandomForest(30, min_samples_leaf=_LEAF).fit(feature, pool.targets)
    found = []
    for one in scored.test:
        ready, around = load_patient(folder, one, "test")
        if wanted is not None:
            number = one_number(ready.curves, name, baseline_frames(folder, "test", one))
            values = wanted.predict(number[:, None])
        elif knows is not None:
            label = torch.zeros(len(ready.curves), dtype=torch.int64)
            if name == "tissue" and around.labels is not None:
                label = around.labels[ready.brain].long()
            values = knows[label]
        keep_prediction(folder, f"floor_{name}", one, values)
        found += score_values(folder, (f"floor_{name}", 0, size), values, (one, "test"), scored.widths)
    return found


def score_subtracted(
    folder: Path, *, name: str, size: int, names: Sequence[str], scored: Scored, **_: Any
) -> list[list[Any]]:
    """Rows of scores of a model that sees curves without their baseline: haemodynamics without anatomy.

    Parameters
    ----------
    folder, size, names, scored
        as in `score_floor`
    name
        of the model
    """
    pool = load_pool(folder, 0)
    curves, targets, patient = pool.curves[:size], pool.targets[:size], pool.patient[:size]
    subtracted = torch.empty_like(curves)
    for i, one in enumerate(names):
        rows = patient == i
        subtracted[rows] = without_baseline(curves[rows], baseline_frames(folder, "train", one))
    model = made(name, 0).fit(subtracted, targets)
    found = []
    for one in scored.test:
        ready, _around = load_patient(folder, one, "test")
        values = model.predict(without_baseline(ready.curves, baseline_frames(folder, "test", one)))
        keep_prediction(folder, f"subtracted_{name}", one, values)
        found += score_values(folder, (f"subtracted_{name}", 0, size), values, (one, "test"), scored.widths)
    return found


def score_teachers(folder: Path, *, scored: Scored, **_: Any) -> list[list[Any]]:
    """Rows of scores of other deconvolutions of the same scans against the teacher: the ceiling."""
    found = []
    for patient in scored.test:
        ready, around = load_patient(folder, patient, "test")
        for name, indices in around.teachers.items():
            values = indices.clamp_min(0).float()[:, ready.brain].T
            found += score_values(folder, (f"teacher_{name}", 0, 0), values, (patient, "test"), scored.widths)
    return found


def one_number(curves: Tensor, name: str, n_baseline: int) -> Tensor:
    """The one feature ``(voxels,)`` of curves ``(voxels, time)`` in 0..1: baseline, or peak enhancement."""
    baseline = curves[:, :n_baseline].mean(dim=1)
    if name == "baseline":
        return baseline
    return ops.smooth_in_time(curves.T).amax(dim=0) - baseline


def without_baseline(curves: Tensor, n_baseline: int) -> Tensor:
    """Curves less their mean before contrast."""
    return curves - curves[:, :n_baseline].mean(dim=1, keepdim=True)


def baseline_frames(folder: Path, split: str, name: str) -> int:
    """Frames before contrast of a prepared patient."""
    told = json.loads((folder / "patients" / split / f"{name}.json").read_text(encoding="utf-8"))
    return int(told["result"]["baseline_frames"])


def _constants(folder: Path, pool: Pool, names: Sequence[str], *, per_tissue: bool) -> Tensor:
    """Mean targets ``(tissues, maps)``; of tissues that no sample has, the mean of all."""
    mean = pool.targets.mean(dim=0)
    if not per_tissue:
        return mean[None]
    label = torch.empty(len(pool.patient), dtype=torch.int64)
    for i, name in enumerate(names):
        rows = pool.patient == i
        labels = load_patient(folder, name, "train")[1].labels
        if labels is not None:
            label[rows] = labels.flatten()[pool.pixel[rows]].long()
    table = mean.repeat(256, 1)
    for tissue in label.unique().tolist():
        table[tissue] = pool.targets[label == tissue].mean(dim=0)
    return table
