"""Frames that came twice, or changed places before they came: told by the values of a series alone."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["repeated_images", "swapped_frames"]

_SAMPLES = 64  # rows and columns looked at
_FEWEST = 8  # frames from which a curve has a shape
_TISSUE_HU = (0.0, 100.0)
_NOISES = 5.0
_GAIN = 90.0
"""By how many times the mean squared roughness that is left the sum must fall; heads that moved make it fall by 60."""
_LEFT = 0.2
"""Of a slice's roughness, what may be left once two frames are changed back: a head that moves leaves .3 and more."""
_MOST_PAIRS = 3
_NAMED = 6


def repeated_images(hu: Tensor) -> list[str]:
    """Sentences on images that show, bit for bit, what another image of their slice shows.

    Scans have noise, so that no two images are equal; where many are, as in a made series without noise, nothing is
    said.

    Parameters
    ----------
    hu
        ``(time, z, y, x)`` [HU]
    """
    n_frames, n_slices = hu.shape[:2]
    if n_frames < 3:
        return []
    pairs: dict[tuple[int, int], list[int]] = {}
    rows = hu.shape[2] // 2
    for z in range(n_slices):
        seen: dict[bytes, int] = {}
        lines = hu[:, z, rows].contiguous().cpu().numpy()
        for t in range(n_frames):
            first = seen.setdefault(lines[t].tobytes(), t)
            if first != t and lines[t].min() < lines[t].max() and bool((hu[t, z] == hu[first, z]).all()):
                pairs.setdefault((first, t), []).append(z)
    if not pairs or len({t for pair in pairs for t in pair}) > max(3, n_frames // 5):
        return []
    words = []
    for (a, b), slices in list(pairs.items())[:_NAMED]:
        where = (
            ""
            if len(slices) == n_slices
            else f" in slice{'s' if len(slices) > 1 else ''} " + ", ".join(map(str, slices[:_NAMED]))
        )
        words.append(f"time points {a} and {b}{where}")
    more = f" and {len(pairs) - _NAMED} more" if len(pairs) > _NAMED else ""
    return [f"the same image, bit for bit, stands at {'; '.join(words)}{more}: one of each is a copy"]


def swapped_frames(hu: Tensor, times: Tensor) -> list[str]:
    """A sentence on frames that seem to have changed places.

    The mean of the soft tissue runs smoothly through a bolus. Where changing two frames back takes more of its
    roughness (the squared distances from the cubic through the frames before and after) away than chance could, both
    fit where they came from, they differ by more than 5 times the noise that is left, and every other slice by itself
    becomes smooth, they were swapped.

    Parameters
    ----------
    hu
        ``(time, z, y, x)`` [HU]
    times
        ``(time, z)`` [s]
    """
    import torch

    n_frames = len(hu)
    if n_frames < _FEWEST:
        return []
    rows, columns = max(1, hu.shape[2] // _SAMPLES), max(1, hu.shape[3] // _SAMPLES)
    some = hu[:, :, ::rows, ::columns].flatten(2)  # (time, z, pixels)
    at_rest = some[: max(3, n_frames // 8)].mean(dim=0)
    tissue = (at_rest > _TISSUE_HU[0]) & (at_rest < _TISSUE_HU[1])  # (z, pixels)
    if int(tissue.sum()) < _SAMPLES:
        return []
    sums = torch.einsum("tzp,zp->zt", some, tissue.to(some.dtype)).double()  # quicker by far than to gather them
    if not bool(sums.isfinite().all()):
        sums = torch.einsum("tzp,zp->zt", some.nan_to_num(), tissue.to(some.dtype)).double()
    counts = tissue.sum(dim=1)  # (z,)
    curve = (sums.sum(dim=0) / counts.sum()).cpu().numpy()
    moments = times.double().median(dim=1).values.cpu().numpy()
    slices = list((sums[counts > 0] / counts[counts > 0, None]).cpu().numpy())
    found = [pair for pair in _swaps(curve, moments) if _smooth_alone(slices, moments, pair)]
    if not found:
        return []
    words = ", ".join(f"time points {a} and {b}" for a, b in found)
    return [f"{words} seem to have changed places: the brain's mean runs smoothly only the other way round"]


def _swaps(curve: NDArray[np.float64], times: NDArray[np.float64]) -> list[tuple[int, int]]:
    """The pairs of frames that changed places, the clearest first; none where they don't explain the roughness."""
    import numpy as np

    every = np.array(list(combinations(range(len(curve)), 2)))
    found: list[tuple[int, int]] = []
    for _ in range(_MOST_PAIRS):
        tried = np.repeat(curve[None], len(every), 0)
        k = np.arange(len(every))
        tried[k, every[:, 0]], tried[k, every[:, 1]] = curve[every[:, 1]], curve[every[:, 0]]
        before, after = _roughness(curve[None], times)[0], _roughness(tried, times)
        total = (after**2).sum(axis=1)
        best = int(total.argmin())
        a, b = (int(v) for v in every[best])
        noise = 1.4826 * float(np.median(np.abs(after[best])))
        fits = all(abs(after[best][t - 2]) <= _NOISES * noise for t in (a, b) if 2 <= t < len(curve) - 2)
        gain = (before**2).sum() - total[best]
        if not fits or gain < _GAIN * total[best] / len(before) or abs(curve[a] - curve[b]) <= _NOISES * noise:
            break
        found.append((a, b))
        curve = tried[best]
    return found


def _smooth_alone(slices: list[NDArray[np.float64]], times: NDArray[np.float64], pair: tuple[int, int]) -> bool:
    """Whether most slices lose nearly all of their roughness where the pair is changed back."""
    import numpy as np

    before = np.stack(slices)
    after = before.copy()
    after[:, list(pair)] = before[:, list(pair)[::-1]]
    left, whole = ((_roughness(curves, times) ** 2).sum(axis=1) for curves in (after, before))
    return float(np.median(left / np.maximum(whole, 1e-12))) <= _LEFT


def _roughness(curves: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far every frame lies from the cubic through the two before and the two after ``(curves, time - 4)``."""
    import numpy as np

    n = len(times)
    at = np.stack([times[k : n - 4 + k] for k in (0, 1, 3, 4)])  # (neighbour, time)
    here = times[2:-2]
    line = np.zeros((len(curves), n - 4))
    for k, j in enumerate((0, 1, 3, 4)):
        others = [m for m in range(4) if m != k]
        weight = np.prod([(here - at[m]) / (at[k] - at[m]) for m in others], axis=0)
        line += weight * curves[:, j : n - 4 + j]
    return curves[:, 2:-2] - line
