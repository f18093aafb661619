"""Public data sets as published, and plain folders, found as cohorts: nothing has to be converted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ctp_torch.io.cohort.quantity_names import is_mask_name, quantity_in

__all__ = ["PatientPaths", "find_patients"]


class PatientPaths(NamedTuple):
    """Where the data of a patient lie."""

    name: str
    series: Path
    maps: Path


def find_patients(folder: Path) -> tuple[str, list[PatientPaths]]:
    """The layout of a folder, and its patients in the order of their names; an empty list when it is none.

    ISLES'24 (``sub-strokeXXXX/ses-01/*_ctp.nii.gz`` with ``perfusion-maps``, also split over ``raw_data`` or
    ``rawdata`` and ``derivatives``), ISLES'18 (``case_N/SMIR.Brain.XX.O.CT_4DPWI.*``), UniToBrain (``MOL-NNN`` with
    ``MOL-NNN_Registered_Filtered_3mm_20HU_Maps``), else a folder for each patient with ``ct`` and ``maps`` (or
    everything together).
    """
    for layout, search in (
        ("ISLES'24", _isles24),
        ("ISLES'18", _isles18),
        ("UniToBrain", _unitobrain),
        ("folders", _folders),
    ):
        cases = sorted(
            search(folder), key=lambda one: [int(w) if w.isdigit() else w for w in re.split(r"(\d+)", one.name)]
        )
        if cases:
            return layout, cases
    return "", []


def _isles24(folder: Path) -> Iterator[PatientPaths]:
    """Subjects with a 4-D series and a folder of maps; maps in the space of the plain CT need a series in it.

    The trees of one release write a subject as ``sub-stroke0001``, ``sub-strokecase0001`` or with its session: its
    number counts.
    """
    subjects: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("sub-*")):
        if path.is_dir():
            number = re.match(r"sub-[A-Za-z]*0*(\d+)", path.name)
            subjects.setdefault(number[1] if number else path.name, []).append(path)
    for homes in subjects.values():
        volumes = [path for home in homes for path in sorted(home.rglob("*.nii*"))]
        series = [path for path in volumes if re.search(r"_ctp\.nii(\.gz)?$", path.name)]
        maps = {path.parent for path in volumes if quantity_in(path.name) and not is_mask_name(path.name)}
        for one in sorted(maps):
            moved = any("space-ncct" in path.name for path in one.iterdir())
            fitting = [path for path in series if ("space-ncct" in path.name) == moved]
            if fitting:
                yield PatientPaths(homes[0].name.split("_")[0], fitting[0], one)
                break


def _isles18(folder: Path) -> Iterator[PatientPaths]:
    """Cases with a 4-D series and at least one map beside it."""
    for case in folder.rglob("case_*"):
        series = sorted(case.rglob("*CT_4DPWI*.nii*"))
        if case.is_dir() and series and any(quantity_in(path.name) for path in case.rglob("*.nii*")):
            yield PatientPaths(case.name, series[0], case)


def _unitobrain(folder: Path) -> Iterator[PatientPaths]:
    """Patients with a folder of maps; the registered and filtered series where it is there, else the raw one."""
    for maps in folder.rglob("MOL-*_Maps"):
        name = maps.name.split("_")[0]
        choices = (maps.with_name(maps.name.removesuffix("_Maps")), maps.with_name(name))
        series = next((choice for choice in choices if choice.is_dir()), None)
        if maps.is_dir() and series:
            yield PatientPaths(name, series, maps)


def _folders(folder: Path) -> Iterator[PatientPaths]:
    """A folder for each patient."""
    for home in folder.iterdir():
        if not home.is_dir() or home.name.startswith("."):
            continue
        if (home / "ct").is_dir() and (home / "maps").is_dir():
            yield PatientPaths(home.name, home / "ct", home / "maps")
        elif (volumes := sorted(home.glob("*.nii*"))) and (series := [p for p in volumes if _is_series(p)]):
            yield PatientPaths(home.name, series[0], home)
        elif not volumes and any(path.is_file() for path in home.rglob("*")):
            yield PatientPaths(home.name, home, home)


def _is_series(path: Path) -> bool:
    """Whether a NIfTI file is named like a perfusion series and no map."""
    return re.search(r"ctp|4d|perf|pwi", path.name, re.IGNORECASE) is not None and quantity_in(path.name) is None
