"""Teacher, students and truth against each other, in the brain, its tissue and the lesion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ctp_torch.data.maps import QUANTITIES
from ctp_torch.learning.scoring import measure_inside, yardstick
from ctp_torch.phantom.cohort import MAPS
from ctp_torch.phantom.patient import LABELS
from ctp_torch.study.design.patients import index_of
from ctp_torch.study.design.sources import Truth

__all__ = ["COLUMNS", "against", "compare", "regions"]

COLUMNS = ("predictor", "filter_px", "region", "map", "ssim", "mae", "r")
"""Of `compare` and `against`; the error is in the unit of the map."""

_TISSUE = tuple(LABELS.index(name) for name in ("grey", "white", "old infarct"))


def compare(
    predictions: Mapping[str, Tensor], truth: Truth, brain: Tensor, head: Tensor, *, widths: Sequence[float]
) -> list[list[Any]]:
    """Rows of every prediction against the truth.

    Parameters
    ----------
    predictions
        name to ``(maps, z, y, x)`` colour indices
    truth
        of the same patient
    brain, head
        ``(z, y, x)`` bool, from the CT
    widths
        Gaussians [pixels] on the predictions
    """
    reference = torch.stack([index_of(values, name) for values, name in zip(truth.maps, MAPS, strict=True)])
    return against(predictions, reference, brain, head, regions(brain, truth), widths=widths)


def against(
    predictions: Mapping[str, Tensor],
    reference: Tensor,
    brain: Tensor,
    head: Tensor,
    masks: Mapping[str, Tensor],
    *,
    widths: Sequence[float],
) -> list[list[Any]]:
    """Rows of every prediction against reference indices ``(maps, z, y, x)``, in each region.

    Parameters
    ----------
    predictions, brain, head, widths
        as in `compare`
    reference
        ``(maps, z, y, x)`` indices; negative ones count as 0
    masks
        region to ``(z, y, x)`` bool
    """
    stick = yardstick(reference, brain, head)
    rows = []
    for name, volumes in predictions.items():
        inside = torch.where(brain, volumes.clamp_min(0).float(), 0.0)
        for width in widths:
            scores = measure_inside(stick, inside, list(masks.values()), filter_px=width)
            for region, part in zip(masks, scores.tolist(), strict=True):
                for quantity, (ssim, mae, r) in zip(MAPS, part, strict=True):
                    low, high = QUANTITIES[quantity].display
                    values = (ssim, mae * (high - low) / 255, r)
                    rows.append([name, width, region, quantity, *(float(f"{value:.6g}") for value in values)])
    return rows


def regions(brain: Tensor, truth: Truth | None) -> dict[str, Tensor]:
    """The brain; with a truth also its tissue without fluid and large vessels, and the lesion (core and penumbra)."""
    found = {"brain": brain}
    if truth is not None:
        found["tissue"] = brain & torch.isin(truth.labels, torch.tensor(_TISSUE, dtype=truth.labels.dtype))
        lesion = brain & (truth.core | truth.penumbra)
        if bool(lesion.any()):
            found["lesion"] = lesion
    return found
