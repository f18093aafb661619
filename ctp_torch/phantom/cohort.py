"""A cohort of digital patients on disk, as a hospital hands it over: CT slices, a console's colour maps, the truth."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from ctp_torch import __version__, ops
from ctp_torch.data.maps import QUANTITIES
from ctp_torch.errors import CTPError, QualityError
from ctp_torch.io.atomic import whole
from ctp_torch.io.claims import check_folder, claim_folder
from ctp_torch.io.workplace import sweep
from ctp_torch.phantom.noise import noise_after_median
from ctp_torch.phantom.patient import LABELS, Patient, PatientTruth, draw_diagnosis, render_patient
from ctp_torch.phantom.template import load_template
from ctp_torch.phantom.territories import TERRITORIES

if TYPE_CHECKING:
    from ctp_torch.data.maps import PerfusionMaps
    from ctp_torch.data.series import CTPSeries
    from ctp_torch.io.cohort.cohort import Split

__all__ = ["MAPS", "CohortDesign", "Teacher", "split_patients", "write_cohort"]

MAPS = ("cbv", "cbf", "mtt", "tmax")
"""What the console draws of every patient."""


@dataclass(frozen=True)
class CohortDesign:
    """Everything about a cohort's patients and their scans; an interrupted run goes on only under the same design."""

    patients: int = 38
    train: int = 30
    """How many of them train; the rest test, evenly over diagnosis, side, site and collaterals."""
    rejects: int = 0
    """Patients more, who move too much to be used."""
    size: int = 512
    """Rows and columns."""
    slices: int = 6
    frames: int = 60
    dt: float = 1.0
    """Time between frames [s]."""
    dose: float = 1.0
    """Relative to the reference; the noise goes with dose^-1/2."""
    seed: int = 0
    """Another seed, other patients."""


class Teacher(NamedTuple):
    """Who draws the maps that a cohort's patients come with."""

    maps: Callable[[CTPSeries], PerfusionMaps]
    """A noisy scan to its maps, of at least ``MAPS``."""
    settings: Mapping[str, Any]
    """For the index of the cohort: method, threshold, registration ..."""


def write_cohort(
    folder: str | Path, design: CohortDesign | None = None, *, teacher: Teacher, force: bool = False
) -> Iterator[str]:
    """A cohort written patient by patient; the name of each is yielded when its files are there.

    ``folder`` appears when the last patient is done. Until then the patients lie in a hidden folder; the same call
    goes on where an interrupted one stopped.

    Parameters
    ----------
    folder
        where the cohort goes
    design
        how many patients, and how they are scanned; the paper's 38 where none is given
    teacher
        draws the maps from the noisy scans, as from `ctp_torch.learning.teacher.console_teacher`
    force
        replace the cohort that an earlier run wrote there

    Raises
    ------
    CTPError
        for impossible numbers, a missing brain template, or no space left
    OutputExistsError
        when the folder is taken and ``force`` wasn't given
    """
    design = design or CohortDesign()
    _check(design)
    folder = Path(folder)
    check_folder(folder, force=force)  # refused now, not when the first patient is asked for
    load_template()
    return _write(folder, design, teacher, force)


def _check(design: CohortDesign) -> None:
    """Refuse a cohort that cannot be."""
    limits = {"patients": (1, 100_000), "size": (64, 4096), "slices": (1, 1024), "frames": (20, 10_000)}
    for name, (low, high) in limits.items():
        value = getattr(design, name)
        if not low <= value <= high:
            raise CTPError(f"{name} must be {low} to {high}, got {value}")
    if not 0 <= design.train <= design.patients:
        raise CTPError(f"train must be 0 to the {design.patients} patients, got {design.train}")
    if design.rejects < 0 or design.seed < 0:
        raise CTPError(f"rejects and seed must not be negative, got {design.rejects} and {design.seed}")
    if not (0.2 <= design.dt <= 5.0):
        raise CTPError(f"dt must be 0.2 to 5 seconds, got {design.dt:g}: a bolus can't be followed otherwise")
    scan = design.frames * design.dt
    if scan < 35.0:
        raise CTPError(
            f"{design.frames} frames of {design.dt:g} s end before the bolus is through: {scan:g} s, 35 are needed"
        )
    if not (0.01 <= design.dose <= 100.0):
        raise CTPError(f"dose must be 0.01 to 100 times the reference, got {design.dose:g}")


def split_patients(seed: int, patients: int, train: int) -> list[Split]:
    """Train or test for every patient, the test patients even over diagnosis, side, site and collaterals.

    Parameters
    ----------
    seed
        of the cohort
    patients, train
        how many, and how many of them train
    """
    diagnoses = [draw_diagnosis(seed, index) for index in range(patients)]
    keys = [(d.kind, d.site, d.side, d.collaterals, index) for index, d in enumerate(diagnoses)]
    order = sorted(range(patients), key=lambda index: keys[index])
    n_test = patients - train
    chosen = {order[int((k + 0.5) * patients / n_test)] for k in range(n_test)}
    return ["test" if index in chosen else "train" for index in range(patients)]


