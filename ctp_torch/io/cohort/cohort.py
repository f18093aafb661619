"""Cohort folders: which patients there are, which train and which test, and how their maps are coloured."""

from __future__ import annotations

import html
import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from ctp_torch.data.maps import QUANTITIES
from ctp_torch.errors import NoSeriesError, UnreadableFileError, check_type
from ctp_torch.io.atomic import whole
from ctp_torch.io.cohort.layouts import PatientPaths, find_patients
from ctp_torch.io.limits import DAMAGE, read_text
from ctp_torch.io.nifti.nifti import sidecar
from ctp_torch.io.nifti.nifti_file import is_nifti, nifti_step
from ctp_torch.io.nifti.sidecar_times import file_times_told

__all__ = ["COHORT_FORMAT", "Cohort", "CohortPatient", "Split", "read_cohort", "write_cohort_index"]

COHORT_FORMAT = 1
"""Version of ``cohort.json``."""

Split = Literal["train", "test", "reject"]


@dataclass(frozen=True)
class CohortPatient:
    """Where a patient's data are."""

    name: str
    """Unique within the cohort."""
    split: Split
    """What the patient serves for; rejects serve for nothing."""
    series_path: Path
    """What ``read_series`` takes."""
    maps_path: Path
    """Folder of the target maps."""
    truth_path: Path | None = None
    """Physical truth of a digital patient; training and prediction never read it."""
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Quantity to the values of the first and the last colour, those of the cohort."""
    lut: str = "jet"
    """Table of the maps' colours: a name, a file, or ``bar`` to read it from each picture."""
    dt: float | None = None
    """Seconds between frames, where neither the series nor its headers tell and the data set's description does."""


@dataclass(frozen=True, repr=False)
class Cohort:
    """The patients of a cohort and what holds for all of them."""

    path: Path
    """The cohort folder."""
    patients: tuple[CohortPatient, ...]
    """In the order of the index."""
    ranges: Mapping[str, tuple[float, float]]
    """Quantity to the values of the first and the last colour of its maps, in the units of ``QUANTITIES``."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The rest of ``cohort.json``: seed, teacher, rendering, noise ..."""

    def of(self, split: Split) -> tuple[CohortPatient, ...]:
        """The patients of a split."""
        return tuple(patient for patient in self.patients if patient.split == split)

    def __iter__(self) -> Iterator[CohortPatient]:
        """The patients, in the order of the index."""
        return iter(self.patients)

    def __len__(self) -> int:
        """Number of patients."""
        return len(self.patients)

    def __repr__(self) -> str:
        counts = Counter(patient.split for patient in self.patients)
        splits = ", ".join(f"{n} {split}" for split, n in counts.items())
        return f"Cohort({len(self)} patients: {splits}; maps {', '.join(self.ranges)})"

    def _repr_html_(self) -> str:
        """For a notebook: the facts and a line a patient."""
        rows = "".join(f"<tr><td>{html.escape(one.name)}</td><td>{one.split}</td></tr>" for one in self.patients)
        header = "<tr><th>patient</th><th>split</th></tr>"
        return f"<div><code>{html.escape(repr(self))}</code><table>{header}{rows}</table></div>"


def write_cohort_index(
    path: str | Path,
    splits: Mapping[str, Split],
    ranges: Mapping[str, tuple[float, float]],
    settings: Mapping[str, Any] | None = None,
    *,
    force: bool = False,
) -> Path:
    """``cohort.json`` of a cohort in our layout: ``COHORT/<patient>/{ct,maps,truth}``.

    Parameters
    ----------
    path
        the cohort folder
    splits
        patient's folder name to train, test or reject
    ranges
        quantity to the values of the first and the last colour
    settings
        anything JSON can hold: seed, teacher settings, rendering parameters, noise after the median [HU] ...
    force
        replace an index that is there

    Raises
    ------
    ValueError
        for an unknown split or quantity, or a patient's name that is a path
    OutputExistsError
        when there is an index already
    """
    for name, split in splits.items():
        if split not in get_args(Split):
            raise ValueError(f"split of {name} must be train, test or reject, got {split!r}")
        if not name or name != Path(name).name or name.startswith("."):
            raise ValueError(f"a patient's name must be a plain folder name, got {name!r}")
    unknown = sorted(set(ranges) - set(QUANTITIES))
    if unknown:
        raise ValueError(f"unknown quantities {', '.join(unknown)}; known are {', '.join(QUANTITIES)}")
    record = {
        "format": COHORT_FORMAT,
        "patients": [{"name": name, "split": split} for name, split in splits.items()],
        "ranges": {name: list(limits) for name, limits in ranges.items()},
        "settings": dict(settings or {}),
    }
    index = Path(path) / "cohort.json"
    with whole(index, force=force) as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return index


