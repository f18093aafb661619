"""Which artery feeds a point of the brain, and how deep inside that artery's territory the point lies."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["TERRITORIES", "Territory", "territory_at"]

TERRITORIES = ("ACA", "MCA superior", "MCA inferior", "PCA", "vertebrobasilar")
"""Names by label; the right side of the patient has labels 0 to 4, the left 5 to 9."""


class Territory(NamedTuple):
    """Feeding artery at ``(n,)`` points."""

    label: Tensor
    """int64, index into ``TERRITORIES``, plus 5 on the left."""
    depth: Tensor
    """``(n, 5)`` mm-like depth inside each territory of the point's own side, negative outside."""
    left: Tensor
    """bool, on the patient's left."""


def territory_at(position: Tensor, jitter: Tensor) -> Territory:
    """The territory of template positions, by angular sectors with a rule for the deep nuclei.

    Parameters
    ----------
    position
        (n, 3), template positions x, y, z in LPS [mm]
    jitter
        (3, n), smooth random fields of sd 1 that make every patient's borders their own
    """
    x, y, z = position.unbind(-1)
    u = x.abs() / 70.0
    v = (17.0 - y) / 88.0  # +1 at the frontal pole, -1 at the occipital pole
    w = (z - 8.0) / 65.0
    aca = 0.30 + 0.16 * w.clamp(-0.5, 1.0) + 0.22 * (v - 0.35).clamp_min(0.0) - u
    aca = torch.minimum(aca, 0.9 * (v + 0.32 + 0.2 * w))
    aca = torch.minimum(aca, _outside(x, y, z, (0.0, 12.0, 2.0), (32.0, 34.0, 20.0)))  # deep nuclei are not its
    pca = torch.maximum(-(v + 0.50 + 0.25 * w.clamp_min(0.0) - 0.12 * (0.5 - u)), _inferior_temporal(u, v, w))
    pca = torch.maximum(pca, -_outside(x.abs(), y, z, (10.0, 18.0, 6.0), (13.0, 15.0, 11.0)))  # thalamus
    fossa = torch.minimum(-(w + 0.42 + 0.25 * (v + 0.1)), -(v - 0.18))
    fossa = torch.maximum(fossa, -_outside(x, y, z, (0.0, 26.0, -22.0), (17.0, 14.0, 14.0)))  # brain stem
    scores = [aca + 0.045 * jitter[0], pca + 0.045 * jitter[1], fossa + 0.02 * jitter[2]]
    mca = -torch.stack(scores).amax(0)
    branch = (0.12 * v + 0.35 * (w - 0.12) + 0.1 * (v + 0.15)) + 0.05 * jitter[2]  # superior in front and above
    depth = 70.0 * torch.stack(
        [scores[0], torch.minimum(mca, branch), torch.minimum(mca, -branch), scores[1], scores[2]], -1
    )
    left = x > 0
    return Territory(depth.argmax(-1) + 5 * left, depth, left)


def _outside(
    x: Tensor, y: Tensor, z: Tensor, centre: tuple[float, float, float], axes: tuple[float, float, float]
) -> Tensor:
    """Roughly the distance outside an ellipsoid, in units of 70 mm."""
    r = torch.sqrt(
        ((x - centre[0]) / axes[0]) ** 2 + ((y - centre[1]) / axes[1]) ** 2 + ((z - centre[2]) / axes[2]) ** 2
    )
    return (r - 1.0) * (min(axes) / 70.0)


def _inferior_temporal(u: Tensor, v: Tensor, w: Tensor) -> Tensor:
    """Score of the medial and inferior temporal lobe, which the PCA feeds."""
    return torch.minimum(torch.minimum(-(w + 0.22), -(v - 0.05)), 0.62 - u)
