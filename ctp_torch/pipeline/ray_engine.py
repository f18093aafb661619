"""Tasks on a Ray cluster: several machines, whose workers and nodes may be lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ctp_torch.errors import CTPError
from ctp_torch.pipeline.engine import ATTEMPTS, Task
from ctp_torch.pipeline.worker import WorkerLostError

__all__ = ["RayEngine"]

_LOST = -9
"""Exit code of a task whose process or node was lost every time."""


@dataclass(frozen=True)
class RayEngine:
    """A Ray cluster; every node sees the scans and the folder of results under the same paths, and has this package.

    A task takes one core and the memory that its scan needs. One whose process or node is lost is done again elsewhere.
    """

    address: str | None = None
    """Of a cluster that runs already; one on this machine is started when None."""
    gpu: bool = False
    """Whether a task takes a share of a GPU."""

    def __post_init__(self) -> None:
        """Refuse where Ray isn't installed."""
        _ray()

    def run(self, tasks: Sequence[Task], began: Callable[[int], None] | None = None) -> Iterator[tuple[int, Any]]:
        """As an `Engine` does."""
        ray = _ray()
        ours = not ray.is_initialized()
        if ours:
            ray.init(
                address=self.address, log_to_driver=False, include_dashboard=None if self.address else False,
                logging_level="warning",
            )  # fmt: skip
        try:
            yield from self._each(ray, tasks, began)
        finally:
            if ours:
                ray.shutdown()

    def _each(self, ray: Any, tasks: Sequence[Task], began: Callable[[int], None] | None) -> Iterator[tuple[int, Any]]:
        """The answers, as they come."""
        most = max((node["Resources"].get("memory", 0.0) for node in ray.nodes() if node["Alive"]), default=0.0)
        remote = ray.remote(_done)
        usual = {"max_retries": ATTEMPTS - 1, "num_cpus": 1, "num_gpus": 0.5 if self.gpu else 0}
        waiting = {}
        for number, task in enumerate(tasks):
            # who asks for more than any node has would wait for ever: it gets a node to itself
            options = {**usual, "memory": int(min(task.memory, 0.95 * most))}
            waiting[remote.options(**options).remote(task.do)] = number
            if began is not None:
                began(number)
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1)
            for one in ready:
                try:
                    answer = ray.get(one)
                except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError,
                        ray.exceptions.OutOfMemoryError, ray.exceptions.ObjectLostError) as lost:  # fmt: skip
                    answer = WorkerLostError(
                        _LOST, f"its process or node was lost {ATTEMPTS} times ({type(lost).__name__})"
                    )
                yield waiting.pop(one), answer


def _done(do: Callable[[], Any]) -> Any:
    """What a task answers, on one thread."""
    import torch

    torch.set_num_threads(1)
    return do()


def _ray() -> Any:
    """Ray, which keeps its statistics to itself."""
    import os

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a hospital's network hears of nothing
    try:
        import ray
    except ImportError as error:
        raise CTPError('--engine ray needs Ray: install it with: pip install "ctp-torch[ray]"') from error
    return ray
