"""One patient of a cohort made ready to learn from: curves of the brain, masks and target maps, kept on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ctp_torch import pipeline
from ctp_torch.data.curves import TissueCurves

if TYPE_CHECKING:
    from ctp_torch.io.cohort.cohort import CohortPatient

__all__ = ["PreparedPatient", "prepare"]


@dataclass(frozen=True)
class PreparedPatient:
    """What training and scoring need of one patient; nothing of it comes from the truth."""

    name: str
    """Folder name in the cohort."""
    split: str
    """train or test."""
    curves: Tensor
    """``(voxels, time)`` features 0..1 of the brain, row-major."""
    brain: Tensor
    """``(z, y, x)`` bool, from the CT."""
    head: Tensor
    """``(z, y, x)`` bool, from the CT."""
    targets: Tensor
    """``(maps, z, y, x)`` int16 colour indices 0..255, -1 background, -2 invalid; -1 outside the head."""
    quantities: tuple[str, ...]
    """Names of the maps, in order."""
    dt: float
    """Time between frames [s]."""
    flags: tuple[str, ...] = ()
    """What quality control found wrong, one line a flag; empty when nothing, or not looked at."""

    @property
    def valid(self) -> Tensor:
        """``(z, y, x)`` bool: where a pixel may train or test (brain, scan non-zero, no map is background)."""
        inside = torch.zeros_like(self.brain)
        inside[self.brain] = self.curves.mean(dim=1) > 0
        return inside & (self.targets >= 0).all(dim=0)

    def sample(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Curves ``(samples, time)`` and targets ``(samples, maps)`` at flat indices into the volume."""
        row = self.brain.flatten().cumsum(0) - 1  # flat index -> row of curves, inside the brain
        return self.curves[row[pixels]], self.targets.flatten(1)[:, pixels].T.to(self.curves.dtype)

    def save(self, path: Path) -> None:
        """Write to a safetensors file."""
        from ctp_torch.io.atomic import save_tensors

        facts = {n: getattr(self, n) for n in ("name", "split", "quantities", "dt", "flags")}
        tensors = {n: getattr(self, n).cpu().contiguous() for n in ("curves", "brain", "head", "targets")}
        save_tensors(tensors, path, metadata={"patient": json.dumps(facts)})

    @classmethod
    def load(cls, path: Path) -> PreparedPatient:
        """Read back what ``save`` wrote."""
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["patient"])
            tensors = {name: file.get_tensor(name) for name in ("curves", "brain", "head", "targets")}
        lists = {name: tuple(facts.get(name, ())) for name in ("quantities", "flags")}
        return cls(**{**facts, **lists}, **tensors)


def prepare(
    patient: CohortPatient,
    *,
    quantities: Sequence[str],
    registration: pipeline.Registration | None = None,
    window: tuple[float, float] = (0.0, 600.0),
    check: bool = False,
    device: torch.device | str = "cpu",
) -> PreparedPatient:
    """A patient of a cohort read, preprocessed, masked, and its coloured or scalar maps turned into indices.

    Parameters
    ----------
    patient
        from `ctp_torch.io.read_cohort`; its ``truth`` is not read
    quantities
        names of the target maps
    registration
        as in `ctp_torch.pipeline.preprocess`
    window
        of the features [HU]
    check
        whether to look for what makes maps wrong (motion, truncated bolus ...) and note it in ``flags``
    device
        where to compute; the result is on the CPU

    Raises
    ------
    IncompleteSeriesError
        if a map is missing or doesn't lie on the slices of the series
    """
    from ctp_torch.io import read_series, read_target_indices

    series = read_series(patient.series_path, dt=patient.dt).to(device)
    targets = read_target_indices(
        patient.maps_path, quantities, series.geometry, patient.ranges, lut=patient.lut, baseline=series.hu[0]
    )
    scan = pipeline.prepare(series, registration=registration, median_size=3, slab_mm=0.0)
    series, anatomy = scan.series, scan.anatomy
    tissue = TissueCurves.gather(pipeline.features(series, window=window), anatomy.brain, series.geometry, dt=series.dt)
    return PreparedPatient(
        name=patient.name,
        split=patient.split,
        curves=tissue.values.cpu(),
        brain=anatomy.brain.cpu(),
        head=anatomy.head.cpu(),
        targets=torch.where(anatomy.head.cpu(), targets, targets.new_tensor(-1)),
        quantities=tuple(quantities),
        dt=series.dt,
        flags=tuple(scan.quality.lines()) if check else (),
    )
