"""A cohort of digital patients on disk, as a hospital hands it over: CT slices, a console's colour maps, the truth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from ctp_torch import __version__, ops, pipeline
from ctp_torch.data.maps import QUANTITIES, PerfusionMaps
from ctp_torch.errors import CTPError, QualityError
from ctp_torch.io.atomic import whole
from ctp_torch.io.delivery import check_folder, claim_folder
from ctp_torch.io.workplace import sweep
from ctp_torch.phantom.noise import noise_after_median
from ctp_torch.phantom.patient import LABELS, Patient, PatientTruth, draw_diagnosis, render_patient
from ctp_torch.phantom.template import load_template
from ctp_torch.phantom.territories import TERRITORIES

if TYPE_CHECKING:
    from ctp_torch.data.series import CTPSeries
    from ctp_torch.io.cohort.cohort import Split

__all__ = ["MAPS", "split_patients", "write_cohort"]

MAPS = ("cbv", "cbf", "mtt", "tmax")
"""What the console draws of every patient."""


class _Plan(NamedTuple):
    """Everything that decides what the files hold; an interrupted run goes on only under the same plan."""

    patients: int
    train: int
    rejects: int
    size: int
    slices: int
    frames: int
    dt: float
    dose: float
    seed: int
    registration: str


def write_cohort(
    folder: str | Path,
    *,
    patients: int = 38,
    train: int = 30,
    rejects: int = 0,
    size: int = 512,
    slices: int = 6,
    frames: int = 60,
    dt: float = 1.0,
    dose: float = 1.0,
    seed: int = 0,
    registration: pipeline.Registration | None = ops.register_rigid,
    force: bool = False,
) -> Iterator[str]:
    """A cohort written patient by patient; the name of each is yielded when its files are there.

    ``folder`` appears when the last patient is done. Until then the patients lie in a hidden folder; the same call
    goes on where an interrupted one stopped. The maps are our teacher's, cSVD on the noisy scans.

    Parameters
    ----------
    folder
        where the cohort goes
    patients, train
        how many, and how many of them train; the rest test, evenly over diagnosis, side, site and collaterals
    rejects
        patients more, who move too much to be used
    size, slices, frames, dt
        rows and columns, slices, frames and their distance [s]
    dose
        relative to the reference; the noise goes with dose^-1/2
    seed
        another seed, other patients
    registration
        motion estimation of the teacher, as in `ctp_torch.pipeline.preprocess`; None for none
    force
        replace the cohort that an earlier run wrote there

    Raises
    ------
    CTPError
        for impossible numbers, a missing brain template, or no space left
    OutputExistsError
        when the folder is taken and ``force`` wasn't given
    """
    name = "none" if registration is None else getattr(registration, "__name__", "custom")
    plan = _Plan(patients, train, rejects, size, slices, frames, dt, dose, seed, name)
    _check(plan)
    folder = Path(folder)
    check_folder(folder, force=force)  # refused now, not when the first patient is asked for
    load_template()
    return _write(folder, plan, registration, force)


def _check(plan: _Plan) -> None:
    """Refuse a cohort that cannot be."""
    limits = {"patients": (1, 100_000), "size": (64, 4096), "slices": (1, 1024), "frames": (20, 10_000)}
    for name, (low, high) in limits.items():
        value = getattr(plan, name)
        if not low <= value <= high:
            raise CTPError(f"{name} must be {low} to {high}, got {value}")
    if not 0 <= plan.train <= plan.patients:
        raise CTPError(f"train must be 0 to the {plan.patients} patients, got {plan.train}")
    if plan.rejects < 0 or plan.seed < 0:
        raise CTPError(f"rejects and seed must not be negative, got {plan.rejects} and {plan.seed}")
    if not (0.2 <= plan.dt <= 5.0):
        raise CTPError(f"dt must be 0.2 to 5 seconds, got {plan.dt:g}: a bolus can't be followed otherwise")
    scan = plan.frames * plan.dt
    if scan < 35.0:
        raise CTPError(
            f"{plan.frames} frames of {plan.dt:g} s end before the bolus is through: {scan:g} s, 35 are needed"
        )
    if not (0.01 <= plan.dose <= 100.0):
        raise CTPError(f"dose must be 0.01 to 100 times the reference, got {plan.dose:g}")


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


def _write(folder: Path, plan: _Plan, registration: pipeline.Registration | None, force: bool) -> Iterator[str]:
    """The patients one by one, those of an interrupted run under the same plan first, then the index."""
    from ctp_torch.io.cohort.cohort import write_cohort_index

    told = json.dumps({**plan._asdict(), "version": __version__}, indent=1)
    splits: dict[str, Split] = {}
    kinds = split_patients(plan.seed, plan.patients, plan.train)
    kinds.extend("reject" for _ in range(plan.rejects))
    # the images are many gigabytes and made from numbers: their sizes tell them well enough
    with claim_folder(folder, force=force, plan=told) as claim, claim.delivered(digest=False) as work:
        (work / "cohort.json").unlink(missing_ok=True)
        sweep(work)
        for index, split in enumerate(kinds):
            name = f"P{index + 1:03d}"
            splits[name] = split
            if not (work / name).is_dir():
                _write_patient(work / name, name, index, split == "reject", plan, registration)
            yield name
        write_cohort_index(work, splits, _ranges(), _settings(plan))


def _write_patient(
    home: Path, name: str, index: int, reject: bool, plan: _Plan, registration: pipeline.Registration | None
) -> None:
    """One patient's folder: ct, maps, truth."""
    from ctp_torch.io.color.captures import write_color_maps
    from ctp_torch.io.dicom.header import StudyHeader
    from ctp_torch.io.dicom.write import write_ct_series

    patient = render_patient(
        plan.seed, index, size=plan.size, slices=plan.slices, frames=plan.frames, dt=plan.dt, dose=plan.dose,
        motion="severe" if reject else None,
    )  # fmt: skip
    scan = replace(patient.series, hu=patient.series.hu.round_())  # as stored: slope 1
    header = StudyHeader(
        patient=name,
        seed="/".join(str(value) for value in plan),
        started=datetime(2026, 1, 1, 8) + timedelta(hours=9 * index, seconds=37 * index),
        model="digital patient",
        tube_current_ma=200.0 * plan.dose,
    )
    try:
        with whole(home) as partial:
            write_ct_series(scan, partial / "ct", header=header)
            maps = _teacher_maps(scan, name, registration)
            colors = {quantity: ops.paint(maps[quantity], limits, maps.mask) for quantity, limits in _ranges().items()}
            write_color_maps(colors, _ranges(), ops.jet_lut(), scan.geometry, partial / "maps", header=header)
            _write_truth(Patient(scan, patient.truth), partial / "truth")
    except OSError as error:
        raise CTPError(
            f"{home.parent} can't hold {name} ({error.strerror}); the patients before it are kept"
        ) from error