def read_cohort(path: str | Path, *, lut: str = "jet") -> Cohort:
    """The cohort in a folder.

    Parameters
    ----------
    path
        a folder with ``cohort.json``, or that file; or ISLES'24, ISLES'18 or UniToBrain as published, or a folder of
        patients
    lut
        table of the colours of the maps: jet, siemens, siemens-time, asist, a file, or ``bar`` to read it from each
        picture

    Raises
    ------
    NoSeriesError
        when there is no cohort
    UnreadableFileError
        when ``cohort.json`` is broken, foreign or from a newer version
    """
    check_type(path, (str, os.PathLike), "read_cohort: path")
    path = Path(path)
    folder = path.parent if path.name == "cohort.json" else path
    if not folder.is_dir():
        raise NoSeriesError(f"{folder} doesn't exist: give a cohort's folder (ctp-torch phantom cohort makes one)")
    index = folder / "cohort.json"
    return _own_layout(folder, index, lut) if index.is_file() else _other_layout(folder, lut)


def _other_layout(folder: Path, lut: str) -> Cohort:
    """A public data set as published, or a folder of patients: the last fifth of the names test."""
    layout, cases = find_patients(folder)
    if not cases:
        raise NoSeriesError(
            f"{folder} is no cohort: it holds no cohort.json, and no folders of patients with a series and maps"
            " (ctp-torch phantom cohort makes a cohort)"
        )
    n_test = max(1, round(len(cases) / 5)) if len(cases) > 1 else 0
    ranges = {name: quantity.display for name, quantity in QUANTITIES.items()}

    def patient(one: PatientPaths, split: Split) -> CohortPatient:
        step = None if layout == "folders" else _step(one.series)
        return CohortPatient(one.name, split, one.series, one.maps, None, ranges, lut, step)

    patients = tuple(patient(one, "test" if k >= len(cases) - n_test else "train") for k, one in enumerate(cases))
    assumed = sum(one.dt is not None for one in patients)
    settings = {"layout": layout, "split": "the last fifth of the names test"}
    if assumed:
        settings["times"] = (
            f"1 s between frames taken from the data set's description for {assumed} series that tell none"
        )
    return Cohort(folder, patients, ranges, settings)


def _step(series: Path) -> float | None:
    """1 s for a NIfTI series of a public data set whose files tell no times: its description says so."""
    if not is_nifti(series) or nifti_step(series) is not None or file_times_told(sidecar(series)):
        return None
    return 1.0


def _own_layout(folder: Path, index: Path, lut: str) -> Cohort:
    """Our layout, as its index tells."""
    try:
        record = json.loads(read_text(index))
        version = record["format"]
        if not isinstance(version, int) or version > COHORT_FORMAT:
            raise UnreadableFileError(
                f"{index} has format {version}, this version reads up to {COHORT_FORMAT}: update ctp-torch"
            )
        ranges = {str(name): (float(low), float(high)) for name, (low, high) in record["ranges"].items()}
        if not all(math.isfinite(high - low) and low < high for low, high in ranges.values()):
            raise ValueError(f"ranges must be finite and rise, got {ranges}")
        patients = tuple(_patient(folder, one["name"], one["split"], ranges, lut) for one in record["patients"])
        settings = dict(record.get("settings", {}))
    except (*DAMAGE, OSError) as error:
        raise UnreadableFileError(
            f"{index} is broken or foreign ({type(error).__name__}: {error}); make the cohort again"
        ) from error
    names = [patient.name for patient in patients]
    if len(set(names)) < len(names):
        raise UnreadableFileError(f"{index} names a patient twice")
    return Cohort(folder, patients, ranges, settings)


def _patient(folder: Path, name: Any, split: Any, ranges: Mapping[str, tuple[float, float]], lut: str) -> CohortPatient:
    """A patient of our layout."""
    if not isinstance(name, str) or not name or name != Path(name).name or split not in get_args(Split):
        raise ValueError(f"patient {name!r} with split {split!r}")
    home = folder / name
    truth = home / "truth"
    return CohortPatient(name, split, home / "ct", home / "maps", truth if truth.is_dir() else None, ranges, lut)
