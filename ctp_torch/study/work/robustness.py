"""Scans made worse in ways that happen, and what teacher and students make of them, against the truth."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ctp_torch import ops, pipeline
from ctp_torch.data.curves import TissueCurves
from ctp_torch.data.series import CTPSeries
from ctp_torch.errors import QualityError
from ctp_torch.io.atomic import save_tensors
from ctp_torch.phantom.noise import noise_amplitude, noise_images
from ctp_torch.pipeline.recipe import Recipe
from ctp_torch.study.design.patients import load_patient, teacher_indices
from ctp_torch.study.design.rows import DegradedRow
from ctp_torch.study.design.sources import Drawn, PatientSource, RawPatient
from ctp_torch.study.work.models import MODELS, spread_out, stored_model
from ctp_torch.study.work.scorecard import compare, regions, true_indices

if TYPE_CHECKING:
    from ctp_torch.pipeline import Anatomy

__all__ = ["VARIANTS", "Variant", "degrade", "keep_scan", "possible_variants", "score_degraded"]


class Variant(NamedTuple):
    """A way in which a scan can be worse."""

    what: str
    """In words."""
    dose: float = 1.0
    """Of the scan's own."""
    every: int = 1
    """Frames are kept."""
    end: float = math.inf
    """Of the scan [s]."""
    aligned: bool = True
    rendered: Mapping[str, Any] = MappingProxyType({})
    """What the phantom is asked for, where it takes another scan."""


VARIANTS = {
    "reference": Variant("as trained: 60 frames, 1 s, full dose"),
    "dose_50": Variant("half the dose", dose=0.5),
    "dose_25": Variant("a quarter of the dose", dose=0.25),
    "dose_12": Variant("an eighth of the dose", dose=0.125),
    "every_2nd": Variant("every second frame", every=2),
    "every_3rd": Variant("every third frame", every=3),
    "cut_45": Variant("the scan ends at 45 s", end=45.0),
    "cut_30": Variant("the scan ends at 30 s", end=30.0),
    "dt_2": Variant("scanned every 2 s", rendered={"frames": 30, "dt": 2.0}),
    "unaligned": Variant("motion left uncorrected", aligned=False),
    "wide_bolus": Variant("a bolus 1.6 times as wide", rendered={"bolus_stretch": 1.6}),
}


def possible_variants(source: PatientSource, variants: Sequence[str]) -> list[str]:
    """The variants that a source allows: another protocol or bolus needs the phantom."""
    drawn = isinstance(source, Drawn)
    return ["reference", *(name for name in variants if drawn or not VARIANTS[name].rendered)]


def keep_scan(folder: Path, *, source: PatientSource, name: str) -> dict[str, object]:
    """A patient's scan on disk in whole HU, so that it is rendered once for all variants."""
    series = source.scan(name).series
    path = folder / "scans" / f"{name}.safetensors"
    save_tensors({"hu": series.hu.round().to(torch.int16), "times": series.times.contiguous()}, path)
    return {"frames": series.n_frames}


def degrade(series: CTPSeries, variant: Variant, *, seed: int = 0) -> CTPSeries:
    """A scan made worse, as far as that needs no other one; ``seed`` is of the noise that a lower dose adds."""
    if variant.dose < 1.0:
        series = _at_dose(series, variant.dose, seed)
    hu, times = series.hu[:: variant.every], series.times[:: variant.every]
    early = times[:, 0] < variant.end
    return replace(series, hu=hu[early], times=times[early])


def score_degraded(
    folder: Path, *, source: PatientSource, name: str, variant: str, widths: Sequence[float], **_: Any
) -> list[DegradedRow]:
    """Rows of teacher and students on one degraded scan, against the truth (or the whole scan's maps without one)."""
    scan = _scan(folder, source, name, variant)
    series = scan.series
    aligned = pipeline.prepare(series, registration="torch" if VARIANTS[variant].aligned else "none", slab_mm=0.0)
    student = pipeline.prepare(series, registration=aligned.motion, median_size=3, slab_mm=0.0)
    anatomy = student.anatomy
    predictions = _students(folder, student.series, anatomy)
    with contextlib.suppress(QualityError):  # no artery found: the teacher draws nothing, which its missing rows tell
        predictions["teacher"] = teacher_indices(aligned, ops.csvd).clamp_min(0).float()
    reference = true_indices(scan.truth) if scan.truth else load_patient(folder, name, "test")[0].targets
    masks = regions(anatomy.brain, scan.truth)
    row = partial(DegradedRow, variant, name)
    return compare(predictions, reference, anatomy.brain, anatomy.head, masks, widths=widths, row=row)


def _scan(folder: Path, source: PatientSource, name: str, variant: str) -> RawPatient:
    """The degraded scan with its truth."""
    from safetensors.torch import load_file

    if VARIANTS[variant].rendered and isinstance(source, Drawn):
        return source.scan(name, **VARIANTS[variant].rendered)
    kept = load_file(folder / "scans" / f"{name}.safetensors")
    _, context = load_patient(folder, name, "test")
    series = CTPSeries(kept["hu"].float(), kept["times"], context.geometry)
    return RawPatient(degrade(series, VARIANTS[variant]), None, context.truth)


def _students(folder: Path, series: CTPSeries, anatomy: Anatomy) -> dict[str, Tensor]:
    """Predicted indices ``(maps, z, y, x)`` of the models, on the frames that they were trained on."""
    tissue = TissueCurves.gather(pipeline.features(series), anatomy.brain, series.geometry, dt=series.dt)
    predictions = {}
    for name in MODELS:
        model = stored_model(folder, name)
        recipe, curves = Recipe.of(model), tissue.values
        if curves.shape[1] != recipe.frames or abs(series.dt - recipe.dt) > 0.05 * recipe.dt:
            moments = recipe.dt * torch.arange(recipe.frames, dtype=torch.float64)
            curves = ops.resample_curves(curves, series.times[:, 0] - series.times[0, 0], moments)  # ends are held
        predictions[name] = spread_out(model.predict(curves).clamp(0, 255), anatomy.brain)
    return predictions


def _at_dose(series: CTPSeries, dose: float, seed: int) -> CTPSeries:
    """The scan with as much textured noise added as a fraction of the dose has more: variance 1 / dose."""
    shape = series.geometry.shape
    fov = shape[1] * series.geometry.spacing[1]
    amplitude = noise_amplitude(shape[1], fov)
    generator = torch.Generator().manual_seed(seed)
    unit = float(noise_images(4, amplitude, torch.Generator().manual_seed(1)).std())
    before = series.hu[: max(3, min(8, series.n_frames))]
    quiet = before.diff(dim=0).flatten(2)  # (frames - 1, z, pixels)
    head = ops.head_mask(before.mean(0), series.geometry.spacing).flatten(1)
    sd = torch.stack([_spread(quiet[:, z, head[z]]) for z in range(shape[0])]) / 2**0.5
    level = sd * (1.0 / dose - 1.0) ** 0.5 / unit
    noisy = torch.stack([frame + level[:, None, None] * noise_images(shape[0], amplitude, generator)
                         for frame in series.hu])  # fmt: skip
    return replace(series, hu=noisy.clamp(-1024.0, 3071.0).round())


def _spread(values: Tensor) -> Tensor:
    """Standard deviation that outliers don't move: 1.4826 times the median deviation."""
    if not values.numel():
        return values.new_zeros(())
    return 1.4826 * (values - values.median()).abs().median()
