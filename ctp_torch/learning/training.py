"""From a cohort to a fitted model: prepare every patient once, draw pixels evenly, fit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ctp_torch.errors import CTPError
from ctp_torch.learning.prepared import PreparedPatient, prepare
from ctp_torch.learning.sampling import sample_pixels
from ctp_torch.pipeline.recipe import Recipe

if TYPE_CHECKING:
    from ctp_torch.io.cohort.cohort import CohortPatient
    from ctp_torch.models.base import Regressor
    from ctp_torch.pipeline import Registration

__all__ = ["TrainingSet", "draw", "fingerprint", "paper_model", "prepare_all", "standardise"]


class TrainingSet(NamedTuple):
    """Sampled curves with their targets, and where they came from."""

    curves: Tensor
    """``(samples, time)`` in 0..1."""
    targets: Tensor
    """``(samples, maps)`` indices 0..255."""
    pixels: dict[str, Tensor]
    """Patient to the flat indices drawn from its volume."""
    dt: float
    """Time between frames [s]."""


def prepare_all(
    patients: Iterable[CohortPatient],
    folder: Path,
    *,
    quantities: Sequence[str],
    registration: Registration | None = None,
    check: bool = False,
    device: torch.device | str = "cpu",
) -> Iterator[Path]:
    """The files of the prepared patients, one after another; a file that is there already is kept.

    Parameters
    ----------
    patients
        of one cohort
    folder
        where the files go; one folder for one cohort and one set of options
    quantities, registration, check, device
        as in `ctp_torch.learning.prepared.prepare`
    """
    folder.mkdir(parents=True, exist_ok=True)
    for patient in patients:
        path = folder / f"{patient.name}.safetensors"
        if not path.exists():
            ready = prepare(patient, quantities=quantities, registration=registration, check=check, device=device)
            ready.save(path)
        yield path


def draw(files: Sequence[Path], n_samples: int, *, seed: int = 0) -> TrainingSet:
    """Pixels drawn evenly over prepared patients and their slices.

    Parameters
    ----------
    files
        written by `prepare_all`
    n_samples
        how many in all
    seed
        of the draw

    Raises
    ------
    CTPError
        if the patients differ in frames or spacing, or hold too few pixels
    """
    valid: list[Tensor] = []
    protocols: dict[tuple[int, float], str] = {}
    for file in files:
        patient = PreparedPatient.load(file)
        valid.append(patient.valid)
        protocols.setdefault((patient.curves.shape[1], round(patient.dt, 2)), patient.name)
    if len(protocols) > 1:
        listing = "; ".join(f"{frames} frames every {dt:g} s ({name})" for (frames, dt), name in protocols.items())
        raise CTPError(f"the patients were scanned differently: {listing}; train on one protocol at a time")
    chosen = sample_pixels(valid, n_samples, seed=seed)
    curves, targets, pixels = [], [], {}
    for file, where in zip(files, chosen, strict=True):
        patient = PreparedPatient.load(file)
        part, values = patient.sample(where)
        curves.append(part)
        targets.append(values)
        pixels[patient.name] = where
    return TrainingSet(torch.cat(curves), torch.cat(targets), pixels, patient.dt)


def paper_model(
    name: str, *, alpha: float = 0.1, gamma: float = 8.0, trees: int = 90, depth: int = 55, seed: int = 0
) -> Regressor:
    """An unfitted model of that name, with the paper's settings unless others are given.

    Parameters
    ----------
    name
        linear, ridge, krr or rf
    alpha
        regularisation of ridge and kernel ridge
    gamma
        inverse squared width of the kernel
    trees, depth, seed
        of the forest

    Raises
    ------
    CTPError
        for an unknown name
    """
    from ctp_torch import models

    makers: Mapping[str, Callable[[], Regressor]] = {
        "linear": models.LinearRegression,
        "ridge": lambda: models.Ridge(alpha=alpha),
        "krr": lambda: models.KernelRidge(alpha=alpha, gamma=gamma),
        "rf": lambda: models.RandomForest(n_estimators=trees, max_depth=depth, seed=seed),
    }
    if name not in makers:
        raise CTPError(f"unknown model {name!r}; choose among {', '.join(makers)}")
    return makers[name]()


def standardise(recipe: Recipe, curves: Tensor) -> Recipe:
    """The recipe with the mean and standard deviation of each frame, so that features are z-scores."""
    mean, sd = curves.double().mean(dim=0), curves.double().std(dim=0)
    return replace(recipe, feature_mean=tuple(mean.tolist()), feature_sd=tuple(sd.clamp_min(1e-12).tolist()))


def fingerprint(pixels: dict[str, Tensor]) -> str:
    """A short hash of which pixels were drawn from whom."""
    digest = hashlib.sha256()
    for name in sorted(pixels):
        digest.update(name.encode())
        digest.update(pixels[name].numpy().tobytes())
    return digest.hexdigest()[:16]
