"""A patient of the study: prepared to learn from, with what the scorecard compares with, in two files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ctp_torch import ops, pipeline
from ctp_torch.data.curves import TissueCurves
from ctp_torch.data.geometry import Geometry
from ctp_torch.data.maps import QUANTITIES, PerfusionMaps
from ctp_torch.io.atomic import whole
from ctp_torch.learning.prepared import PreparedPatient
from ctp_torch.phantom.cohort import MAPS
from ctp_torch.quality import assess
from ctp_torch.study.design.sources import Scan, Source, Truth

if TYPE_CHECKING:
    from ctp_torch.data.series import CTPSeries
    from ctp_torch.ops.motion.rigid import RigidMotion
    from ctp_torch.pipeline import Anatomy

__all__ = ["OTHER_TEACHERS", "Surroundings", "index_of", "load_patient", "make_ready", "prepare_patient", "teach"]

OTHER_TEACHERS: Mapping[str, Callable[..., Any]] = {
    "csvd_20": partial(ops.csvd, threshold=0.2),
    "osvd": ops.osvd,
    "ssvd": ops.ssvd,
    "tikhonov": ops.tikhonov,
}
"""Deconvolutions that the teacher is compared with: what a perfect student of one would score at another."""


@dataclass(frozen=True)
class Surroundings:
    """What the scorecard needs of a patient beside `PreparedPatient`; models never see it."""

    geometry: Geometry
    """The grid."""
    baseline: Tensor
    """``(z, y, x)`` mean before contrast, aligned and unfiltered [HU]."""
    peak: Tensor
    """``(z, y, x)`` the frame in which the brain enhances most [HU]."""
    teachers: dict[str, Tensor]
    """Another deconvolution to its ``(maps, z, y, x)`` int16 indices; test patients only."""
    truth: Tensor | None
    """``(maps, z, y, x)`` in physical units."""
    labels: Tensor | None
    """``(z, y, x)`` uint8 tissue."""
    core: Tensor | None
    """``(z, y, x)`` bool."""
    penumbra: Tensor | None
    """``(z, y, x)`` bool."""

    @property
    def known(self) -> Truth | None:
        """The truth in one piece, where there is one."""
        if self.truth is None or self.labels is None or self.core is None or self.penumbra is None:
            return None
        return Truth(self.truth, self.labels, self.core, self.penumbra, {})


def prepare_patient(folder: Path, *, source: Source, name: str, split: str) -> dict[str, object]:
    """Scan, preprocess, teach: the two files of a patient; the facts for the record.

    Parameters
    ----------
    folder
        of all steps; the files are ``patients/<split>/<name>.safetensors`` and ``.around.safetensors``
    source
        where the patient comes from
    name, split
        which
    """
    scan = source.scan(name)
    motion = pipeline.estimate_motion(scan.series, ops.register_rigid)
    aligned = pipeline.align(scan.series, motion)
    targets = teach(aligned, ops.csvd) if scan.targets is None else scan.targets
    ready, anatomy = make_ready(scan.series, motion, targets, name=name, split=split)
    others = {} if split == "train" else {label: teach(aligned, how) for label, how in OTHER_TEACHERS.items()}
    home = folder / "patients" / split
    _save_surroundings(home / f"{name}.around.safetensors", scan, aligned, ready, others)
    with whole(home / f"{name}.safetensors", force=True) as partial_file:
        ready.save(partial_file)
    facts = {} if scan.truth is None else scan.truth.facts
    return {"voxels": len(ready.curves), "baseline_frames": anatomy.n_baseline, "flags": list(ready.flags), **facts}


def teach(aligned: CTPSeries, method: Callable[..., Any]) -> Tensor:
    """Colour indices ``(maps, z, y, x)`` int16 of a deconvolution, as read back from its coloured maps; -1 outside."""
    maps = pipeline.deconvolve(aligned, method)
    return torch.stack([_indices(maps, name) for name in MAPS])


def index_of(values: Tensor, name: str) -> Tensor:
    """Unrounded colour indices 0..255 of a map in physical units."""
    low, high = QUANTITIES[name].display
    return ((values - low) / (high - low)).clamp(0, 1) * 255


def make_ready(
    series: CTPSeries, motion: RigidMotion | None, targets: Tensor, *, name: str, split: str
) -> tuple[PreparedPatient, Anatomy]:
    """What a student sees of a series, as `ctp_torch.learning.prepared.prepare` makes it, and where the brain is."""
    student = pipeline.preprocess(series)
    student = student if motion is None else pipeline.align(student, motion)
    anatomy = pipeline.locate(student)
    tissue = TissueCurves.gather(pipeline.features(student), anatomy.brain, series.geometry, dt=series.dt)
    ready = PreparedPatient(
        name=name,
        split=split,
        curves=tissue.values,
        brain=anatomy.brain,
        head=anatomy.head,
        targets=torch.where(anatomy.head, targets, targets.new_tensor(-1)),
        quantities=MAPS,
        dt=series.dt,
        flags=tuple(assess(student, motion, anatomy=anatomy).lines()),
    )
    return ready, anatomy


def load_patient(folder: Path, name: str, split: str) -> tuple[PreparedPatient, Surroundings]:
    """Read back what `prepare_patient` wrote."""
    from safetensors import safe_open

    home = folder / "patients" / split
    ready = PreparedPatient.load(home / f"{name}.safetensors")
    with safe_open(home / f"{name}.around.safetensors", framework="pt") as file:
        told = json.loads(file.metadata()["facts"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    shape, spacing, origin, direction = (tuple(told[k]) for k in ("shape", "spacing", "origin", "direction"))
    around = Surroundings(
        geometry=Geometry(shape, spacing, origin, direction),
        baseline=tensors["baseline"],
        peak=tensors["peak"],
        teachers={k.removeprefix("teacher_"): v for k, v in tensors.items() if k.startswith("teacher_")},
        **{key: tensors.get(key) for key in ("truth", "labels", "core", "penumbra")},
    )
    return ready, around


def _indices(maps: PerfusionMaps, name: str) -> Tensor:
    """One map painted in JET and read back: exact, black off the brain becomes -1."""
    return ops.nearest_color_index(ops.paint(maps[name], QUANTITIES[name].display, maps.mask), ops.jet_lut())


def _save_surroundings(
    path: Path, scan: Scan, aligned: CTPSeries, ready: PreparedPatient, others: Mapping[str, Tensor]
) -> None:
    """The second file."""
    from safetensors.torch import save_file

    geometry = aligned.geometry
    peak = int(ready.curves.mean(dim=0).argmax())
    tensors = {"baseline": pipeline.locate(aligned).baseline, "peak": aligned.hu[peak]}
    tensors |= {f"teacher_{name}": values for name, values in others.items()}
    if scan.truth is not None:
        tensors |= {"truth": scan.truth.maps, "labels": scan.truth.labels}
        tensors |= {"core": scan.truth.core, "penumbra": scan.truth.penumbra}
    facts = {name: getattr(geometry, name) for name in ("shape", "spacing", "origin", "direction")}
    with whole(path, force=True) as partial_file:
        contiguous = {name: values.cpu().contiguous().clone() for name, values in tensors.items()}
        save_file(contiguous, partial_file, metadata={"facts": json.dumps(facts)})
