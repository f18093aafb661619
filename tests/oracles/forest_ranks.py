"""What one of several processes does in the test of shared forests; spawned children can import it by name."""

import torch
import torch.distributed as dist

from ctp_torch.models import RandomForest

STATE = ("roots_", "feature_", "threshold_", "left_", "value_", "weight_", "decrease_")


def data():
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(60, 3, generator=generator)
    return X, X[:, :2] + 0.1 * torch.randn(60, 2, generator=generator)


def grow(rank, world, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    try:
        for n_trees in (5, 1):
            model = RandomForest(n_trees, max_features=2).fit(*data())
            torch.save([getattr(model, name) for name in STATE], f"{folder}/{rank}-{n_trees}.pt")
    finally:
        dist.destroy_process_group()
