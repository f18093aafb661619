"""How well a lesion found agrees with one known: volumes and overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["agreement", "dice"]


def dice(first: Tensor, second: Tensor) -> float:
    """Twice the overlap over the sum of the sizes; NaN where both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 2.0 * int((first & second).sum()) / total if total else float("nan")


def agreement(found: Tensor, known: Tensor, voxel_ml: float) -> dict[str, float | None]:
    """Volumes [mL] and Dice overlap of a mask found and one known, ``(z, y, x)`` bool each, for JSON."""
    overlap = dice(found, known)
    return {
        "ml": round(float(found.sum()) * voxel_ml, 2),
        "known_ml": round(float(known.sum()) * voxel_ml, 2),
        "dice": None if overlap != overlap else round(overlap, 4),
    }
