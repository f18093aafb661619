"""Figures of models: their maps beside the teacher's, and what they look at."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ctp_torch import ops
from ctp_torch.data.maps import QUANTITIES, named_quantity
from ctp_torch.report.canvas import INK, PAPER
from ctp_torch.report.montage import BRAIN_WINDOW

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["comparison_figure", "to_png", "training_figure"]


def comparison_figure(
    source: Tensor,
    target: Tensor,
    predictions: Mapping[str, Tensor],
    brain: Tensor,
    *,
    quantity: str,
    limits: tuple[float, float],
    captions: Mapping[str, str],
) -> Figure:
    """One slice: the CT, the teacher's map and what each model predicts, in JET with the colour bar.

    Parameters
    ----------
    source
        ``(y, x)`` [HU] of the peak frame
    target
        ``(y, x)`` colour indices of the teacher
    predictions
        model label to ``(y, x)`` colour indices
    brain
        ``(y, x)`` bool
    quantity
        its name in ``QUANTITIES``
    limits
        display range
    captions
        model label to a line under its picture
    """
    figure = _figure(2.1 * (2 + len(predictions)) + 0.9, 2.75)
    grid = figure.add_gridspec(1, 3 + len(predictions), width_ratios=[1.0] * (2 + len(predictions)) + [0.1])
    _picture(figure, grid[0, 0], source, limits=BRAIN_WINDOW, title="CT, peak frame")
    _picture(
        figure,
        grid[0, 1],
        ops.paint(target.float(), (0.0, 255.0), brain),
        title=f"{named_quantity(quantity).label}, teacher",
    )
    for column, (label, prediction) in enumerate(predictions.items(), start=2):
        axis = _picture(figure, grid[0, column], ops.paint(prediction, (0.0, 255.0), brain), title=label)
        axis.text(
            0.5, -0.05, captions.get(label, ""), transform=axis.transAxes, ha="center", va="top", color=INK, fontsize=8
        )
    _color_bar(figure, grid[0, 2 + len(predictions)], limits, named_quantity(quantity).unit)
    return figure


def training_figure(importances: Mapping[str, Sequence[float]], dt: float) -> Figure:
    """Which moments of the bolus a model looks at: one curve per map over time."""
    figure = _figure(7.0, 3.0, paper="white")
    axis = figure.add_subplot()
    for name, values in importances.items():
        axis.plot(
            [i * dt for i in range(len(values))], values, label=QUANTITIES[name].label if name in QUANTITIES else name
        )
    axis.set(xlabel="time from the first frame [s]", ylabel="importance", title="Which moments matter")
    axis.legend(frameon=False)
    return figure


def to_png(figure: Figure, *, dpi: int = 110) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor=figure.get_facecolor())
    return buffer.getvalue()


def _figure(width: float, height: float, *, paper: str = PAPER) -> Figure:
    """An empty figure that no global state knows of."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), facecolor=paper, layout="constrained")


def _picture(
    figure: Figure, place: Any, image: Tensor, *, limits: tuple[float, float] | None = None, title: str = ""
) -> Axes:
    """An image without axes: grey between limits, or RGB as it is."""
    axis: Axes = figure.add_subplot(place)
    low, high = limits or (None, None)
    axis.imshow(image.cpu().numpy(), interpolation="nearest", cmap="gray", vmin=low, vmax=high)
    axis.set_axis_off()
    if title:
        axis.set_title(title, color=INK, fontsize=9)
    return axis


def _color_bar(figure: Figure, place: Any, limits: tuple[float, float], unit: str) -> None:
    """The JET bar with its ends and unit."""
    axis = figure.add_subplot(place)
    bar = ops.jet_lut().flip(0)[:, None].expand(-1, 12, -1)  # high at the top
    axis.imshow(bar.numpy(), aspect="auto", extent=(0, 1, limits[0], limits[1]))
    axis.set_xticks([])
    axis.set_yticks([limits[0], sum(limits) / 2, limits[1]])
    axis.yaxis.tick_right()
    axis.tick_params(colors=INK, labelsize=8, length=2)
    axis.set_xlabel(unit, color=INK, fontsize=7)
