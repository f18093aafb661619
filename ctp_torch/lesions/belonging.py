"""Which thresholds belong to which maps: those shipped for a method, and whether others were made for such maps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import NamedTuple

from ctp_torch.data.methods import METHODS
from ctp_torch.lesions.thresholds import THRESHOLDS_KEY, Thresholds, thresholds_from

__all__ = ["CONVENTIONAL", "VOLUMES", "MapsOrigin", "bind", "conventional_thresholds", "misfit", "shipped_thresholds"]

VOLUMES = {True: "completed", False: "seen"}
"""What CBV is called with what passes after the last frame, and without."""
CONVENTIONAL = "conventional"
"""Asks for the thresholds of another product, instead of those that belong to the maps."""
_WIDTH_SHARE = 0.1
"""Widths of a Gaussian closer than this [relative] count as equal."""
_DELAY_S, _SEVERE_DELAY_S, _NORMAL_DELAY_S = 3.0, 5.0, 2.0
"""Where a method's Tmax is an arrival without the width of the residue: late, severe and normal [s]."""


class MapsOrigin(NamedTuple):
    """How maps were made, as far as thresholds depend on it."""

    method: str
    """Name of the deconvolution; empty where nobody knows."""
    smoothing: str
    """``beside`` vessels or ``inside``; empty where nobody knows."""
    width_mm: float
    """Of the Gaussian before deconvolution [mm]; 0 where nobody knows."""
    matrix: int
    """Rows of the images."""
    volume: str = ""
    """``completed`` by what passes after the last frame, or as ``seen``; empty where nobody knows."""


def conventional_thresholds(method: str = "") -> Thresholds:
    """CBF < 30 % of normal and Tmax > 6 s; delay > 3 s for a method whose Tmax is a delay.

    They belong to another product's deconvolution: with any here they are borrowed.
    """
    if method in METHODS and METHODS[method].tmax_is_delay:
        return Thresholds(tmax=_DELAY_S, severe_tmax=_SEVERE_DELAY_S, normal_tmax=_NORMAL_DELAY_S, timing="delay")
    return Thresholds()


def bind(thresholds: Thresholds, origins: Sequence[MapsOrigin]) -> Thresholds:
    """Thresholds that say what maps they belong to: made as these, with half to eight times their matrix.

    Finer pixels are averaged by the same Gaussian [mm] to the same noise; coarser ones hold more of each vessel.
    """
    method, smoothing, width_mm, _, volume = origins[0]
    rows = [origin.matrix for origin in origins]
    return replace(
        thresholds,
        timing=conventional_thresholds(method).timing,
        method=method,
        smoothing=smoothing,
        width_mm=width_mm,
        volume=volume,
        least_matrix=min(rows) // 2,
        most_matrix=8 * max(rows),
    )


def misfit(thresholds: Thresholds, origin: MapsOrigin) -> str:
    """Why thresholds don't belong to maps, in words; empty where they do, or where nothing is known of either."""
    off = []
    if thresholds.method and origin.method and thresholds.method != origin.method:
        off.append(f"for {thresholds.method}, the maps are {origin.method}'s")
    if thresholds.smoothing and origin.smoothing and thresholds.smoothing != origin.smoothing:
        off.append(f"for smoothing {thresholds.smoothing} vessels, the maps were smoothed {origin.smoothing}")
    if thresholds.volume and origin.volume and thresholds.volume != origin.volume:
        off.append(f"for volumes as {thresholds.volume}, the maps' are {origin.volume} (--complete-cbv)")
    widths = thresholds.width_mm, origin.width_mm
    if all(widths) and abs(widths[0] - widths[1]) > _WIDTH_SHARE * widths[0]:
        off.append(f"for a Gaussian of {widths[0]:g} mm, the maps had one of {widths[1]:g} mm")
    least, most = thresholds.least_matrix, thresholds.most_matrix
    if most and not least <= origin.matrix <= most:
        off.append(f"for matrices of {least:g} to {most:g}, the maps have {origin.matrix}")
    return f"the thresholds were calibrated {'; '.join(off)}" if off else ""


def shipped_thresholds(origin: MapsOrigin) -> tuple[Thresholds | None, str]:
    """The thresholds that the package holds for maps, or None and the reason, in words.

    They were calibrated on digital patients by ``benchmarks/shipped_thresholds.py``; each file tells on which, and how
    far its volumes were off on others.
    """
    reasons = []
    for thresholds, reason in _shipped():
        if thresholds.method != origin.method:
            continue
        why = reason or misfit(thresholds, origin)
        if not why:
            return thresholds, ""
        reasons.append(why)
    if not origin.method:
        return None, "nobody knows how the maps were made"
    return None, reasons[0] if reasons else f"no thresholds were calibrated for {origin.method}"


@cache
def _shipped() -> tuple[tuple[Thresholds, str], ...]:
    """All that is shipped, in order of the names; with a reason, where a method has none that can be trusted."""
    folder = resources.files("ctp_torch.lesions") / "shipped"
    pages = [
        json.loads(file.read_text(encoding="utf-8"))
        for file in sorted(folder.iterdir(), key=lambda one: one.name)
        if file.name.endswith(".json")
    ]
    return tuple((thresholds_from(page[THRESHOLDS_KEY], "shipped"), str(page.get("reason", ""))) for page in pages)
