"""Split scores and partitions of a growing forest by fused kernels on CUDA: the bits of the tensor path, in one pass.

Where the tensor path makes a dozen arrays of (members, features) in main memory, a kernel reads codes, weights and
moments once and keeps the rest in registers. Nodes of up to 256 members are sorted, a block of features side by side;
larger ones are counted into bins by atomic additions, chunk by chunk, and the bins of each feature scanned. No GPU was
at hand: the kernels were compiled for one and run in Triton's interpreter, but their speed was never measured.
"""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from ctp_torch.models.forest.frontier import Members
from ctp_torch.models.forest.splits import Splits, best_slot
from ctp_torch.models.forest.triton_kernels import forest_kernels

__all__ = ["fused_partition_order", "fused_splits", "has_kernels"]

_SORTED = 256  # members: nodes up to this size are sorted, larger ones counted into bins
_TILE = 2048  # (member, feature) pairs of one program: 8 or 16 for each thread
_BINS = 1 << 22  # sums counted at once: 32 MB, which stay in the cache of a large GPU
_CHUNK = 1024  # members that one program places


def has_kernels(x: Tensor) -> bool:
    """Whether fused kernels run where this tensor is: on CUDA, with Triton and the C compiler that it needs.

    Asked for the first time on a device it tries each of them on two samples, and warns where one doesn't come through.
    """
    return x.is_cuda and _runs_on(x.device)


@cache
def _runs_on(device: torch.device) -> bool:
    """Whether Triton is installed and the kernels come through on this device."""
    try:
        from triton import TritonError
    except ImportError:
        return False
    try:
        _try_on(device)
    except (TritonError, RuntimeError, OSError, ImportError, subprocess.SubprocessError) as error:
        warnings.warn(
            f"Triton is installed but its kernels don't run on {device} ({error}); forests grow by plain tensor "
            "operations there, to the same trees. A C compiler may be missing.",
            RuntimeWarning,
            stacklevel=4,
        )
        return False
    return True


