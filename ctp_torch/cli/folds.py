"""How patients left out of a model were predicted: a file of lines, and words."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ctp_torch.learning.folds import FoldScore

__all__ = ["fold_words", "save_folds"]


def save_folds(path: Path, tested: list[FoldScore]) -> None:
    """A line for each patient left out."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(tested[0]._fields)
        writer.writerows([f"{v:.6g}" if isinstance(v, float) else v for v in row] for row in tested)


def fold_words(tested: list[FoldScore]) -> list[str]:
    """How patients left out were predicted, in the mean."""

    def mean(name: str) -> float:
        known = [value for row in tested if (value := getattr(row, name)) == value]
        return sum(known) / len(known) if known else float("nan")

    n = len(tested)
    if tested[0].brier != tested[0].brier:
        return [f"{n} patients left out in turn: r {mean('r'):.3f}, mean absolute error {mean('mae'):.4g}"]
    off = sum(abs(row.predicted_ml - row.volume_ml) for row in tested) / n
    return [
        f"{n} patients left out in turn: Brier score {mean('brier'):.4f}, Dice {mean('dice'):.3f} above one half",
        f"above a threshold that the others choose ({mean('threshold'):.2f} in the mean): "
        f"Dice {mean('dice_at_threshold'):.3f}, volume off by {off:.1f} mL of {mean('volume_ml'):.1f}",
    ]
