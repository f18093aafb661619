"""The grids behind the hyper-parameters as tables and heat maps, for both readings of the paper's 8.0."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ctp_torch.report.tables import Table
from ctp_torch.report.tuning import tuning_figure
from ctp_torch.study.output.figures import forest_figure
from ctp_torch.study.work.grids import ALPHAS, DEPTHS, FEATURES, KERNELS, RIDGES, TREES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["forest_table", "grid_figures", "kernel_table", "ridge_table"]


def kernel_table(grids: Mapping[str, Any], *, caption: str = "") -> Table:
    """Mean R2 of the four maps on patients left out, for each scale and gamma over the penalties.

    Parameters
    ----------
    grids
        results of the steps ``grids/``, without that prefix
    caption
        of the table
    """
    body = []
    for (scale, gamma), means in _means(grids, {key: f"kernel-{key[0]}-{key[1]:g}" for key in KERNELS}).items():
        sigma, dof = (0.5 / gamma) ** 0.5, grids[f"kernel-{scale}-{gamma:g}"]["dof"]
        body.append([scale, f"{gamma:.4g}", f"{sigma:.3g}", *(f"{mean:.3f}" for mean in means), f"{dof:.0f}"])
    header = ["features", "gamma", "sigma", *(f"alpha {a:g}" for a in ALPHAS), "degrees of freedom at alpha 0.1"]
    return Table(caption, header, body)


def ridge_table(grids: Mapping[str, Any], *, caption: str = "") -> Table:
    """Mean R2 of ridge on patients left out over the penalties."""
    body = [[f"{mean:.3f}" for mean in means] for means in _means(grids, {"ridge": "ridge"}).values()]
    return Table(caption, [f"alpha {a:g}" for a in RIDGES], body)


def forest_table(grids: Mapping[str, Any], *, caption: str = "") -> Table:
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
        figures["grid_forest"] = forest_figure(forests, TREES)
    return figures


_FORESTS = {(depth, share): f"forest-{depth}-{share:.2f}" for depth in DEPTHS for share in FEATURES}
"""Depth and share of frames to the name of the step."""


def _means(grids: Mapping[str, Any], names: Mapping[Any, str]) -> dict[Any, list[float]]:
    """The mean R2 of the four maps along each grid that is done, by the key of its name."""
    return {key: [fmean(r2) for r2 in grids[name]["r2"]] for key, name in names.items() if name in grids}
