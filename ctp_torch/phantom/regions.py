"""Regions of the template brain, drawn by rules of our own: lobes, arterial territories, ASPECTS, grey and white."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ctp_torch.phantom.territories import TERRITORIES, territory_at

__all__ = ["ASPECTS", "LOBES", "SCHEMES", "TISSUES", "regions_at"]

LOBES = ("frontal", "parietal", "temporal", "occipital", "insula", "deep", "cerebellum and brain stem")
ASPECTS = ("C", "L", "IC", "I", "M1", "M2", "M3", "M4", "M5", "M6")
TISSUES = ("grey", "white")
SCHEMES: Mapping[str, tuple[str, ...]] = {
    "lobes": tuple(f"{name} {side}" for side in ("right", "left") for name in LOBES),
    "territories": tuple(f"{name} {side}" for side in ("right", "left") for name in TERRITORIES),
    "aspects": tuple(f"{name} {side}" for side in ("right", "left") for name in ASPECTS),
    "tissues": TISSUES,
}
"""Names by scheme; label 0 is none of them, label n the n-th name. Right is the patient's right."""

_GANGLIONIC_MM = (-8.0, 21.0)
"""Heights of the ASPECTS regions of the basal ganglia; the supraganglionic ones reach 40 mm further up."""
_THIRDS_MM = ((-13.0, 20.0), (-4.0, 28.0))
"""Positions between which the middle third of the MCA's cortex lies, at the ganglia and above (back is positive)."""


def regions_at(position: Tensor, tissue: Tensor) -> dict[str, Tensor]:
    """Labels of template positions, scheme by scheme.

    Parameters
    ----------
    position
        ``(n, 3)`` template positions x, y, z in LPS [mm]
    tissue
        ``(2, n)`` fractions of grey and white matter there

    Returns
    -------
        scheme to ``(n,)`` uint8, as `SCHEMES` names them

    References
    ----------
    ASPECTS after Barber et al., Lancet 355:1670 (2000), doi:10.1016/S0140-6736(00)02237-6.
    """
    left = position[:, 0] > 0
    brain = tissue.sum(0) > 0.3
    feeding = territory_at(position, position.new_zeros(3, len(position))).label
    labels = {
        "lobes": _sided(_lobes(position), left, len(LOBES)),
        "territories": feeding + 1,
        "aspects": _sided(_aspects(position, feeding % len(TERRITORIES)), left, len(ASPECTS)),
        "tissues": torch.where(tissue[0] > tissue[1], 1, 2),
    }
    return {name: (values * brain).to(torch.uint8) for name, values in labels.items()}


def _sided(label: Tensor, left: Tensor, n: int) -> Tensor:
    """Labels 1 to n on the right, n + 1 to 2 n on the left; 0 stays."""
    return torch.where((label > 0) & left, label + n, label)


def _lobes(position: Tensor) -> Tensor:
    """1 + index into ``LOBES``: later rules overrule earlier ones."""
    x, y, z = position[:, 0].abs(), position[:, 1], position[:, 2]
    label = torch.ones_like(x, dtype=torch.int64)
    central = y > 4.3 + 0.49 * z - 0.22 * x  # the central sulcus: from behind the vertex forward and down to the side
    label[central & (z > 12.0 - 0.1 * y)] = 2
    sylvian = z < 2.0 + 0.32 * (y + 14.0).clamp(-20.0, 45.0)  # it climbs towards the back
    label[sylvian & (y > -22.0) & (x > 24.0)] = 3
    label[(z < -8.0) & (y > -26.0) & (x > 18.0)] = 3
    label[(y > 62.0 + 0.25 * (z - 10.0).clamp_min(0.0) - 0.12 * x)] = 4
    label[(y > 46.0) & (z < 14.0) & (x < 22.0)] = 4
    label[_in_shell(x, y, z)] = 5
    label[_in_ellipsoid(x, y, z, (13.0, 4.0, 7.0), (20.0, 34.0, 17.0))] = 6
    label[((z < -14.0 - 0.35 * (y - 40.0)) & (y > 30.0)) | ((z < -6.0) & (y > 12.0) & (x < 17.0) & (y < 42.0))] = 7
    return label


def _aspects(position: Tensor, feeding: Tensor) -> Tensor:
    """1 + index into ``ASPECTS``; 0 outside the MCA's territory and the deep nuclei."""
    x, y, z = position[:, 0].abs(), position[:, 1], position[:, 2]
    low, high = _GANGLIONIC_MM
    label = torch.zeros_like(x, dtype=torch.int64)
    cortex = (feeding == TERRITORIES.index("MCA superior")) | (feeding == TERRITORIES.index("MCA inferior"))
    ganglionic, above = (z > low) & (z <= high), (z > high) & (z <= high + 40.0)
    for level, before, (front, back) in ((ganglionic, 4, _THIRDS_MM[0]), (above, 7, _THIRDS_MM[1])):
        third = 1 + (y > front).long() + (y > back).long()
        label = torch.where(cortex & level, before + third, label)
    at_nuclei = ganglionic & (z <= high - 3.0)
    label[_in_shell(x, y, z) & at_nuclei] = 4
    capsule = _in_ellipsoid(x, y, z, (19.0, 2.0, 8.0), (11.0, 26.0, 15.0))
    label[capsule & at_nuclei] = 3
    label[_in_ellipsoid(x, y, z, (26.0, 0.0, 2.0), (8.0, 17.0, 12.0)) & at_nuclei] = 2
    label[_in_ellipsoid(x, y, z, (13.0, -13.0, 10.0), (7.0, 12.0, 13.0)) & at_nuclei] = 1
    return label


def _in_shell(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """The insula: a sheet lateral to the lentiform nucleus, bent with it."""
    middle = 38.0 - 0.006 * (y + 2.0) ** 2
    return ((x - middle).abs() < 4.5) & (y > -28.0) & (y < 20.0) & (z > -14.0) & (z < 18.0)


def _in_ellipsoid(
    x: Tensor, y: Tensor, z: Tensor, centre: tuple[float, float, float], axes: tuple[float, float, float]
) -> Tensor:
    """Whether points lie inside."""
    r = ((x - centre[0]) / axes[0]) ** 2 + ((y - centre[1]) / axes[1]) ** 2 + ((z - centre[2]) / axes[2]) ** 2
    return r < 1.0
