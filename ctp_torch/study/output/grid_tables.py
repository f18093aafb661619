"""The grids behind the hyper-parameters as tables and heat maps, for both readings of the paper's 8.0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ctp_torch.report.tables import Table
from ctp_torch.report.tuning import tuning_figure
from ctp_torch.study.work.grids import ALPHAS, DEPTHS, FEATURES, KERNELS, RIDGES, TREES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["forest_table", "grid_figures", "kernel_table", "ridge_table"]


def kernel_table(grids: Mapping[str, Any], caption: str) -> Table:
    """Mean R2 of the four maps on patients left out, for each scale and gamma over the penalties."""
    body = []
    for (scale, gamma), means in _means(grids, {key: f"kernel-{key[0]}-{key[1]:g}" for key in KERNELS}).items():
        sigma, dof = (0.5 / gamma) ** 0.5, grids[f"kernel-{scale}-{gamma:g}"]["dof"]
        body.append([scale, f"{gamma:.4g}", f"{sigma:.3g}", *(f"{mean:.3f}" for mean in means), f"{dof:.0f}"])
    header = ["features", "gamma", "sigma", *(f"alpha {a:g}" for a in ALPHAS), "degrees of freedom at alpha 0.1"]
    return Table(caption, header, body)


def ridge_table(grids: Mapping[str, Any], caption: str) -> Table:
    """Mean R2 of ridge on patients left out over the penalties."""
    body = [[f"{mean:.3f}" for mean in means] for means in _means(grids, {"ridge": "ridge"}).values()]
    return Table(caption, [f"alpha {a:g}" for a in RIDGES], body)


def forest_table(grids: Mapping[str, Any], caption: str) -> Table:
    """Mean R2 of forests on patients left out: depth and share of frames down, trees across."""
    body = [[str(depth), f"{share:.2f}", *(f"{mean:.3f}" for mean in means)]
            for (depth, share), means in _means(grids, _FORESTS).items()]  # fmt: skip
    return Table(caption, ["depth", "share of frames tried", *(f"{n} trees" for n in TREES)], body)


def grid_figures(grids: Mapping[str, Any]) -> dict[str, Figure]:
    """Heat maps by file name, of the grids that are complete."""
    import torch

    figures = {}
    for scale in ("unit", "zscore"):
        gammas = [gamma for s, gamma in KERNELS if s == scale]
        means = _means(grids, {gamma: f"kernel-{scale}-{gamma:g}" for gamma in gammas})
        if len(means) == len(gammas):
            figures[f"grid_kernel_ridge_{scale}"] = tuning_figure(torch.tensor([*means.values()]), gammas, ALPHAS)
    forests = _means(grids, _FORESTS)
    if len(forests) == len(_FORESTS):
        figures["grid_forest"] = _forest_figure(forests)
    return figures


_FORESTS = {(depth, share): f"forest-{depth}-{share:.2f}" for depth in DEPTHS for share in FEATURES}
"""Depth and share of frames to the name of the step."""


def _means(grids: Mapping[str, Any], names: Mapping[Any, str]) -> dict[Any, list[float]]:
    """The mean R2 of the four maps along each grid that is done, by the key of its name."""
    return {key: [fmean(r2) for r2 in grids[name]["r2"]] for key, name in names.items() if name in grids}


def _forest_figure(grids: Mapping[tuple[int, float], Sequence[float]]) -> Figure:
    """Heat maps of mean R2 by depth and share: depth down, trees across, one for each share of frames tried."""
    from matplotlib.figure import Figure

    best, worst = max(max(v) for v in grids.values()), min(min(v) for v in grids.values())
    figure = Figure(figsize=(3.2 * len(FEATURES) + 0.6, 3.4), layout="constrained")
    axes = figure.subplots(1, len(FEATURES), squeeze=False)[0]
    for axis, share in zip(axes, FEATURES, strict=True):
        table = [list(grids[depth, share]) for depth in DEPTHS]
        image = axis.imshow(table, cmap="viridis", vmin=max(worst, best - 0.2), vmax=best, aspect="auto")
        for row, values in enumerate(table):
            for column, value in enumerate(values):
                ink = "black" if value > best - 0.08 else "white"
                axis.text(column, row, f"{value:.3f}", ha="center", va="center", color=ink, size=9)
        axis.set(xlabel="trees", title=f"{share:.0%} of the frames tried")
        axis.set_xticks(range(len(TREES)), [str(n) for n in TREES])
        axis.set_yticks(range(len(DEPTHS)), [str(depth) for depth in DEPTHS])
    axes[0].set_ylabel("depth")
    figure.colorbar(image, ax=axes, label="mean R2 on patients left out")
    return figure
