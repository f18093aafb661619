"""Regression trees by brute force: every threshold of every feature, in exact fractions."""

from fractions import Fraction
from itertools import pairwise


def grow(X, Y, W=None, *, depth=None, leaf=1, at_least=2):
    """A tree over rows of numbers: (value,) or (feature, threshold, left, right); ties go to the first split."""
    W = [1] * len(X) if W is None else W
    X = [[Fraction(v) for v in row] for row in X]
    Y = [[Fraction(v) for v in row] for row in Y]
    return _node(X, Y, [Fraction(w) for w in W], depth, leaf, at_least)


def _node(X, Y, W, depth, leaf, at_least):
    value = tuple(sum(w * y[t] for w, y in zip(W, Y, strict=True)) / sum(W) for t in range(len(Y[0])))
    if depth == 0 or len(X) < at_least or all(y == Y[0] for y in Y):
        return (value,)
    best = None
    for feature in range(len(X[0])):
        levels = sorted({row[feature] for row in X})
        for low, high in pairwise(levels):
            left = [row[feature] <= low for row in X]
            if min(sum(left), len(left) - sum(left)) < leaf:
                continue
            error = _error(Y, W, left) + _error(Y, W, [not side for side in left])
            if best is None or error < best[0]:
                best = error, feature, (low + high) / 2, left
    if best is None:
        return (value,)
    _, feature, threshold, left = best
    depth = None if depth is None else depth - 1
    sides = []
    for side in (True, False):
        rows = [i for i, is_left in enumerate(left) if is_left == side]
        sides.append(_node([X[i] for i in rows], [Y[i] for i in rows], [W[i] for i in rows], depth, leaf, at_least))
    return (feature, threshold, *sides)


def _error(Y, W, side):
    """Weighted sum of squared errors about the mean of one side, all targets together."""
    total = Fraction(0)
    for t in range(len(Y[0])):
        chosen = [(w, y[t]) for w, y, here in zip(W, Y, side, strict=True) if here]
        weight, first = sum(w for w, _ in chosen), sum(w * v for w, v in chosen)
        total += sum(w * v * v for w, v in chosen) - first * first / weight
    return total
