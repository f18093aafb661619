"""A cohort mapped on this machine: several processes within its cores and memory, resumed wherever it stopped."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from ctp_torch.cohorts.cases import Case
from ctp_torch.cohorts.records import Record, fingerprint, of_settings, read_record, stands, write_record
from ctp_torch.cohorts.table import write_tables
from ctp_torch.cohorts.work import Job, run_job
from ctp_torch.errors import OptionError
from ctp_torch.io.limits import available_cores, free_memory
from ctp_torch.io.workplace import PREFIX, HeldError, Workplace
from ctp_torch.pipeline.analysis import MapSettings
from ctp_torch.pipeline.worker import Outcome

__all__ = ["Progress", "Shard", "run_cohort"]

_MEMORY_FACTOR, _MEMORY_BASE = 20.0, 1.0e9
"""A case takes this many times its files (stored in 16 bits, held in 32, several copies); torch itself that much."""
_ATTEMPTS = 3
"""For a worker that was killed: twice may be bad luck."""

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
    workers: int | None = None,
    memory_gb: float | None = None,
    retry_failed: bool = False,
    shard: Shard | None = None,
    progress: Progress | None = None,
) -> list[dict[str, object]]:
    """Every case mapped by every variant, and the tables written; what stands already isn't done again.

    Two runs on one folder share the work; a case is done by one of them. Killed anywhere, the same call goes on.

    Parameters
    ----------
    cases
        from `find_cases`
    out
        results come to lie in ``cases/<case>/<variant>``, records in ``records``, tables beside them
    settings
        of all cases; or of several variants, by their names
    formats, report
        as for `ctp_torch.write_analysis`
    workers
        processes at once; one for every two cores when None
    memory_gb
        budget of all processes together; four fifths of what is free when None. A case that alone exceeds it runs alone
    retry_failed
        do again what failed
    shard
        a part of the cases; the tables then tell of the others what their records say
    progress
        called when a case begins, and with what came of each variant

    Returns
    -------
        the rows of ``cohort.csv``

    Raises
    ------
    CTPError
        for settings that can't be meant
    """
    out = Path(out)
    variants = _variants(settings)
    for one in variants.values():
        one.check()
    keys = {name: of_settings(one, formats, report=report) for name, one in variants.items()}
    out.mkdir(parents=True, exist_ok=True)
    own = cases if shard is None else cases[shard.index - 1 :: shard.of]
    todo = queue.SimpleQueue[Case]()
    for case in own:
        todo.put(case)
    n_workers = workers or max(1, available_cores() // 2)
    threads = max(1, available_cores() // n_workers)
    budget = _Budget(memory_gb * 1e9 if memory_gb else 0.8 * free_memory())
    failure: list[BaseException] = []

    def serve() -> None:
        while not failure:
            try:
                case = todo.get_nowait()
            except queue.Empty:
                return
            try:
                _one(case, out, variants, keys, formats, report, threads, budget, retry_failed, progress)
            except BaseException as error:  # noqa: BLE001 - handed to the caller
                failure.append(error)

    crew = [threading.Thread(target=serve, daemon=True) for _ in range(n_workers)]
    for member in crew:
        member.start()
    for member in crew:
        while member.is_alive():  # an interruption is heard between two looks
            member.join(0.2)
    if failure:
        raise failure[0]
    return write_tables(out, cases, list(variants))


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


def _one(
    case: Case,
    out: Path,
    variants: Mapping[str, MapSettings],
    keys: Mapping[str, str],
    formats: Sequence[str],
    report: bool,
    threads: int,
    budget: _Budget,
    retry_failed: bool,
    progress: Progress | None,
) -> None:
    """One case: what of it stands is left, the rest done in a process of its own, and recorded."""
    home = out / "cases" / case.key
    try:
        lease = Workplace(out / f"{PREFIX}{case.key}")
    except HeldError:
        return  # another run is at it
    with lease:
        missing = {
            name: one
            for name, one in variants.items()
            if not stands(read_record(out, case.key, name), case, keys[name], home / name, retry_failed=retry_failed)
        }
        if not missing:
            return
        if progress is not None:
            progress(case.key, "", None)
        try:
            stamp, content = fingerprint(case)
            size = sum(path.stat().st_size for path in case.files)
        except OSError as error:
            failed = Outcome(6, f"{error.strerror or error}")
            _keep(out, case, dict.fromkeys(missing, failed), ("", ""), keys, progress)
            return
        job = Job(case, home, missing, tuple(formats), report)
        with budget.of(_MEMORY_BASE + _MEMORY_FACTOR * size):
            for attempt in range(1, _ATTEMPTS + 1):
                outcomes = run_job(job, threads=threads)
                if attempt == _ATTEMPTS or all(one.exit_code >= 0 for one in outcomes.values()):
                    break
        _keep(out, case, outcomes, (stamp, content), keys, progress)


def _keep(
    out: Path,
    case: Case,
    outcomes: Mapping[str, Outcome],
    prints: tuple[str, str],
    keys: Mapping[str, str],
    progress: Progress | None,
) -> None:
    """The records of what came of a case; where its files lie is named by nobody."""
    for name, outcome in outcomes.items():
        shown = replace(outcome, message=_anonymous(outcome.message, case), warnings=_each(outcome.warnings, case))
        write_record(out, Record(case.key, name, *prints, keys[name], version("ctp-torch"), shown))
        if progress is not None:
            progress(case.key, name, shown)


def _anonymous(text: str, case: Case) -> str:
    """A message without the path of the case, which may be somebody's name."""
    for path in (*sorted(case.files, key=lambda p: -len(str(p))), case.source):
        text = text.replace(str(path), "the scan")
    return text.replace(str(case.source.resolve()), "the scan")


def _each(texts: Sequence[str], case: Case) -> tuple[str, ...]:
    return tuple(_anonymous(text, case) for text in texts)


class _Budget:
    """Memory that cases share: who asks for more than is left waits; who asks for more than there is waits for all."""

    def __init__(self, total: float) -> None:
        self._total = total
        self._free = total
        self._changed = threading.Condition()

    @contextmanager
    def of(self, amount: float) -> Iterator[None]:
        """That much [bytes], for as long as the block runs."""
        amount = min(amount, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= amount)
            self._free -= amount
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()
