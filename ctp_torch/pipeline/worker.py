"""One process, one source, one outcome: what runs over many scans hand their work to."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from ctp_torch.errors import CTPError
from ctp_torch.interrupts import Interrupted, raised_signals
from ctp_torch.pipeline.analysis import Analysis, MapSettings, analyse

__all__ = ["Deliver", "Outcome", "Worker", "WorkerLostError", "in_process", "outcome_of", "run_in_process", "work"]

Deliver = Callable[[Analysis, Path], object]
"""Writes an analysis to a folder, all or nothing: `ctp_torch.write_analysis`, options bound by functools.partial."""
_PATIENCE_S = 10.0
"""For a process that was asked to end: what it computes in C is heard out."""
_FILES_FAILED = 6
"""Exit code of a disk that is full or can't be read, as on the command line."""


@dataclass(frozen=True)
class Outcome:
    """What came of one scan; a failure is an answer too."""

    exit_code: int
    """0 when the results stand whole; else as the command line would have ended, or minus the signal that killed it."""
    message: str = ""
    """Why it failed."""
    warnings: tuple[str, ...] = ()
    """Of the analysis."""
    flags: tuple[str, ...] = ()
    """Quality flags raised."""
    lesions: dict[str, object] = field(default_factory=dict)
    """Volumes and ratios, as in ``lesion.json``; empty where none were measured."""
    seconds: float = 0.0
    """From the first byte read to the last one written."""


class WorkerLostError(CTPError):
    """A process ended before it had an answer."""

    def __init__(self, exit_code: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def work(source: str | Path, folder: str | Path, settings: MapSettings, deliver: Deliver) -> Outcome:
    """One scan analysed and delivered in this process; what a user would be told as an error is an outcome.

    Parameters
    ----------
    source
        what `ctp_torch.read_series` reads
    folder
        where ``deliver`` puts the results
    settings
        of the maps
    deliver
        writes them
    """

    def made() -> Analysis:
        analysis = analyse(source, settings)
        deliver(analysis, Path(folder))
        return analysis

    return outcome_of(made)


def outcome_of(made: Callable[[], Analysis]) -> Outcome:
    """What came of making and delivering an analysis, errors that a user would be told among it."""
    start = time.perf_counter()
    try:
        analysis = made()
    except CTPError as error:
        return Outcome(error.exit_code, str(error), seconds=time.perf_counter() - start)
    except OSError as error:
        message = f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
        return Outcome(_FILES_FAILED, message, seconds=time.perf_counter() - start)
    return Outcome(
        0,
        warnings=analysis.warnings,
        flags=analysis.scan.quality.flags,
        lesions={} if analysis.lesions is None else analysis.lesions.summary(),
        seconds=time.perf_counter() - start,
    )


def run_in_process(
    source: str | Path,
    folder: str | Path,
    settings: MapSettings,
    deliver: Deliver,
    *,
    threads: int | None = None,
    limit_s: float | None = None,
) -> Outcome:
    """`work` in a process of its own, whose death by whatever cause is an outcome as well.

    Parameters
    ----------
    source, folder, settings, deliver
        as for `work`; they are pickled
    threads, limit_s
        as for `in_process`
    """
    start = time.perf_counter()
    try:
        outcome: Outcome = in_process(
            partial(work, source, folder, settings, deliver), threads=threads, limit_s=limit_s
        )
    except WorkerLostError as lost:
        return Outcome(lost.exit_code, str(lost), seconds=time.perf_counter() - start)
    return outcome


def in_process(task: Callable[[], Any], *, threads: int | None = None, limit_s: float | None = None) -> Any:
    """What a task answers in a process of its own.

    Parameters
    ----------
    task
        it is pickled, and so is its answer
    threads
        of the process; torch's own choice when None
    limit_s
        seconds after which the process is ended; none when None

    Raises
    ------
    WorkerLostError
        when the process took too long, was killed, or ended by an error that isn't the user's
    """
    worker = Worker(threads=threads)
    try:
        return worker.do(task, limit_s=limit_s)
    finally:
        worker.end()


class Worker:
    """A process that does one task after another, started when it is needed; it doesn't outlive its owner.

    Parameters
    ----------
    threads
        of the process; torch's own choice when None
    """

    def __init__(self, *, threads: int | None = None) -> None:
        self._threads = threads
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None

    def do(self, task: Callable[[], Any], *, limit_s: float | None = None) -> Any:
        """What a task answers, as `in_process` has it; after a loss the next task gets a new process."""
        pipe = self._pipe or self._start()
        try:
            pipe.send(task)
            if not pipe.poll(limit_s):
                self.end(now=True)
                raise WorkerLostError(-signal.SIGTERM, f"took longer than {limit_s:g} s and was ended")
            return pipe.recv()
        except (EOFError, OSError):
            code = self.end()
            ending = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            raise WorkerLostError(code or 1, f"the process {ending} before it was done") from None

    def end(self, *, now: bool = False) -> int:
        """Its exit code, once it is gone: after the task that it is at, or ``now``, when it cleans up first."""
        process, pipe, self._process, self._pipe = self._process, self._pipe, None, None
        if process is None or pipe is None:
            return 0
        if now:
            process.terminate()
            process.join(_PATIENCE_S)
            process.kill()
        pipe.close()
        process.join()
        return process.exitcode or 0

    def _start(self) -> Connection:
        """The pipe to a new process."""
        context = multiprocessing.get_context("spawn")  # a fork would inherit threads, locks and CUDA in mid-air
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._threads), daemon=True)
        process.start()
        theirs.close()  # so that the pipe ends when the process does
        self._process, self._pipe = process, ours
        return ours


def _serve(pipe: Connection, threads: int | None) -> None:
    """The life of the process."""
    threading.Thread(target=_follow_owner, daemon=True).start()
    try:
        with raised_signals():
            if threads is not None:
                import torch

                torch.set_num_threads(threads)
            while True:
                task = pipe.recv()
                pipe.send(task())
    except (EOFError, ConnectionError):
        return  # no more tasks
    except Interrupted as stop:
        sys.exit(stop.exit_code)


def _follow_owner() -> None:
    """Wait for the owner's end, whatever ends it, and ask this process to clean up and go; in a while it is gone."""
    owner = multiprocessing.parent_process()
    if owner is None:
        return
    owner.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE_S)
    os._exit(1)
