"""From samples to trees: bins, fixed-point targets, bootstrap, and groups of trees that fit memory and cores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.models.forest.bins import bin_codes, code_dtype, quantile_edges
from ctp_torch.models.forest.frontier import Frontier, Samples
from ctp_torch.models.forest.growth import GrowthLimits, TreeNodes, grow_trees, join_trees
from ctp_torch.models.forest.random import bootstrap_counts, tree_keys
from ctp_torch.models.forest.scoring import SplitRules
from ctp_torch.ops.compute.memory import free_bytes
from ctp_torch.ops.compute.threads import in_threads

__all__ = ["FixedPoint", "fixed_point", "fixed_weights", "grow_forest"]

_WEIGHT_BITS = 34  # of the largest sum of weights that are no whole numbers
_VALUE_BITS = 40  # of the targets, as far as sums of weight times target leave room in 63
_HEAVIEST = 16  # a bootstrap sample weighs at most so many times the samples (chance of more: below 1e-13)
_CPU_GROUP = 2 << 30  # bytes that one thread's group of trees may take


class FixedPoint(NamedTuple):
    """Targets as whole numbers: ``Y = offset + unit * whole``."""

    whole: Tensor
    """(samples, targets), int64."""
    unit: Tensor
    """(targets,), float64 powers of two."""
    offset: Tensor
    """(targets,), float64."""


def fixed_point(Y: Tensor, bits: int) -> FixedPoint:
    """Targets to the nearest multiple of a power of two, of magnitude below 2^bits about the middle of their range.

    Sums of whole numbers don't depend on their order, so that a forest doesn't either.

    Parameters
    ----------
    Y
        (samples, targets), finite
    bits
        of the largest magnitude
    """
    values = Y.double()
    low, high = values.amin(0), values.amax(0)
    offset = low / 2 + high / 2
    half = (high - offset).clamp_(min=torch.finfo(torch.float32).tiny)
    unit = torch.ldexp(torch.ones_like(half), torch.frexp(half).exponent - bits)
    return FixedPoint(((values - offset) / unit).round_().long(), unit, offset)


def fixed_weights(weights: Tensor) -> Tensor:
    """Sample weights as whole numbers (samples,), int64: themselves if they are, else multiples of a power of two.

    Parameters
    ----------
    weights
        (samples,), finite, none negative, not all 0
    """
    values = weights.double()
    total = values.sum()
    if bool((values == values.round()).all()) and float(total) < 2**24:
        return values.long()
    scale = torch.ldexp(torch.ones_like(total), _WEIGHT_BITS - 5 - torch.frexp(total).exponent)
    return (values * scale).round_().long().clamp_(min=1).mul_(values > 0)


def grow_forest(
    X: Tensor,
    Y: Tensor,
    weights: Tensor | None,
    *,
    n_trees: int,
    n_draws: int | None,
    max_depth: int,
    min_samples_split: int,
    rules: SplitRules,
    seed: int,
    only: tuple[int, int],
) -> TreeNodes:
    """The trees of every batch of samples, all nodes in one table; tree ``b * n_trees + t`` is tree t of batch b.

    Parameters
    ----------
    X
        (batches, samples, features), float32 or float64
    Y
        (batches, samples, targets)
    weights
        (batches, samples), none negative; None: all 1
    n_trees
        trees for each batch; tree t draws the same samples in every batch
    n_draws
        draws of the bootstrap for each tree; None: no bootstrap, every tree has all samples
    max_depth
        of a leaf; the root has 0
    min_samples_split
        samples that a node needs to be split
    rules
        how nodes are split
    seed
        of bootstrap, features and thresholds
    only
        the first tree to grow and the one after the last, of the trees of all batches
    """
    n_batches, n_samples, n_features = X.shape
    whole = torch.ones(n_batches, n_samples, dtype=torch.int64, device=X.device)
    if weights is not None:
        whole = torch.stack([fixed_weights(w) for w in weights])
    heaviest = int(whole.sum(1).max()) * (_HEAVIEST if weights is not None else 1)
    if weights is None and n_draws is not None:
        heaviest = n_draws
    bits = min(_VALUE_BITS, 61 - heaviest.bit_length())
    codes = torch.zeros(n_batches, n_samples, n_features, dtype=code_dtype(rules.n_bins), device=X.device)
    points = []
    for batch, (x, y, w) in enumerate(zip(X, Y, whole, strict=True)):
        counted = w > 0
        if rules.splitter == "best":
            codes[batch] = bin_codes(x, quantile_edges(x if bool(counted.all()) else x[counted], rules.n_bins))
        scale = fixed_point(y[counted], bits)
        points.append(FixedPoint(((y.double() - scale.offset) / scale.unit).round_().long(), *scale[1:]))
    fixed, unit, offset = (torch.stack(parts) for parts in zip(*points, strict=True))
    samples = Samples(
        X.reshape(-1, n_features),
        codes.view(-1, n_features),
        Y.reshape(-1, Y.shape[2]),
        fixed.view(-1, Y.shape[2]),
        unit.repeat_interleave(n_samples, 0),
        offset.repeat_interleave(n_samples, 0),
    )
    limits = GrowthLimits(max_depth, min_samples_split, bits)

    def grow(trees: Tensor) -> list[TreeNodes]:
        """The nodes of these trees; half of the trees at a time where memory runs out."""
        try:
            roots = _roots(trees, whole, n_trees=n_trees, n_draws=n_draws, seed=seed)
            return [grow_trees(samples, roots, limits, rules)]
        except (MemoryError, RuntimeError) as error:
            if len(trees) == 1 or not _is_out_of_memory(error):
                raise
        first, second = trees.tensor_split(2)
        return grow(first) + grow(second)

    trees = torch.arange(*only, device=X.device)
    groups = trees.tensor_split(_n_groups(samples, len(trees), n_samples))
    parts: Sequence[list[TreeNodes]] = in_threads(grow, [group for group in groups if len(group)], device=X.device)
    return join_trees([nodes for part in parts for nodes in part])


def _roots(trees: Tensor, whole: Tensor, *, n_trees: int, n_draws: int | None, seed: int) -> Frontier:
    """One node for each tree, with the samples that it drew."""
    batch, keys = trees // n_trees, tree_keys(trees % n_trees, seed=seed)
    weights = whole[batch]  # (trees, samples)
    if n_draws is not None:
        drawn = weights * bootstrap_counts(keys, whole.shape[1], n_draws)
        empty = drawn.sum(1) == 0  # nothing but samples without weight
        weights = torch.where(empty[:, None], weights, drawn)
    tree, sample = weights.nonzero(as_tuple=True)
    number = torch.arange(len(trees), device=trees.device)
    return Frontier(
        rows=sample + batch[tree] * whole.shape[1],
        weights=weights[tree, sample],
        size=(weights > 0).sum(1),
        number=number,
        tree=trees,
        key=keys,
        depth=torch.zeros_like(number),
    )


def _n_groups(samples: Samples, n_trees: int, n_samples: int) -> int:
    """Groups of trees: as many as threads, or more where a group's arrays would take too much memory."""
    member = 8 * (16 + 5 * samples.Y.shape[1])  # bytes: about sixteen numbers, and five for each target
    need = n_trees * n_samples * member
    device = samples.X.device
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return min(n_trees, -(-need // max(1, free // 2)))
    n_threads = torch.get_num_threads()
    room = min(_CPU_GROUP, _free_memory() // (2 * n_threads))
    return min(n_trees, max(n_threads, -(-need // max(1, room))))


def _free_memory() -> int:
    """Bytes of main memory that are free now, at least half a GiB."""
    if "SC_AVPHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return max(1 << 29, free_bytes("cpu"))
    return max(1 << 29, os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether the allocator gave up (on the processor it raises a plain RuntimeError)."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
