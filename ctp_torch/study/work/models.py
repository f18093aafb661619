"""The four models of the paper, fitted to nested draws of training pixels, at every size and seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ctp_torch import models
from ctp_torch.data.maps import QUANTITIES
from ctp_torch.io.atomic import save_tensors
from ctp_torch.learning.scoring import measure, yardstick
from ctp_torch.learning.training import draw, fingerprint
from ctp_torch.models.base import Regressor
from ctp_torch.models.load import load_model
from ctp_torch.phantom.cohort import MAPS
from ctp_torch.pipeline.recipe import Recipe
from ctp_torch.study.design.patients import load_patient

__all__ = ["MODELS", "Pool", "Scored", "draw_pool", "fit_kernel_ridge", "keep_prediction", "load_pool",
           "load_prediction", "made", "score_forest", "score_kernel_ridge", "score_linear", "score_values",
           "spread_out", "stored_model"]  # fmt: skip

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


def draw_pool(folder: Path, *, names: Sequence[str], n_samples: int, seed: int, **_: Any) -> dict[str, object]:
    """Pixels drawn evenly over the training patients and their slices, then shuffled: prefixes are smaller draws.

    Parameters
    ----------
    folder
        of all steps
    names
        training patients
    n_samples, seed
        of the draw
    """
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
) -> list[list[Any]]:
    """Rows of scores of a linear model at all sizes; the largest of the first seed is kept."""
    pool = load_pool(folder, seed)
    fitted = {n: made(name, seed).fit(pool.curves[:n], pool.targets[:n]) for n in sizes}
    if seed == 0:
        _keep(folder, name, fitted[max(sizes)], pool)
    return _score(folder, name, seed, fitted, scored, max(sizes))


def score_forest(folder: Path, *, seed: int, size: int, largest: int, scored: Scored, **_: Any) -> list[list[Any]]:
    """Rows of scores of a forest of one size; one forest predicts all maps."""
    pool = load_pool(folder, seed)
    forest = made("rf", seed).fit(pool.curves[:size], pool.targets[:size])
    if seed == 0 and size == largest:
        _keep(folder, "rf", forest, pool)
    return _score(folder, "rf", seed, {size: forest}, scored, largest)


def fit_kernel_ridge(folder: Path, *, seed: int, sizes: Sequence[int], **_: Any) -> dict[str, object]:
    """Kernel ridge of all sizes from one factorisation, in one model file."""
    pool = load_pool(folder, seed)
    model = models.learning_curve(pool.curves, pool.targets, sizes)
    path = folder / "models" / f"krr-sizes-{seed}.safetensors"
    path.parent.mkdir(exist_ok=True)
    model.save(path)
    if seed == 0:
        _keep(folder, "krr", _last(model), pool)
    return {"residual": model.residual_, "reason": model.plan_["reason"]}


def score_kernel_ridge(
    folder: Path, *, seed: int, sizes: Sequence[int], name: str, split: str, scored: Scored, **_: Any
) -> list[list[Any]]:
    """Rows of scores of one patient for kernel ridge of all sizes, or of the largest for a training patient."""
    model = load_model(folder / "models" / f"krr-sizes-{seed}.safetensors")
    ready, _around = load_patient(folder, name, split)
    if split == "train" and isinstance(model, models.KernelRidge):
        fitted = {max(sizes): _last(model).predict(ready.curves)}
    else:
        fitted = dict(zip(sizes, model.predict(ready.curves), strict=True))
    rows = []
    for size, values in fitted.items():
        if split == "test" and seed == 0 and size == max(sizes):
            keep_prediction(folder, "krr", name, values)
        rows += score_values(folder, ("krr", seed, size), values, (name, split), _widths(scored, size, max(sizes)))
    return rows


def stored_model(folder: Path, name: str) -> Regressor:
    """The model of the largest size and the first seed."""
    return load_model(folder / "models" / f"{name}.safetensors")


def keep_prediction(folder: Path, model: str, patient: str, values: Tensor) -> None:
    """Write the unrounded indices ``(voxels, maps)`` of a test patient."""
    path = folder / "predictions" / model / f"{patient}.safetensors"
    save_tensors({"indices": values.clamp(0, 255).float().contiguous()}, path)


def load_prediction(folder: Path, model: str, patient: str) -> Tensor:
    """Read back what `keep_prediction` wrote."""
    from safetensors.torch import load_file

    return load_file(folder / "predictions" / model / f"{patient}.safetensors")["indices"]


def spread_out(values: Tensor, brain: Tensor) -> Tensor:
    """Volumes ``(maps, z, y, x)`` of ``(voxels, maps)``, 0 outside the brain."""
    volumes = values.new_zeros(values.shape[1], *brain.shape)
    volumes[:, brain] = values.T
    return volumes


def made(name: str, seed: int) -> Regressor:
    """An unfitted model with the paper's settings."""
    table: dict[str, Callable[[], Regressor]] = {
        "linear": models.LinearRegression,
        "ridge": lambda: models.Ridge(alpha=0.1),
        "krr": lambda: models.KernelRidge(alpha=0.1, gamma=8.0),
        "rf": lambda: models.RandomForest(n_estimators=90, max_depth=55, seed=seed),
    }
    return table[name]()


def _last(model: models.KernelRidge) -> models.KernelRidge:
    """The model of the largest size out of those of a learning curve."""
    import copy

    one = copy.copy(model)
    one.dual_coef_, one.intercept_ = model.dual_coef_[-1], model.intercept_[-1]
    return one


def _keep(folder: Path, name: str, model: Regressor, pool: Pool) -> None:
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


def _widths(scored: Scored, size: int, largest: int) -> Sequence[float]:
    """Filter widths for a size."""
    return scored.widths if size == largest else scored.curve_widths


def _score(
    folder: Path, name: str, seed: int, fitted: dict[int, Regressor], scored: Scored, largest: int
) -> list[list[Any]]:
    """Rows of all patients and sizes."""
    rows = []
    people = [(n, "test") for n in scored.test] + [(n, "train") for n in scored.train]
    for patient, split in people:
        ready, _ = load_patient(folder, patient, split)
        for size, model in fitted.items():
            if split == "train" and size != largest:
                continue
            values = model.predict(ready.curves)
            if split == "test" and seed == 0 and size == largest:
                keep_prediction(folder, name, patient, values)
            rows += score_values(folder, (name, seed, size), values, (patient, split), _widths(scored, size, largest))
    return rows


def score_values(
    folder: Path, which: tuple[str, int, int], values: Tensor, person: tuple[str, str], widths: Sequence[float]
) -> list[list[Any]]:
    """Rows of one patient, model, seed and size."""
    ready, _ = load_patient(folder, *person)
    volumes = spread_out(values.clamp(0, 255), ready.brain)
    against = yardstick(ready.targets, ready.brain, ready.head)
    rows = []
    for width in widths:
        scores = measure(against, volumes, filter_px=width)
        for m, quantity in enumerate(MAPS):
            low, high = QUANTITIES[quantity].display
            for z, (frame, inside, mae, r) in enumerate(scores[m].tolist()):
                unit = mae * (high - low) / 255
                rows.append([*person, z, quantity, *which, width, *(_short(v) for v in (frame, inside, unit, r))])
    return rows


def _short(value: float) -> float:
    """Six digits."""
    return float(f"{value:.6g}")


def _pool_file(folder: Path, seed: int) -> Path:
    """Where the training pixels of a seed are."""
    path = folder / "pool" / f"{seed}.safetensors"
    path.parent.mkdir(exist_ok=True)
    return path
