"""The four models of the paper, fitted to nested draws of training pixels, at every size and seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ctp_torch import models
from ctp_torch.data.maps import QUANTITIES
from ctp_torch.io.atomic import save_tensors
from ctp_torch.learning.prepared import PreparedPatient
from ctp_torch.learning.scoring import measure, reference_of
from ctp_torch.learning.training import draw, fingerprint, paper_model
from ctp_torch.models.base import Regressor
from ctp_torch.models.load import load_model
from ctp_torch.phantom.cohort import MAPS
from ctp_torch.pipeline.recipe import Recipe
from ctp_torch.study.design.patients import PatientContext, load_patient
from ctp_torch.study.design.rows import ScoreRow, six_digits

__all__ = ["MODELS", "Pool", "Scored", "draw_pool", "fit_kernel_ridge", "keep_prediction", "load_pool",
           "load_prediction", "prediction_file", "score_forest", "score_kernel_ridge", "score_linear",
           "score_predictions", "score_values", "spread_out", "stored_model"]  # fmt: skip

MODELS = ("linear", "ridge", "krr", "rf")
"""In the order of the paper's tables."""


class Pool(NamedTuple):
    """Training pixels in random order: the first n of them are the training set of size n."""

    curves: Tensor
    """``(samples, time)`` in 0..1."""
    targets: Tensor
    """``(samples, maps)`` colour indices."""
    patient: Tensor
    """``(samples,)`` number of the patient, in the order of the names."""
    pixel: Tensor
    """``(samples,)`` flat index into the patient's volume."""
    dt: Tensor
    """``(1,)`` time between frames [s]."""

    def first(self, n: int) -> Pool:
        """The training set of size n."""
        return self._replace(**{k: getattr(self, k)[:n] for k in ("curves", "targets", "patient", "pixel")})


class Scored(NamedTuple):
    """Who is scored, and at which widths."""

    test: Sequence[str]
    """Names of test patients."""
    train: Sequence[str]
    """Names of training patients, scored at the largest size alone."""
    widths: Sequence[float]
    """Gaussians [pixels] at the largest size."""
    curve_widths: Sequence[float]
    """Gaussians [pixels] at the other sizes."""

    @property
    def people(self) -> list[tuple[str, str]]:
        """Name and split of everybody."""
        return [(name, "test") for name in self.test] + [(name, "train") for name in self.train]


def draw_pool(folder: Path, *, names: Sequence[str], n_samples: int, seed: int, **_: Any) -> dict[str, object]:
    """Pixels drawn evenly over the training patients and their slices, then shuffled: prefixes are smaller draws."""
    files = [folder / "patients" / "train" / f"{name}.safetensors" for name in names]
    data = draw(files, n_samples, seed=seed)
    sizes = torch.tensor([len(data.pixels[name]) for name in names])
    patient = torch.arange(len(names)).repeat_interleave(sizes)
    order = torch.randperm(n_samples, generator=torch.Generator().manual_seed(seed + 1))
    pixel = torch.cat([data.pixels[name] for name in names])
    tensors = {"curves": data.curves, "targets": data.targets, "patient": patient, "pixel": pixel}
    shuffled = {name: values[order].contiguous() for name, values in tensors.items()}
    save_tensors({**shuffled, "dt": torch.tensor([data.dt], dtype=torch.float64)}, _pool_file(folder, seed))
    return {"samples": n_samples, "pixels": fingerprint(data.pixels), "frames": data.curves.shape[1], "dt": data.dt}


def load_pool(folder: Path, seed: int) -> Pool:
    """Read back what `draw_pool` wrote."""
    from safetensors.torch import load_file

    return Pool(**load_file(_pool_file(folder, seed)))


def score_linear(
    folder: Path, *, name: str, seed: int, sizes: Sequence[int], scored: Scored, **_: Any
) -> list[ScoreRow]:
    """Rows of scores of a linear model at all sizes; the largest of the first seed is kept."""
    return _fit_and_score(folder, (name, seed), sizes, scored, max(sizes))


def score_forest(folder: Path, *, seed: int, size: int, largest: int, scored: Scored, **_: Any) -> list[ScoreRow]:
    """Rows of scores of a forest of one size; one forest predicts all maps."""
    return _fit_and_score(folder, ("rf", seed), [size], scored, largest)


def fit_kernel_ridge(folder: Path, *, seed: int, sizes: Sequence[int], **_: Any) -> dict[str, object]:
    """Kernel ridge of all sizes from one factorisation, in one model file."""
    pool = load_pool(folder, seed)
    model = models.learning_curve(pool.curves, pool.targets, sizes)
    path = _sizes_file(folder, seed)
    path.parent.mkdir(exist_ok=True)
    model.save(path)
    if seed == 0:
        _keep_model(folder, "krr", _largest_of(model), pool)
    return {"residual": model.residual_, "reason": model.plan_["reason"]}


def score_kernel_ridge(
    folder: Path, *, seed: int, sizes: Sequence[int], name: str, split: str, scored: Scored, **_: Any
) -> list[ScoreRow]:
    """Rows of scores of one patient for kernel ridge of all sizes, or of the largest for a training patient."""
    model = load_model(_sizes_file(folder, seed))

    def predict(patient: PreparedPatient, _: PatientContext) -> Mapping[int, Tensor]:
        if split == "train" and isinstance(model, models.KernelRidge):
            return {max(sizes): _largest_of(model).predict(patient.curves)}
        return dict(zip(sizes, model.predict(patient.curves), strict=True))

    return score_predictions(folder, ("krr", seed), predict, [(name, split)], scored, largest=max(sizes))


