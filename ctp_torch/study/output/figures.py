"""All figures of a study, in the order of the page: Figures 2 to 4, Tables 3 and 4 as pictures, robustness, grids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ctp_torch import ops
from ctp_torch.data.maps import QUANTITIES
from ctp_torch.learning.intervals import mean_over_patients, select
from ctp_torch.phantom.cohort import MAPS
from ctp_torch.report.figures import to_png
from ctp_torch.report.tables import MODEL_LABELS
from ctp_torch.study.design.patients import load_patient
from ctp_torch.study.design.rows import DegradedRow, ScoreRow
from ctp_torch.study.engine.running import StudyResults
from ctp_torch.study.output.grid_tables import grid_figures
from ctp_torch.study.output.tables import in_tissue
from ctp_torch.study.output.words import filtered, label_of
from ctp_torch.study.work.models import MODELS, load_prediction, prediction_file
from ctp_torch.study.work.robustness import VARIANTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Drawing", "all_drawings"]

_COLORS = {"linear": "#8c8c8c", "ridge": "#4c72b0", "krr": "#c44e52", "rf": "#55a868", "teacher": "#1c1f24"}
_INK, _PAPER = "#e8e8e8", "#101014"
_SLICE = 2
"""The slice shown, from 0: the paper's third."""


class Drawing(NamedTuple):
    """A figure as a PNG file."""

    name: str
    section: str
    caption: str
    png: bytes


def all_drawings(folder: Path, results: StudyResults) -> Iterator[Drawing]:
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
    for width in (0.0, 2.0) if results.rows.degraded else ():
        caption = "Teacher and students on degraded scans against the truth"
        figure = to_png(_robustness_figure(results.rows.degraded, width))
        words = f"{caption}, {filtered(width)}; 95 % intervals over patients"
        yield Drawing(f"robustness_{width:g}px", "Robustness", words, figure)
    for name, heat_map in grid_figures(results.under("grids/")).items():
        caption = f"{name.replace('_', ' ')}: mean R2 on training patients left out"
        yield Drawing(name, "Hyper-parameters", caption, to_png(heat_map))


def _source(folder: Path, results: StudyResults) -> Iterator[Drawing]:
    """Figure 2."""
    name = results.study.test[0]
    if f"patients/test/{name}" in results.results:
        patient, context = load_patient(folder, name, "test")
        z = min(_SLICE, patient.brain.shape[0] - 1)
        figure = _source_figure(context.peak[z], patient.targets[:, z], patient.brain[z])
        caption = f"A source scan and its four teacher maps, {name}, slice {z + 1}"
        yield Drawing("figure2", "Figure 2", caption, to_png(figure))


def _sizes(results: StudyResults) -> Iterator[Drawing]:
    """Figures 3 and 4, and the same of MTT and Tmax."""
    rows, preset = results.rows.scores, results.study.preset
    if not select(rows, size=preset.sizes[0]):
        return
    for quantity, name in zip(MAPS, ("figure3_rcbv", "figure4_rcbf", "sizes_mtt", "sizes_tmax"), strict=True):
        caption = f"SSIM of {QUANTITIES[quantity].label} against training size; bands are one sd over seeds"
        yield Drawing(name, "Figures 3 and 4", caption, to_png(_size_figure(rows, quantity, preset.curve_widths)))


