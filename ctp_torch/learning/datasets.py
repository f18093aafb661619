"""A cohort as torch datasets: one curve with its targets, or one whole scan, an item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ctp_torch import pipeline
from ctp_torch.errors import check_type
from ctp_torch.io.cohort.cohort import Cohort, read_cohort
from ctp_torch.learning.prepared import PreparedPatient
from ctp_torch.learning.training import prepare_all

if TYPE_CHECKING:
    from ctp_torch.io.cohort.cohort import Split
    from ctp_torch.pipeline.recipe import View

__all__ = ["Curves", "Scans"]

_QUANTITIES = ("cbv", "cbf", "mtt", "tmax")


class Curves(Dataset[tuple[Tensor, Tensor]]):
    """Every curve of the brains of a cohort with its targets: ``(features,)`` and ``(maps,)``.

    Patients are prepared once, kept in ``folder`` and held in memory: 60 frames of a million voxels take 240 MB.

    Parameters
    ----------
    cohort
        a folder of `ctp_torch.read_cohort`, or the cohort
    folder
        where prepared patients are kept; what an earlier call left there is used
    split
        train or test
    quantities
        names of the target maps
    view
        what is seen of a scan (`ctp_torch.pipeline.recipe.View`); the paper's raw curves when None
    target
        ``teacher`` (colour indices 0..255), ``truth`` or the name of a file in each patient's folder
    registration
        how motion is estimated

    Examples
    --------
    >>> from torch.utils.data import DataLoader
    >>> loader = DataLoader(Curves("cohort", "prepared"), batch_size=4096, shuffle=True)  # doctest: +SKIP
    """

    def __init__(
        self,
        cohort: str | Path | Cohort,
        folder: str | Path,
        *,
        split: Split = "train",
        quantities: Sequence[str] = _QUANTITIES,
        view: View | None = None,
        target: str = "teacher",
        registration: pipeline.Registration | None = None,
    ) -> None:
        patients = _cohort(cohort).of(split)
        files = prepare_all(
            patients, Path(folder), quantities=quantities, view=view, target=target, registration=registration
        )
        curves, targets, patient = [], [], []
        for number, file in enumerate(files):
            one = PreparedPatient.load(file)
            features, wanted = one.sample(one.valid.flatten().nonzero().squeeze(1))
            curves.append(features)
            targets.append(wanted)
            patient.append(torch.full((len(features),), number))
        self.curves = torch.cat(curves)
        """``(voxels, features)``."""
        self.targets = torch.cat(targets)
        """``(voxels, maps)``."""
        self.patient = torch.cat(patient)
        """``(voxels,)`` number of the patient in the split, for folds that keep patients together."""

    def __len__(self) -> int:
        """Number of voxels."""
        return len(self.curves)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """One curve ``(features,)`` and its targets ``(maps,)``."""
        return self.curves[index], self.targets[index]


class Scans(Dataset[dict[str, object]]):
    """Whole scans of a cohort, read when they are asked for.

    An item holds ``name``, ``hu`` ``(time, z, y, x)`` [HU] aligned, ``times`` ``(time, z)`` [s], ``brain``
    ``(z, y, x)`` and ``targets`` ``(maps, z, y, x)`` in the units of the maps, NaN where a map says nothing.

    Parameters
    ----------
    cohort
        a folder of `ctp_torch.read_cohort`, or the cohort
    split
        train or test
    quantities
        names of the target maps
    registration
        how motion is estimated: torch, simpleitk or none
    transform
        called with each item, such as to crop; a batch needs items of one shape
    """

    def __init__(
        self,
        cohort: str | Path | Cohort,
        *,
        split: Split = "train",
        quantities: Sequence[str] = _QUANTITIES,
        registration: pipeline.Registration | None = None,
        transform: Callable[[dict[str, object]], dict[str, object]] | None = None,
    ) -> None:
        self.patients = _cohort(cohort).of(split)
        self.quantities = tuple(quantities)
        self.registration = registration
        self.transform = transform

    def __len__(self) -> int:
        """Number of scans."""
        return len(self.patients)

    def __getitem__(self, index: int) -> dict[str, object]:
        """One scan and its maps."""
        from ctp_torch.data.scale import ColorScale
        from ctp_torch.io import read_series, read_target_indices

        patient = self.patients[index]
        series = read_series(patient.series_path, dt=patient.dt)
        scan = pipeline.prepare(series, registration=self.registration, slab_mm=0.0)
        levels = read_target_indices(
            patient.maps_path,
            self.quantities,
            series.geometry,
            patient.ranges,
            lut=patient.lut,
            baseline=series.hu[0],
        )
        values = [
            torch.where(level >= 0, ColorScale(*patient.ranges[name]).value(level.float()), torch.nan)
            for name, level in zip(self.quantities, levels, strict=True)
        ]
        item: dict[str, object] = {
            "name": patient.name,
            "hu": scan.series.hu,
            "times": scan.series.times,
            "brain": scan.anatomy.brain,
            "targets": torch.stack(values),
        }
        return item if self.transform is None else self.transform(item)


def _cohort(given: str | Path | Cohort) -> Cohort:
    """The cohort meant."""
    check_type(given, (str, Path, Cohort), "cohort", "a folder, or ctp_torch.read_cohort(FOLDER)")
    return given if isinstance(given, Cohort) else read_cohort(given)