def score_predictions(
    folder: Path, model: tuple[str, int], predict: Callable[[PreparedPatient, PatientContext], Mapping[int, Tensor]],
    people: Iterable[tuple[str, str]], scored: Scored, *, largest: int,
) -> list[ScoreRow]:  # fmt: skip
    """Rows of many patients; what the first seed predicts of a test patient at the largest size is kept.

    ``model`` is a name and a seed; ``predict`` gives a patient's unrounded indices ``(voxels, maps)`` by training size.
    """
    rows = []
    for name, split in people:
        patient, context = load_patient(folder, name, split)
        for size, values in predict(patient, context).items():
            if split == "test" and model[1] == 0 and size == largest:
                keep_prediction(folder, model[0], name, values)
            widths = scored.widths if size == largest else scored.curve_widths
            rows += score_values((*model, size), values, patient, widths)
    return rows


def score_values(
    model: tuple[str, int, int], values: Tensor, patient: PreparedPatient, widths: Sequence[float]
) -> list[ScoreRow]:
    """Rows of one patient, predicted as ``(voxels, maps)`` indices by a model of that name, seed and training size."""
    volumes = spread_out(values.clamp(0, 255), patient.brain)
    reference = reference_of(patient.targets, patient.brain, patient.head)
    rows = []
    for width in widths:
        scores = measure(reference, volumes, filter_px=width).tolist()  # (maps, z, 4)
        for quantity, slices in zip(MAPS, scores, strict=True):
            low, high = QUANTITIES[quantity].display
            for z, (frame, inside, mae, r) in enumerate(slices):
                numbers = map(six_digits, (frame, inside, mae * (high - low) / 255, r))
                rows.append(ScoreRow(patient.name, patient.split, z, quantity, *model, width, *numbers))
    return rows


def stored_model(folder: Path, name: str) -> Regressor:
    """The model of the largest size and the first seed."""
    return load_model(folder / "models" / f"{name}.safetensors")


def prediction_file(folder: Path, model: str, patient: str) -> Path:
    """Where a prediction of a test patient lies."""
    return folder / "predictions" / model / f"{patient}.safetensors"


def keep_prediction(folder: Path, model: str, patient: str, values: Tensor) -> None:
    """Write the unrounded indices ``(voxels, maps)`` of a test patient."""
    save_tensors({"indices": values.clamp(0, 255).float().contiguous()}, prediction_file(folder, model, patient))


def load_prediction(folder: Path, model: str, patient: PreparedPatient) -> Tensor:
    """Volumes ``(maps, z, y, x)`` of what `keep_prediction` wrote."""
    from safetensors.torch import load_file

    return spread_out(load_file(prediction_file(folder, model, patient.name))["indices"], patient.brain)


def spread_out(values: Tensor, brain: Tensor) -> Tensor:
    """Volumes ``(maps, z, y, x)`` of ``(voxels, maps)``, 0 outside the brain."""
    volumes = values.new_zeros(values.shape[1], *brain.shape)
    volumes[:, brain] = values.T
    return volumes


def _fit_and_score(
    folder: Path, model: tuple[str, int], sizes: Sequence[int], scored: Scored, largest: int
) -> list[ScoreRow]:
    """Rows of everybody; training patients at the largest size alone."""
    (name, seed), pool = model, load_pool(folder, model[1])
    fitted = {n: paper_model(name, seed=seed).fit(pool.curves[:n], pool.targets[:n]) for n in sizes}
    if seed == 0 and largest in fitted:
        _keep_model(folder, name, fitted[largest], pool)

    def predict(patient: PreparedPatient, _: PatientContext) -> Mapping[int, Tensor]:
        shown = [size for size in sizes if patient.split == "test" or size == largest]
        return {size: fitted[size].predict(patient.curves) for size in shown}

    return score_predictions(folder, model, predict, scored.people, scored, largest=largest)


def _largest_of(model: models.KernelRidge) -> models.KernelRidge:
    """The model of the largest size out of those of a learning curve."""
    import copy

    one = copy.copy(model)
    one.dual_coef_, one.intercept_ = model.dual_coef_[-1], model.intercept_[-1]
    return one


def _keep_model(folder: Path, name: str, model: Regressor, pool: Pool) -> None:
    """Write a model with its recipe, so that ``ctp-torch maps --model`` takes it."""
    recipe = Recipe(
        frames=pool.curves.shape[1],
        dt=float(pool.dt),
        targets={quantity: QUANTITIES[quantity].display for quantity in MAPS},
        registration="torch",
    )
    path = folder / "models" / f"{name}.safetensors"
    path.parent.mkdir(exist_ok=True)
    model.save(path, metadata={"recipe": recipe.as_metadata()})


def _sizes_file(folder: Path, seed: int) -> Path:
    """Where kernel ridge of all sizes lies."""
    return folder / "models" / f"krr-sizes-{seed}.safetensors"


def _pool_file(folder: Path, seed: int) -> Path:
    """Where the training pixels of a seed lie."""
    return folder / "pool" / f"{seed}.safetensors"
