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
from ctp_torch.report.figures import to_png
from ctp_torch.report.spreadsheet import csv_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from ctp_torch.data.maps import PerfusionMaps
    from ctp_torch.lesions.find import Lesions

__all__ = ["conventional_numbers", "lesion_figure", "overlay", "write_lesion_tables", "write_lesions"]

_CORE, _HYPOPERFUSION = (255, 64, 220), (60, 210, 90)
"""Magenta for low flow, green for late Tmax: the colours of the widely used products."""
_INK, _PAPER = "#e8e8e8", "#101014"
_MOST_SLICES = 24


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
    low, high = limits
    grey = ((torch.nan_to_num(underlay.float()) - low) / (high - low)).clamp(0, 1) * 255
    picture = grey[..., None].expand(*grey.shape, 3)
    for mask, color in ((lesions.hypoperfusion, _HYPOPERFUSION), (lesions.core, _CORE)):
        tinted = 0.35 * picture + 0.65 * picture.new_tensor(color)
        picture = torch.where(mask[..., None].to(picture.device), tinted, picture)
    return picture.round().to(torch.uint8)


def lesion_figure(lesions: Lesions, underlay: Tensor, limits: tuple[float, float] = (0.0, 80.0)) -> Figure:
    """Twice every slice, core and hypoperfusion side by side as on a console, with the volumes above them.

    Parameters
    ----------
    lesions
        masks and numbers
    underlay
        ``(z, y, x)``, best the CT before contrast [HU]
    limits
        values shown black and white
    """
    from matplotlib.figure import Figure

    n = underlay.shape[0]
    step = max(1, -(-n // _MOST_SLICES))
    shown = list(range(0, n, step))
    columns = min(6, len(shown))
    rows = -(-len(shown) // columns)
    lines = [line for sentence in _headline(lesions) for line in wrap(sentence, 28 * columns)]
    size = 2.1 * columns, 2.1 * rows + 0.4 + 0.2 * len(lines)
    figure = Figure(figsize=size, facecolor=_PAPER, layout="constrained")
    figure.suptitle("\n".join(lines), color=_INK, fontsize=10)
    pictures = overlay(underlay, lesions, limits).cpu().numpy()
    for place, z in enumerate(shown, start=1):
        axis = figure.add_subplot(rows, columns, place)
        axis.imshow(pictures[z], interpolation="nearest")
        axis.set_title(f"slice {z + 1}", color=_INK, fontsize=8)
        axis.set_axis_off()
    return figure


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
    shown = (maps["cbf"], (0.0, 80.0)) if baseline is None else (baseline, (0.0, 80.0))
    (folder / "lesion.png").write_bytes(to_png(lesion_figure(lesions, *shown)))


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
