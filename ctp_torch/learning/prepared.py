"""One patient of a cohort made ready to learn from: features of the brain, masks and target maps, kept on disk."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ctp_torch import pipeline
from ctp_torch.data.geometry import Geometry
from ctp_torch.data.scale import ColorScale
from ctp_torch.learning.look import look_at
from ctp_torch.pipeline.recipe import View
from ctp_torch.pipeline.slices import PIXEL_MM, answers

if TYPE_CHECKING:
    from ctp_torch.io.cohort.cohort import CohortPatient
    from ctp_torch.models.base import Regressor
    from ctp_torch.pipeline.recipe import Recipe

__all__ = ["LATE_S", "PreparedPatient", "prepare"]

LATE_S = 6.0
"""Where the teacher's Tmax is above this [s], tissue is late."""


@dataclass(frozen=True)
class PreparedPatient:
    """What training and scoring need of one patient; nothing of it comes from the truth."""

    name: str
    """Folder name in the cohort."""
    split: str
    """train or test."""
    curves: Tensor
    """``(voxels, features)`` of the brain, row-major: raw curves are ``(voxels, time)`` in 0..1."""
    brain: Tensor
    """``(z, y, x)`` bool, from the CT."""
    head: Tensor
    """``(z, y, x)`` bool, from the CT."""
    targets: Tensor
    """``(maps, z, y, x)``: int16 colour indices 0..255, -1 background, -2 invalid, -1 outside the head; or float32
    values in the unit of each map, NaN where there is none."""
    quantities: tuple[str, ...]
    """Names of the maps, in order."""
    dt: float
    """Time between frames [s]."""
    flags: tuple[str, ...] = ()
    """What quality control found wrong, one line a flag; empty when nothing, or not looked at."""
    late: Tensor | None = None
    """``(z, y, x)`` bool: where the teacher's Tmax is above `LATE_S`; None where nobody asked."""
    view: View = field(default_factory=View)
    """What the features are."""
    facts: Mapping[str, float] = field(default_factory=dict)
    """Of the scan, as a recipe's ``bounds`` have it; empty for raw curves."""
    voxel_ml: float = 0.0
    """Volume of a voxel [mL]; 0 where nobody told."""
    bolus: Tensor | None = None
    """As `ctp_torch.pipeline.features.Seen` holds it."""
    geometry: Geometry | None = None
    """The grid."""
    baseline: Tensor | None = None
    """``(z, y, x)`` CT before contrast [HU], where lesions are known."""
    lesions: Tensor | None = None
    """``(2, z, y, x)`` bool, true core and hypoperfusion, where they were asked for and are known."""

    @property
    def valid(self) -> Tensor:
        """``(z, y, x)`` bool: where a pixel may train or test (brain, scan non-zero, no map is background)."""
        inside = self.brain.clone()
        if self.view.features == "raw":
            inside[self.brain] = self.curves.mean(dim=1) > 0
        known = self.targets.isfinite() if self.targets.is_floating_point() else self.targets >= 0
        return inside & known.all(dim=0)

    def sample(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Curves ``(samples, time)`` and targets ``(samples, maps)`` at flat indices into the volume."""
        row = self.brain.flatten().cumsum(0) - 1  # flat index -> row of curves, inside the brain
        return self.curves[row[pixels]], self.targets.flatten(1)[:, pixels].T.to(self.curves.dtype)

    def answers(self, model: Regressor, recipe: Recipe) -> Tensor:
        """What a model says of the brain's voxels ``(voxels, targets)``, on the CPU."""
        features = recipe.scale(self.curves.to(model.device))
        spacing = (1.0, PIXEL_MM, PIXEL_MM) if self.geometry is None else self.geometry.spacing
        return answers(model, features, self.brain.to(model.device), spacing).cpu()

    def save(self, path: Path) -> None:
        """Write to a safetensors file."""
        from ctp_torch.io.atomic import save_tensors

        facts = {n: getattr(self, n) for n in ("name", "split", "quantities", "dt", "flags")}
        facts |= {"view": asdict(self.view), "facts": dict(self.facts), "voxel_ml": self.voxel_ml}
        facts["geometry"] = None if self.geometry is None else asdict(self.geometry)
        names = ("curves", "brain", "head", "targets", "late", "bolus", "baseline", "lesions")
        tensors = {n: getattr(self, n) for n in names}
        kept = {n: tensor.cpu().contiguous() for n, tensor in tensors.items() if tensor is not None}
        save_tensors(kept, path, metadata={"patient": json.dumps(facts)})

    @classmethod
    def load(cls, path: Path) -> PreparedPatient:
        """Read back what ``save`` wrote."""
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["patient"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        lists = {name: tuple(facts.get(name, ())) for name in ("quantities", "flags")}
        grid = facts.get("geometry")
        geometry = None if grid is None else Geometry(**{name: tuple(values) for name, values in grid.items()})
        kinds = {"view": View.of(facts.get("view", {})), "geometry": geometry}
        return cls(**{**facts, **lists, **kinds}, **tensors)


def prepare(
    patient: CohortPatient,
    *,
    quantities: Sequence[str],
    registration: pipeline.Registration | None = None,
    view: View | None = None,
    target: str = "teacher",
    late: bool = False,
    lesions: bool = False,
    check: bool = False,
    device: torch.device | str = "cpu",
    cache: Path | None = None,
) -> PreparedPatient:
    """A patient of a cohort read, preprocessed, masked, and its maps turned into targets.

    Parameters
    ----------
    patient
        from `ctp_torch.io.read_cohort`; its ``truth`` is read where ``target`` says so, and nowhere else
    quantities
        names of the target maps
    registration
        as in `ctp_torch.pipeline.preprocess`
    view
        what a model sees of the scan; the paper's raw curves when None
    target
        ``teacher``: the coloured or scalar maps, as indices; ``truth``: those of a digital patient, in their units; or
        the name of a NIfTI file in each patient's folder
    late
        whether to note where the teacher's Tmax is late
    lesions
        whether to keep the true core and hypoperfusion, where they are known, and the CT to measure them with
    check
        whether to look for what makes maps wrong (motion, truncated bolus ...) and note it in ``flags``
    device
        where to compute; the result is on the CPU
    cache
        as in `ctp_torch.learning.look.look_at`

    Raises
    ------
    IncompleteSeriesError
        if a map is missing or doesn't lie on the slices of the series
    """
    from ctp_torch.io import read_target_indices
    from ctp_torch.io.cohort.target_values import read_target_file, read_target_values

    view = view or View()
    look = look_at(patient, registration=registration, view=view, device=device, cache=cache)
    grid = look.geometry
    teacher = partial(
        read_target_indices,
        patient.maps_path,
        geometry=grid,
        ranges=patient.ranges,
        lut=patient.lut,
        baseline=look.first,
    )
    if target == "teacher":
        targets = teacher(quantities=quantities)
        nothing = targets.new_tensor(-1)
    else:
        targets = (
            read_target_values(patient.truth_path, quantities, grid, of=patient.name)
            if target == "truth"
            else read_target_file(patient, target, grid)[None]
        )
        nothing = targets.new_tensor(torch.nan)
    tmax = teacher(quantities=["tmax"]) if late else None
    return PreparedPatient(
        name=patient.name,
        split=patient.split,
        curves=look.curves,
        brain=look.brain,
        head=look.head,
        targets=torch.where(look.head, targets, nothing),
        quantities=tuple(quantities),
        dt=look.dt,
        flags=look.flags if check else (),
        late=None if tmax is None else ColorScale(*patient.ranges["tmax"]).value(tmax[0].float()) > LATE_S,
        view=view,
        facts=look.facts,
        voxel_ml=math.prod(grid.spacing) / 1000.0,
        bolus=look.bolus,
        geometry=grid,
        baseline=look.baseline if lesions else None,
        lesions=_true_lesions(patient, grid) if lesions else None,
    )


def _true_lesions(patient: CohortPatient, grid: Geometry) -> Tensor | None:
    """True core and hypoperfusion ``(2, z, y, x)``; None where either isn't known."""
    from ctp_torch.io.cohort.true_lesions import knows_lesions, read_true_lesions

    if not knows_lesions(patient):
        return None
    core, slow = read_true_lesions(patient, grid)
    return None if slow is None else torch.stack([core, slow])
