"""The grids behind the hyper-parameters, on training patients alone: every patient, or fold of patients, left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ctp_torch.models import RandomForest, Ridge, leave_one_out
from ctp_torch.models.base import Regressor, r2_score
from ctp_torch.models.kernel.solvers.effective_dof import effective_dof
from ctp_torch.study.work.models import Pool, load_pool

__all__ = ["ALPHAS", "DEPTHS", "FEATURES", "KERNELS", "RIDGES", "TREES", "forest_grid", "kernel_grid", "ridge_grid"]

ALPHAS = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Penalties of kernel ridge."""
RIDGES = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
"""Penalties of ridge."""
KERNELS: tuple[tuple[str, float], ...] = (
    *(("unit", gamma) for gamma in (0.5 / 8.0**2, 2.0, 8.0, 32.0)),
    *(("zscore", gamma) for gamma in (0.5 / 16.0**2, 0.5 / 8.0**2, 0.5 / 4.0**2, 8.0)),
)
"""Scale of the features and gamma: both readings of the paper's 8.0, as gamma and as sigma, on both scales."""
TREES = (10, 30, 90)
DEPTHS = (5, 10, 20, 55)
FEATURES = (0.1, 1.0 / 3.0, 1.0)
"""Share of the frames that a node of the forest tries."""
_FOLDS = 3


def kernel_grid(folder: Path, *, scale: str, gamma: float, n_samples: int, **_: Any) -> dict[str, Any]:
    """R2 of every map ``(alphas, maps)`` with each patient left out in turn, and degrees of freedom at alpha .1."""
    pool = load_pool(folder, 0).first(n_samples)
    curves, targets = pool.curves.double(), pool.targets.double()
    if scale == "zscore":
        curves = (curves - curves.mean(0)) / curves.std(0).clamp_min(1e-12)
    missed = leave_one_out(curves, targets, alphas=ALPHAS, gamma=gamma, groups=pool.patient)
    dof = effective_dof(curves.float(), alpha=0.1, gamma=gamma)
    return {"r2": [r2_score(targets - residual, targets).tolist() for residual in missed], "dof": float(dof)}


def ridge_grid(folder: Path, *, n_samples: int, **_: Any) -> dict[str, Any]:
    """R2 of every map ``(penalties, maps)`` of ridge, folds of patients left out."""
    pool = load_pool(folder, 0).first(n_samples)
    return {"r2": [_left_out(pool, Ridge(alpha=alpha)) for alpha in RIDGES]}


def forest_grid(
    folder: Path, *, depth: int, share: float, n_samples: int, trees: Sequence[int] = TREES, **_: Any
) -> dict[str, Any]:
    """R2 of every map ``(numbers of trees, maps)`` of forests, folds of patients left out."""
    pool = load_pool(folder, 0).first(n_samples)
    return {"r2": [_left_out(pool, RandomForest(n, max_depth=depth, max_features=share)) for n in trees]}


def _left_out(pool: Pool, model: Regressor) -> list[float]:
    """R2 of every map of a model, folds of patients left out."""
    fold, predicted = pool.patient % _FOLDS, torch.empty_like(pool.targets)
    for k in range(_FOLDS):
        model.fit(pool.curves[fold != k], pool.targets[fold != k])
        predicted[fold == k] = model.predict(pool.curves[fold == k])
    scores: list[float] = r2_score(predicted, pool.targets).tolist()
    return scores
