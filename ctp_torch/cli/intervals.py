"""``--intervals`` of ``ctp-torch train``: what a model's file promises of its maps and volumes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctp_torch.cli import console

if TYPE_CHECKING:
    import torch

    from ctp_torch.learning.training import TrainingSet
    from ctp_torch.models.base import Regressor
    from ctp_torch.pipeline.recipe import Recipe

__all__ = ["IntervalsOption", "promise"]

IntervalsOption = Annotated[
    float | None,
    typer.Option(
        min=0.01,
        max=0.99,
        help="Leave patients out in turn, and promise intervals that hold this share [0.9].",
        show_default=False,
    ),
]


def promise(
    level: float | None,
    files: list[Path],
    data: TrainingSet,
    unfitted: Callable[[], Regressor],
    recipe_of: Callable[[TrainingSet], Recipe],
    seed: int,
    place: torch.device,
) -> dict[str, object]:
    """What the model's file tells of its intervals; nothing where none were asked for."""
    if level is None:
        return {}
    from ctp_torch.learning.conformal import calibrate_intervals

    made = calibrate_intervals(
        files,
        data,
        unfitted,
        recipe_of,
        level=level,
        seed=seed,
        device=place,
        track=lambda numbers: console.track(numbers, "leaving patients out", total=len(files)),
    )
    console.say(f"intervals: {level:.0%} of the voxels in {level:.0%} of patients, by {made.patients} left out in turn")
    if not made.volumes:
        console.say("no intervals of volumes: too few of the patients have known lesions (truth/core, truth/penumbra)")
    return made.as_metadata()
