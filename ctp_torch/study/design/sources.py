"""Where the patients of a study come from: drawn by the phantom, or read from a cohort's folder."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ctp_torch.errors import CTPError
from ctp_torch.phantom.cohort import MAPS, split_patients
from ctp_torch.phantom.patient import ScanVariant, render_patient

if TYPE_CHECKING:
    from ctp_torch.data.geometry import Geometry
    from ctp_torch.data.series import CTPSeries
    from ctp_torch.io import CohortPatient

__all__ = ["Drawn", "FromFolder", "PatientSource", "RawPatient", "Truth", "open_folder"]

_FACTS = ("noise_hu", "motion", "stroke")
"""What of the phantom's truth goes on record, beside the width of the bolus."""


class Truth(NamedTuple):
    """What is really there, where it is known."""

    maps: Tensor
    """``(maps, z, y, x)`` in the units and order of ``MAPS``."""
    labels: Tensor
    """``(z, y, x)`` uint8, index into ``ctp_torch.phantom.LABELS``."""
    core: Tensor
    """``(z, y, x)`` bool."""
    penumbra: Tensor
    """``(z, y, x)`` bool."""
    facts: dict[str, object]
    """Width of the bolus, noise, diagnosis."""


class RawPatient(NamedTuple):
    """A patient as delivered."""

    series: CTPSeries
    targets: Tensor | None
    """``(maps, z, y, x)`` int16 colour indices of the console's maps; None where our teacher makes them."""
    truth: Truth | None


class Drawn(NamedTuple):
    """Digital patients rendered when they are needed, never written as DICOM."""

    seed: int
    patients: int
    train: int
    size: int
    noise_hu: float = 5.0
    bolus_stretch: float = 1.0

    def names(self, split: str) -> list[str]:
        """The patients that train or test."""
        splits = split_patients(self.seed, self.patients, self.train)
        return [f"P{i + 1:03d}" for i, s in enumerate(splits) if s == split]

    def scan(self, name: str, *, frames: int = 60, dt: float = 1.0, bolus_stretch: float = 1.0) -> RawPatient:
        """A patient, rounded to whole HU as files hold it; by another protocol (``frames``, ``dt`` [s]) where asked.

        ``bolus_stretch`` is a factor on the width of the bolus, besides the cohort's own.
        """
        patient = render_patient(
            self.seed, int(name[1:]) - 1, size=self.size, frames=frames, dt=dt, noise_hu=self.noise_hu,
            variant=ScanVariant(bolus_stretch=self.bolus_stretch * bolus_stretch),
        )  # fmt: skip
        series, true = patient.series, patient.truth
        series = replace(series, hu=series.hu.round_())
        facts = {"aif_fwhm_s": _width(true.aif, dt), **{fact: true.facts[fact] for fact in _FACTS}}
        maps = torch.stack([true.maps[quantity] for quantity in MAPS])
        return RawPatient(series, None, Truth(maps, true.labels, true.core, true.penumbra, facts))


class FromFolder(NamedTuple):
    """A cohort on disk, read through the same door as a hospital's."""

    path: str
    lut: str
    listing: str
    """Hash of the list of patients, so that another cohort in the same place is not taken for this one."""

    def names(self, split: str) -> list[str]:
        """The patients that train or test."""
        return [patient.name for patient in self._patients() if patient.split == split]

    def scan(self, name: str) -> RawPatient:
        """A patient as its files tell."""
        from ctp_torch.io import read_series, read_target_indices

        patient = next(one for one in self._patients() if one.name == name)
        series = read_series(patient.series_path, dt=patient.dt)
        targets = read_target_indices(
            patient.maps_path, MAPS, series.geometry, patient.ranges, lut=patient.lut, baseline=series.hu[0]
        )
        return RawPatient(series, targets, _read_truth(patient.truth_path, series.geometry))

    def _patients(self) -> tuple[CohortPatient, ...]:
        """As the cohort lists them."""
        from ctp_torch.io import read_cohort

        return read_cohort(self.path, lut=self.lut).patients


PatientSource = Drawn | FromFolder


def open_folder(path: Path, *, lut: str = "jet") -> FromFolder:
    """A cohort's folder as a source.

    Raises
    ------
    CTPError
        when it has no training or no test patients, or other display ranges than the study's
    """
    from ctp_torch.data.maps import QUANTITIES
    from ctp_torch.io import read_cohort

    cohort = read_cohort(path, lut=lut)
    for split in ("train", "test"):
        if len(cohort.of(split)) < 2:
            raise CTPError(f"{path} holds {len(cohort.of(split))} {split} patients; a study needs two of each")
    for name in MAPS:
        if tuple(cohort.ranges.get(name, ())) != QUANTITIES[name].display:
            raise CTPError(f"{path}: {name} is coloured over {cohort.ranges.get(name)}, not {QUANTITIES[name].display}")
    listed = "/".join(f"{p.name}:{p.split}" for p in cohort.patients) + str(cohort.settings)
    return FromFolder(str(path.resolve()), lut, hashlib.sha256(listed.encode()).hexdigest()[:16])


def _read_truth(folder: Path | None, geometry: Geometry) -> Truth | None:
    """The truth of a digital patient's files; None where a part of it is missing."""
    import json

    from ctp_torch.io import read_volume

    names = (*MAPS, "labels", "core", "penumbra")
    if folder is None or not all((folder / f"{name}.nii.gz").is_file() for name in names):
        return None
    volumes = {}
    for name in names:
        volumes[name], grid = read_volume(folder / f"{name}.nii.gz")
        if not grid.matches(geometry, tolerance_mm=1.0):
            raise CTPError(f"{folder / name}.nii.gz doesn't lie on the slices of the series")
    facts: dict[str, object] = {}
    if (folder / "truth.json").is_file():
        record = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
        times = record["times_s"]
        facts["aif_fwhm_s"] = _width(torch.tensor(record["aif_hu"]), times[1] - times[0])
        facts |= {name: record["patient"].get(name) for name in _FACTS}
    maps = torch.stack([volumes[name].float() for name in MAPS])
    return Truth(maps, volumes["labels"].to(torch.uint8), volumes["core"] > 0, volumes["penumbra"] > 0, facts)


def _width(aif: Tensor, dt: float) -> float:
    """Full width of the arterial first pass at half its height [s]."""
    from ctp_torch.ops.bolus.first_pass import curve_width

    return round(float(curve_width(aif.double(), dt)), 2)
