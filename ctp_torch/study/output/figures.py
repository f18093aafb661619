"""Figures 2 to 4, Tables 3 and 4 as pictures, heat maps of the grids, curves of robustness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ctp_torch import ops
from ctp_torch.data.maps import QUANTITIES
from ctp_torch.learning.intervals import mean_over_patients, select
from ctp_torch.phantom.cohort import MAPS
from ctp_torch.study.design.rows import DegradedRow, ScoreRow
from ctp_torch.study.output.score_tables import in_tissue, label_of
from ctp_torch.study.work.models import MODELS
from ctp_torch.study.work.robustness import VARIANTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["forest_figure", "robustness_figure", "size_figure", "source_figure", "strip_figure"]

COLORS = {"linear": "#8c8c8c", "ridge": "#4c72b0", "krr": "#c44e52", "rf": "#55a868", "teacher": "#1c1f24"}
_INK, _PAPER = "#e8e8e8", "#101014"


def source_figure(peak: Tensor, targets: Tensor, brain: Tensor) -> Figure:
    """Figure 2: one slice of a source scan beside its four teacher maps, JET with colour bars.

    Parameters
    ----------
    peak
        ``(y, x)`` [HU], the frame in which the brain enhances most
    targets
        ``(maps, y, x)`` colour indices of the teacher
    brain
        ``(y, x)`` bool
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15.5, 3.4), facecolor=_PAPER, layout="constrained")
    grid = figure.add_gridspec(1, 9, width_ratios=[1.0] + [1.0, 0.07] * 4)
    axis = figure.add_subplot(grid[0, 0])
    axis.imshow(peak.numpy(), cmap="gray", vmin=0, vmax=80)
    _bare(axis, "source CT, 0-80 HU")
    for k, name in enumerate(MAPS):
        axis = figure.add_subplot(grid[0, 1 + 2 * k])
        axis.imshow(ops.paint(targets[k].float(), (0.0, 255.0), brain & (targets[k] >= 0)).numpy())
        _bare(axis, f"{QUANTITIES[name].label} [{QUANTITIES[name].unit}]")
        bar = figure.add_subplot(grid[0, 2 + 2 * k])
        low, high = QUANTITIES[name].display
        bar.imshow(ops.jet_lut().flip(0)[:, None].expand(-1, 12, -1).numpy(), aspect="auto", extent=(0, 1, low, high))
        bar.set_xticks([])
        bar.yaxis.tick_right()
        bar.tick_params(colors=_INK, labelsize=8)
    return figure


def strip_figure(
    patients: Mapping[str, tuple[Tensor, Tensor, Tensor]], widths: Sequence[float], *, title: str
) -> Figure:
    """Tables 3 and 4: one slice of every test patient, the teacher's map, the prediction, and it filtered; SSIM below.

    Parameters
    ----------
    patients
        name to the teacher's indices, the prediction's and the brain, each ``(y, x)``
    widths
        of the Gaussians [pixels]; 0 is the prediction itself
    title
        above all
    """
    from matplotlib.figure import Figure

    n = len(patients)
    figure = Figure(figsize=(1.75 * (1 + len(widths)) + 0.5, 2.0 * n + 0.5), facecolor=_PAPER, layout="constrained")
    figure.suptitle(title, color=_INK, fontsize=11)
    axes = figure.subplots(n, 1 + len(widths), squeeze=False)
    for row, (name, (target, prediction, brain)) in enumerate(patients.items()):
        whole = target.clamp_min(0).float()
        axes[row][0].imshow(ops.paint(whole, (0.0, 255.0), brain).numpy())
        _bare(axes[row][0], "teacher" if row == 0 else "")
        axes[row][0].text(-0.04, 0.5, name, transform=axes[row][0].transAxes, rotation=90, ha="right", va="center",
                          color=_INK, fontsize=9)  # fmt: skip
        for column, width in enumerate(widths, start=1):
            smooth = ops.gaussian_smooth(prediction.float(), width)
            shown = torch.where(brain, smooth, 0.0).round().clamp(0, 255)
            score = float(ops.ssim(shown, whole, data_range=255.0))
            axis = axes[row][column]
            axis.imshow(ops.paint(shown, (0.0, 255.0), brain).numpy())
            _bare(axis, ("prediction" if not width else f"Gaussian {width:g} px") if row == 0 else "")
            axis.text(0.5, -0.02, f"{100 * score:.1f} %", transform=axis.transAxes, ha="center", va="top", color=_INK,
                      fontsize=9)  # fmt: skip
    return figure


