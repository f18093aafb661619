"""What ``ctp-torch train`` writes and says of a model: its file, its pixels, and how patients left out fared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ctp_torch.cli import console
from ctp_torch.cli.folds import fold_words, save_folds

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.learning.folds import FoldScore
    from ctp_torch.learning.training import TrainingSet
    from ctp_torch.models.base import Regressor
    from ctp_torch.pipeline.recipe import Recipe

__all__ = ["ENDINGS", "describe", "write_model"]

PIXELS, IMPORTANCE, FOLDS = ENDINGS = (".pixels.json", ".importance.png", ".folds.csv")
"""Of what lies beside a model."""


def write_model(
    output: Path, regressor: Regressor, recipe: Recipe, data: TrainingSet, tested: list[FoldScore] | None,
    facts: dict[str, object], promised: Mapping[str, object],
) -> None:  # fmt: skip
    """The model, its pixels, which moments matter, and how patients left out were predicted; or nothing at all."""
    from ctp_torch.learning.training import fingerprint

    provenance = {**facts, "pixels": fingerprint(data.pixels)}
    pixels, importance, folds = (output.with_suffix(ending).name for ending in (PIXELS, IMPORTANCE, FOLDS))
    with console.delivered(output) as folder:
        about = {"recipe": recipe.as_metadata(), "provenance": provenance, **promised}
        regressor.save(folder / output.name, metadata=about)
        _save_pixels(folder / pixels, data.pixels)
        drawn = recipe.features == "raw" and _plot_importance(folder / importance, regressor, data.dt)
        if tested is not None:
            save_folds(folder / folds, tested)
    if drawn:
        console.say(f"wrote {importance}: which moments of the bolus matter")
    if tested is not None:
        for line in fold_words(tested):
            console.say(line)


def describe(regressor: object) -> None:
    """What a model says of itself."""
    plan = getattr(regressor, "plan_", None)
    if plan is not None:
        console.say(f"solved by {plan['solver']}: {plan['reason']}")
    dof = getattr(regressor, "effective_dof_", None)
    if dof is not None:
        console.say(f"effective degrees of freedom tr(K(K + alpha I)^-1): {float(dof):.1f}")


def _save_pixels(path: Path, pixels: dict[str, Tensor]) -> None:
    """Which pixels were drawn: patient to flat indices into (slice, row, column)."""
    import json

    path.write_text(json.dumps({name: drawn.tolist() for name, drawn in pixels.items()}), encoding="utf-8")


def _plot_importance(path: Path, regressor: Regressor, dt: float) -> bool:
    """Which moments of the bolus a forest asks about, as a picture; whether there is any."""
    importance = getattr(regressor, "feature_importances_", None)
    if importance is None:
        return False
    from ctp_torch.report.figures import to_png, training_figure

    path.write_bytes(to_png(training_figure({"all maps": importance.tolist()}, dt)))
    return True
