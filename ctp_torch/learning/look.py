"""What a model sees of one scan, whatever it is to learn of it: computed once, kept by content and recipe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ctp_torch import pipeline
from ctp_torch.data.geometry import Geometry
from ctp_torch.io.limits import DAMAGE
from ctp_torch.pipeline.features import features_of
from ctp_torch.pipeline.kept_motion import kept_motion
from ctp_torch.pipeline.recipe import View
from ctp_torch.pipeline.scan import REGISTRATIONS

if TYPE_CHECKING:
    from ctp_torch.io.cohort.cohort import CohortPatient

__all__ = ["Look", "look_at"]

_FORMAT = 1
"""Of a kept file; raised when what stands in it, or how it is made, changes."""


@dataclass(frozen=True)
class Look:
    """Features and masks of a scan; all tensors are on the CPU."""

    curves: Tensor
    """``(voxels, features)`` of the brain, row-major."""
    brain: Tensor
    """``(z, y, x)`` bool."""
    head: Tensor
    """``(z, y, x)`` bool."""
    first: Tensor
    """``(z, y, x)`` the first frame as read [HU]."""
    baseline: Tensor
    """``(z, y, x)`` CT before contrast [HU]."""
    bolus: Tensor | None
    """As `ctp_torch.pipeline.features.Seen` holds it."""
    geometry: Geometry
    dt: float
    """Time between frames [s]."""
    facts: Mapping[str, float]
    """Of the scan, as a recipe's ``bounds`` have it."""
    flags: tuple[str, ...]
    """What quality control found wrong, one line a flag."""

    def save(self, path: Path) -> None:
        """Write to a safetensors file."""
        from ctp_torch.io.atomic import save_tensors

        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {name: value.contiguous() for name, value in values.items() if isinstance(value, Tensor)}
        facts = {"geometry": asdict(self.geometry), "dt": self.dt, "facts": dict(self.facts), "flags": self.flags}
        save_tensors(tensors, path, metadata={"look": json.dumps(facts)})

    @classmethod
    def load(cls, path: Path) -> Look | None:
        """Read back what ``save`` wrote; None where there is nothing, or nothing whole."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                facts = json.loads(file.metadata()["look"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            geometry = Geometry(**{name: tuple(values) for name, values in facts.pop("geometry").items()})
            return cls(**{"bolus": None, **facts, "flags": tuple(facts["flags"]), "geometry": geometry, **tensors})
        except (SafetensorError, OSError, *DAMAGE):
            return None


def look_at(
    patient: CohortPatient,
    *,
    registration: pipeline.Registration | None,
    view: View,
    device: torch.device | str = "cpu",
    cache: Path | None = None,
) -> Look:
    """What a model sees of a patient's scan.

    Parameters
    ----------
    patient
        from `ctp_torch.io.read_cohort`
    registration
        as in `ctp_torch.pipeline.prepare`
    view
        of the model's recipe
    device
        where to compute
    cache
        folder of what was computed before, by the bytes of the scan and what was done to them; None for none
    """
    path = None if cache is None else _kept_as(patient, registration, view, cache)
    if path is not None and (kept := Look.load(path)) is not None:
        return kept
    from ctp_torch.io import read_series

    series = read_series(patient.series_path, dt=patient.dt).to(device)
    first = series.hu[0].cpu()
    motion = kept_motion(series, registration, cache)
    scan = pipeline.prepare(series, registration=motion, median_size=view.prepared_median, slab_mm=0.0)
    seen = features_of(scan, view)
    look = Look(
        curves=seen.tissue.values.cpu(),
        brain=scan.anatomy.brain.cpu(),
        head=scan.anatomy.head.cpu(),
        first=first,
        baseline=scan.anatomy.baseline.cpu(),
        bolus=None if seen.bolus is None else seen.bolus.cpu(),
        geometry=series.geometry,
        dt=series.dt,
        facts=seen.facts,
        flags=tuple(scan.quality.lines()),
    )
    if path is not None:
        look.save(path)
    return look


def _kept_as(
    patient: CohortPatient, registration: pipeline.Registration | None, view: View, cache: Path
) -> Path | None:
    """The file of a scan and recipe; None for a registration that has no name to keep it under."""
    names = [name for name, one in REGISTRATIONS.items() if one is registration]
    if not names:
        return None
    from ctp_torch.io.dicom.index import find_files
    from ctp_torch.io.nifti.nifti import sidecar

    place = patient.series_path
    files = find_files(place) if place.is_dir() else [place, sidecar(place)]
    content = hashlib.sha256()
    for file in files:
        if file.is_file():
            with file.open("rb") as stream:
                content.update(hashlib.file_digest(stream, "sha256").digest())
    recipe = [_FORMAT, version("ctp-torch"), names[0], view.key, view.prepared_median, patient.dt]
    content.update(json.dumps(recipe).encode())
    return cache / f"{content.hexdigest()[:32]}.safetensors"
