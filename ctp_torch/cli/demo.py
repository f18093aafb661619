"""``ctp-torch demo``: the paper's whole chain on digital patients, from DICOM files to scored maps and a report."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctp_torch.cli import choices, console

if TYPE_CHECKING:
    import torch

    from ctp_torch.data.maps import PerfusionMaps
    from ctp_torch.io import Cohort
    from ctp_torch.learning.evaluate import SliceScore
    from ctp_torch.learning.training import TrainingSet
    from ctp_torch.models.base import Regressor
    from ctp_torch.pipeline.measure import Measured
    from ctp_torch.report.viewer.page import Picture
    from ctp_torch.report.viewer.payload import PatientView

__all__ = ["demo"]

_PATIENTS, _TRAIN, _SIZE, _SAMPLES = 8, 6, 128, 4000
_MAPS = ("cbv", "cbf", "mtt", "tmax")
_SLICE = 2
"""The slice shown, from 0: the paper's third."""


def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for cohort, models, scores and report.")
    ] = Path("ctp-demo"),
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other patients.")] = 0,
    device: console.DeviceOption = "auto",
    force: console.ForceOption = False,
) -> None:
    """Run the whole chain in under 3 minutes: 8 digital patients as DICOM, four models, their maps, SSIM tables.

    Example: ctp-torch demo -o ctp-demo
    """
    from ctp_torch.io.results.derivation import versions

    started = time.perf_counter()
    target = console.pick_device(device)
    console.claim(output, force=force)

    from ctp_torch.io import read_cohort
    from ctp_torch.learning.training import draw, prepare_all
    from ctp_torch.report.tables import markdown, paper_table, summary, write_scores

    with console.delivered(output) as folder:
        cohort = _make_cohort(folder / "cohort", seed)
        source = read_cohort(cohort)
        with console.scratch(folder / "prepared") as ready:
            align = choices.pick_registration(choices.DEFAULT_REGISTRATION)
            prepared = prepare_all(source.patients, ready, quantities=_MAPS, registration=align, device=target)
            files = list(console.track(prepared, "reading DICOM, median filter, motion", total=len(source.patients)))
            training = [f for f, p in zip(files, source.patients, strict=True) if p.split == "train"]
            data = draw(training, _SAMPLES, seed=seed)
            models = _fit(data, source, folder / "models", seed, target)
            rows = _score(files, models)
            pictures = _pictures(source, files, models, rows)
            views = _views(source, files, models)
        facts = {
            "patients": f"{_TRAIN} training and {_PATIENTS - _TRAIN} test, {_SIZE} x {_SIZE}, digital (seed {seed})",
            "training pixels": f"{len(data.curves):,} curves of {data.curves.shape[1]} frames",
            "teacher": "cSVD, threshold 0.1, on the same noisy scans",
            "device": str(target),
            "seconds": f"{time.perf_counter() - started:.0f}",
            **versions(),
        }
        write_scores(rows, folder / "scores.csv")
        (folder / "summary.md").write_text(summary(rows, title="Demo", facts=facts), encoding="utf-8")
        _write_page(folder, rows, pictures, facts, views)
    for number, split in ((1, "train"), (2, "test")):
        word = "training" if split == "train" else "testing"
        for score, place in (("ssim_frame", "whole frame"), ("ssim_brain", "brain only")):
            console.say(f"\nTable {number}: {word} SSIM, {place} (mean, 95 % interval over patients)\n")
            console.say(markdown(paper_table(rows, split=split, score=score)))
    console.say(f"\ndone in {time.perf_counter() - started:.0f} s; open {output / 'report.html'}")


def _make_cohort(folder: Path, seed: int) -> Path:
    """Digital patients on disk as DICOM."""
    from ctp_torch.learning.teacher import console_teacher
    from ctp_torch.phantom.cohort import CohortDesign, write_cohort

    design = CohortDesign(patients=_PATIENTS, train=_TRAIN, size=_SIZE, seed=seed)
    steps = write_cohort(folder, design, teacher=console_teacher())
    for _ in console.track(steps, "scanning digital patients", total=_PATIENTS):
        pass
    return folder


def _fit(data: TrainingSet, source: Cohort, folder: Path, seed: int, device: torch.device) -> dict[str, Regressor]:
    """The four models of the paper, fitted to the same pixels and saved."""
    from ctp_torch.pipeline.recipe import Recipe

    folder.mkdir()
    recipe = Recipe(
        frames=data.curves.shape[1],
        dt=data.dt,
        targets={name: source.ranges[name] for name in _MAPS},
        registration=choices.DEFAULT_REGISTRATION,
    )
    curves, targets = data.curves.to(device), data.targets.to(device)
    models = {}
    for name in console.track(("linear", "ridge", "krr", "rf"), "training"):
        model = choices.make_model(name, seed=seed)
        model.fit(curves, targets).save(folder / f"{name}.safetensors", metadata={"recipe": recipe.as_metadata()})
        models[name] = model
    return models


def _score(files: Sequence[Path], models: Mapping[str, Regressor]) -> list[SliceScore]:
    """Every slice of every patient, map and model."""
    from ctp_torch.learning.evaluate import score_patient
    from ctp_torch.learning.prepared import PreparedPatient

    rows: list[SliceScore] = []
    for file in console.track(files, "predicting and scoring"):
        rows += score_patient(PreparedPatient.load(file), models)
    return rows


