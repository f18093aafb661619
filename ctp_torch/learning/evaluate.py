"""Predicted maps against the teacher's: SSIM, error and correlation of every slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.data.scale import ColorScale
from ctp_torch.errors import ModelMismatchError, check_type
from ctp_torch.learning.prepared import PreparedPatient
from ctp_torch.learning.scoring import SCORES, score_maps
from ctp_torch.learning.training import draw
from ctp_torch.models.base import Regressor, r2_score
from ctp_torch.pipeline.recipe import Recipe

__all__ = [
    "PointScores",
    "SliceScore",
    "predict_indices",
    "score_patient",
    "score_points",
]


class SliceScore(NamedTuple):
    """One slice of one predicted map; the fields are the columns of scores.csv."""

    patient: str
    slice: int
    split: str
    map: str
    model: str
    filter_px: float
    ssim_frame: float
    """Mean SSIM of the whole image of indices: the paper's number."""
    ssim_brain: float
    """Mean of the SSIM map over the brain, eroded by 3 pixels."""
    mae: float
    """Mean absolute error in the brain, in the unit of the map."""
    r: float
    """Pearson correlation in the brain."""


class PointScores(NamedTuple):
    """Pointwise scores on the sampled test pixels, which SSIM has no meaning for."""

    r2: dict[tuple[str, str], float]
    """(model, map) to R2."""
    rmse: dict[tuple[str, str], float]
    """(model, map) to root mean square error [index levels]."""
    pixels: dict[str, Tensor]
    """Patient to the flat indices drawn."""


def predict_indices(
    patient: PreparedPatient, model: Regressor, ranges: Mapping[str, tuple[float, float]] | None = None
) -> dict[str, Tensor]:
    """Unrounded colour indices ``(z, y, x)`` for each map of a model, 0 outside the brain.

    A model of physical values is shown over ``ranges``, its own display ranges when None.
    """
    recipe = Recipe.of(model)
    if recipe.view != patient.view:
        raise ModelMismatchError(
            f"the model sees {recipe.view.key}, {patient.name} was prepared as {patient.view.key}; prepare it by the "
            "model's recipe"
        )
    recipe.check(patient.curves.shape[1], patient.dt)
    try:
        recipe.check_scan(patient.facts)
    except ModelMismatchError as error:
        raise ModelMismatchError(f"{patient.name}: {error}") from error
    values = _indices(model, recipe, patient.curves, ranges)  # (voxels, maps)
    volumes = {}
    for i, name in enumerate(recipe.targets):
        volume = values.new_zeros(patient.brain.shape)
        volume[patient.brain] = values[:, i]
        volumes[name] = volume
    return volumes


def _indices(
    model: Regressor, recipe: Recipe, features: Tensor, ranges: Mapping[str, tuple[float, float]] | None
) -> Tensor:
    """Unrounded indices ``(voxels, maps)`` on the CPU, of whatever the model gives."""
    outputs = model.predict(recipe.scale(features.to(model.device)))
    if recipe.units == "display":
        return outputs.clamp(0, 255).cpu()
    ends = ranges or recipe.display
    named = recipe.values(outputs).items()
    return torch.stack([ColorScale(*ends[name]).index(values) for name, values in named], dim=1).cpu()


def score_patient(
    patient: PreparedPatient,
    models: Mapping[str, Regressor],
    filters_px: Sequence[float] = (0.0,),
    *,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> list[SliceScore]:
    """Scores of every slice, map, model and filter width of one patient.

    Parameters
    ----------
    patient
        prepared; its targets must hold the maps of the models
    models
        name to model
    filters_px
        standard deviations [pixels], the same for every model
    ranges
        of the colours of the targets, for models of physical values; their own display ranges when None
    """
    check_type(patient, PreparedPatient, "score_patient: patient", "ctp_torch.learning.prepared.prepare makes one")
    check_type(models, Mapping, "score_patient: models", "a dictionary of names and models")
    rows = []
    for name, model in models.items():
        shown = {**Recipe.of(model).display, **(ranges or {})}
        for quantity, prediction in predict_indices(patient, model, shown).items():
            target = patient.targets[patient.quantities.index(quantity)]
            unit_per_level = (shown[quantity][1] - shown[quantity][0]) / 255
            for width in filters_px:
                scores = score_maps(prediction, target, patient.brain, patient.head, filter_px=width)
                for z in range(target.shape[0]):
                    frame, inside, mae, r = (float(scores[k][z]) for k in SCORES)
                    where = (patient.name, z, patient.split, quantity, name, float(width))
                    rows.append(SliceScore(*where, frame, inside, mae * unit_per_level, r))
    return rows


def score_points(
    files: Sequence[Path],
    models: Mapping[str, Regressor],
    n_samples: int,
    *,
    seed: int = 0,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> PointScores:
    """R2 and RMSE on pixels drawn evenly over the test patients (fewer than asked for when they hold fewer).

    Parameters
    ----------
    files
        prepared test patients
    models
        name to model
    n_samples
        the paper draws 10,000 over 8 patients
    seed
        of the draw
    ranges
        as for `score_patient`
    """
    patients = [PreparedPatient.load(file) for file in files]
    available = sum(int(patient.valid.sum()) for patient in patients)
    data = draw(files, min(n_samples, available), seed=seed)
    quantities = patients[0].quantities
    r2, rmse = {}, {}
    for name, model in models.items():
        recipe = Recipe.of(model)
        predicted = _indices(model, recipe, data.curves, ranges)
        truth = data.targets[:, [quantities.index(quantity) for quantity in recipe.targets]]
        fit, error = r2_score(predicted, truth), (predicted - truth).square().mean(dim=0).sqrt()
        for i, quantity in enumerate(recipe.targets):
            r2[name, quantity], rmse[name, quantity] = float(fit[i]), float(error[i])
    return PointScores(r2, rmse, data.pixels)
