"""All figures of a study, by file name with their captions, in the order of the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from ctp_torch.data.maps import QUANTITIES
from ctp_torch.phantom.cohort import MAPS
from ctp_torch.report.figures import to_png
from ctp_torch.report.tables import MODEL_LABELS
from ctp_torch.study.design.patients import load_patient
from ctp_torch.study.engine.running import StudyResults
from ctp_torch.study.output.figures import robustness_figure, size_figure, source_figure, strip_figure
from ctp_torch.study.output.grid_tables import grid_figures
from ctp_torch.study.work.models import load_prediction, prediction_file

__all__ = ["Drawing", "all_pictures"]

_SLICE = 2
"""The slice shown, from 0: the paper's third."""


class Drawing(NamedTuple):
    """A figure as a PNG file."""

    name: str
    section: str
    caption: str
    png: bytes


def all_pictures(folder: Path, results: StudyResults) -> Iterator[Drawing]:
    """The figures that can be drawn from what is there.

    Parameters
    ----------
    folder
        of all steps
    results
        of the run
    """
    yield from _source(folder, results)
    yield from _sizes(results)
    yield from _strips(folder, results)
    if results.rows.degraded:
        for width in (0.0, 2.0):
            figure = robustness_figure(results.rows.degraded, filter_px=width)
            words = "unfiltered" if not width else f"all filtered, Gaussian {width:g} px"
            caption = f"Teacher and students on degraded scans against the truth, {words}; 95 % intervals over patients"
            yield Drawing(f"robustness_{width:g}px", "Robustness", caption, to_png(figure))
    for name, figure in grid_figures(results.under("grids/")).items():
        caption = f"{name.replace('_', ' ')}: mean R2 on training patients left out"
        yield Drawing(name, "Hyper-parameters", caption, to_png(figure))


def _source(folder: Path, results: StudyResults) -> Iterator[Drawing]:
    """Figure 2."""
    name = results.study.test[0]
    if f"patients/test/{name}" in results.results:
        patient, context = load_patient(folder, name, "test")
        z = min(_SLICE, patient.brain.shape[0] - 1)
        figure = source_figure(context.peak[z], patient.targets[:, z], patient.brain[z])
        yield Drawing("figure2", "Figure 2", f"A source scan and its four teacher maps, {name}, slice {z + 1}",
                      to_png(figure))  # fmt: skip


def _sizes(results: StudyResults) -> Iterator[Drawing]:
    """Figures 3 and 4, and the same of MTT and Tmax."""
    rows, widths = results.rows.scores, results.study.preset.curve_widths
    if not any(row.size == results.study.preset.sizes[0] for row in rows):
        return
    for quantity, name in zip(MAPS, ("figure3_rcbv", "figure4_rcbf", "sizes_mtt", "sizes_tmax"), strict=True):
        caption = f"SSIM of {QUANTITIES[quantity].label} against training size; bands are one sd over seeds"
        yield Drawing(name, "Figures 3 and 4", caption, to_png(size_figure(rows, quantity, widths)))


def _strips(folder: Path, results: StudyResults) -> Iterator[Drawing]:
    """Tables 3 and 4 as pictures, for kernel ridge and the forest."""
    for model in ("krr", "rf"):
        if not all(prediction_file(folder, model, name).is_file() for name in results.study.test):
            continue
        shown: dict[str, dict[str, tuple[Tensor, Tensor, Tensor]]] = {quantity: {} for quantity in MAPS}
        for name in results.study.test:
            patient, _ = load_patient(folder, name, "test")
            volumes = load_prediction(folder, model, patient)
            z = min(_SLICE, patient.brain.shape[0] - 1)
            for m, quantity in enumerate(MAPS):
                shown[quantity][name] = (patient.targets[m, z], volumes[m, z], patient.brain[z])
        for number, quantity in ((3, "cbv"), (4, "cbf"), (None, "mtt"), (None, "tmax")):
            label = QUANTITIES[quantity].label
            title = f"{label}, {MODEL_LABELS[model]}: slice {_SLICE + 1} of the test patients, SSIM below"
            figure = strip_figure(shown[quantity], results.study.preset.widths, title=title)
            stem = f"table{number}_{model}" if number else f"strip_{quantity}_{model}"
            yield Drawing(stem, "Tables 3 and 4", title, to_png(figure, dpi=90))
