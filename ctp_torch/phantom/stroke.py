"""The occlusion: its side and site, the collaterals, and what it does to flow, volume and arrival at every point."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ctp_torch.phantom.territories import Territory

__all__ = ["Collaterals", "Ischaemia", "OldInfarct", "Stroke", "draw_stroke", "ischaemia_at", "old_infarct_at"]

SITES = {"M1": (1, 2), "M2 superior": (1,), "M2 inferior": (2,), "ICA": (0, 1, 2), "ACA": (0,), "PCA": (3,)}
"""Territories behind each occlusion."""
_SITE_ODDS = (0.43, 0.135, 0.135, 0.11, 0.08, 0.11)
_GRADES = {"poor": 0.95, "moderate": 0.85, "good": 0.6}
_GRADE_RANGE = (0.4, 0.95)

Collaterals = Literal["graded", "continuous"]
"""How much flow a patient's collaterals leave: one of three grades, or anything between the best and the worst."""


class OldInfarct(NamedTuple):
    """A cavity left by an earlier infarct, or a lacune."""

    centre: tuple[float, float, float]
    """Template position [mm]."""
    radius: float
    """[mm]"""


class Stroke(NamedTuple):
    """The vascular diagnosis of one patient."""

    kind: str
    """occlusion, lacune, stenosis or none."""
    side: str
    """left, right or none: the patient's side."""
    site: str
    """The occluded artery, or none."""
    collaterals: str
    """poor, moderate or good; good ones leave at least 40 % of the flow everywhere."""
    reach_mm: float
    """Depth inside the territory at which the deficit is full."""
    delay: float
    """Arrival delay at full severity, or of the stenosed hemisphere [s]."""
    dispersion: float
    """Arterial dispersion at full severity [s]."""
    floor_cbv: float
    """CBV factor of dead tissue."""
    old: tuple[OldInfarct, ...]
    """Earlier infarcts."""
    grade: float
    """Share of the flow that is lost at full severity."""


class Ischaemia(NamedTuple):
    """What the occlusion does at ``(n,)`` points."""

    severity: Tensor
    """0..1"""
    flow: Tensor
    """Factor on CBF."""
    volume: Tensor
    """Factor on CBV."""
    delay: Tensor
    """Extra arrival delay [s]."""


def draw_stroke(generator: torch.Generator, *, collaterals: Collaterals = "graded") -> Stroke:
    """A random diagnosis: 75 % occluded, 5 % a lacune only, 20 % nothing acute (a third of them a carotid stenosis).

    Parameters
    ----------
    generator
        source of randomness
    collaterals
        "graded": poor, moderate and good ones lose .95, .85 and .6 of the flow, and nothing lies between; "continuous":
        uniformly .4 to .95, in the same order of patients, so that deep flow close to the core's own limit is as common
        as any other

    Raises
    ------
    ValueError
        for other collaterals
    """
    if collaterals not in ("graded", "continuous"):
        raise ValueError(f"collaterals are graded or continuous, got {collaterals!r}")
    u = torch.rand(12, generator=generator, dtype=torch.float64).tolist()
    side = "left" if u[0] < 0.5 else "right"
    kind = "occlusion" if u[1] < 0.75 else "lacune" if u[1] < 0.80 else "stenosis" if u[1] < 0.87 else "none"
    site = _pick(tuple(SITES), _SITE_ODDS, u[2]) if kind == "occlusion" else "none"
    old = []
    if kind == "lacune" or u[3] < 0.12:
        place = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
        mirror = 1.0 if place[0] < 0.5 else -1.0
        old.append(OldInfarct((mirror * (18 + 8 * place[1]), -18 + 40 * place[2], 2 + 18 * place[3]), 2.5 + 3.5 * u[4]))
    if u[5] < 0.12:
        place = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        mirror = 1.0 if place[0] < 0.5 else -1.0
        old.append(OldInfarct((mirror * (46 + 6 * place[1]), 25 + 45 * place[2], 14.0), 11.0 + 8.0 * u[6]))
    name = _pick(tuple(_GRADES), (0.3, 0.4, 0.3), u[7])
    grade = _GRADES[name]
    if collaterals == "continuous":
        grade = _GRADE_RANGE[1] + (_GRADE_RANGE[0] - _GRADE_RANGE[1]) * u[7]
        name = next(name for name, most in reversed(_GRADES.items()) if grade <= most)
    return Stroke(
        kind=kind,
        side=side if kind in ("occlusion", "stenosis") else "none",
        site=site,
        collaterals=name,
        reach_mm=10.0 + 14.0 * u[8],
        delay=2.0 + 7.0 * u[9] if kind == "occlusion" else 1.0 + 2.0 * u[9] if kind == "stenosis" else 0.0,
        dispersion=1.0 + 2.0 * u[10] if kind == "occlusion" else 0.0,
        floor_cbv=0.15 + 0.25 * u[11],
        old=tuple(old),
        grade=grade,
    )


