"""A grid of penalties and kernel widths on paper: a table and a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ctp_torch.report.spreadsheet import csv_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

__all__ = ["relevance_figure", "tuning_csv", "tuning_figure"]


def tuning_csv(scores: Tensor, gammas: Sequence[float], alphas: Sequence[float], targets: Sequence[str]) -> str:
    """One line per gamma and alpha, with the R2 of each map and their mean.

    Parameters
    ----------
    scores
        (gammas, alphas, targets), R2 on patients left out
    gammas, alphas, targets
        what the axes stand for
    """
    cells: list[tuple[str, ...]] = [("gamma", "alpha", *(f"r2_{name}" for name in targets), "r2_mean")]
    for gamma, rows in zip(gammas, scores.tolist(), strict=True):
        for alpha, row in zip(alphas, rows, strict=True):
            values = [*row, sum(row) / len(row)]
            cells.append((f"{gamma:g}", f"{alpha:g}", *(f"{value:.4f}" for value in values)))
    return csv_text(cells)


def relevance_figure(relevance: Sequence[float]) -> Figure:
    """Bars: the share of each feature in the distances between samples, as the evidence weighs them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.bar(range(len(relevance)), relevance, width=0.9)
    axes.set(xlabel="feature", ylabel="share of the distance", xlim=(-0.6, len(relevance) - 0.4))
    return figure


def tuning_figure(scores: Tensor, gammas: Sequence[float], alphas: Sequence[float]) -> Figure:
    """Heat map of the mean R2 over gamma and alpha, the best cell framed.

    Parameters
    ----------
    scores
        (gammas, alphas), mean R2 on patients left out
    gammas, alphas
        what the axes stand for
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    figure = Figure(figsize=(2.8 + 0.9 * len(alphas), 2.4 + 0.7 * len(gammas)), layout="constrained")
    axes = figure.subplots()
    best = divmod(int(scores.argmax()), len(alphas))
    image = axes.imshow(scores.numpy(), cmap="viridis", vmin=max(float(scores.min()), float(scores.max()) - 0.3))
    for row, values in enumerate(scores.tolist()):
        for column, value in enumerate(values):
            dark = value < float(scores.max()) - 0.1
            axes.text(column, row, f"{value:.3f}", ha="center", va="center", color="white" if dark else "black", size=9)
    axes.add_patch(Rectangle((best[1] - 0.5, best[0] - 0.5), 1, 1, fill=False, edgecolor="red", linewidth=2))
    axes.set(xlabel="alpha (penalty)", ylabel="gamma (inverse squared width)")
    axes.set_xticks(range(len(alphas)), [f"{alpha:g}" for alpha in alphas])
    axes.set_yticks(range(len(gammas)), [f"{gamma:g}" for gamma in gammas])
    figure.colorbar(image, ax=axes, label="mean R2 on patients left out")
    return figure
