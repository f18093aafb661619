"""From a cohort to a fitted model: prepare every patient once, draw pixels, scale features, fit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor

from ctp_torch.errors import CTPError
from ctp_torch.learning.desk import Desk
from ctp_torch.learning.prepared import PreparedPatient, prepare
from ctp_torch.learning.sampling import sample_pixels
from ctp_torch.ops import ARTERIAL_LAGS
from ctp_torch.pipeline.recipe import PHYSICAL_RANGES, Recipe, View

if TYPE_CHECKING:
    from ctp_torch.io.cohort.cohort import CohortPatient
    from ctp_torch.learning.evidence import Evidence
    from ctp_torch.models.base import Regressor
    from ctp_torch.pipeline import Registration

__all__ = [
    "TrainingSet",
    "draw",
    "fingerprint",
    "paper_model",
    "prepare_all",
    "recipe_for",
    "rescaled",
    "shared_bounds",
    "standardise",
]

_N_COMPONENTS = 12
"""Principal components that ``pca`` keeps: of smoothed curves, more than 99.9 % of the variance."""
_SPREAD, _MOMENTS_SPREAD = 0.0625, 0.01
"""Sum of the variances that the curves at all widths have together, once scaled, and that of the artery's moments, of
its curve, and of the CT before contrast: what suits the paper's kernel (gamma 8) and penalty (0.1), chosen on digital
patients."""


class TrainingSet(NamedTuple):
    """Sampled features with their targets, and where they came from."""

    curves: Tensor
    """``(samples, features)``; of raw curves ``(samples, time)`` in 0..1."""
    targets: Tensor
    """``(samples, maps)`` indices 0..255, or values in their units."""
    pixels: dict[str, Tensor]
    """Patient to the flat indices drawn from its volume."""
    dt: float
    """Time between frames [s]."""
    quantities: tuple[str, ...] = ()
    """Names of the maps, in order."""
    bounds: Mapping[str, tuple[float, float]] = MappingProxyType({})
    """Lowest and highest of what the scans had, as a recipe has it."""

    @property
    def samples(self) -> Tensor:
        """``(samples, features)``: of whole slices, the pixels inside, which have a feature that isn't 0."""
        return self.curves if self.curves.ndim == 2 else self.curves[(self.curves != 0).any(dim=-1)]

    def scaled(self, recipe: Recipe) -> Tensor:
        """The curves as a recipe's model sees them; outside, slices stay 0."""
        values = recipe.scale(self.curves)
        return values if values.ndim == 2 else values * (self.curves != 0).any(dim=-1, keepdim=True)


def prepare_all(
    patients: Iterable[CohortPatient],
    folder: Path,
    *,
    quantities: Sequence[str],
    registration: Registration | None = None,
    view: View | None = None,
    target: str = "teacher",
    late: bool = False,
    lesions: bool = False,
    device: torch.device | str = "cpu",
    desk: Desk | None = None,
) -> Iterator[Path]:
    """The files of the prepared patients, in their order; a file that is there already is kept.

    Parameters
    ----------
    patients
        of one cohort
    folder
        where the files go; one folder for one cohort and registration, whatever the models see and learn
    quantities, registration, view, target, late, lesions, device
        as in `ctp_torch.learning.prepared.prepare`
    desk
        what is kept for the next time, who does the work, and whether quality is looked at
    """
    folder.mkdir(parents=True, exist_ok=True)
    view, desk = view or View(), desk or Desk()
    usual = (view, target, late, lesions) == (View(), "teacher", False, False)
    what = "" if usual else f"{view.key} {target} {late} {lesions}"
    tail = "-" + hashlib.sha256(what.encode()).hexdigest()[:12] if what else ""
    listed = list(patients)
    paths = [folder / f"{patient.name}{tail}.safetensors" for patient in listed]
    tasks = {
        number: partial(
            _save_prepared, patient, paths[number], quantities=tuple(quantities), registration=registration, view=view,
            target=target, late=late, lesions=lesions, check=desk.check, device=device, cache=desk.cache,
        )
        for number, patient in enumerate(listed)
        if not paths[number].exists()
    }  # fmt: skip
    done = desk.each(listed, tasks)
    ready = set(range(len(listed))) - set(tasks)
    for number, path in enumerate(paths):
        while number not in ready:
            ready.add(next(done))
        yield path