def _strips(folder: Path, results: StudyResults) -> Iterator[Drawing]:
    """Tables 3 and 4 as pictures, for kernel ridge and the forest."""
    names = results.study.test
    for model in ("krr", "rf"):
        if not all(prediction_file(folder, model, name).is_file() for name in names):
            continue
        shown: dict[str, dict[str, tuple[Tensor, Tensor, Tensor]]] = {quantity: {} for quantity in MAPS}
        for name in names:
            patient, _ = load_patient(folder, name, "test")
            volumes, z = load_prediction(folder, model, patient), min(_SLICE, patient.brain.shape[0] - 1)
            for m, quantity in enumerate(MAPS):
                shown[quantity][name] = (patient.targets[m, z], volumes[m, z], patient.brain[z])
        for quantity, stem in zip(MAPS, ("table3", "table4", "strip_mtt", "strip_tmax"), strict=True):
            label = QUANTITIES[quantity].label
            title = f"{label}, {MODEL_LABELS[model]}: slice {_SLICE + 1} of the test patients, SSIM below"
            figure = _strip_figure(shown[quantity], results.study.preset.widths, title)
            yield Drawing(f"{stem}_{model}", "Tables 3 and 4", title, to_png(figure, dpi=90))


def _source_figure(peak: Tensor, targets: Tensor, brain: Tensor) -> Figure:
    """A slice ``(y, x)`` [HU] at the brain's peak beside the teacher's maps ``(maps, y, x)``, JET with colour bars."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15.5, 3.4), facecolor=_PAPER, layout="constrained")
    grid = figure.add_gridspec(1, 9, width_ratios=[1.0] + [1.0, 0.07] * 4)
    _show(figure.add_subplot(grid[0, 0]), peak, "source CT, 0-80 HU", cmap="gray", vmin=0, vmax=80)
    for k, name in enumerate(MAPS):
        picture = ops.paint(targets[k].float(), (0.0, 255.0), brain & (targets[k] >= 0))
        _show(figure.add_subplot(grid[0, 1 + 2 * k]), picture, f"{QUANTITIES[name].label} [{QUANTITIES[name].unit}]")
        bar = figure.add_subplot(grid[0, 2 + 2 * k])
        low, high = QUANTITIES[name].display
        bar.imshow(ops.jet_lut().flip(0)[:, None].expand(-1, 12, -1).numpy(), aspect="auto", extent=(0, 1, low, high))
        bar.set_xticks([])
        bar.yaxis.tick_right()
        bar.tick_params(colors=_INK, labelsize=8)
    return figure


def _strip_figure(patients: Mapping[str, tuple[Tensor, Tensor, Tensor]], widths: Sequence[float], title: str) -> Figure:
    """A line a patient: the teacher's indices ``(y, x)``, the prediction's, and those filtered; SSIM below."""
    from matplotlib.figure import Figure

    n = len(patients)
    figure = Figure(figsize=(1.75 * (1 + len(widths)) + 0.5, 2.0 * n + 0.5), facecolor=_PAPER, layout="constrained")
    figure.suptitle(title, color=_INK, fontsize=11)
    heads = ["teacher", *(f"Gaussian {width:g} px" if width else "prediction" for width in widths)]
    for axes, (name, (target, prediction, brain)) in zip(
        figure.subplots(n, 1 + len(widths), squeeze=False), patients.items(), strict=True
    ):
        whole = target.clamp_min(0).float()
        _show(axes[0], ops.paint(whole, (0.0, 255.0), brain), heads[0])
        axes[0].text(-0.04, 0.5, name, transform=axes[0].transAxes, rotation=90, ha="right", va="center",
                     color=_INK, fontsize=9)  # fmt: skip
        for axis, head, width in zip(axes[1:], heads[1:], widths, strict=True):
            smooth = ops.gaussian_smooth(prediction.float(), width)
            shown = torch.where(brain, smooth, 0.0).round().clamp(0, 255)
            score = float(ops.ssim(shown, whole, data_range=255.0))
            _show(axis, ops.paint(shown, (0.0, 255.0), brain), head)
            axis.text(0.5, -0.02, f"{100 * score:.1f} %", transform=axis.transAxes, ha="center", va="top", color=_INK,
                      fontsize=9)  # fmt: skip
        heads = [""] * len(heads)  # above the first line alone
    return figure


def _size_figure(rows: Sequence[ScoreRow], quantity: str, widths: Sequence[float]) -> Figure:
    """SSIM against training size, all models: mean over patients and seeds, band of one sd over seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(widths), 6.6), layout="constrained")
    axes = figure.subplots(2, len(widths), squeeze=False, sharex=True)
    chosen = select(rows, map=quantity, split="test")
    for column, width in enumerate(widths):
        axes[0][column].set_title("unfiltered" if not width else f"all models filtered, Gaussian {width:g} px")
        axes[1][column].set_xlabel("training pixels")
        axes[1][column].tick_params("x", labelrotation=45)
        for axis, score, label in zip(
            axes[:, column], ("ssim_frame", "ssim_brain"), ("whole frame", "brain only"), strict=True
        ):
            for model in MODELS:
                _size_line(axis, select(chosen, model=model, filter_px=width), score, model)
            axis.set_ylabel(f"SSIM [%], {label}")
            axis.grid(alpha=0.25)
    _legend(figure, len(MODELS))
    figure.suptitle(f"Testing SSIM of {QUANTITIES[quantity].label} against training size")
    return figure


