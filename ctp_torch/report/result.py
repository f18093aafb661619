"""The folder that one run leaves: maps as NIfTI, a montage, and the record of how they were made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ctp_torch.io import write_volume
from ctp_torch.report.figures import montage_figure, to_png

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.maps import PerfusionMaps

__all__ = ["write_record", "write_result"]


def write_result(
    folder: Path, maps: PerfusionMaps, baseline: Tensor, ranges: Mapping[str, tuple[float, float]]
) -> None:
    """``cbf.nii.gz`` and the other maps in physical units, ``mask.nii.gz``, ``baseline.nii.gz``, ``montage.png``.

    Parameters
    ----------
    folder
        exists; files of the same names are replaced
    maps
        in the units of ``QUANTITIES``
    baseline
        ``(z, y, x)`` mean of the pre-contrast frames [HU], for the picture
    ranges
        quantity to display range
    """
    for name, volume in maps.values.items():
        write_volume(folder / f"{name}.nii.gz", volume.float(), maps.geometry)
    write_volume(folder / "mask.nii.gz", maps.mask.byte(), maps.geometry)
    write_volume(folder / "baseline.nii.gz", baseline.float(), maps.geometry)
    (folder / "montage.png").write_bytes(to_png(montage_figure(baseline, maps, ranges)))


def write_record(folder: Path, record: Mapping[str, object]) -> None:
    """``run.json``: how the results in this folder were made."""
    (folder / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
