"""How well a target is learned, told by patients left out: probabilities of a label, or values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ctp_torch.errors import CTPError
from ctp_torch.learning.prepared import PreparedPatient
from ctp_torch.learning.slices import draw_slices
from ctp_torch.learning.training import TrainingSet, draw

if TYPE_CHECKING:
    from ctp_torch.models.base import Regressor
    from ctp_torch.pipeline.recipe import Recipe

__all__ = ["FoldScore", "cross_validate", "is_label", "pick_threshold"]

_THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))


class FoldScore(NamedTuple):
    """How a patient is predicted by a model that hasn't seen them; NaN where a number has no meaning."""

    patient: str
    voxels: int
    mae: float
    """Mean absolute error, in the unit of the target."""
    r: float
    """Pearson correlation; NaN where either side is constant."""
    brier: float
    """Mean squared error of the probability of a label."""
    dice: float
    """Of a label and where its probability is above one half; NaN where neither is anywhere."""
    threshold: float
    """Chosen on the other patients, for the highest mean Dice."""
    dice_at_threshold: float
    volume_ml: float
    """Of the label."""
    predicted_ml: float
    """Where the probability is above the threshold."""


def is_label(targets: Tensor) -> bool:
    """Whether values are 0 and 1 alone, and both."""
    return set(targets.unique().tolist()) == {0.0, 1.0}


def cross_validate(
    files: Sequence[Path],
    unfitted: Callable[[], Regressor],
    recipe_of: Callable[[TrainingSet], Recipe],
    n_samples: int,
    *,
    n_folds: int = 5,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> list[FoldScore]:
    """Scores of every patient by a model that learned from the patients of the other folds.

    Parameters
    ----------
    files
        written by `ctp_torch.learning.training.prepare_all`, of one target
    unfitted
        makes a model
    recipe_of
        makes its recipe
    n_samples
        pixels to learn from, or all where there are fewer
    n_folds
        at most; never more than patients
    seed
        of the pixel draws
    device
        where to compute

    Raises
    ------
    CTPError
        if there are fewer than two patients
    """
    if len(files) < 2:
        raise CTPError("a target is tested on patients left out, which needs two or more; give more, or --folds 0")
    patients = [PreparedPatient.load(file) for file in files]
    values: dict[str, tuple[Tensor, Tensor]] = {}
    for fold in range(min(n_folds, len(files))):
        learned = [file for i, file in enumerate(files) if i % min(n_folds, len(files)) != fold]
        model = unfitted()
        if model.sees == "slices":
            data = draw_slices(learned)
        else:
            available = sum(int(PreparedPatient.load(file).valid.sum()) for file in learned)
            data = draw(learned, min(n_samples, available), seed=seed)
        recipe = recipe_of(data)
        model.fit(data.scaled(recipe).to(device), data.targets.to(device))
        for one in patients[fold :: min(n_folds, len(files))]:
            _, truth = one.sample(one.valid.flatten().nonzero().squeeze(1))
            outputs = one.answers(model, recipe)[one.valid[one.brain]]
            (prediction,) = recipe.values(outputs).values()
            values[one.name] = prediction, truth[:, 0]
    label = is_label(torch.cat([truth for _, truth in values.values()]))
    return [_scored(one, values, label=label) for one in patients]


def pick_threshold(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    """The threshold on probabilities that gives the highest Dice, averaged over patients ``(probability, label)``."""
    means = [_mean([_dice(p > threshold, y > 0.5) for p, y in pairs]) for threshold in _THRESHOLDS]
    return _THRESHOLDS[max(range(len(means)), key=lambda i: (means[i] == means[i], means[i]))]


def _scored(one: PreparedPatient, values: dict[str, tuple[Tensor, Tensor]], *, label: bool) -> FoldScore:
    """The scores of one patient, with a threshold that the others choose."""
    prediction, truth = (side.double() for side in values[one.name])
    error, nan = prediction - truth, float("nan")
    r = float(torch.corrcoef(torch.stack((prediction, truth)))[0, 1]) if len(truth) > 1 else nan
    if not label:
        return FoldScore(one.name, len(truth), float(error.abs().mean()), r, nan, nan, nan, nan, nan, nan)
    threshold = pick_threshold([pair for name, pair in values.items() if name != one.name])
    above, inside = prediction > threshold, truth > 0.5
    return FoldScore(
        patient=one.name,
        voxels=len(truth),
        mae=float(error.abs().mean()),
        r=r,
        brier=float(error.square().mean()),
        dice=_dice(prediction > 0.5, inside),
        threshold=threshold,
        dice_at_threshold=_dice(above, inside),
        volume_ml=int(inside.sum()) * one.voxel_ml,
        predicted_ml=int(above.sum()) * one.voxel_ml,
    )


def _dice(first: Tensor, second: Tensor) -> float:
    """Twice the common voxels over those of both; NaN where there are none."""
    both = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / both if both else float("nan")


def _mean(numbers: Sequence[float]) -> float:
    """The mean of those that are numbers; NaN where none is."""
    known = [number for number in numbers if number == number]
    return sum(known) / len(known) if known else float("nan")