def _pick(names: tuple[str, ...], odds: tuple[float, ...], u: float) -> str:
    """The name whose share of 0..1 holds u."""
    for name, share in zip(names, odds, strict=True):
        u -= share
        if u < 0:
            return name
    return names[-1]


def ischaemia_at(territory: Territory, jitter: Tensor, stroke: Stroke) -> Ischaemia:
    """Severity, flow, volume and delay at points, from their depth inside the occluded territories.

    CBF factor 1 - s g with the grade g of the collaterals; CBV rises to 1.15 while s < .5 and falls to ``floor_cbv``
    where the CBF factor goes from .5 to .2.

    Parameters
    ----------
    territory
        where the points are
    jitter
        (n,), smooth random field of sd 1: patchy collaterals
    stroke
        the diagnosis
    """
    zero = torch.zeros_like(jitter)
    affected = (territory.left if stroke.side == "left" else ~territory.left) & (stroke.side != "none")
    if stroke.kind == "stenosis":
        inside = ((territory.label % 5) < 3) & affected
        return Ischaemia(zero, zero + 1.0, zero + 1.0, stroke.delay * inside)
    if stroke.kind != "occlusion":
        return Ischaemia(zero, zero + 1.0, zero + 1.0, zero)
    depth = territory.depth[:, list(SITES[stroke.site])].amax(-1)
    if stroke.site in ("M1", "ICA"):  # the border between its own branches is no border
        depth = torch.maximum(depth, -territory.depth[:, [i for i in range(5) if i not in SITES[stroke.site]]].amax(-1))
    x = ((depth + 3.0 * jitter) / stroke.reach_mm).clamp(0.0, 1.0)
    severity = x * x * (3.0 - 2.0 * x) * (1.0 + 0.08 * jitter).clamp(0.8, 1.0) * affected
    flow = 1.0 - severity * stroke.grade
    fall = ((0.5 - flow) / 0.3).clamp(0.0, 1.0)
    rise = 1.0 + 0.15 * (2.0 * severity).clamp_max(1.0)
    volume = torch.lerp(rise, torch.full_like(rise, stroke.floor_cbv), fall * fall * (3.0 - 2.0 * fall))
    return Ischaemia(severity, flow, volume, stroke.delay * severity)


def old_infarct_at(position: Tensor, jitter: Tensor, stroke: Stroke) -> Tensor:
    """Fraction ``(n,)`` of old infarct at template positions ``(n, 3)``, with ragged borders."""
    scar = torch.zeros_like(jitter)
    for old in stroke.old:
        distance = (position - position.new_tensor(old.centre)).norm(dim=-1)
        scar = torch.maximum(scar, (0.5 + (old.radius * (1.0 + 0.15 * jitter) - distance) / 2.0).clamp(0.0, 1.0))
    return scar