def _teacher_maps(scan: CTPSeries, name: str, registration: pipeline.Registration | None) -> PerfusionMaps:
    """What the console makes of the noisy scan: aligned, smoothed by 2 mm, cSVD at threshold 0.1."""
    try:
        return pipeline.deconvolve(pipeline.preprocess(scan, registration=registration, median_size=1), ops.csvd)
    except QualityError as error:
        raise QualityError(f"{name}: {error}; raise the dose, or take another seed") from error


def _ranges() -> dict[str, tuple[float, float]]:
    """The colour bars' ends."""
    return {name: QUANTITIES[name].display for name in MAPS}


def _settings(plan: _Plan) -> dict[str, Any]:
    """What else the index tells: how the scans and the maps were made."""
    sd = 5.0 / plan.dose**0.5
    return {
        "seed": plan.seed,
        "phantom": plan._asdict(),
        "teacher": {
            "method": "csvd", "threshold": 0.1, "sigma_mm": 2.0, "registration": plan.registration,
            "input": "the noisy scans",
        },
        "noise_hu_at_512": sd,
        "noise_hu_after_median": round(sd * noise_after_median(plan.size, 232.0), 4),
    }  # fmt: skip


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
    (folder / "truth.json").write_text(json.dumps(_told(truth), indent=1) + "\n", encoding="utf-8")


def _told(truth: PatientTruth) -> dict[str, Any]:
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
