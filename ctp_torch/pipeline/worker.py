"""One process, one source, one outcome: what runs over many scans hand their work to."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ctp_torch.errors import CTPError
from ctp_torch.pipeline.analysis import Analysis, MapSettings, analyse

__all__ = ["Deliver", "Outcome", "WorkerLostError", "in_process", "outcome_of", "run_in_process", "work"]

Deliver = Callable[[Analysis, Path], object]
"""Writes an analysis to a folder, all or nothing: `ctp_torch.write_analysis`, options bound by functools.partial."""
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
    context = multiprocessing.get_context("spawn")  # a fork would inherit threads, locks and CUDA in mid-air
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, task, threads), daemon=True)
    process.start()
    theirs.close()  # so that the pipe ends when the child does
    try:
        if not ours.poll(limit_s):
            process.terminate()
            process.join()
            raise WorkerLostError(-15, f"took longer than {limit_s:g} s and was ended")
        answer = ours.recv()
    except EOFError:
        process.join()
        code = process.exitcode or 1
        ending = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        raise WorkerLostError(code, f"the process {ending} before it was done") from None
    finally:
        ours.close()
    process.join()
    return answer


def _child(pipe: Connection, task: Callable[[], Any], threads: int | None) -> None:
    """The life of the process, which ends with that of its parent: nobody would hear the answer."""
    threading.Thread(target=_follow_parent, daemon=True).start()
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    pipe.send(task())
    pipe.close()


def _follow_parent() -> None:
    """End this process when its parent has died, by whatever cause."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
