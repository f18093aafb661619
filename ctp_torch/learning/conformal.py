"""Intervals of a model from patients left out of its training in turn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ctp_torch.data.maps import BOUNDED, PerfusionMaps
from ctp_torch.data.scale import ColorScale
from ctp_torch.errors import CTPError
from ctp_torch.learning.prepared import PreparedPatient
from ctp_torch.lesions.find import find_lesions
from ctp_torch.lesions.thresholds import Thresholds
from ctp_torch.ops.conformal import conformal_margin, conformal_rank, residual_band, share_score
from ctp_torch.ops.familiar import fit_familiar, left_out_distances
from ctp_torch.pipeline.intervals import (
    VOLUMES,
    Band,
    Intervals,
    Neighbourhood,
    answers_signature,
    relative_flow,
)

if TYPE_CHECKING:
    from ctp_torch.learning.training import TrainingSet
    from ctp_torch.models.base import Regressor
    from ctp_torch.pipeline.recipe import Recipe

__all__ = ["LeftOut", "calibrate_intervals", "intervals_from", "predict_left_out", "volume_margins"]

_MOST_VOXELS = 20_000
"""Of a patient, for the bands."""
_FEWEST_KNOWN = 5
"""Scans from which on it can be told whether another lies among them."""
_AXES = {"bolus": 3, "answers": 4}
"""Directions in which training scans differ widely, by signature."""
_BEYOND = {"bolus": 0.05, "answers": 0.0}
"""Share of the training scans that may lie beyond the limit: the furthest bolus is often one that was read badly."""


class LeftOut(NamedTuple):
    """A patient as a model predicts them that hasn't seen them."""

    predicted: dict[str, Tensor]
    """Quantity to ``(voxels,)`` in its unit, ``rel_cbf`` among them."""
    truth: dict[str, Tensor]
    """The same of the targets."""
    signatures: dict[str, Tensor]
    """Of the scan, as `ctp_torch.pipeline.intervals.Intervals` compares them."""
    volumes: dict[str, tuple[float, float]]
    """Of ``VOLUMES``, measured and true [mL]; empty where no lesion is known, or none can be measured."""


def calibrate_intervals(
    files: Sequence[Path],
    data: TrainingSet,
    unfitted: Callable[[], Regressor],
    recipe_of: Callable[[TrainingSet], Recipe],
    *,
    level: float,
    thresholds: Thresholds | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    track: Callable[[Sequence[int]], Iterable[int]] = lambda items: items,
) -> Intervals:
    """Bands that hold a share of ``level`` of the voxels in that share of new patients, at the least.

    Each patient is left out in turn and predicted by a model of the others. A band is quantiles of what is wrong by
    predicted value; a patient's score is how much wider that of the others would have to be to hold the share, and the
    band moves out by the score of rank ceil((n + 1) level).

    Parameters
    ----------
    files
        of the training patients, in the order of the training set
    data
        drawn from them
    unfitted
        makes a model
    recipe_of
        makes its recipe
    level
        0.9 for nine voxels of ten in nine patients of ten
    thresholds
        of lesions; conventional when None
    seed
        of the voxels that are looked at
    device
        where to compute
    track
        the patients' numbers as they are left out, such as a progress bar

    Raises
    ------
    CTPError
        if there are too few patients for the level
    """
    try:
        conformal_rank(len(files), level)
    except ValueError as error:
        raise CTPError(f"--intervals {level:g}: {error}; train on more, or ask for a lower level") from error
    limits = thresholds or Thresholds()
    ends = torch.tensor([0, *(len(drawn) for drawn in data.pixels.values())]).cumsum(0).tolist()
    left_out = []
    for i in track(range(len(files))):
        patient = PreparedPatient.load(files[i])
        others = _without(data, patient.name, slice(ends[i], ends[i + 1]))
        recipe = recipe_of(others)
        model = unfitted().fit(others.scaled(recipe).to(device), others.targets.to(device))
        left_out.append(predict_left_out(patient, model, recipe, limits=limits, seed=seed + i))
    return intervals_from(left_out, level=level, thresholds=limits)


def predict_left_out(
    patient: PreparedPatient,
    model: Regressor,
    recipe: Recipe,
    *,
    limits: Thresholds,
    most: int = _MOST_VOXELS,
    seed: int = 0,
) -> LeftOut:
    """A prepared patient by a model, beside the targets and the true volumes.

    Parameters
    ----------
    patient
        as the recipe sees scans
    model, recipe
        that didn't learn from them
    limits
        of lesions
    most, seed
        how many voxels to compare, and which, where there are more
    """
    outputs = patient.answers(model, recipe)  # (voxels, targets)
    values = recipe.values(outputs)
    valid = patient.valid[patient.brain]  # (voxels,) of the brain
    targets = {name: patient.targets[i][patient.brain] for i, name in enumerate(patient.quantities)}
    truth = {name: _physical(targets[name].float(), recipe, name) for name in values}
    signatures = {"answers": answers_signature(values)}
    if patient.bolus is not None:
        signatures["bolus"] = patient.bolus
    at = valid.nonzero().squeeze(1)
    generator = torch.Generator().manual_seed(seed)
    at = at[torch.randperm(len(at), generator=generator)[:most]]
    known = {name: volume[at] for name, volume in values.items()}
    true = {name: volume[at] for name, volume in truth.items()}
    if (flow := relative_flow(known)) is not None and (right := relative_flow(known, true["cbf"])) is not None:
        known["rel_cbf"], true["rel_cbf"] = flow, right
    return LeftOut(known, true, signatures, _volumes(patient, values, limits))


