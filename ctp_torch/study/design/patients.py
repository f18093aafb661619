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
from ctp_torch.data.maps import QUANTITIES
from ctp_torch.data.scale import ColorScale
from ctp_torch.io.atomic import save_tensors
from ctp_torch.learning.prepared import PreparedPatient
from ctp_torch.phantom.cohort import MAPS
from ctp_torch.study.design.sources import PatientSource, RawPatient, Truth
from ctp_torch.study.design.views import keep_views

if TYPE_CHECKING:
    from ctp_torch.data.series import CTPSeries
    from ctp_torch.ops.motion.rigid import RigidMotion
    from ctp_torch.pipeline import Anatomy

__all__ = ["PatientContext", "index_of", "load_patient", "make_ready", "prepare_patient", "teacher_indices"]

_OTHER_TEACHERS: Mapping[str, Callable[..., Any]] = {
    "csvd_20": partial(ops.csvd, threshold=0.2),
    "osvd": ops.osvd,
    "ssvd": ops.ssvd,
    "tikhonov": ops.tikhonov,
}
"""Deconvolutions that the teacher is compared with: what a perfect student of one would score at another."""


@dataclass(frozen=True)
class PatientContext:
    """What the scorecard needs of a patient beside `PreparedPatient`; models never see it."""

    geometry: Geometry
    """The grid."""
    baseline: Tensor
    """``(z, y, x)`` mean before contrast, aligned and unfiltered [HU]."""
    peak: Tensor
    """``(z, y, x)`` the frame in which the brain enhances most [HU]."""
    teachers: dict[str, Tensor]
    """Another deconvolution to its ``(maps, z, y, x)`` int16 indices; test patients only."""
    truth: Truth | None
    """Where it is known."""


def prepare_patient(folder: Path, *, source: PatientSource, name: str, split: str) -> dict[str, object]:
    """The two files of a patient, scanned, preprocessed and deconvolved; the facts for the record.

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
    aligned = pipeline.prepare(scan.series, slab_mm=0.0)
    targets = teacher_indices(aligned, ops.csvd) if scan.targets is None else scan.targets
    ready, anatomy = make_ready(scan.series, aligned.motion, targets, name=name, split=split)
    others = {} if split == "train" else {n: teacher_indices(aligned, how) for n, how in _OTHER_TEACHERS.items()}
    file = _patient_file(folder, name, split)
    _save_context(file.with_suffix(".around.safetensors"), scan, aligned, ready, others)
    ready.save(file)
    refused = keep_views(folder, aligned, ready)
    facts = {} if scan.truth is None else scan.truth.facts
    return {
        "voxels": len(ready.curves),
        "baseline_frames": anatomy.n_baseline,
        "flags": list(ready.flags),
        "refused": refused,
        **facts,
    }


def teacher_indices(aligned: pipeline.Scan, method: Callable[..., Any]) -> Tensor:
    """Colour indices ``(maps, z, y, x)`` int16 of a deconvolution, as read back from its JET maps; -1 outside."""
    # as the console teacher's
    maps = pipeline.deconvolve(aligned, method, sigma_mm=2.0, smoothing="inside", complete_cbv=False)
    pictures = [ops.paint(maps[name], QUANTITIES[name].display, maps.mask) for name in MAPS]
    return torch.stack([ops.nearest_color_index(picture, ops.jet_lut()) for picture in pictures])


def index_of(values: Tensor, name: str) -> Tensor:
    """Unrounded colour indices 0..255 of a map in physical units."""
    return ColorScale(*QUANTITIES[name].display).index(values)


def make_ready(
    series: CTPSeries, motion: RigidMotion | None, targets: Tensor, *, name: str, split: str
) -> tuple[PreparedPatient, Anatomy]:
    """What a student sees of a series, as `ctp_torch.learning.prepared.prepare` makes it, and where the brain is."""
    student = pipeline.prepare(series, registration=motion, median_size=3, slab_mm=0.0)
    anatomy = student.anatomy
    tissue = TissueCurves.gather(pipeline.features(student.series), anatomy.brain, series.geometry, dt=series.dt)
    ready = PreparedPatient(
        name=name,
        split=split,
        curves=tissue.values,
        brain=anatomy.brain,
        head=anatomy.head,
        targets=torch.where(anatomy.head, targets, targets.new_tensor(-1)),
        quantities=MAPS,
        dt=series.dt,
        flags=tuple(student.quality.lines()),
    )
    return ready, anatomy


def load_patient(folder: Path, name: str, split: str) -> tuple[PreparedPatient, PatientContext]:
    """Read back what `prepare_patient` wrote."""
    from safetensors import safe_open

    file = _patient_file(folder, name, split)
    with safe_open(file.with_suffix(".around.safetensors"), framework="pt") as context:
        grid = json.loads(context.metadata()["facts"])
        tensors = {key: context.get_tensor(key) for key in context.keys()}  # noqa: SIM118 - not a dict
    true = {key: tensors[key] for key in ("labels", "core", "penumbra") if key in tensors}
    return PreparedPatient.load(file), PatientContext(
        geometry=Geometry(*(tuple(grid[key]) for key in ("shape", "spacing", "origin", "direction"))),
        baseline=tensors["baseline"],
        peak=tensors["peak"],
        teachers={k.removeprefix("teacher_"): v for k, v in tensors.items() if k.startswith("teacher_")},
        truth=Truth(tensors["truth"], **true, facts={}) if true else None,
    )


def _patient_file(folder: Path, name: str, split: str) -> Path:
    """Where a prepared patient lies."""
    return folder / "patients" / split / f"{name}.safetensors"


def _save_context(
    path: Path, scan: RawPatient, aligned: pipeline.Scan, ready: PreparedPatient, others: Mapping[str, Tensor]
) -> None:
    """The second file."""
    peak = int(ready.curves.mean(dim=0).argmax())
    tensors = {"baseline": aligned.anatomy.baseline, "peak": aligned.series.hu[peak]}
    tensors |= {f"teacher_{name}": values for name, values in others.items()}
    if (true := scan.truth) is not None:
        tensors |= {"truth": true.maps, "labels": true.labels, "core": true.core, "penumbra": true.penumbra}
    geometry = aligned.series.geometry
    grid = {name: getattr(geometry, name) for name in ("shape", "spacing", "origin", "direction")}
    contiguous = {name: values.cpu().contiguous().clone() for name, values in tensors.items()}
    save_tensors(contiguous, path, metadata={"facts": json.dumps(grid)})
