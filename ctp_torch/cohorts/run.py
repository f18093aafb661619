"""A cohort mapped: shared out to an engine, resumed wherever it stopped, told in one table."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ctp_torch.cohorts.cases import Case
from ctp_torch.cohorts.records import of_settings
from ctp_torch.cohorts.table import write_plan, write_tables
from ctp_torch.cohorts.work import Job, do, give_up, is_held, missing
from ctp_torch.errors import OptionError
from ctp_torch.io.unpacked import unpacked_size
from ctp_torch.io.workplace import sweep
from ctp_torch.pipeline.analysis import MapSettings
from ctp_torch.pipeline.engine import Engine, LocalEngine, Task, memory_of
from ctp_torch.pipeline.worker import Outcome, WorkerLostError

__all__ = ["Progress", "Shard", "run_cohort"]

_WAIT_S = 1.0
"""Between two looks at what another run holds."""

Progress = Callable[[str, str, Outcome | None], None]
"""``(case, variant, outcome)``: None as outcome when it begins; variant is empty then."""


@dataclass(frozen=True)
class Shard:
    """A part of a cohort: every ``of``-th case, beginning with the ``index``-th, from 1."""

    index: int
    of: int

    def __post_init__(self) -> None:
        """Refuse what is no part."""
        if not 1 <= self.index <= self.of:
            raise OptionError(f"a shard is i/n with 1 <= i <= n, got {self.index}/{self.of}")


def run_cohort(
    cases: Sequence[Case],
    out: str | Path,
    settings: MapSettings | Mapping[str, MapSettings] | None = None,
    *,
    formats: Sequence[str] = ("nifti",),
    report: bool = True,
    engine: Engine | None = None,
    retry_failed: bool = False,
    shard: Shard | None = None,
    only: Collection[str] | None = None,
    progress: Progress | None = None,
) -> list[dict[str, object]]:
    """Every case mapped by every variant, and the tables written; what stands already isn't done again.

    Two runs on one folder share the work; a case is done by one of them, and each waits for what the other is at.
    Killed anywhere, the same call goes on.

    Parameters
    ----------
    cases
        from `find_cases`
    out
        results come to lie in ``cases/<case>/<variant>``, records beside them, tables in ``out`` itself
    settings
        of all cases; or of several variants, by their names
    formats, report
        as for `ctp_torch.write_analysis`
    engine
        who does the work; processes of this machine when None
    retry_failed
        do again what failed
    shard
        do a part of the cases only; the tables tell of all
    only
        keys of the cases to do, the tables tell of all; all when None
    progress
        called when a case begins, and when a variant of it has an outcome; by any thread

    Returns
    -------
        the rows of the table

    Raises
    ------
    OptionError
        for settings that exclude each other, or a variant whose name can't be a folder's
    """
    out = Path(out)
    variants = _variants(settings)
    for one in variants.values():
        one.check()
    keys = {name: of_settings(one, formats, report=report) for name, one in variants.items()}
    out.mkdir(parents=True, exist_ok=True)
    write_plan(out, cases, list(variants))
    own = [case for case in cases if only is None or case.key in only]
    own = own if shard is None else own[shard.index - 1 :: shard.of]
    jobs = [Job(case, out.resolve(), variants, keys, tuple(formats), report, retry_failed) for case in own]
    while jobs := [job for job in jobs if missing(job)]:
        held = [job for job in jobs if is_held(job)]
        waiting = {job.case.key for job in held}
        held += _round([job for job in jobs if job.case.key not in waiting], engine or LocalEngine(), progress)
        if len(held) == len(jobs):
            time.sleep(_WAIT_S)
        jobs = [replace(job, retry_failed=False) for job in held]  # the run that holds it has tried again
    sweep(out)
    return write_tables(out, cases, list(variants))


def _round(jobs: Sequence[Job], engine: Engine, progress: Progress | None) -> Iterator[Job]:
    """All jobs given to the engine; those that another run is at come back."""

    def began(number: int) -> None:
        if progress is not None:
            progress(jobs[number].case.key, "", None)

    for number, answer in engine.run([Task(partial(do, job), _memory(job.case)) for job in jobs], began):
        job = jobs[number]
        outcomes = give_up(job, answer) if isinstance(answer, WorkerLostError) else answer
        if outcomes is None:
            yield job
        elif progress is not None:
            for name, outcome in outcomes.items():
                progress(job.case.key, name, outcome)


def _memory(case: Case) -> float:
    """Bytes that a case takes; one whose files are gone fails by itself."""
    try:
        return memory_of(unpacked_size(case.files))
    except OSError:
        return memory_of(0.0)


def _variants(settings: MapSettings | Mapping[str, MapSettings] | None) -> dict[str, MapSettings]:
    """The variants by their names, which become folders."""
    if settings is None or isinstance(settings, MapSettings):
        one = settings or MapSettings()
        return {one.method or (Path(one.model).stem if one.model else "maps"): one}
    for name in settings:
        if not name or any(c in name for c in "/\\.") or name != name.strip():
            raise OptionError(f"a variant's name becomes a folder: letters, digits, - and _; got {name!r}")
    if not settings:
        raise OptionError("no variant: give settings of at least one")
    return dict(settings)
