"""Pictures of a patient and of a cohort: CT slices, maps in colours with their bars, curves, scores."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ctp_torch import ops
from ctp_torch.data.maps import QUANTITIES, in_order, named_quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ctp_torch.data.maps import PerfusionMaps
    from ctp_torch.data.provenance import MapsProvenance

__all__ = ["comparison_figure", "montage_figure", "to_png", "training_figure"]

_BRAIN_WINDOW = (0.0, 80.0)
_INK, _PAPER = "#e8e8e8", "#101014"


def montage_figure(baseline: Tensor, maps: PerfusionMaps, ranges: Mapping[str, tuple[float, float]]) -> Figure:
    """The slices of a series above its maps, one row a map, with colour bars and the vessels that were used.

    Parameters
    ----------
    baseline
        ``(z, y, x)`` [HU], shown at 0-80 HU
    maps
        of the same grid
    ranges
        quantity to display range
    """
    names = [name for name in in_order(maps.values) if name in ranges]
    shown = _spread(maps.geometry.shape[0], 6)
    curves = _vessel_curves(maps.provenance)
    figure = _figure(2.0 * len(shown) + 1.2, 2.05 * (len(names) + 1) + (2.2 if curves else 0.3))
    heights = [1.0] * (len(names) + 1) + ([1.1] if curves else [])
    grid = figure.add_gridspec(
        len(heights), len(shown) + 1, width_ratios=[1.0] * len(shown) + [0.12], height_ratios=heights
    )
    for column, z in enumerate(shown):
        axis = _picture(figure, grid[0, column], baseline[z], limits=_BRAIN_WINDOW, title=f"slice {z + 1}")
        _mark_vessels(axis, maps.provenance, z)
    for row, name in enumerate(names, start=1):
        pictures = ops.paint(maps[name], ranges[name], maps.mask)
        for column, z in enumerate(shown):
            axis = _picture(figure, grid[row, column], pictures[z])
            if column == 0:
                _side_label(axis, named_quantity(name).label)
        _color_bar(figure, grid[row, len(shown)], ranges[name], named_quantity(name).unit)
    _side_label(figure.axes[0], "CT")
    if curves:
        _plot_curves(figure.add_subplot(grid[len(names) + 1, :]), curves)
    return figure


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
    _picture(figure, grid[0, 0], source, limits=_BRAIN_WINDOW, title="CT, peak frame")
    _picture(
        figure,
        grid[0, 1],
        ops.paint(target.float(), (0.0, 255.0), brain),
        title=f"{named_quantity(quantity).label}, teacher",
    )
    for column, (label, prediction) in enumerate(predictions.items(), start=2):
        axis = _picture(figure, grid[0, column], ops.paint(prediction, (0.0, 255.0), brain), title=label)
        axis.text(
            0.5, -0.05, captions.get(label, ""), transform=axis.transAxes, ha="center", va="top", color=_INK, fontsize=8
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


def _figure(width: float, height: float, *, paper: str = _PAPER) -> Figure:
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
        axis.set_title(title, color=_INK, fontsize=9)
    return axis


def _side_label(axis: Axes, text: str) -> None:
    """A word to the left of a row of pictures."""
    axis.text(-0.06, 0.5, text, transform=axis.transAxes, rotation=90, ha="right", va="center", color=_INK, fontsize=11)


def _color_bar(figure: Figure, place: Any, limits: tuple[float, float], unit: str) -> None:
    """The JET bar with its ends and unit."""
    axis = figure.add_subplot(place)
    bar = ops.jet_lut().flip(0)[:, None].expand(-1, 12, -1)  # high at the top
    axis.imshow(bar.numpy(), aspect="auto", extent=(0, 1, limits[0], limits[1]))
    axis.set_xticks([])
    axis.set_yticks([limits[0], sum(limits) / 2, limits[1]])
    axis.yaxis.tick_right()
    axis.tick_params(colors=_INK, labelsize=8, length=2)
    axis.set_xlabel(unit, color=_INK, fontsize=7)


def _spread(n: int, most: int) -> list[int]:
    """At most so many slice numbers, evenly spread over all."""
    if n <= most:
        return list(range(n))
    return [round(i * (n - 1) / (most - 1)) for i in range(most)]


def _vessel_curves(provenance: MapsProvenance) -> dict[str, list[float]]:
    """The curves that a deconvolution used, by their label."""
    vessels = {"AIF (artery)": provenance.aif, "VOF (vein)": provenance.vof}
    curves = {label: vessel.curve.tolist() for label, vessel in vessels.items() if vessel is not None}
    if provenance.tissue_curve is not None:
        curves["tissue mean x 10"] = (10.0 * provenance.tissue_curve).tolist()
    return curves


def _plot_curves(axis: Axes, curves: Mapping[str, Sequence[float]]) -> None:
    """Enhancement curves over the frames."""
    axis.set_facecolor(_PAPER)
    for (label, values), color in zip(curves.items(), ("#ff5252", "#4f9dff", "#9be37a"), strict=False):
        axis.plot(values, label=label, color=color, linewidth=1.4)
    axis.set_xlabel("frame", color=_INK, fontsize=8)
    axis.set_ylabel("enhancement [HU]", color=_INK, fontsize=8)
    axis.tick_params(colors=_INK, labelsize=8)
    for spine in axis.spines.values():
        spine.set_color("#55555c")
    axis.legend(fontsize=8, facecolor=_PAPER, labelcolor=_INK, edgecolor="#55555c")


def _mark_vessels(axis: Axes, provenance: MapsProvenance, z: int) -> None:
    """Red where the AIF was taken, blue where the VOF was."""
    for vessel, color in ((provenance.aif, "#ff5252"), (provenance.vof, "#4f9dff")):
        if vessel is not None and bool(vessel.mask[z].any()):
            rows, columns = vessel.mask[z].nonzero().T.tolist()
            axis.scatter(columns, rows, s=14, facecolors="none", edgecolors=color, linewidths=0.9)
