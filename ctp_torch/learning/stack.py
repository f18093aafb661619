"""The second stage: what a cohort's truth adds to a student that learned from simulated curves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ctp_torch.models import Stack, load_model
from ctp_torch.pipeline.recipe import Recipe, View

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["STACK_WIDTHS_MM", "scaled_for_stack", "stack_model", "stack_view"]

STACK_WIDTHS_MM = (2.0, 4.0, 8.0)
"""Gaussians in the plane at which the first stage is asked [mm]."""


def stack_view(widths: Sequence[float] = STACK_WIDTHS_MM, *, with_hu: bool = False, first: str = "physics") -> View:
    """What a stack sees of a scan: the curves of its first stage, at several widths, and the CT before contrast."""
    seen = Recipe.of(load_model(first)).view
    return replace(seen, smoothing_mm=tuple(widths), baseline_hu=with_hu)


def scaled_for_stack(recipe: Recipe, *, first: str = "physics") -> Recipe:
    """The recipe with features scaled as the first stage learned them, at every width."""
    learned, n = Recipe.of(load_model(first)), len(recipe.smoothing_mm)
    start = n * len(learned.feature_mean)  # what follows passes the first stage
    mean, sd = (
        seen * n + own[start:]
        for seen, own in ((learned.feature_mean, recipe.feature_mean), (learned.feature_sd, recipe.feature_sd))
    )
    return replace(recipe, feature_mean=mean, feature_sd=sd, components=())


def stack_model(seed: int = 0, *, with_hu: bool = False, first: str = "physics") -> Stack:
    """The unfitted stack that measured best: a small network on a student's answers."""
    settings = {"hidden": [48, 48], "steps": 3000, "learning_rate": 3e-3, "seed": seed}
    return Stack(first, "Network", settings, passed=int(with_hu))
