"""A patient at a glance: CT slices above their maps in colours, colour bars, and the curves of the vessels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ctp_torch import ops
from ctp_torch.data.geometry import Geometry
from ctp_torch.data.maps import PerfusionMaps, in_order, named_quantity
from ctp_torch.data.provenance import MapsProvenance
from ctp_torch.io.color.captures import patient_letters
from ctp_torch.report.canvas import Box, Canvas, grey

__all__ = ["BRAIN_WINDOW", "label_sides", "montage", "tile_height"]

BRAIN_WINDOW = (0.0, 80.0)
"""CT values shown black and white [HU]."""
_TILE, _GAP, _HEAD, _LABELS, _BAR, _CURVES = 200, 12, 28, 56, 64, 210
"""Width of a picture, space between them, above, to the left and to the right, height of the curves [pixels]."""
_RED, _BLUE, _GREEN = "#ff5252", "#4f9dff", "#9be37a"


def montage(
    baseline: Tensor,
    maps: PerfusionMaps,
    ranges: Mapping[str, tuple[float, float]],
    times: Sequence[float] | None = None,
) -> Canvas:
    """The slices of a series above its maps, one row a map, with colour bars and the vessels that were used.

    Parameters
    ----------
    baseline
        ``(z, y, x)`` [HU], shown at 0-80 HU
    maps
        of the same grid
    ranges
        quantity to display range
    times
        of the frames [s]; frames are numbered without them
    """
    names = [name for name in in_order(maps.values) if name in ranges]
    shown = _spread(maps.geometry.shape[0], 6)
    curves = _vessel_curves(maps.provenance)
    height = tile_height(maps.geometry, _TILE)
    step, width = height + _GAP + 8, len(shown) * (_TILE + _GAP)
    bottom = _HEAD + (len(names) + 1) * step  # of the pictures
    canvas = Canvas(_LABELS + max(width, 420) + _BAR, bottom + (_CURVES + 56) * bool(curves))

    def row(index: int, pictures: Tensor, label: str) -> int:
        top = _HEAD + index * step
        for column, z in enumerate(shown):
            canvas.image(pictures[z], Box(_LABELS + column * (_TILE + _GAP), top, _TILE, height))
        canvas.sideways(_LABELS // 2, top + height // 2, label)
        return top

    top = row(0, grey(baseline, BRAIN_WINDOW), "CT")
    for column, z in enumerate(shown):
        box = Box(_LABELS + column * (_TILE + _GAP), top, _TILE, height)
        canvas.text(box.left + _TILE / 2, 14, f"slice {z + 1}", anchor="mm")
        label_sides(canvas, box, maps.geometry)
        _mark_vessels(canvas, box, maps, z)
    for index, name in enumerate(names, start=1):
        top = row(index, ops.paint(maps[name], ranges[name], maps.mask), named_quantity(name).label)
        canvas.bar(Box(_LABELS + width, top, 20, height - 8), ranges[name], named_quantity(name).unit)
    if curves:
        box = Box(_LABELS + 12, bottom + 4, max(width, 420) - 12, _CURVES)
        n = max(len(values) for values, _ in curves.values())
        canvas.plot(box, range(n) if times is None else times, curves, label="enhancement [HU]")
        canvas.text(
            box.left + box.width / 2, box.top + _CURVES + 24, "frame" if times is None else "time [s]", anchor="ma"
        )
        canvas.legend(box.left + box.width - 12, box.top + 16, {name: color for name, (_, color) in curves.items()})
    return canvas


def tile_height(geometry: Geometry, width: int) -> int:
    """Height of a slice's picture that is so wide [pixels]: its shape in the head."""
    _, rows, columns = geometry.shape
    return max(1, round(width * rows * geometry.spacing[1] / (columns * geometry.spacing[2])))


def label_sides(canvas: Canvas, box: Box, geometry: Geometry) -> None:
    """The patient's sides at a picture's edges: R and L, where slices are axial."""
    along = geometry.direction[0], geometry.direction[3], geometry.direction[6]  # of growing columns
    y = box.top + box.height // 2
    canvas.text(box.left + 4, y, patient_letters(*(-part for part in along)), anchor="lm")
    canvas.text(box.left + box.width - 4, y, patient_letters(*along), anchor="rm")


def _spread(n: int, most: int) -> list[int]:
    """At most so many slice numbers, evenly spread over all."""
    if n <= most:
        return list(range(n))
    return [round(i * (n - 1) / (most - 1)) for i in range(most)]


def _vessel_curves(provenance: MapsProvenance) -> dict[str, tuple[list[float], str]]:
    """The curves that a deconvolution used, by their label, with their colours."""
    vessels = (("AIF (artery)", provenance.aif, _RED), ("VOF (vein)", provenance.vof, _BLUE))
    curves = {label: (vessel.curve.tolist(), color) for label, vessel, color in vessels if vessel is not None}
    if provenance.tissue_curve is not None:
        curves["tissue mean x 10"] = (10.0 * provenance.tissue_curve).tolist(), _GREEN
    return curves


def _mark_vessels(canvas: Canvas, box: Box, maps: PerfusionMaps, z: int) -> None:
    """Red where the AIF was taken, blue where the VOF was."""
    _, rows, columns = maps.geometry.shape
    for vessel, color in ((maps.provenance.aif, _RED), (maps.provenance.vof, _BLUE)):
        if vessel is not None and vessel.mask.ndim == 3 and z < len(vessel.mask):
            for y, x in vessel.mask[z].nonzero().tolist():
                canvas.ring(
                    box.left + (x + 0.5) / columns * box.width, box.top + (y + 0.5) / rows * box.height, 4.0, color
                )
