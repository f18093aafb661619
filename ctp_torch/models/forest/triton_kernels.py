"""The inner loops of a growing forest as Triton kernels: score a node's splits, and say where its members go.

Plain functions here, compiled on first use: Triton comes with torch on CUDA under Linux, and nothing else needs it.
Sums are of whole numbers below 2^53 units in float64, hence exact in whatever order threads add them; the gain of a
split is computed step by step as in ``forest_splits.gains``, without contraction to fused multiply-adds.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import triton.language as tl

__all__ = ["Kernels", "forest_kernels"]


class Kernels(NamedTuple):
    """Launched as ``kernel[grid](...)``."""

    score_sorted: Any
    count_bins: Any
    score_bins: Any
    place_members: Any


@cache
def forest_kernels() -> Kernels:
    """The kernels below, ready to launch.

    Raises
    ------
    ImportError
        without Triton
    """
    from triton import jit, language

    globals()["tl"] = language  # the kernels' name for it
    return Kernels(*map(jit, (_score_sorted, _count_bins, _score_bins, _place_members)))


def _score_sorted(
    codes: tl.tensor,
    rows: tl.tensor,
    weights: tl.tensor,
    moments: tl.tensor,
    start: tl.tensor,
    size: tl.tensor,
    features: tl.tensor,
    gain: tl.tensor,
    cut: tl.tensor,
    n_members: tl.tensor,
    n_features: tl.tensor,
    n_slots: tl.tensor,
    min_samples_leaf: tl.tensor,
    N_TARGETS: tl.constexpr,
    ALL: tl.constexpr,
    M: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """The best cut of a node of at most M members for each of BLOCK features: sort, sum up, compare."""
    node = tl.program_id(0).to(tl.int64)
    slot = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    first, count = tl.load(start + node), tl.load(size + node)
    rank = tl.arange(0, M)
    real = (rank < count)[None, :]
    row = tl.load(rows + first + rank, mask=rank < count, other=0)
    feature = slot if ALL else tl.load(features + node * n_slots + slot, mask=slot < n_slots, other=0)
    code = tl.load(codes + row[None, :] * n_features + feature[:, None], mask=real & (slot < n_slots)[:, None], other=0)
    key = tl.sort(tl.where(real, code.to(tl.int32) * M + rank[None, :], 2147483647), 1)  # (BLOCK, M), absent ones last
    code, member = key // M, first + key % M
    left_weight = tl.cumsum(tl.load(weights + member, mask=real, other=0.0), 1)
    squares = tl.zeros([BLOCK, M], tl.float64)
    column = moments + member
    for _ in tl.static_range(N_TARGETS):
        moment = tl.cumsum(tl.load(column, mask=real, other=0.0), 1)
        squares += moment * moment
        column += n_members
    total = tl.max(left_weight, 1)[:, None]
    left = rank[None, :] + 1
    following = tl.gather(code, tl.broadcast_to(tl.minimum(left, M - 1), (BLOCK, M)), 1)
    allowed = (code != following) & (left >= min_samples_leaf) & (count - left >= min_samples_leaf)
    area = tl.where(allowed, (total - left_weight) * left_weight, 1.0)
    score = tl.where(allowed, squares / area, -1.0)
    best = tl.max(score, 1)
    at = tl.min(tl.where(score == best[:, None], rank[None, :], M), 1)  # the first of equal gains: the lowest code
    chosen = tl.max(tl.where(rank[None, :] == at[:, None], code, 0), 1)
    tl.store(gain + node * n_slots + slot, best, mask=slot < n_slots)
    tl.store(cut + node * n_slots + slot, chosen.to(tl.int16), mask=slot < n_slots)


def _count_bins(
    codes: tl.tensor,
    rows: tl.tensor,
    weights: tl.tensor,
    moments: tl.tensor,
    start: tl.tensor,
    size: tl.tensor,
    features: tl.tensor,
    bins: tl.tensor,
    n_members: tl.tensor,
    n_features: tl.tensor,
    n_slots: tl.tensor,
    n_bins: tl.tensor,
    n_chunks: tl.tensor,
    N_TARGETS: tl.constexpr,
    COUNTED: tl.constexpr,
    ALL: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """CHUNK members of a node into the bins of BLOCK features, (nodes, slots, bins, channels)."""
    node = (tl.program_id(0) // n_chunks).to(tl.int64)
    slot = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    rank = (tl.program_id(0) % n_chunks) * CHUNK + tl.arange(0, CHUNK)
    member, real = tl.load(start + node) + rank, rank < tl.load(size + node)
    row = tl.load(rows + member, mask=real, other=0)
    used = real[:, None] & (slot < n_slots)[None, :]
    feature = slot if ALL else tl.load(features + node * n_slots + slot, mask=slot < n_slots, other=0)
    code = tl.load(codes + row[:, None] * n_features + feature[None, :], mask=used, other=0)
    place = bins + ((node * n_slots + slot)[None, :] * n_bins + code) * (1 + N_TARGETS + COUNTED)  # (CHUNK, BLOCK)
    weight, column = tl.load(weights + member, mask=real, other=0.0), moments + member
    tl.atomic_add(place, tl.broadcast_to(weight[:, None], (CHUNK, BLOCK)), mask=used, sem="relaxed")
    for target in tl.static_range(N_TARGETS):
        moment = tl.load(column, mask=real, other=0.0)
        column += n_members
        tl.atomic_add(place + 1 + target, tl.broadcast_to(moment[:, None], (CHUNK, BLOCK)), mask=used, sem="relaxed")
    if COUNTED:
        tl.atomic_add(place + 1 + N_TARGETS, tl.full([CHUNK, BLOCK], 1.0, tl.float64), mask=used, sem="relaxed")


def _score_bins(
    bins: tl.tensor,
    gain: tl.tensor,
    cut: tl.tensor,
    n_bins: tl.tensor,
    min_samples_leaf: tl.tensor,
    N_TARGETS: tl.constexpr,
    COUNTED: tl.constexpr,
    M: tl.constexpr,
) -> None:
    """The best cut of one feature of one node, of at most M bins."""
    column = tl.program_id(0).to(tl.int64)
    rank = tl.arange(0, M)
    real = rank < n_bins
    place = bins + (column * n_bins + rank) * (1 + N_TARGETS + COUNTED)
    left_weight = tl.cumsum(tl.load(place, mask=real, other=0.0), 0)
    squares = tl.zeros([M], tl.float64)
    for target in tl.static_range(N_TARGETS):
        moment = tl.cumsum(tl.load(place + 1 + target, mask=real, other=0.0), 0)
        squares += moment * moment
    area = (tl.max(left_weight, 0) - left_weight) * left_weight
    allowed = area != 0.0  # no side is empty
    if COUNTED:
        left = tl.cumsum(tl.load(place + 1 + N_TARGETS, mask=real, other=0.0), 0)
        allowed &= (left >= min_samples_leaf) & (tl.max(left, 0) - left >= min_samples_leaf)
    score = tl.where(allowed, squares / tl.where(allowed, area, 1.0), -1.0)
    best = tl.max(score, 0)
    tl.store(gain + column, best)
    tl.store(cut + column, tl.min(tl.where(score == best, rank, M), 0).to(tl.int16))


def _place_members(
    left: tl.tensor,
    running: tl.tensor,
    node: tl.tensor,
    to_left: tl.tensor,
    to_right: tl.tensor,
    order: tl.tensor,
    n_members: tl.tensor,
    CHUNK: tl.constexpr,
) -> None:
    """Who comes to each place: CHUNK members, wherever their nodes begin and end."""
    member = tl.program_id(0).to(tl.int64) * CHUNK + tl.arange(0, CHUNK)
    real = member < n_members
    owner = tl.load(node + member, mask=real, other=0)
    before = tl.load(running + member, mask=real, other=0)
    goes_left = tl.load(left + member, mask=real, other=0) != 0
    on_left = tl.load(to_left + owner, mask=real, other=0) + before - 1
    on_right = tl.load(to_right + owner, mask=real, other=0) + member - before
    tl.store(order + tl.where(goes_left, on_left, on_right), member, mask=real)