def size_figure(rows: Sequence[ScoreRow], quantity: str, widths: Sequence[float]) -> Figure:
    """SSIM against training size, all models: mean over patients and seeds, band of one sd over seeds.

    Parameters
    ----------
    rows
        of the test patients, all sizes and seeds
    quantity
        which map
    widths
        Gaussians [pixels], one column each
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(widths), 6.6), layout="constrained")
    axes = figure.subplots(2, len(widths), squeeze=False, sharex=True)
    chosen = select(rows, map=quantity, split="test")
    for column, width in enumerate(widths):
        for line, (score, label) in enumerate((("ssim_frame", "whole frame"), ("ssim_brain", "brain only"))):
            axis = axes[line][column]
            for model in MODELS:
                _size_line(axis, select(chosen, model=model, filter_px=width), score, model)
            axis.set_ylabel(f"SSIM [%], {label}")
            axis.grid(alpha=0.25)
            if line == 0:
                axis.set_title("unfiltered" if not width else f"all models filtered, Gaussian {width:g} px")
            else:
                axis.set_xlabel("training pixels")
                axis.tick_params("x", labelrotation=45)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(MODELS), frameon=False, fontsize=9)
    figure.suptitle(f"Testing SSIM of {QUANTITIES[quantity].label} against training size")
    return figure


def forest_figure(grids: Mapping[tuple[int, float], Sequence[float]], trees: Sequence[int]) -> Figure:
    """Heat maps of a forest's grid: depth down, number of trees across, one map for each share of frames tried.

    Parameters
    ----------
    grids
        depth and share to the mean R2 for each number of trees
    trees
        the numbers
    """
    from matplotlib.figure import Figure

    depths, shares = (sorted({key[i] for key in grids}) for i in (0, 1))
    best, worst = max(max(v) for v in grids.values()), min(min(v) for v in grids.values())
    figure = Figure(figsize=(3.2 * len(shares) + 0.6, 3.4), layout="constrained")
    axes = figure.subplots(1, len(shares), squeeze=False)[0]
    for axis, share in zip(axes, shares, strict=True):
        table = [list(grids.get((int(depth), share), [float("nan")] * len(trees))) for depth in depths]
        image = axis.imshow(table, cmap="viridis", vmin=max(worst, best - 0.2), vmax=best, aspect="auto")
        for row, values in enumerate(table):
            for column, value in enumerate(values):
                ink = "black" if value > best - 0.08 else "white"
                axis.text(column, row, f"{value:.3f}", ha="center", va="center", color=ink, size=9)
        axis.set(xlabel="trees", title=f"{share:.0%} of the frames tried")
        axis.set_xticks(range(len(trees)), [str(n) for n in trees])
        axis.set_yticks(range(len(depths)), [f"{int(d)}" for d in depths])
    axes[0].set_ylabel("depth")
    figure.colorbar(image, ax=axes, label="mean R2 on patients left out")
    return figure


def robustness_figure(rows: Sequence[DegradedRow], *, filter_px: float, score: str = "r") -> Figure:
    """Teacher and students against the truth over all degraded scans, one panel a map, intervals over patients.

    Parameters
    ----------
    rows
        of `ctp_torch.study.work.robustness.stand`
    filter_px
        width of the Gaussian on all of them
    score
        ssim or r
    """
    from matplotlib.figure import Figure

    chosen = in_tissue(rows)
    region = chosen[0].region if chosen else "brain"
    chosen = select(chosen, filter_px=filter_px)
    variants = [name for name in VARIANTS if select(chosen, variant=name)]
    figure = Figure(figsize=(12.0, 7.6), layout="constrained")
    for place, quantity in enumerate(MAPS, start=1):
        axis = figure.add_subplot(2, 2, place)
        for k, name in enumerate(("teacher", *MODELS)):
            line = select(chosen, predictor=name, map=quantity)
            means = [mean_over_patients(select(line, variant=variant), score) for variant in variants]
            x = [i + 0.12 * (k - 2) for i in range(len(variants))]
            errors = [[m.mean - m.low for m in means], [m.high - m.mean for m in means]]
            axis.errorbar(x, [m.mean for m in means], yerr=errors, label=label_of(name), color=COLORS[name],
                          marker="o", markersize=3.5, linewidth=1.0, capsize=2)  # fmt: skip
        axis.set_xticks(range(len(variants)), [v.replace("_", " ") for v in variants], rotation=35, ha="right")
        axis.set_ylabel(f"{score} against the truth, {region}")
        axis.set_title(QUANTITIES[quantity].label)
        axis.grid(alpha=0.25)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    figure.suptitle(
        "Degraded scans" + (f", everything filtered with {filter_px:g} px" if filter_px else ", unfiltered")
    )
    return figure


def _size_line(axis: Axes, rows: Sequence[ScoreRow], score: str, model: str) -> None:
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
        axis.plot(sizes, means, color=COLORS[model], marker="o", markersize=3, label=label_of(model))
        low, high = ([m + s * d for m, d in zip(means, spreads, strict=True)] for s in (-1, 1))
        axis.fill_between(sizes, low, high, color=COLORS[model], alpha=0.18, linewidth=0)


def _bare(axis: Any, title: str) -> None:
    """No ticks, a title in light ink."""
    axis.set_axis_off()
    if title:
        axis.set_title(title, color=_INK, fontsize=9)