def _write(folder: Path, design: CohortDesign, teacher: Teacher, force: bool) -> Iterator[str]:
    """The patients one by one, those of an interrupted run under the same plan first, then the index."""
    from ctp_torch.io.cohort.cohort import write_cohort_index

    plan = {**_plan(design, teacher), "teacher": dict(teacher.settings), "version": __version__}
    splits: dict[str, Split] = {}
    kinds = split_patients(design.seed, design.patients, design.train)
    kinds.extend("reject" for _ in range(design.rejects))
    # the images are many gigabytes and made from numbers: their sizes tell them well enough
    with (
        claim_folder(folder, force=force, plan=json.dumps(plan, indent=1)) as claim,
        claim.delivered(digest=False) as work,
    ):
        (work / "cohort.json").unlink(missing_ok=True)
        sweep(work)
        for index, split in enumerate(kinds):
            name = f"P{index + 1:03d}"
            splits[name] = split
            if not (work / name).is_dir():
                _write_patient(work / name, index, split, design, teacher)
            yield name
        write_cohort_index(work, splits, _ranges(), _settings(design, teacher))


def _write_patient(home: Path, index: int, split: Split, design: CohortDesign, teacher: Teacher) -> None:
    """One patient's folder: ct, maps, truth."""
    from ctp_torch.io.color.captures import write_color_maps
    from ctp_torch.io.dicom.header import StudyHeader
    from ctp_torch.io.dicom.write import write_ct_series

    name = home.name
    patient = render_patient(
        design.seed, index, size=design.size, slices=design.slices, frames=design.frames, dt=design.dt,
        dose=design.dose, motion="severe" if split == "reject" else None,
    )  # fmt: skip
    scan = replace(patient.series, hu=patient.series.hu.round_())  # as stored: slope 1
    header = StudyHeader(
        patient=name,
        seed="/".join(str(value) for value in _plan(design, teacher).values()),
        started=datetime(2026, 1, 1, 8) + timedelta(hours=9 * index, seconds=37 * index),
        model="digital patient",
        tube_current_ma=200.0 * design.dose,
    )
    try:
        with whole(home) as partial:
            write_ct_series(scan, partial / "ct", header=header)
            maps = _teacher_maps(scan, name, teacher)
            colors = {quantity: ops.paint(maps[quantity], limits, maps.mask) for quantity, limits in _ranges().items()}
            write_color_maps(colors, _ranges(), ops.jet_lut(), scan.geometry, partial / "maps", header=header)
            _write_truth(Patient(scan, patient.truth), partial / "truth")
    except OSError as error:
        raise CTPError(
            f"{home.parent} can't hold {name} ({error.strerror}); the patients before it are kept"
        ) from error


def _teacher_maps(scan: CTPSeries, name: str, teacher: Teacher) -> PerfusionMaps:
    """What the console makes of the noisy scan."""
    try:
        return teacher.maps(scan)
    except QualityError as error:
        raise QualityError(f"{name}: {error}; raise the dose, or take another seed") from error


def _plan(design: CohortDesign, teacher: Teacher) -> dict[str, Any]:
    """What decides what the files hold."""
    return {**asdict(design), "registration": teacher.settings.get("registration", "none")}


def _ranges() -> dict[str, tuple[float, float]]:
    """The colour bars' ends."""
    return {name: QUANTITIES[name].display for name in MAPS}


def _settings(design: CohortDesign, teacher: Teacher) -> dict[str, Any]:
    """What else the index tells: how the scans and the maps were made."""
    sd = 5.0 / design.dose**0.5
    return {
        "seed": design.seed,
        "phantom": _plan(design, teacher),
        "teacher": dict(teacher.settings),
        "noise_hu_at_512": sd,
        "noise_hu_after_median": round(sd * noise_after_median(design.size, 232.0), 4),
    }


def _write_truth(patient: Patient, folder: Path) -> None:
    """The physical truth as NIfTI, and its curves, motion and diagnosis as JSON."""
    from ctp_torch.io.nifti.nifti import write_volume

    truth, geometry = patient.truth, patient.series.geometry
    folder.mkdir()
    volumes: dict[str, Tensor] = {**truth.maps}
    for name in ("labels", "territory", "brain", "core", "penumbra"):
        volumes[name] = getattr(truth, name)
    for name, volume in volumes.items():
        write_volume(folder / f"{name}.nii.gz", volume, geometry)
    (folder / "truth.json").write_text(json.dumps(_truth_record(truth), indent=1) + "\n", encoding="utf-8")


def _truth_record(truth: PatientTruth) -> dict[str, Any]:
    """The truth that is no volume."""
    return {
        "times_s": truth.times.tolist(),
        "aif_hu": [round(v, 4) for v in truth.aif.tolist()],
        "vof_hu": [round(v, 4) for v in truth.vof.tolist()],
        "motion": {
            "convention": "x_frame = R (x_ref - c) + c + t, LPS mm; R = Rz Ry Rx",
            "columns": ["rx_deg", "ry_deg", "rz_deg", "tx_mm", "ty_mm", "tz_mm"],
            "centre_mm": list(truth.motion_centre),
            "frames": [[round(v, 5) for v in row] for row in truth.motion.tolist()],
        },
        "labels": dict(enumerate(LABELS)),
        "territories": {"right": dict(enumerate(TERRITORIES, 1)), "left": dict(enumerate(TERRITORIES, 6))},
        "core": "CBF below 30 % and CBV below 60 % of what they were before the occlusion",
        "penumbra": "CBF below 50 % of what it was, and not core",
        "patient": truth.facts,
    }
