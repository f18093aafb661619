"""Steps shared out among processes of one thread each, so that two cores are used whatever a step does."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from ctp_torch.io.limits import available_cores
from ctp_torch.study.engine.steps import Step, load_step, perform

__all__ = ["share_out"]


def share_out(folder: Path, steps: Sequence[Step], *, processes: int = 1) -> Iterator[str]:
    """The steps' names as they are done; those that an earlier run did come at once.

    Parameters
    ----------
    folder
        of all steps
    steps
        in the order they should start; none needs another one of them
    processes
        how many work at a time; 1: in this process, with its threads
    """
    missing = []
    for step in steps:
        if load_step(folder, step) is None:
            missing.append(step)
        else:
            yield step.name
    if processes < 2 or len(missing) < 2:
        for step in missing:
            perform(folder, step)
            yield step.name
        return
    threads = max(1, available_cores() // processes)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_settle, initargs=(threads,)) as pool:
        try:
            waiting = {pool.submit(_perform, folder, step): step for step in missing}
            for done in as_completed(waiting):
                done.result()
                yield waiting[done].name
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _settle(threads: int) -> None:
    """Make a worker use its share of the cores, and end when its parent is gone."""
    import torch

    torch.set_num_threads(threads)
    threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    """Wait for the parent's end, then leave: a killed run leaves no worker behind."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _perform(folder: Path, step: Step) -> Any:
    """In a worker: do the step; its result is read from its file."""
    perform(folder, step)