def _save_prepared(patient: CohortPatient, path: Path, **options: Any) -> None:
    """A prepared patient, on disk."""
    prepare(patient, **options).save(path)


def draw(
    files: Sequence[Path], n_samples: int, *, seed: int = 0, balance: Literal["even", "late"] = "even"
) -> TrainingSet:
    """Pixels drawn over prepared patients and their slices: evenly, or two thirds of them where tissue is late.

    Parameters
    ----------
    files
        written by `prepare_all`
    n_samples
        how many in all
    seed
        of the draw
    balance
        ``late`` needs patients prepared with ``late``

    Raises
    ------
    CTPError
        if raw curves differ in frames or spacing, or the patients hold too few pixels
    """
    valid: list[Tensor] = []
    late: list[Tensor] = []
    protocols: dict[tuple[int, float], str] = {}
    for file in files:
        patient = PreparedPatient.load(file)
        valid.append(patient.valid)
        if balance == "late":
            if patient.late is None:
                raise CTPError(f"{patient.name}: where tissue is late wasn't noted; prepare with late=True")
            late.append(patient.late)
        protocol = (patient.curves.shape[1], round(patient.dt, 2) if patient.view.features == "raw" else 0.0)
        protocols.setdefault(protocol, patient.name)
    if len(protocols) > 1:
        listing = "; ".join(f"{frames} frames every {dt:g} s ({name})" for (frames, dt), name in protocols.items())
        raise CTPError(
            f"the patients were scanned differently: {listing}; train on one protocol at a time, or on features that "
            "don't depend on it (--features arterial)"
        )
    chosen = sample_pixels(valid, n_samples, seed=seed, late=late or None)
    curves, targets, pixels, facts = [], [], {}, []
    for file, where in zip(files, chosen, strict=True):
        patient = PreparedPatient.load(file)
        part, values = patient.sample(where)
        curves.append(part)
        targets.append(values)
        pixels[patient.name] = where
        facts.append(patient.facts)
    bounds = shared_bounds(facts)
    return TrainingSet(torch.cat(curves), torch.cat(targets), pixels, patient.dt, patient.quantities, bounds)


