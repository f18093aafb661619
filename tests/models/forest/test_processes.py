"""Trees shared out among processes are the forest of one process."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from oracles.forest_ranks import STATE, data, grow

from ctp_torch.models import RandomForest


@pytest.mark.slow
@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="torch without gloo")
def test_processes_end_with_the_forest_of_one(tmp_path):
    """Three processes, unequal shares, even none. Red when the children's numbers aren't shifted on joining."""
    mp.spawn(grow, (3, str(tmp_path)), nprocs=3)
    for n_trees in (5, 1):
        alone = RandomForest(n_trees, max_features=2).fit(*data())
        for rank in range(3):
            columns = torch.load(tmp_path / f"{rank}-{n_trees}.pt", weights_only=True)
            for name, column in zip(STATE, columns, strict=True):
                assert torch.equal(column, getattr(alone, name)), name
