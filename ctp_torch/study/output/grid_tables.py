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


def kernel_table(results: Mapping[str, Any], *, caption: str = "") -> Table:
    """Mean R2 of the four maps on patients left out, for each scale and gamma over the penalties.

    Parameters
    ----------
    results
        of the steps ``grids/``, without that prefix
    caption
        of the table
    """
    body = []
    for scale, gamma in KERNELS:
        found = results.get(f"kernel-{scale}-{gamma:g}")
        if found:
            means = [f"{fmean(row):.3f}" for row in found["r2"]]
            sigma = (0.5 / gamma) ** 0.5
            body.append([scale, f"{gamma:.4g}", f"{sigma:.3g}", *means, f"{found['dof']:.0f}"])
    header = ["features", "gamma", "sigma", *(f"alpha {a:g}" for a in ALPHAS), "degrees of freedom at alpha 0.1"]
    return Table(caption, header, body)


def ridge_table(results: Mapping[str, Any], *, caption: str = "") -> Table:
    """Mean R2 of ridge on patients left out over the penalties."""
    found = results.get("ridge")
    body = [[f"{fmean(row):.3f}" for row in found["r2"]]] if found else []
    return Table(caption, [f"alpha {a:g}" for a in RIDGES], body)


def forest_table(results: Mapping[str, Any], *, caption: str = "") -> Table:
    """Mean R2 of forests on patients left out: depth and share of frames down, trees across."""
    body = []
    for (depth, share), means in _forests(results).items():
        body.append([str(depth), f"{share:.2f}", *(f"{value:.3f}" for value in means)])
    return Table(caption, ["depth", "share of frames tried", *(f"{n} trees" for n in TREES)], body)


def grid_figures(results: Mapping[str, Any]) -> dict[str, Figure]:
    """Heat maps by file name, of the grids that are complete."""
    import torch

    figures = {}
    for scale in ("unit", "zscore"):
        gammas = [gamma for s, gamma in KERNELS if s == scale]
        found = [results.get(f"kernel-{scale}-{gamma:g}") for gamma in gammas]
        if all(found):
            scores = torch.tensor([[fmean(row) for row in one["r2"]] for one in found if one])
            figures[f"grid_kernel_ridge_{scale}"] = tuning_figure(scores, gammas, ALPHAS)
    forests = _forests(results)
    if len(forests) == len(DEPTHS) * len(FEATURES):
        figures["grid_forest"] = forest_figure(forests, TREES)
    return figures


def _forests(results: Mapping[str, Any]) -> dict[tuple[int, float], list[float]]:
    """Depth and share to the mean R2 for each number of trees."""
    found = {}
    for depth in DEPTHS:
        for share in FEATURES:
            one = results.get(f"forest-{depth}-{share:.2f}")
            if one:
                found[depth, share] = [fmean(row) for row in one["r2"]]
    return found
