"""Who does the work of many scans: processes of this machine, within its cores and memory."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from ctp_torch.io.limits import available_cores, free_memory
from ctp_torch.pipeline.worker import Worker, WorkerLostError

__all__ = ["ATTEMPTS", "Engine", "LocalEngine", "Task", "memory_of"]

ATTEMPTS = 3
"""For a task whose process was killed: twice may be bad luck."""
_MEMORY_FACTOR, _MEMORY_BASE = 20.0, 1.0e9
"""A case takes this many times its images (stored in 16 bits, held in 32, several copies); torch itself that much."""
_LOOK_S = 0.2
"""Between two looks at whether the program was interrupted."""


@dataclass(frozen=True)
class Task:
    """A piece of work for a process of its own."""

    do: Callable[[], Any]
    """It is pickled, and so is what it answers."""
    memory: float = _MEMORY_BASE
    """Bytes that it takes at most."""


class Engine(Protocol):
    """What runs tasks somewhere."""

    def run(self, tasks: Sequence[Task], began: Callable[[int], None] | None = None) -> Iterator[tuple[int, Any]]:
        """The number of each task with its answer, as they come; a `WorkerLostError` for one whose process was lost.

        Parameters
        ----------
        tasks
            in the order in which they are begun
        began
            called with the number of a task, by any thread
        """


def memory_of(unpacked: float) -> float:
    """Bytes that mapping a series takes, from the bytes of its images in 16 bits."""
    return _MEMORY_BASE + _MEMORY_FACTOR * unpacked


@dataclass(frozen=True)
class LocalEngine:
    """Processes of this machine, each with its share of the cores, so that they don't spin against each other."""

    workers: int | None = None
    """Processes at once; one for every core when None."""
    memory_gb: float | None = None
    """Budget of all together; four fifths of what is free when None. A task that alone exceeds it runs alone."""

    def run(self, tasks: Sequence[Task], began: Callable[[int], None] | None = None) -> Iterator[tuple[int, Any]]:
        """As an `Engine` does."""
        if not tasks:
            return
        n_workers = min(self.workers or available_cores(), len(tasks))
        crew = [Worker(threads=max(1, available_cores() // n_workers)) for _ in range(n_workers)]
        idle = queue.SimpleQueue[Worker]()
        for worker in crew:
            idle.put(worker)
        budget = _Budget(self.memory_gb * 1e9 if self.memory_gb else 0.8 * free_memory())

        stopped = threading.Event()

        def one(number: int) -> Any:
            with budget.of(tasks[number].memory):
                worker = idle.get()
                try:
                    if began is not None and not stopped.is_set():
                        began(number)
                    return _answer(worker, tasks[number], stopped)
                finally:
                    idle.put(worker)

        pool = ThreadPoolExecutor(n_workers)
        now = True
        try:
            numbers = {pool.submit(one, number): number for number in range(len(tasks))}
            pending = set(numbers)
            while pending:
                done, pending = wait(pending, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
                for future in sorted(done, key=lambda one: numbers[one]):
                    yield numbers[future], future.result()
            now = False
        finally:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in crew:
                worker.end(now=now)


def _answer(worker: Worker, task: Task, stopped: threading.Event) -> Any:
    """What a task answers, tried again where its process was killed; nothing once all is stopped."""
    answer: Any = None
    for _ in range(ATTEMPTS):
        if stopped.is_set():
            break
        try:
            return worker.do(task.do)
        except WorkerLostError as lost:
            answer = lost
            if lost.exit_code >= 0:
                break
    return answer


class _Budget:
    """Memory that tasks share: who asks for more than is left waits; who asks for more than there is waits for all."""

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