def _size_line(axis: Any, rows: Sequence[ScoreRow], score: str, model: str) -> None:
    """Mean and spread over seeds at every size."""
    sizes = sorted({row.size for row in rows})
    means, spreads = [], []
    for size in sizes:
        of_size = select(rows, size=size)
        seeds = [mean_over_patients(select(of_size, seed=seed), score) for seed in sorted({r.seed for r in of_size})]
        values = torch.tensor([100 * seed.mean for seed in seeds])
        means.append(float(values.mean()))
        spreads.append(float(values.std()) if len(seeds) > 1 else 0.0)
    if sizes:
        axis.plot(sizes, means, color=_COLORS[model], marker="o", markersize=3, label=label_of(model))
        low, high = ([m + s * d for m, d in zip(means, spreads, strict=True)] for s in (-1, 1))
        axis.fill_between(sizes, low, high, color=_COLORS[model], alpha=0.18, linewidth=0)


def _robustness_figure(rows: Sequence[DegradedRow], width: float) -> Figure:
    """Teacher and students against the truth over all degraded scans, one panel a map, intervals over patients."""
    from matplotlib.figure import Figure

    chosen = in_tissue(rows)
    region, chosen = chosen[0].region, select(chosen, filter_px=width)
    variants = [name for name in VARIANTS if select(chosen, variant=name)]
    figure = Figure(figsize=(12.0, 7.6), layout="constrained")
    for place, quantity in enumerate(MAPS, start=1):
        axis = figure.add_subplot(2, 2, place)
        for k, name in enumerate(("teacher", *MODELS)):
            line = select(chosen, predictor=name, map=quantity)
            means = [mean_over_patients(select(line, variant=variant), "r") for variant in variants]
            x = [i + 0.12 * (k - 2) for i in range(len(variants))]
            errors = [[m.mean - m.low for m in means], [m.high - m.mean for m in means]]
            axis.errorbar(x, [m.mean for m in means], yerr=errors, label=label_of(name), color=_COLORS[name],
                          marker="o", markersize=3.5, linewidth=1.0, capsize=2)  # fmt: skip
        axis.set_xticks(range(len(variants)), [v.replace("_", " ") for v in variants], rotation=35, ha="right")
        axis.set_ylabel(f"r against the truth, {region}")
        axis.set_title(QUANTITIES[quantity].label)
        axis.grid(alpha=0.25)
    _legend(figure, 1 + len(MODELS))
    figure.suptitle("Degraded scans, " + (f"everything filtered with {width:g} px" if width else "unfiltered"))
    return figure


def _legend(figure: Figure, columns: int) -> None:
    """One for all panels, below them."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)


def _show(axis: Any, picture: Tensor, title: str, **how: Any) -> None:
    """A picture without ticks, a title in light ink."""
    axis.imshow(picture.numpy(), **how)
    axis.set_axis_off()
    if title:
        axis.set_title(title, color=_INK, fontsize=9)
