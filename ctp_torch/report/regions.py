"""The regions of a scan as files: labels for a viewer, a table of numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ctp_torch.report.spreadsheet import csv_text

if TYPE_CHECKING:
    from ctp_torch.data.geometry import Geometry
    from ctp_torch.lesions.regions import RegionRow, Regions

__all__ = ["region_table", "write_regions"]


def region_table(rows: Sequence[RegionRow]) -> str:
    """A line a region: volume, mean, median and ratio to the other side of every map, volumes of lesions."""
    maps = list(rows[0].means) if rows else []
    lesions = list(rows[0].lesions) if rows else []
    header = ["scheme", "region", "volume_ml", *(f"{name}_{kind}" for name in maps for kind in _KINDS)]
    lines = [
        [
            row.scheme,
            row.region,
            _short(row.volume_ml),
            *(_short(table.get(name)) for name in maps for table in (row.means, row.medians, row.ratios)),
            *(_short(row.lesions[name]) for name in lesions),
        ]
        for row in rows
    ]
    return csv_text([[*header, *(f"{name}_ml" for name in lesions)], *lines])


_KINDS = ("mean", "median", "ratio")


def write_regions(folder: Path, regions: Regions, rows: Sequence[RegionRow], geometry: Geometry) -> None:
    """``regions_<scheme>.nii.gz``, ``regions.json`` with their names and what is doubtful, ``regions.csv``."""
    from ctp_torch.io import write_volume

    for scheme, labels in regions.labels.items():
        write_volume(folder / f"regions_{scheme}.nii.gz", labels, geometry, note=f"regions: {scheme}")
    fit = regions.fit
    about = {
        "schemes": regions.names,
        "warnings": list(regions.warnings),
        "correlation": round(fit.similarity, 3),
        "overlap": round(fit.overlap, 3),
        "volume_ratio": round(fit.volume_ratio, 3),
        "stretch": round(fit.stretch, 3),
    }
    (folder / "regions.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    (folder / "regions.csv").write_text(region_table(rows), encoding="utf-8")


def _short(value: float | None) -> str | None:
    """Five digits; nothing where nothing is known."""
    return None if value is None or math.isnan(value) else f"{value:.5g}"