def _pictures(
    source: Cohort, files: Sequence[Path], models: Mapping[str, Regressor], rows: Sequence[SliceScore]
) -> dict[str, list[Picture]]:
    """One slice of each test patient: the scan, the teacher's maps and every model's."""
    from ctp_torch.data.maps import QUANTITIES
    from ctp_torch.io import read_series
    from ctp_torch.learning.evaluate import predict_indices
    from ctp_torch.learning.prepared import PreparedPatient
    from ctp_torch.report.figures import comparison_figure, to_png
    from ctp_torch.report.tables import MODEL_LABELS
    from ctp_torch.report.viewer.page import Picture

    sections = {}
    for patient, file in zip(source.patients, files, strict=True):
        if patient.split != "test":
            continue
        ready = PreparedPatient.load(file)
        scan = read_series(patient.series_path)
        peak = int(ready.curves.mean(dim=0).argmax())
        predicted = {name: predict_indices(ready, model) for name, model in models.items()}
        pictures = []
        for i, quantity in enumerate(ready.quantities):
            scores = {
                MODEL_LABELS[row.model]: f"SSIM {row.ssim_frame:.3f}, brain {row.ssim_brain:.3f}"
                for row in rows
                if (row.patient, row.slice, row.map) == (patient.name, _SLICE, quantity)
            }
            figure = comparison_figure(
                scan.hu[peak, _SLICE],
                ready.targets[i, _SLICE],
                {MODEL_LABELS[name]: maps[quantity][_SLICE] for name, maps in predicted.items()},
                ready.brain[_SLICE],
                quantity=quantity,
                limits=source.ranges[quantity],
                captions=scores,
            )
            pictures.append(Picture(to_png(figure), f"{QUANTITIES[quantity].label}, slice {_SLICE + 1}"))
        sections[f"Test patient {patient.name}"] = pictures
    return sections


def _views(source: Cohort, files: Sequence[Path], models: Mapping[str, Regressor]) -> list[PatientView]:
    """The test patients for the page's viewer: the scan, the teacher's maps and every model's, and their lesions."""
    from ctp_torch import ops, pipeline
    from ctp_torch.data.maps import PerfusionMaps
    from ctp_torch.data.scale import ColorScale
    from ctp_torch.io import read_series
    from ctp_torch.learning.evaluate import predict_indices
    from ctp_torch.learning.prepared import PreparedPatient
    from ctp_torch.report.tables import MODEL_LABELS
    from ctp_torch.report.viewer.payload import patient_view

    views = []
    for patient, file in console.track([*zip(source.patients, files, strict=True)], "writing the report"):
        if patient.split != "test":
            continue
        ready, scan = PreparedPatient.load(file), pipeline.prepare(read_series(patient.series_path), slab_mm=0.0)
        grid = scan.series.geometry
        indices = {"Teacher (cSVD)": dict(zip(ready.quantities, ready.targets.clamp_min(0).float(), strict=True))}
        indices |= {MODEL_LABELS[name]: predict_indices(ready, model) for name, model in models.items()}
        maps = {}
        for label, volumes in indices.items():
            values = {n: ColorScale(*ends).value(volumes[n]) for n, ends in source.ranges.items() if n in volumes}
            maps[label] = PerfusionMaps({n: v * ready.brain for n, v in values.items()}, ready.brain, grid)
        measured = _measured(maps, {MODEL_LABELS[name]: model for name, model in models.items()}, scan.anatomy.baseline)
        views.append(
            patient_view(
                name=f"Test patient {patient.name}",
                series=scan.series,
                maps=maps,
                lesions={label: m.lesions for label, m in measured.items() if m.lesions is not None},
                conventional={label: m.conventional for label, m in measured.items() if m.conventional is not None},
                no_volumes={label: m.why_none for label, m in measured.items() if m.why_none},
                anatomy=scan.anatomy,
                ranges=source.ranges,
                motion=None if scan.motion is None else ops.patient_axes(scan.motion, grid.direction),
                quality=scan.quality,
            )
        )
    return views


def _measured(
    maps: Mapping[str, PerfusionMaps], models: Mapping[str, Regressor], baseline: torch.Tensor
) -> dict[str, Measured]:
    """Core and penumbra of every set of maps by thresholds of its own, or why there are none."""
    from ctp_torch.lesions.belonging import MapsOrigin
    from ctp_torch.pipeline.measure import choose_thresholds, measure_lesions

    found = {}
    for label, one in maps.items():
        model, rows = models.get(label), one.geometry.shape[1]
        origin = MapsOrigin("csvd", "inside", 2.0, rows) if model is None else MapsOrigin("", "", 0.0, rows)
        limits, why = choose_thresholds(None, origin, model)
        found[label] = measure_lesions(one, baseline, limits, origin.method, model=model, why_none=why)
        if found[label].lesions is None:
            console.warn(f"no lesions measured in the maps of {label}: {found[label].why_none}")
    return found


def _write_page(
    folder: Path,
    rows: Sequence[SliceScore],
    sections: Mapping[str, Sequence[Picture]],
    facts: Mapping[str, object],
    views: Sequence[PatientView],
) -> None:
    """The HTML report, and its numbers beside it."""
    from ctp_torch.report.tables import paper_numbers, paper_table
    from ctp_torch.report.viewer.files import write_report

    tables = []
    for number, split in ((1, "train"), (2, "test")):
        word = "training" if split == "train" else "testing"
        for score, place in (("ssim_frame", "whole frame"), ("ssim_brain", "brain only")):
            caption = f"Table {number}: {word} SSIM, {place}"
            tables.append(paper_table(rows, split=split, score=score, caption=caption))
    tables.append(paper_numbers("test"))
    write_report(
        folder,
        title="Perfusion maps learned from raw CT curves",
        lead="Four regressors learned the maps of a cSVD deconvolution from single time curves of training patients; "
        "here they meet patients they never saw. SSIM compares 8-bit colour indices; means over patients with 95 % "
        "bootstrap intervals. The background is the same in both maps and lifts the whole-frame score: the brain-only "
        "score is the honest one.",
        tables=tables,
        sections=sections,
        facts=facts,
        patients=views,
    )
