"""One process, one source, one outcome: what runs over many scans hand their work to."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from ctp_torch.errors import CTPError
from ctp_torch.pipeline.analysis import Analysis, MapSettings, analyse

__all__ = ["Deliver", "Outcome", "run_in_process", "work"]

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
    start = time.perf_counter()
    try:
        analysis = analyse(source, settings)
        deliver(analysis, Path(folder))
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
    """The same in a process of its own, whose death by whatever cause is an outcome as well.

    Parameters
    ----------
    source, folder, settings, deliver
        as for `work`; they are pickled
    threads
        of the process; torch's own choice when None
    limit_s
        seconds after which the process is ended; none when None
    """
    context = multiprocessing.get_context("spawn")  # a fork would inherit threads, locks and CUDA in mid-air
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, source, folder, settings, deliver, threads), daemon=True)
    start = time.perf_counter()
    process.start()
    theirs.close()  # so that the pipe ends when the child does
    try:
        if not ours.poll(limit_s):
            process.terminate()
            process.join()
            message = f"took longer than {limit_s:g} s and was ended"
            return Outcome(-15, message, seconds=time.perf_counter() - start)
        outcome: Outcome = ours.recv()
    except EOFError:
        process.join()
        code = process.exitcode or 1
        ending = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return Outcome(code, f"the process {ending} before it was done", seconds=time.perf_counter() - start)
    finally:
        ours.close()
    process.join()
    return outcome


def _child(
    pipe: Connection,
    source: str | Path,
    folder: str | Path,
    settings: MapSettings,
    deliver: Deliver,
    threads: int | None,
) -> None:
    """The life of the process."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    pipe.send(work(source, folder, settings, deliver))
    pipe.close()