def shared_bounds(facts: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """Lowest and highest of what scans have, by name."""
    return {name: (min(one[name] for one in facts), max(one[name] for one in facts)) for name in facts[0]}


def recipe_for(
    data: TrainingSet,
    targets: Mapping[str, tuple[float, float]],
    *,
    view: View | None = None,
    registration: str = "none",
    physical: bool = False,
    each: bool = False,
) -> Recipe:
    """The recipe of a model that learns from a training set.

    Parameters
    ----------
    data
        from `draw`
    targets
        quantity to the range of its colours; for physical targets the values that predictions are kept within
    view
        what the features are; raw when None
    registration
        name of the motion estimation
    physical
        whether targets are values in their unit
    each
        z-scores of each feature, instead of one scale for all curves and one for the artery's moments
    """
    view = view or View()
    ends = {name: PHYSICAL_RANGES.get(name, limits) for name, limits in targets.items()} if physical else dict(targets)
    recipe = Recipe(
        frames=data.curves.shape[-1],
        dt=data.dt,
        targets=ends,
        registration=registration,
        window=view.window,
        median_size=view.median_size,
        features=view.features,
        smoothing_mm=view.smoothing_mm,
        smoothing=view.smoothing,
        artery_moments=view.artery_moments,
        artery_curve=view.artery_curve,
        baseline_hu=view.baseline_hu,
        units="physical" if physical else "display",
        bounds=dict(data.bounds),
    )
    if each:
        recipe = standardise(recipe, data.samples)
    elif view.features != "raw":
        recipe = _scaled(recipe, data.samples)
    return _projected(recipe, data.samples) if view.features == "pca" else recipe


def paper_model(
    name: str,
    *,
    alpha: float = 0.1,
    gamma: float = 8.0,
    trees: int = 90,
    depth: int = 55,
    centers: int | None = None,
    channels: int = 1,
    with_hu: bool = False,
    seed: int = 0,
) -> Regressor:
    """An unfitted model of that name, with the paper's settings unless others are given.

    Parameters
    ----------
    name
        linear, ridge, krr, rf; or mlp, stack, conv, gru, lstm, unet, which aren't the paper's
    alpha
        regularisation of ridge and kernel ridge
    gamma
        inverse squared width of the kernel
    trees, depth
        of the forest
    centers
        pixels that span kernel ridge (`ctp_torch.models.KernelRidge`); all when None
    channels
        curves that the features hold side by side, for conv, gru and lstm
    with_hu
        whether the last feature is the CT before contrast, for stack
    seed
        of the forest and the networks

    Raises
    ------
    CTPError
        for an unknown name
    """
    from ctp_torch import models
    from ctp_torch.learning.stack import stack_model

    makers: Mapping[str, Callable[[], Regressor]] = {
        "linear": models.LinearRegression,
        "ridge": lambda: models.Ridge(alpha=alpha),
        "krr": lambda: models.KernelRidge(alpha=alpha, gamma=gamma, n_centers=centers),
        "rf": lambda: models.RandomForest(n_estimators=trees, max_depth=depth, seed=seed),
        "mlp": lambda: models.Network(seed=seed),
        "stack": lambda: stack_model(seed, with_hu=with_hu),
        "conv": lambda: models.Convolution(channels, seed=seed),
        "gru": lambda: models.Recurrent(channels, cell="gru", seed=seed),
        "lstm": lambda: models.Recurrent(channels, cell="lstm", seed=seed),
        "unet": lambda: models.UNet(seed=seed),
    }
    if name not in makers:
        raise CTPError(f"unknown model {name!r}; choose among {', '.join(makers)}")
    return makers[name]()


def standardise(recipe: Recipe, curves: Tensor) -> Recipe:
    """The recipe with the mean and standard deviation of each frame, so that features are z-scores."""
    mean, sd = curves.double().mean(dim=0), curves.double().std(dim=0)
    return replace(recipe, feature_mean=tuple(mean.tolist()), feature_sd=tuple(sd.clamp_min(1e-12).tolist()))


def rescaled(recipe: Recipe, evidence: Evidence) -> Recipe:
    """The recipe with the scales that made a training set most probable.

    Raises
    ------
    CTPError
        if they are those of other features
    """
    n_features = len(evidence.feature_sd)
    if n_features != recipe.frames or recipe.components:
        raise CTPError(
            f"the scales are those of {n_features} features, the model sees {recipe.frames} "
            f"({recipe.features}); tune with the same --features, --smoothing-mm and --artery-moments"
        )
    return replace(recipe, feature_mean=evidence.feature_mean, feature_sd=evidence.feature_sd)


def _scaled(recipe: Recipe, features: Tensor) -> Recipe:
    """The recipe with means, one scale for all curves and one for each thing else: weak lags stay weak."""
    mean, variance = features.double().mean(dim=0), features.double().var(dim=0)
    n_artery = len(ARTERIAL_LAGS) * recipe.artery_curve
    others = [size for size in (n_artery, 4 * recipe.artery_moments, int(recipe.baseline_hu)) if size]
    groups = variance.split([len(mean) - sum(others), *others])
    spreads = [_SPREAD, *(_MOMENTS_SPREAD for _ in others)]
    scales = [
        (group.sum() / spread).sqrt().clamp_min(1e-12).expand(len(group))
        for group, spread in zip(groups, spreads, strict=True)
    ]
    return replace(recipe, feature_mean=tuple(mean.tolist()), feature_sd=tuple(torch.cat(scales).tolist()))


def _projected(recipe: Recipe, features: Tensor) -> Recipe:
    """The recipe with the directions in which its scaled features vary most."""
    scaled = recipe.scale(features).double()
    values, vectors = torch.linalg.eigh(scaled.T @ scaled)
    kept = vectors[:, values.argsort(descending=True)[:_N_COMPONENTS]].T
    sign = kept.gather(1, kept.abs().argmax(dim=1, keepdim=True)).sign()  # else another machine may turn them round
    return replace(recipe, components=tuple(tuple(row) for row in (kept * sign).tolist()))


def fingerprint(pixels: dict[str, Tensor]) -> str:
    """A short hash of which pixels were drawn from whom."""
    digest = hashlib.sha256()
    for name in sorted(pixels):
        digest.update(name.encode())
        digest.update(pixels[name].numpy().tobytes())
    return digest.hexdigest()[:16]