def _try_on(device: torch.device) -> None:
    """Every kernel once, on a node of two samples that its one feature tells apart."""
    two = torch.arange(2, device=device)
    order, _ = fused_partition_order(two == 1, two[1:] + 1, torch.zeros_like(two))
    results = [order.tolist()]
    moments = 2.0 * two.double()[None] - 1.0
    for m in (2, 2 * _SORTED):  # sorted and counted
        members = Members(two, torch.ones_like(moments[0]), moments, two[:1], two[1:] + 1, m)
        splits = fused_splits(two[:, None].to(torch.uint8), members, n_bins=2)
        results.append([float(v) for v in splits])
    if results != [[1, 0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]:
        raise RuntimeError(f"two samples were split as {results}")


def fused_splits(
    codes: Tensor,
    members: Members,
    *,
    n_bins: int,
    features: Tensor | None = None,
    min_samples_leaf: int = 1,
    choose: Callable[[Tensor], Tensor] = best_slot,
) -> Splits:
    """What ``sorted_splits`` and ``histogram_splits`` find, bit for bit, but -1 for the gain where none is allowed.

    Parameters
    ----------
    codes
        (samples, features), uint8 or int16, below ``n_bins``
    members
        the nodes, of up to ``members.m`` samples each
    n_bins
        bins of each feature
    features
        (nodes, k), int64: the features that each node may use; all by default
    min_samples_leaf
        samples that either side needs
    choose
        gain (nodes, features) -> which feature (nodes,)
    """
    score = _scores_by_sorting if members.m <= _SORTED else _scores_by_counting
    gain, cut = score(codes, members, n_bins, features, min_samples_leaf)  # (nodes, features)
    slot = choose(gain)
    gain, cut = (v.gather(1, slot[:, None]).squeeze(1) for v in (gain, cut))
    return Splits(gain, slot, cut)


def _scores_by_sorting(
    codes: Tensor, members: Members, n_bins: int, features: Tensor | None, min_samples_leaf: int
) -> tuple[Tensor, Tensor]:
    """Gain and cut of every feature of every node, (nodes, features): a program for each node and block of features."""
    gain, cut = _scores(codes, members, features)
    n_slots, m = gain.shape[1], members.m
    block = min(_power_of_two(n_slots), max(1, _TILE // m))
    with torch.cuda.device_of(codes):
        forest_kernels().score_sorted[len(gain), -(-n_slots // block)](
            *_inputs(codes, members, features),
            gain,
            cut,
            len(members.rows),
            codes.shape[1],
            n_slots,
            min_samples_leaf,
            N_TARGETS=len(members.moments),
            ALL=features is None,
            M=m,
            BLOCK=block,
            num_warps=_warps(block * m),
            enable_fp_fusion=False,
        )
    return gain, cut


def _scores_by_counting(
    codes: Tensor, members: Members, n_bins: int, features: Tensor | None, min_samples_leaf: int
) -> tuple[Tensor, Tensor]:
    """Gain and cut of every feature of every node, (nodes, features): as many nodes at once as have room for bins."""
    gain, cut = _scores(codes, members, features)
    n_slots, n_targets, counted = gain.shape[1], len(members.moments), min_samples_leaf > 1
    block = min(_power_of_two(n_slots), 64)
    chunk = _TILE // block
    n_chunks, n_channels = -(-members.m // chunk), 1 + n_targets + counted
    kernels, width = forest_kernels(), _power_of_two(n_bins)
    step = max(1, _BINS // (n_slots * n_bins * n_channels))
    for at in range(0, len(gain), step):
        some = members._replace(start=members.start[at : at + step], size=members.size[at : at + step])
        own = None if features is None else features[at : at + step]
        n_nodes = len(some.size)
        bins = members.moments.new_zeros(n_nodes, n_slots, n_bins, n_channels)
        with torch.cuda.device_of(codes):
            kernels.count_bins[n_nodes * n_chunks, -(-n_slots // block)](
                *_inputs(codes, some, own),
                bins,
                len(members.rows),
                codes.shape[1],
                n_slots,
                n_bins,
                n_chunks,
                N_TARGETS=n_targets,
                COUNTED=counted,
                ALL=own is None,
                CHUNK=chunk,
                BLOCK=block,
            )
            kernels.score_bins[(n_nodes * n_slots,)](
                bins,
                gain[at : at + step],
                cut[at : at + step],
                n_bins,
                min_samples_leaf,
                N_TARGETS=n_targets,
                COUNTED=counted,
                M=width,
                num_warps=_warps(width),
                enable_fp_fusion=False,
            )
    return gain, cut


def fused_partition_order(left: Tensor, size: Tensor, node: Tensor) -> tuple[Tensor, Tensor]:
    """What ``partition_order`` finds: one running sum over all members, one kernel that places them.

    Members are cut into equal chunks whatever their nodes' sizes, so that a single root or a million small nodes keep a
    GPU equally busy; the running sum carries from chunk to chunk.

    Parameters and what comes back are those of `ctp_torch.models.forest.partition.partition_order`.
    """
    running, end = left.cumsum(0), size.cumsum(0)
    until = running[end - 1]  # left members up to the end of each node
    n_left = until.clone()
    n_left[1:] -= until[:-1]
    order = torch.empty_like(running)
    with torch.cuda.device_of(left):
        forest_kernels().place_members[(-(-len(left) // _CHUNK),)](
            left.view(torch.uint8), running, node, end - size - until + n_left, until, order, len(left), CHUNK=_CHUNK
        )
    return order, n_left


def _scores(codes: Tensor, members: Members, features: Tensor | None) -> tuple[Tensor, Tensor]:
    """Room for gains, float64, and cuts, int16: (nodes, features) each."""
    gain = members.moments.new_empty(len(members.size), codes.shape[1] if features is None else features.shape[1])
    return gain, torch.empty_like(gain, dtype=torch.int16)


def _inputs(codes: Tensor, members: Members, features: Tensor | None) -> tuple[Tensor, ...]:
    """What both kernels that look at members read, densely packed; any tensor stands in for features that aren't."""
    read = (codes, members.rows, members.weights, members.moments, members.start, members.size)
    return tuple(v.contiguous() for v in (*read, members.size if features is None else features))


def _power_of_two(n: int) -> int:
    """The smallest one of at least n."""
    return 1 << (n - 1).bit_length()


def _warps(n_elements: int) -> int:
    """Warps that share so many elements: 8 for each thread, as long as there are threads."""
    return min(32, max(1, n_elements // 256))
