"""Core and penumbra as a stroke team knows them: magenta and green over the grey CT, with the volumes beside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

import torch

from ctp_torch.data.maps import ENDS
from ctp_torch.report.canvas import Box, Canvas, grey
from ctp_torch.report.montage import BRAIN_WINDOW, label_sides, tile_height
from ctp_torch.report.spreadsheet import csv_text

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.data.geometry import Geometry
    from ctp_torch.data.maps import PerfusionMaps
    from ctp_torch.lesions.find import Lesions

__all__ = ["conventional_numbers", "lesion_picture", "overlay", "write_lesion_tables", "write_lesions"]

_CORE, _HYPOPERFUSION = (255, 64, 220), (60, 210, 90)
"""Magenta for low flow, green for late Tmax: the colours of the widely used products."""
_MOST_SLICES = 24
_TILE, _GAP, _LEAST_WIDTH = 220, 12, 640
"""Width of a picture, space around it, and of the whole [pixels]."""


def overlay(underlay: Tensor, lesions: Lesions, limits: tuple[float, float]) -> Tensor:
    """The lesions in colour over a grey volume, both visible.

    Parameters
    ----------
    underlay
        ``(z, y, x)``: a CT, or a map
    lesions
        on the same grid
    limits
        values shown black and white

    Returns
    -------
        ``(z, y, x, 3)`` uint8
    """
    picture = grey(underlay, limits).float()
    for mask, color in ((lesions.hypoperfusion, _HYPOPERFUSION), (lesions.core, _CORE)):
        tinted = 0.35 * picture + 0.65 * picture.new_tensor(color)
        picture = torch.where(mask[..., None].to(picture.device), tinted, picture)
    return picture.round().to(torch.uint8)


def lesion_picture(
    lesions: Lesions, underlay: Tensor, geometry: Geometry, limits: tuple[float, float] = BRAIN_WINDOW
) -> Canvas:
    """The slices, core in magenta and hypoperfusion in green over them, with the volumes above.

    Parameters
    ----------
    lesions
        masks and numbers
    underlay
        ``(z, y, x)``, best the CT before contrast [HU]
    geometry
        of the grid
    limits
        values shown black and white
    """
    n = underlay.shape[0]
    shown = list(range(0, n, max(1, -(-n // _MOST_SLICES))))
    columns = min(6, len(shown))
    height, width = tile_height(geometry, _TILE), max(columns * (_TILE + _GAP) + _GAP, _LEAST_WIDTH)
    lines = [line for sentence in _headline(lesions) for line in wrap(sentence, width // 7)]
    head = 18 * len(lines) + 2 * _GAP
    canvas = Canvas(width, head + -(-len(shown) // columns) * (height + 26) + _GAP)
    for index, line in enumerate(lines):
        canvas.text(width / 2, _GAP + 18 * index, line, size=13, anchor="ma")
    pictures = overlay(underlay, lesions, limits)
    for place, z in enumerate(shown):
        row, column = divmod(place, columns)
        box = Box(_GAP + column * (_TILE + _GAP), head + 22 + row * (height + 26), _TILE, height)
        canvas.image(pictures[z], box)
        canvas.text(box.left + _TILE / 2, box.top - 4, f"slice {z + 1}", anchor="ms")
        label_sides(canvas, box, geometry)
    return canvas


def write_lesions(
    folder: Path,
    lesions: Lesions,
    maps: PerfusionMaps,
    *,
    baseline: Tensor | None = None,
    facts: Mapping[str, object] | None = None,
    conventional: Lesions | None = None,
) -> None:
    """``lesion.json``, ``lesion.csv`` and ``lesion.png``; `ctp_torch.io` writes the masks.

    Parameters
    ----------
    folder
        exists; files of the same names are replaced
    lesions
        from `ctp_torch.lesions.find.find_lesions`
    maps
        they were found in; the picture shows their CBF where there is no CT
    baseline
        ``(z, y, x)`` mean of the pre-contrast frames [HU]
    facts
        more for the JSON, such as the method
    conventional
        the same by conventional thresholds, whose volumes stand beside
    """
    write_lesion_tables(lesions, folder, facts={**conventional_numbers(conventional), **(facts or {})})
    underlay = maps["cbf"] if baseline is None else baseline
    (folder / "lesion.png").write_bytes(lesion_picture(lesions, underlay, maps.geometry).png())


def _headline(lesions: Lesions) -> list[str]:
    """The numbers a team acts on, and the rules behind them."""
    summary, limits = lesions.summary(), lesions.thresholds
    ratio = summary["mismatch_ratio"]
    return [
        f"core (magenta) {_volume(lesions, summary, 'core_ml')}: {limits.core_rule}",
        f"hypoperfusion (green too) {_volume(lesions, summary, 'hypoperfusion_ml')}: {limits.late_rule}",
        f"mismatch {_volume(lesions, summary, 'mismatch_ml')}, ratio {'-' if ratio is None else f'{ratio:.1f}'}; "
        f"slices counted {lesions.slice_mm:g} mm high; for research only",
        limits.belonging,
    ]


def conventional_numbers(conventional: Lesions | None) -> dict[str, object]:
    """Volumes and rules by conventional thresholds, by names that say so; empty without any."""
    if conventional is None:
        return {}
    volumes = {f"conventional_{name}": value for name, value in conventional.volumes().items()}
    rules = conventional.thresholds
    return {**volumes, "conventional_core_rule": rules.core_rule, "conventional_late_rule": rules.late_rule}


def _volume(lesions: Lesions, summary: Mapping[str, object], name: str) -> str:
    """A volume, with its interval where a model promises it."""
    ends = lesions.intervals.get(name)
    return f"{summary[name]:.1f}{'' if ends is None else f' ({ends[0]:.0f}..{ends[1]:.0f})'} mL"


def write_lesion_tables(lesions: Lesions, folder: Path, *, facts: Mapping[str, object] | None = None) -> None:
    """Write ``lesion.json`` (everything) and ``lesion.csv`` (one row of it for a spreadsheet) into a folder."""
    summary = lesions.summary()
    (folder / "lesion.json").write_text(json.dumps({**summary, **(facts or {})}, indent=2) + "\n", encoding="utf-8")
    row: dict[str, object] = {k: v for k, v in summary.items() if not isinstance(v, dict | list)}
    row |= {f"{name}_{end}": v for name, ends in lesions.intervals.items() for end, v in zip(ENDS, ends, strict=True)}
    row |= {f"threshold_{name}": value for name, value in asdict(lesions.thresholds).items()}
    row |= {k: v for k, v in (facts or {}).items() if k.startswith("conventional_") and not isinstance(v, dict | list)}
    row["warnings"] = "; ".join(lesions.warnings)
    (folder / "lesion.csv").write_text(csv_text([list(row), list(row.values())]), encoding="utf-8")
