"""Random numbers by counter: every tree, node and draw has its own, whichever device or group of trees asks for it.

A generator's stream depends on the order of the questions; a hash of (seed, tree, draw) doesn't. The hash is SplitMix64
in wrapping int64 arithmetic, which is the same on every device.

References
----------
Steele GL, Lea D, Flood CH. Fast splittable pseudorandom number generators. OOPSLA 2014. doi:10.1145/2660193.2660195
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["bootstrap_counts", "child_keys", "feature_orders", "hash_bits", "tree_keys", "uniform"]

_GAMMA = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed number
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB
_BOOTSTRAP, _FEATURES, _LEFT, _RIGHT = 1, 2, 3, 4  # streams that must not meet


def hash_bits(key: Tensor) -> Tensor:
    """64 well-mixed bits of each int64 key, one to one: the finaliser of SplitMix64.

    Parameters
    ----------
    key
        (...), int64

    Returns
    -------
        (...), int64
    """
    bits = key + _GAMMA
    bits = (bits ^ _shift_right(bits, 30)) * _MIX_1
    bits = (bits ^ _shift_right(bits, 27)) * _MIX_2
    return bits ^ _shift_right(bits, 31)


def uniform(key: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """Uniform numbers in [0, 1), one for each int64 key; 24 random bits in float32, 53 in float64."""
    bits = 53 if dtype == torch.float64 else 24
    return _shift_right(hash_bits(key), 64 - bits).to(dtype) * 2.0**-bits


def tree_keys(trees: Tensor, *, seed: int) -> Tensor:
    """The key of each tree's root, (trees,) int64, from the trees' numbers within the forest."""
    return hash_bits(hash_bits(torch.full_like(trees, seed)) + trees)


def child_keys(keys: Tensor) -> tuple[Tensor, Tensor]:
    """The keys of the left and right children of the nodes with these keys (nodes,)."""
    return hash_bits(keys ^ _LEFT), hash_bits(keys ^ _RIGHT)


def bootstrap_counts(keys: Tensor, n_samples: int, n_draws: int) -> Tensor:
    """How often each sample is drawn, with replacement, for each tree.

    Parameters
    ----------
    keys
        (trees,), of ``tree_keys``
    n_samples
        samples to draw from, below 2^31
    n_draws
        draws for each tree

    Returns
    -------
        (trees, n_samples), int32; each row sums to ``n_draws``
    """
    draws = torch.arange(n_draws, device=keys.device)
    bits = hash_bits(hash_bits(keys ^ _BOOTSTRAP)[:, None] + draws)  # (trees, draws)
    drawn = _shift_right(_shift_right(bits, 33) * n_samples, 31)
    counts = torch.zeros(len(keys), n_samples, dtype=torch.int32, device=keys.device)
    return counts.scatter_add_(1, drawn, torch.ones((), dtype=torch.int32, device=keys.device).expand_as(drawn))


def feature_orders(n_features: int, n_orders: int, *, seed: int, device: torch.device) -> Tensor:
    """Random orders of the features, (orders, features) int64; a node takes one of them by its key."""
    orders = torch.arange(n_orders, device=device)[:, None]
    root = hash_bits(hash_bits(torch.full_like(orders, seed)) ^ _FEATURES)
    keys = hash_bits(root + orders * n_features + torch.arange(n_features, device=device))
    return keys.argsort(dim=1, stable=True)


def _shift_right(bits: Tensor, by: int) -> Tensor:
    """Logical shift (torch's own keeps the sign)."""
    return (bits >> by) & ((1 << (64 - by)) - 1)
