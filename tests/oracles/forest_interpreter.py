"""Run as a program with TRITON_INTERPRET=1: the forest's kernels in Triton's interpreter beside the tensor path.

Prints one line of JSON, whether both agree to the last bit in each case.
"""

import json
import sys

import torch

from ctp_torch.models import RandomForest
from ctp_torch.models.forest import partition, scoring, triton
from ctp_torch.models.forest.frontier import Members
from ctp_torch.models.forest.histograms import histogram_splits
from ctp_torch.models.forest.splits import best_slot, first_slot, sorted_splits

triton._TILE, triton._CHUNK, triton._BINS = 64, 4, 200  # several programs for each small case
STATE = ("roots_", "feature_", "threshold_", "left_", "value_", "weight_", "decrease_")


def problem(dtype, n_targets, levels, generator):
    """Four nodes of 2 to 16 members, five features, the fourth constant; ties wherever codes are few."""
    size = torch.tensor([2, 16, 3, 11])
    n = int(size.sum())
    codes = torch.randint(0, levels, (40, 5), generator=generator).to(dtype)
    codes[:, 3] = 1
    rows = torch.randint(0, 40, (n,), generator=generator)
    weights = torch.randint(1, 4, (n,), generator=generator).double()
    moments = torch.randint(-(2**30), 2**30, (n_targets, n), generator=generator).double() / 4
    return codes, Members(rows, weights, moments, size.cumsum(0) - size, size, 16)


def plain(codes, members, n_bins, counting, **options):
    """The tensor path."""
    if not counting:
        return sorted_splits(codes, *members.padded(members.start, members.size, members.m), **options)
    columns = members.rows, members.owner(), members.weights, members.moments
    return histogram_splits(codes, *columns, n_bins=n_bins, n_nodes=len(members.size), **options)


def same_splits(fused, tensors):
    """Whether the same nodes can be split, at the same places."""
    allowed = tensors.gain >= 0
    pairs = zip(fused, tensors, strict=True)
    return torch.equal(fused.gain >= 0, allowed) and all(torch.equal(a[allowed], b[allowed]) for a, b in pairs)


def split_cases(generator):
    """(name, agreement) of sorting and counting."""
    some = torch.tensor([[4, 3, 0], [3, 1, 2], [2, 4, 1], [3, 0, 4]])
    for counting in (False, True):
        triton._SORTED = 0 if counting else 256
        for dtype, n_targets, levels, options in (
            (torch.uint8, 3, 4, {}),
            (torch.int16, 1, 300, {"features": some, "min_samples_leaf": 3, "choose": first_slot}),
            (torch.uint8, 2, 2, {"min_samples_leaf": 2, "choose": best_slot}),
        ):
            codes, members = problem(dtype, n_targets, levels, generator)
            fused = triton.fused_splits(codes, members, n_bins=levels, **options)
            tensors = plain(codes, members, levels, counting, **options)
            yield f"counting {counting}, {levels} codes, {n_targets} targets", same_splits(fused, tensors)
    triton._SORTED = 8  # from here on nodes of both kinds


def partition_case(generator):
    """Nodes that begin and end anywhere within the chunks, one of them with all its members on the left."""
    size = torch.tensor([1, 5, 9, 1, 3])
    node = torch.arange(5).repeat_interleave(size)
    left = (torch.rand(len(node), generator=generator) < 0.5) | (node == 4)
    pairs = zip(
        triton.fused_partition_order(left, size, node),
        partition.partition_order(left, size, node),
        strict=True,
    )
    return all(torch.equal(fused, tensors) for fused, tensors in pairs)


def forest_case(generator):
    """A whole tree, with weights and two targets, its levels by kernels."""
    X = torch.rand(24, 3, generator=generator).round(decimals=1)
    Y, weight = torch.rand(24, 2, generator=generator), torch.randint(0, 3, (24,), generator=generator)
    by_tensors = RandomForest(1, max_depth=3, max_features=2).fit(X, Y, weight)
    scoring.has_kernels = partition.has_kernels = lambda x: True
    by_kernels = RandomForest(1, max_depth=3, max_features=2).fit(X, Y, weight)
    return len(by_kernels.feature_) > 5 and all(
        torch.equal(getattr(by_kernels, name), getattr(by_tensors, name)) for name in STATE
    )


if __name__ == "__main__":
    generator = torch.Generator().manual_seed(0)
    agreed = {"runs": triton._runs_on(torch.device("cpu")), "partition": partition_case(generator)}
    agreed |= dict(split_cases(generator))
    agreed["forest"] = forest_case(generator)
    sys.stdout.write(json.dumps(agreed))
