"""Scans made worse in ways that happen, and what teacher and students make of them, against the truth."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ctp_torch import ops, pipeline
from ctp_torch.data.curves import TissueCurves
from ctp_torch.data.series import CTPSeries
from ctp_torch.errors import QualityError
from ctp_torch.io.atomic import whole
from ctp_torch.phantom.noise import noise_amplitude, noise_images
from ctp_torch.pipeline.recipe import Recipe
from ctp_torch.study.design.patients import load_patient, teacher_indices
from ctp_torch.study.design.rows import DegradedRow
from ctp_torch.study.design.sources import Drawn, PatientSource, RawPatient
from ctp_torch.study.work.models import MODELS, spread_out, stored_model
from ctp_torch.study.work.scorecard import compare, regions, true_indices

if TYPE_CHECKING:
    from ctp_torch.pipeline import Anatomy

__all__ = ["VARIANTS", "degrade", "keep_scan", "possible_variants", "score_degraded"]

VARIANTS = {
    "reference": "as trained: 60 frames, 1 s, full dose",
    "dose_50": "half the dose",
    "dose_25": "a quarter of the dose",
    "dose_12": "an eighth of the dose",
    "every_2nd": "every second frame",
    "every_3rd": "every third frame",
    "cut_45": "the scan ends at 45 s",
    "cut_30": "the scan ends at 30 s",
    "dt_2": "scanned every 2 s",
    "unaligned": "motion left uncorrected",
    "wide_bolus": "a bolus 1.6 times as wide",
}
"""Name to what is done."""
_DOSES = {"dose_50": 0.5, "dose_25": 0.25, "dose_12": 0.125}
_STEPS = {"every_2nd": 2, "every_3rd": 3}
_ENDS = {"cut_45": 45.0, "cut_30": 30.0}
_WIDENED = 1.6


def possible_variants(source: PatientSource, variants: Sequence[str]) -> list[str]:
    """The variants that a source allows: another protocol or bolus needs the phantom."""
    drawn = isinstance(source, Drawn)
    return ["reference", *(name for name in variants if drawn or name not in ("dt_2", "wide_bolus"))]


def keep_scan(folder: Path, *, source: PatientSource, name: str) -> dict[str, object]:
    """A patient's scan on disk in whole HU, so that it is rendered once for all variants."""
    from safetensors.torch import save_file

    series = source.scan(name).series
    path = folder / "scans" / f"{name}.safetensors"
    path.parent.mkdir(exist_ok=True)
    with whole(path, force=True) as partial:
        save_file({"hu": series.hu.round().to(torch.int16), "times": series.times.contiguous()}, partial)
    return {"frames": series.n_frames}


def degrade(series: CTPSeries, variant: str, *, seed: int = 0) -> CTPSeries:
    """A scan made worse.

    Parameters
    ----------
    series
        as delivered
    variant
        one of ``VARIANTS`` that needs no other scan; ``reference`` and ``unaligned`` change nothing here
    seed
        of the noise that a lower dose adds
    """
    if variant in _DOSES:
        return _at_dose(series, _DOSES[variant], seed)
    frames = torch.arange(series.n_frames)
    if variant in _STEPS:
        frames = frames[:: _STEPS[variant]]
    elif variant in _ENDS:
        frames = frames[series.times[:, 0] < _ENDS[variant]]
    return replace(series, hu=series.hu[frames], times=series.times[frames])


def score_degraded(
    folder: Path, *, source: PatientSource, name: str, variant: str, widths: Sequence[float], **_: Any
) -> list[DegradedRow]:
    """Rows of teacher and students on one degraded scan, against the truth (or the whole scan's maps without one).

    Parameters
    ----------
    folder
        of all steps; the students are its models of the first seed and the largest size
    source, name
        which patient
    variant
        one of ``VARIANTS``
    widths
        Gaussians [pixels] on teacher and students alike
    """
    scan = _scan(folder, source, name, variant)
    series = scan.series
    motion = None if variant == "unaligned" else pipeline.estimate_motion(series, ops.register_rigid)
    student = pipeline.preprocess(series)
    aligned = series if motion is None else pipeline.align(series, motion)
    student = student if motion is None else pipeline.align(student, motion)
    anatomy = pipeline.locate(student)
    predictions = _students(folder, student, anatomy)
    with contextlib.suppress(QualityError):  # no artery found: the teacher draws nothing, which its missing rows tell
        predictions["teacher"] = teacher_indices(aligned, ops.csvd).clamp_min(0).float()
    reference = true_indices(scan.truth) if scan.truth else load_patient(folder, name, "test")[0].targets
    masks = regions(anatomy.brain, scan.truth)
    rows = compare(predictions, reference, anatomy.brain, anatomy.head, masks, widths=widths)
    return [DegradedRow(variant, name, *row.cells) for row in rows]


def _scan(folder: Path, source: PatientSource, name: str, variant: str) -> RawPatient:
    """The degraded scan with its truth."""
    from safetensors.torch import load_file

    if variant in ("dt_2", "wide_bolus") and isinstance(source, Drawn):
        changes: dict[str, Any] = {"frames": 30, "dt": 2.0} if variant == "dt_2" else {"bolus_stretch": _WIDENED}
        return source.scan(name, **changes)
    kept = load_file(folder / "scans" / f"{name}.safetensors")
    _, context = load_patient(folder, name, "test")
    series = CTPSeries(kept["hu"].float(), kept["times"], context.geometry)
    return RawPatient(degrade(series, variant), None, context.truth)


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
