"""Rows split over processes: the same model as one process, and no hanging when one dies."""

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ctp_torch.models import load_model
from ctp_torch.ops.compute import ranks

_WORKER = Path(__file__).with_name("rank_worker.py")
_spec = importlib.util.spec_from_file_location("rank_worker", _WORKER)
worker = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(worker)


def _port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


@pytest.mark.slow
def test_two_processes_give_the_model_of_one(tmp_path):
    """Mutation seen red: the Gram matrix not summed over the ranks; the parts of the product not summed."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", _port()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(_WORKER), str(tmp_path)],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    _, Y, new = worker.curves()
    for name in worker.MODELS:
        expected = worker.fitted(name).predict(new)
        actual = load_model(tmp_path / f"{name}.safetensors").predict(new)
        loose = {"cg": 1e-4, "blocked_cg": 1e-4, "askotch": 1e-3}.get(name, 1e-5)
        torch.testing.assert_close(actual, expected, rtol=0, atol=loose * float(Y.std()), msg=name)


@pytest.mark.slow
def test_a_killed_rank_ends_the_others_with_a_message(tmp_path):
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _port(), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, str(_WORKER), str(tmp_path), "dies"],
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        for rank in range(2)
    ]
    (_, survivor), _ = (process.communicate(timeout=120) for process in started)
    assert started[1].returncode == -9
    assert started[0].returncode == 1
    assert "RankLostError: rank 0 of 2 lost contact with another rank" in survivor
    assert "no model was made" in survivor
    assert not list(tmp_path.iterdir())


def test_without_torchrun_there_is_one_rank_that_does_everything():
    with ranks.join_ranks() as rank:
        assert rank == 0
    assert ranks.n_ranks() == 1
    assert ranks.row_share(10) == slice(0, 10)
    values = torch.ones(3)
    ranks.sum_over_ranks(values)
    assert torch.equal(values, torch.ones(3))
    assert ranks.min_over_ranks(7) == 7
