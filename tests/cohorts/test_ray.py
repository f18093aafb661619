"""A Ray cluster of two nodes, where Ray is installed: the same tables; what is lost is done again."""

import os
import time
from functools import partial

import pytest
from cohorts.campaign import contents, rows_of, write_world

from ctp_torch.cohorts import LocalEngine, find_cases, run_cohort
from ctp_torch.pipeline.analysis import MapSettings
from ctp_torch.pipeline.engine import ATTEMPTS, Task
from ctp_torch.pipeline.ray_engine import RayEngine

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

ONCE = "import os, pathlib; p = pathlib.Path({!r}); old = p.exists(); p.touch(); old or os.kill(os.getpid(), 9)"
ALWAYS = "import os; open({!r}, 'a').write('x'); os.kill(os.getpid(), 9)"


@pytest.fixture
def cluster():
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "memory": 4 << 30})
    made.add_node(num_cpus=1, memory=4 << 30)
    made.wait_for_nodes()
    yield made
    ray.shutdown()
    made.shutdown()


def test_lost_workers_and_nodes_lose_nothing(cluster, tmp_path):
    """A task killed once is done again, one killed always is told; a node that goes takes nothing with it.

    Mutation seen red: no retries.
    """
    tasks = [
        Task(os.getpid, memory=1e9),
        Task(partial(exec, ONCE.format(str(tmp_path / "once"))), memory=1e9),
        Task(partial(exec, ALWAYS.format(str(tmp_path / "always"))), memory=1e9),
        *[Task(partial(time.sleep, 4.0), memory=1e9)] * 4,
        Task(os.getpid, memory=1e15),  # more than any node has
    ]
    told = {}
    for number, answer in RayEngine(cluster.address).run(tasks):
        told[number] = answer
        if len(told) == 2:
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    assert sorted(told) == list(range(len(tasks)))
    assert told[1] is None
    assert told[2].exit_code == -9
    assert (tmp_path / "always").read_text() == "x" * ATTEMPTS
    assert all(told[number] is None for number in range(3, 7))
    assert isinstance(told[7], int)


def test_the_tables_are_those_of_one_machine(cluster, tmp_path):
    write_world(tmp_path / "in", 2, two_series=0, others=0, broken=("cut",))
    cases, _ = find_cases(tmp_path / "in")
    settings = MapSettings(registration="none")
    for name, engine in (("here", LocalEngine(1)), ("there", RayEngine(cluster.address))):
        run_cohort(cases, tmp_path / name, settings, report=False, engine=engine)
    assert [row["status"] for row in rows_of(tmp_path / "there")] == ["failed", "done", "done"]
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
