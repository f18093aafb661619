"""Whole slices of prepared patients as a training set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad

from ctp_torch.errors import CTPError
from ctp_torch.learning.prepared import PreparedPatient
from ctp_torch.learning.training import TrainingSet, shared_bounds
from ctp_torch.pipeline.slices import to_slices

__all__ = ["draw_slices"]


def draw_slices(files: Sequence[Path]) -> TrainingSet:
    """All slices of prepared patients that hold a pixel to learn from, padded to one size.

    ``curves`` are ``(slices, rows, columns, features)`` and ``targets`` the same of maps, both 0 outside of what may
    train; ``pixels`` holds the slices' numbers.

    Parameters
    ----------
    files
        written by `ctp_torch.learning.training.prepare_all`, of features that know the artery

    Raises
    ------
    CTPError
        for raw curves, patients without a grid, or none with anything to learn from
    """
    parts: list[tuple[Tensor, Tensor]] = []
    chosen, facts = {}, []
    for file in files:
        one = PreparedPatient.load(file)
        if one.view.features == "raw" or one.geometry is None:
            raise CTPError(f"{one.name}: a model of whole slices learns from --features residue or arterial")
        inside = one.valid
        known = inside[one.brain]  # (voxels,) of the brain
        maps = one.targets[:, inside].T.to(one.curves.dtype)  # (voxels, maps)
        both = torch.cat([one.curves[known], maps], dim=1)
        slices = to_slices(both, inside, one.geometry.spacing)
        some = inside.flatten(1).any(dim=1).nonzero().squeeze(1)
        parts.append((slices[some, ..., : one.curves.shape[1]], slices[some, ..., one.curves.shape[1] :]))
        chosen[one.name] = some
        facts.append(one.facts)
    if not any(len(part) for part, _ in parts):
        raise CTPError("the patients hold no pixel to learn from")
    rows, columns = (max(part.shape[axis] for part, _ in parts) for axis in (1, 2))
    curves, targets = (torch.cat([_padded(pair[i], rows, columns) for pair in parts]) for i in (0, 1))
    return TrainingSet(curves, targets, chosen, one.dt, one.quantities, shared_bounds(facts))


def _padded(slices: Tensor, rows: int, columns: int) -> Tensor:
    """Slices ``(slices, rows, columns, n)`` with 0 below and to the right."""
    return pad(slices, (0, 0, 0, columns - slices.shape[2], 0, rows - slices.shape[1]))
