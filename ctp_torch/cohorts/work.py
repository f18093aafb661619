"""What a process of a cohort run does: one case read and aligned once, mapped by every variant, and recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ctp_torch.cohorts.cases import Case
from ctp_torch.cohorts.records import Record, fingerprint, folder_of, read_record, stands, write_record
from ctp_torch.errors import CTPError, OptionError
from ctp_torch.io.workplace import PREFIX, HeldError, Workplace, sweep_below
from ctp_torch.pipeline.analysis import Analysis, MapSettings, analyse
from ctp_torch.pipeline.worker import Outcome, WorkerLostError, outcome_of
from ctp_torch.report.analysis import write_analysis

__all__ = ["Job", "do", "give_up", "is_held", "missing"]

_FILES_FAILED = 6


@dataclass(frozen=True)
class Job:
    """One case and what is wanted of it; it is pickled."""

    case: Case
    out: Path
    variants: Mapping[str, MapSettings]
    keys: Mapping[str, str]
    """Variant to the hash of all that changes its results."""
    formats: tuple[str, ...]
    report: bool
    retry_failed: bool = False

    @property
    def lease(self) -> Path:
        """Who holds this folder is at the case."""
        return self.out / f"{PREFIX}{self.case.key}"


def missing(job: Job) -> dict[str, MapSettings]:
    """The variants whose results don't stand."""
    home = folder_of(job.out, job.case.key)

    def there(name: str) -> bool:
        record = read_record(job.out, job.case.key, name)
        return stands(record, job.case, job.keys[name], home / name, retry_failed=job.retry_failed)

    return {name: settings for name, settings in job.variants.items() if not there(name)}


def is_held(job: Job) -> bool:
    """Whether another process is at the case."""
    if not job.lease.exists():
        return False
    try:
        with Workplace(job.lease, patience_s=0.0):
            return False
    except HeldError:
        return True


def do(job: Job) -> dict[str, Outcome] | None:
    """What is missing of a case, made and recorded in this process; None when another process is at it."""
    try:
        lease = Workplace(job.lease)
    except HeldError:
        return None
    with lease:
        variants = missing(job)
        if not variants:
            return {}
        home = folder_of(job.out, job.case.key)
        home.mkdir(parents=True, exist_ok=True)
        sweep_below(home)  # what killed processes left
        try:
            prints = fingerprint(job.case)
            outcomes = _mapped(job, variants, home)
        except OSError as error:
            prints, outcomes = ("", ""), dict.fromkeys(variants, Outcome(_FILES_FAILED, f"{error.strerror or error}"))
        return _kept(job, outcomes, prints)


def give_up(job: Job, lost: WorkerLostError) -> dict[str, Outcome] | None:
    """The record of a case whose processes were lost; None when another process is at it."""
    try:
        lease = Workplace(job.lease)
    except HeldError:
        return None
    with lease:
        sweep_below(folder_of(job.out, job.case.key))
        try:
            prints = fingerprint(job.case)
        except OSError:
            prints = ("", "")
        return _kept(job, dict.fromkeys(missing(job), Outcome(lost.exit_code, str(lost))), prints)


def _kept(job: Job, outcomes: Mapping[str, Outcome], prints: tuple[str, str]) -> dict[str, Outcome]:
    """What came of a case, recorded; where its files lie is named by nobody."""
    shown = {}
    for name, outcome in outcomes.items():
        words = [_anonymous(text, job.case) for text in (outcome.message, *outcome.warnings)]
        shown[name] = replace(outcome, message=words[0], warnings=tuple(words[1:]))
        record = Record(job.case.key, name, *prints, job.keys[name], version("ctp-torch"), shown[name])
        write_record(job.out, record)
    return shown


def _anonymous(text: str, case: Case) -> str:
    """A message without the path of the case, which may be somebody's name."""
    paths: Sequence[Path] = (*sorted(case.files, key=lambda p: -len(str(p))), case.source, case.source.resolve())
    for path in paths:
        text = text.replace(str(path), "the scan")
    return text


def _mapped(job: Job, variants: Mapping[str, MapSettings], home: Path) -> dict[str, Outcome]:
    """The outcomes of variants, their results written."""
    first: Analysis | None = None
    outcomes = {}

    def made(settings: MapSettings, folder: Path) -> Analysis:
        nonlocal first
        own = _of_case(settings, job.case)
        analysis = _again(first, own) or analyse(job.case.source, own)
        first = first or analysis
        write_analysis(analysis, folder, formats=job.formats, report=job.report, force=True)
        return analysis

    for name, settings in variants.items():
        outcomes[name] = outcome_of(partial(made, settings, home / name))
    return outcomes


def _again(first: Analysis | None, settings: MapSettings) -> Analysis | None:
    """The maps of a scan that another variant has prepared; None where it has to be prepared anew."""
    if first is None or not _prepared_alike(first.settings, settings):
        return None
    return replace(analyse(first.scan, settings), source=first.source)


def _prepared_alike(one: MapSettings, other: MapSettings) -> bool:
    """Whether both make the same scan of a series, and read nothing that is counted on the series as it was read."""
    names = (
        "registration",
        "slab_mm",
        "denoise",
        "join",
        "times",
        "dt",
        "series",
        "drop_incomplete",
        "duplicates",
        "strict",
        "device",
    )
    by_model = one.model is not None or other.model is not None
    chosen = any(choice != "auto" for choice in (other.aif, other.vof)) or other.mask is not None
    return not by_model and not chosen and all(getattr(one, name) == getattr(other, name) for name in names)


def _of_case(settings: MapSettings, case: Case) -> MapSettings:
    """The settings with those of the case alone; the series is read from its own file."""
    options: dict[str, Any] = dict(case.options)
    if "dt" in options:
        try:
            options["dt"] = float(options["dt"])
        except ValueError as error:
            raise OptionError(f"dt {options['dt']!r} is no number of seconds") from error
    if case.example is not None and "series" not in options:
        options["series"] = _series_of(case.example)
    return replace(settings, **options)


def _series_of(path: Path) -> str:
    """The Series Instance UID of a file."""
    import pydicom

    try:
        return str(
            pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"]).SeriesInstanceUID
        )
    except (pydicom.errors.InvalidDicomError, AttributeError, OSError) as error:
        raise CTPError(f"{path} can't be read any more ({error})") from error
