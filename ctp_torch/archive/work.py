"""Cases done one after another in processes of their own: maps, or a page that says why there are none."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from ctp_torch.archive.complete import look
from ctp_torch.archive.failure_page import write_failure_page
from ctp_torch.archive.journal import Journal, anonymous
from ctp_torch.archive.queue import Queue, Row
from ctp_torch.archive.settings import NodeSettings
from ctp_torch.archive.store import Store
from ctp_torch.errors import CTPError
from ctp_torch.io.limits import available_cores, free_memory
from ctp_torch.io.workplace import remove

if TYPE_CHECKING:
    from ctp_torch.pipeline.analysis import Analysis, MapSettings
    from ctp_torch.pipeline.worker import Outcome

__all__ = ["REPLACES", "Desk", "settings_key"]

REPLACES = "replaces"
"""Word under which results say that they replace others."""
_MEMORY_FACTOR, _MEMORY_BASE = 20.0, 1.0e9
"""A case takes this many times its files (stored in 16 bits, held in 32, several copies); torch itself that much."""
_DISK_AGAIN_S, _MEMORY_AGAIN_S = 60.0, 10.0
"""Before a case is tried again that found no room."""
_FILES_FAILED = 6
"""Exit code of a disk that is full."""


@dataclass(frozen=True)
class _Job:
    """What a worker is told; pickled."""

    source: Path
    folder: Path
    settings: MapSettings
    formats: tuple[str, ...]
    report: bool
    replaces: str
    """Words about the results that these replace; empty where there are none."""
    memory: float
    """Most bytes of memory; no limit when 0."""
    nice: int
    """How far it stands back."""


class Desk:
    """Looks at studies, does cases, and hands the results on; one of a node.

    Parameters
    ----------
    settings, queue, store, journal
        of the node
    """

    def __init__(self, settings: NodeSettings, queue: Queue, store: Store, journal: Journal) -> None:
        self.settings, self.queue, self.store, self.journal = settings, queue, store, journal
        self.maps = settings.map_settings()
        self.key = settings_key(settings, self.maps)

    def look_at_studies(self) -> int:
        """Look at every study that fell quiet; how many there were."""
        studies = self.queue.to_look_at()
        for study in studies:
            try:
                parked = look(
                    study, self.settings, self.queue, self.journal, key=self.key, duplicates=self.maps.duplicates
                )
            except CTPError as error:
                message = anonymous(str(error))
                self.queue.looked(study, state="ignored", look=None, message=message)
                self.journal.say("study given up", level="error", study=study["name"], reason=message)
                continue
            for number in parked:
                self.tell_failure(number)
        return len(studies)

    def do_next(self) -> bool:
        """Do the next case; False when none is due."""
        case = self.queue.take_case()
        if case is None:
            return False
        files = case["files"].split("\n")
        size = sum(path.stat().st_size for name in files if (path := self.settings.folder / name).exists())
        needed = _MEMORY_BASE + _MEMORY_FACTOR * size
        if needed > free_memory() and self.queue.one("SELECT 1 FROM cases WHERE state='running' AND id<>?", case["id"]):
            self.queue.finish(
                case["id"], state="complete", due=time.time() + _MEMORY_AGAIN_S, message="waits for memory"
            )
            return True
        try:
            source = self.store.link(case["id"], files)
        except CTPError as error:
            self.queue.finish(case["id"], state="parked", message=str(error))
            return True
        outcome, lost = self._outcome(case, source)
        if lost:
            self._lost(case, outcome)
        else:
            self._judge(case, outcome)
        return True

    def _outcome(self, case: Row, source: Path) -> tuple[Outcome, bool]:
        """What came of the case, and whether its worker died over it."""
        from ctp_torch.pipeline.worker import Outcome, WorkerLostError, in_process

        job = _Job(
            source, self.store.case(case["id"]) / "maps", self.maps, self.settings.formats, self.settings.report,
            self._replaced(case), self.settings.memory_gb * 1e9, self.settings.nice,
        )  # fmt: skip
        threads = self.settings.threads or max(1, available_cores() // self.settings.workers)
        start = time.perf_counter()
        try:
            outcome: Outcome = in_process(
                partial(_do, job), threads=threads, limit_s=self.settings.time_limit_s or None
            )
        except WorkerLostError as lost:
            return Outcome(lost.exit_code, str(lost), seconds=time.perf_counter() - start), True
        return outcome, False

    def _replaced(self, case: Row) -> str:
        """Words about what these results replace."""
        before = self.queue.one("SELECT n_images, state FROM cases WHERE id=?", case["replaces"] or 0)
        if before is None:
            return ""
        return f"an earlier answer of {before['n_images']} images; these are of {case['n_images']}"

    def _judge(self, case: Row, outcome: Outcome) -> None:
        """Hand the results on; or try again, or park the case."""
        number = case["id"]
        message = anonymous(outcome.message.replace(str(self.store.case(number) / "in"), "the series"))
        facts = {"case": number, "seconds": round(outcome.seconds, 2), "flags": list(outcome.flags)}
        if outcome.exit_code == 0:
            self._hand_on(number, "maps", self.store.case(number) / "maps" / "dicom")
            self.queue.finish(number, state="stored", seconds=outcome.seconds)
            self._done_where_nobody_waits(number)
            self.journal.say("maps made", **facts)
        elif outcome.exit_code == _FILES_FAILED:
            self.queue.finish(number, state="complete", message=message, due=time.time() + _DISK_AGAIN_S)
            self.journal.say("no room for results", level="error", **facts)
        else:
            self.queue.finish(number, state="parked", message=message, failure=True, seconds=outcome.seconds)
            self.journal.say("series refused", level="warning", **facts, reason=message)
            self.tell_failure(number)

    def _lost(self, case: Row, outcome: Outcome) -> None:
        """Once more, or park what its worker died over again and again."""
        deaths, message = case["attempts"] + 1, anonymous(outcome.message)
        last = deaths >= self.settings.attempts
        self.journal.say("worker lost", level="error", case=case["id"], reason=message, parked=last)
        if last:
            message = f"the worker died {deaths} times over this series; the last time, it {message}"
        state = "parked" if last else "complete"
        self.queue.finish(case["id"], state=state, message=message, lost=True, failure=last)
        if last:
            self.tell_failure(case["id"])

    def tell_failure(self, number: int) -> None:
        """Make the page of a parked case, and hand it on."""
        case = self.queue.one("SELECT * FROM cases WHERE id=?", number)
        if case is None or not self.settings.failure_page:
            return
        folder = self.store.case(number) / "failure"
        images = [self.settings.folder / name for name in case["files"].split("\n")]
        try:
            write_failure_page(images, folder, case["message"], key=f"{case['study']} {case['images']}")
        except CTPError as error:
            self.journal.say("no failure page", level="error", case=number, reason=anonymous(str(error)))
            return
        self._hand_on(number, "failure", folder)
        self.queue.finish(number, state="parked", message=case["message"], seconds=case["seconds"])

    def mend(self) -> None:
        """After a start: what ran is done again, and pages that were owed are made."""
        names = [one.name or one.kind for one in self.settings.send]
        dropped = self.queue.drop_destinations(names)
        if dropped:
            self.journal.say(
                "results for destinations that the settings no longer name are dropped", deliveries=dropped
            )
        again = self.queue.restart()
        if again:
            self.journal.say("cases go on", cases=again)
        for row in self.queue.rows("SELECT id FROM cases WHERE state='parked' AND failure=1"):
            self.tell_failure(row["id"])
        for row in self.queue.rows("SELECT id FROM cases WHERE state='stored'"):
            self._done_where_nobody_waits(row["id"])

    def _hand_on(self, number: int, what: str, folder: Path) -> None:
        """Objects to all destinations."""
        import pydicom

        paths = sorted(folder.rglob("*.dcm")) if folder.is_dir() else []
        sops = [str(pydicom.dcmread(p, specific_tags=["SOPInstanceUID"]).SOPInstanceUID) for p in paths]
        names = [one.name or one.kind for one in self.settings.send]
        self.queue.add_results(number, what, sops, names)

    def _done_where_nobody_waits(self, number: int) -> None:
        """Where all deliveries arrived, or there are none, the case is done."""
        with self.queue.change() as db:
            db.execute(
                "UPDATE cases SET state='done', done=? WHERE id=? AND state='stored' AND NOT EXISTS "
                "(SELECT 1 FROM deliveries WHERE number=cases.id AND state<>'sent')",
                (time.time(), number),
            )


def settings_key(settings: NodeSettings, maps: MapSettings) -> str:
    """A digest of all that decides the results besides the images: settings, files they name, formats, version."""
    from ctp_torch.io.results.derivation import file_digest

    files = {str(path): file_digest(path) for path in maps.files}
    told = json.dumps([asdict(maps), files, settings.formats, version("ctp-torch")], sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _do(job: _Job) -> Outcome:
    """One case, in the process of the worker."""
    from ctp_torch.archive.journal import silence_libraries
    from ctp_torch.pipeline.worker import work

    silence_libraries()
    if hasattr(os, "nice"):
        os.nice(job.nice)
    if job.memory:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (int(job.memory), int(job.memory)))
    remove(job.folder)  # of an attempt that was cut short
    try:
        return work(job.source, job.folder, job.settings, partial(_deliver, job))
    except MemoryError:
        from ctp_torch.pipeline.worker import Outcome

        return Outcome(1, f"it takes more memory than the {job.memory / 1e9:g} GB that a worker may have")


def _deliver(job: _Job, analysis: Analysis, folder: Path) -> None:
    """The results, which say it where they replace others."""
    from ctp_torch.report.analysis import write_analysis

    if job.replaces:
        analysis = replace(analysis, used={**analysis.used, REPLACES: job.replaces})
    write_analysis(analysis, folder, formats=job.formats, report=job.report, force=True)
    if job.replaces:
        _entitle(sorted((folder / "dicom").rglob("*.dcm")))


def _entitle(paths: Sequence[Path]) -> None:
    """Series of results that replace others say so in their titles."""
    import pydicom

    for path in paths:
        one = pydicom.dcmread(path)
        one.SeriesDescription = f"NEW {one.SeriesDescription}"[:64]
        one.save_as(path, enforce_file_format=True)
