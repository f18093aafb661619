"""What a process of a cohort run does: one case read and aligned once, mapped by every variant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ctp_torch.cohorts.cases import Case
from ctp_torch.errors import CTPError, OptionError
from ctp_torch.io.workplace import sweep_below
from ctp_torch.pipeline.analysis import Analysis, MapSettings, analyse
from ctp_torch.pipeline.worker import Outcome, WorkerLostError, in_process, outcome_of
from ctp_torch.report.analysis import write_analysis

__all__ = ["Job", "run_job"]


@dataclass(frozen=True)
class Job:
    """One case and what is wanted of it; it is pickled."""

    case: Case
    home: Path
    variants: Mapping[str, MapSettings]
    formats: tuple[str, ...]
    report: bool


def run_job(job: Job, *, threads: int | None = None, limit_s: float | None = None) -> dict[str, Outcome]:
    """The outcomes of all variants, made in a process of its own; its death is an outcome too."""
    try:
        done: dict[str, Outcome] = in_process(partial(_do, job), threads=threads, limit_s=limit_s)
    except WorkerLostError as lost:
        return {name: Outcome(lost.exit_code, str(lost)) for name in job.variants}
    return done


def _do(job: Job) -> dict[str, Outcome]:
    """All variants of the case, in this process."""
    first: Analysis | None = None
    outcomes = {}
    for name, settings in job.variants.items():
        folder = job.home / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        sweep_below(folder.parent)

        def made(settings: MapSettings = settings, folder: Path = folder) -> Analysis:
            nonlocal first
            own = _of_case(settings, job.case)
            analysis = _again(first, own) or analyse(job.case.source, own)
            first = first or analysis
            write_analysis(analysis, folder, formats=job.formats, report=job.report, force=True)
            return analysis

        outcomes[name] = outcome_of(made)
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