def intervals_from(left_out: Sequence[LeftOut], *, level: float, thresholds: Thresholds) -> Intervals:
    """The intervals that patients left out promise for the next one; arguments as for `calibrate_intervals`."""
    quantities = [name for name in BOUNDED if all(name in one.predicted for one in left_out)]
    measured = [one.volumes for one in left_out if one.volumes]
    return Intervals(
        level=level,
        patients=len(left_out),
        bands={name: _band(name, left_out, level) for name in quantities},
        volumes=volume_margins(measured, level),
        thresholds=asdict(thresholds) if measured else {},
        known=_neighbourhoods([one.signatures for one in left_out]),
    )


def volume_margins(volumes: Sequence[dict[str, tuple[float, float]]], level: float) -> dict[str, float]:
    """How far the roots of measured and true volumes [mL] lie apart in all but a share of the patients.

    Parameters
    ----------
    volumes
        of each patient, measured and true
    level
        of the promise; empty comes back where the patients are too few for it
    """
    try:
        conformal_rank(len(volumes), level)
    except ValueError:
        return {}
    off = {name: [abs(math.sqrt(a) - math.sqrt(b)) for a, b in (one[name] for one in volumes)] for name in VOLUMES}
    return {name: conformal_margin(scores, level) for name, scores in off.items()}


def _without(data: TrainingSet, name: str, rows: slice) -> TrainingSet:
    """The training set without a patient."""
    keep = torch.ones(len(data.curves), dtype=torch.bool)
    keep[rows] = False
    pixels = {other: drawn for other, drawn in data.pixels.items() if other != name}
    return data._replace(curves=data.curves[keep], targets=data.targets[keep], pixels=pixels)


def _physical(values: Tensor, recipe: Recipe, name: str) -> Tensor:
    """Targets in their unit; indices of a console's colours are brought to it."""
    return values if recipe.units == "physical" else ColorScale(*recipe.targets[name]).value(values)


def _band(name: str, left_out: Sequence[LeftOut], level: float) -> Band:
    """The band of a quantity on all patients, and the margin that each left out would have asked of the others'."""
    pairs = [(one.predicted[name], one.truth[name]) for one in left_out]
    scores = []
    for i, (predicted, truth) in enumerate(pairs):
        band = residual_band(*_pooled(pairs[:i] + pairs[i + 1 :]), level)
        scores.append(share_score(predicted, truth, band, level))
    knots, low, high = (tuple(values.tolist()) for values in residual_band(*_pooled(pairs), level))
    return Band(knots, low, high, conformal_margin(scores, level))


def _pooled(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Predictions and truths of several patients."""
    predicted, truth = zip(*pairs, strict=True)
    return torch.cat(predicted), torch.cat(truth)


def _neighbourhoods(signatures: Sequence[Mapping[str, Tensor]]) -> dict[str, Neighbourhood]:
    """Where training scans lie by each signature that all have, and how far nearly all of them from the others."""
    names = [name for name in signatures[0] if all(name in one for one in signatures)]
    if len(signatures) < _FEWEST_KNOWN:
        return {}
    known = {}
    for name in names:
        rows = torch.stack([one[name] for one in signatures]).double()
        fitted = fit_familiar(rows, n_axes=_AXES[name])
        off = left_out_distances(rows, n_axes=_AXES[name]).sort(descending=True).values
        known[name] = Neighbourhood(
            mean=tuple(fitted.mean.tolist()),
            axes=tuple(tuple(row) for row in fitted.axes.tolist()),
            variances=tuple(fitted.variances.tolist()),
            rest=float(fitted.rest),
            limit=float(off[int(_BEYOND[name] * len(off))]),
        )
    return known


def _volumes(patient: PreparedPatient, values: dict[str, Tensor], limits: Thresholds) -> dict[str, tuple[float, float]]:
    """Measured and true volumes of a patient whose lesions are known."""
    if patient.lesions is None or patient.geometry is None or not {"cbf", "tmax"} <= set(values):
        return {}
    volumes = {}
    for name, column in values.items():
        volumes[name] = column.new_zeros(patient.brain.shape)
        volumes[name][patient.brain] = column
    maps = PerfusionMaps(volumes, patient.brain, patient.geometry)
    try:
        found = find_lesions(maps, baseline=patient.baseline, thresholds=limits)
    except CTPError:  # no normal tissue: a warning takes the place of volumes then
        return {}
    summary = found.summary()
    core, slow = (int(mask.sum()) * found.voxel_ml for mask in patient.lesions)
    true = {"core_ml": core, "hypoperfusion_ml": slow, "mismatch_ml": slow - core}
    return {name: (float(summary[name]), true[name]) for name in VOLUMES}  # type: ignore[arg-type]
