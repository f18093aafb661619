"""What lies at a point of one head: tissue fractions and the Hounsfield units without contrast."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.phantom.deformation import BOX_EXTENT, BOX_ORIGIN, Deformation, brain_points, head_points
from ctp_torch.phantom.interpolation import sample_volume, smooth_noise
from ctp_torch.phantom.template import Template
from ctp_torch.phantom.vessels import VesselTree

__all__ = ["Head", "Materials", "Tissue", "draw_materials", "tissue_at"]

_PETROUS = ((22.0, 20.0, -36.0), (52.0, 34.0, -32.0))
_PINEAL, _PLEXUS = (0.0, 27.0, 3.0), (22.0, 40.0, 12.0)


class Materials(NamedTuple):
    """Hounsfield units of one patient's tissues, and the slow random fields that make them uneven."""

    grey: float
    white: float
    csf: float
    blood: float
    scalp_mm: float
    skull_mm: float
    sulci: float
    """Factor on the CSF fraction, larger with age."""
    calcified: float
    """HU of pineal gland and choroid plexus."""
    fields: Tensor
    """``(4, z, y, x)`` random fields of sd 1, every 3 mm: skull thickness, diploe, brain HU, scalp."""


class Head(NamedTuple):
    """Everything that makes the anatomy of one patient."""

    template: Template
    deformation: Deformation
    vessels: VesselTree
    materials: Materials


class Tissue(NamedTuple):
    """Fractions and HU at ``(n,)`` points."""

    hu: Tensor
    """Without contrast [HU]."""
    grey: Tensor
    white: Tensor
    artery: Tensor
    vein: Tensor
    intracranial: Tensor
    """Fraction inside the skull."""
    head: Tensor
    """Fraction inside the skin."""
    bone: Tensor
    """Fraction of skull."""
    position: Tensor
    """``(n, 3)`` template position of the brain [mm]."""


def draw_materials(generator: torch.Generator, *, age: float) -> Materials:
    """Tissue HU and thicknesses of one patient.

    Parameters
    ----------
    generator
        source of randomness
    age
        years
    """
    n = torch.randn(8, generator=generator).tolist()
    fields = smooth_noise(generator, BOX_EXTENT, spacing=3.0, sigma_mm=6.0, channels=4)
    years = (age - 65.0) / 20.0
    return Materials(
        grey=36.5 + 1.0 * n[0],
        white=29.0 + 1.0 * n[1],
        csf=9.0 + 1.5 * n[2],
        blood=44.0 + 3.0 * n[3],
        scalp_mm=min(max(4.8 + 0.8 * n[4], 3.0), 6.5),
        skull_mm=min(max(6.5 + 0.7 * n[5], 5.0), 8.0),
        sulci=min(max(1.35 + 0.25 * years + 0.1 * n[6], 1.0), 1.9),
        calcified=max(60.0 + 50.0 * years + 30.0 * n[7], 30.0),
        fields=fields,
    )


def tissue_at(points: Tensor, head: Head, *, width: float) -> Tissue:
    """Tissue at scanner positions, borders blurred over ``width`` so that a voxel shows its partial volume.

    Parameters
    ----------
    points
        (n, 3), LPS positions [mm]
    head
        the patient
    width
        size of the sampled voxel [mm]
    """
    skull = head_points(points, head.deformation)
    brain = brain_points(skull, head.deformation)
    origin, made_of = head.template.origin, head.materials
    distance = sample_volume(head.template.table, skull, origin=origin)
    thick, diploe, mottle, soft = sample_volume(made_of.fields, skull, origin=BOX_ORIGIN, spacing=3.0)
    grey, white = sample_volume(head.template.tissue, brain, origin=origin)
    grey, white = _sharpen(grey, white, made_of.sulci)
    artery, vein = _vessel_fractions(skull, brain, head)

    hu, inside, in_head, bone = _shells(skull, distance, made_of, (thick, diploe, soft), width)
    rest = 1.0 - grey - white
    content = grey * made_of.grey + white * made_of.white + rest * made_of.csf + 0.7 * mottle * (1.0 - rest)
    content = _midline(content, skull, rest, width)
    content = _calcifications(content, skull, made_of.calcified, width)
    blood = (artery + vein).clamp_max(1.0)
    hu = torch.lerp(hu, content, inside)
    hu = torch.lerp(hu, hu.new_tensor(made_of.blood), blood)
    solid = inside * (1.0 - blood)
    return Tissue(hu, grey * solid, white * solid, artery, vein, inside, in_head, bone * (1.0 - blood), brain)


def _sharpen(grey: Tensor, white: Tensor, sulci: float) -> tuple[Tensor, Tensor]:
    """One person's grey and white fractions from a population's: squared and renormalised, sulci widened."""
    rest = sulci * (1.0 - grey - white).clamp_min(0.0)
    total = (grey**2 + white**2 + rest**2).clamp_min(1e-6)
    return grey**2 / total, white**2 / total


def _vessel_fractions(skull: Tensor, brain: Tensor, head: Head) -> tuple[Tensor, Tensor]:
    """Fractions of arterial and venous blood."""
    origin, tree = head.template.origin, head.vessels
    artery, vein = sample_volume(tree.brain, brain, origin=origin)
    sinus = sample_volume(tree.sinuses, skull, origin=origin)
    return artery, torch.maximum(vein, sinus).minimum(1.0 - artery)


def _occupied(depth: Tensor, width: float) -> Tensor:
    """Fraction of a voxel of ``width`` that lies behind a surface it is ``depth`` mm behind of."""
    return (0.5 + depth / width).clamp(0.0, 1.0)


def _shells(
    skull: Tensor, distance: Tensor, made_of: Materials, fields: tuple[Tensor, Tensor, Tensor], width: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """HU of air, skin, fat, muscle and bone, painted inwards; fractions inside the table, inside the skin, of bone."""
    thick, diploe, soft = fields
    x, y, z = skull.unbind(-1)
    forehead = torch.exp(-((x / 17.0) ** 2) - ((z + 16.0) / 13.0) ** 2) * (y < -30.0)
    bone_mm = (made_of.skull_mm + 0.9 * thick + 5.0 * forehead).clamp_min(3.5)
    temple = (
        torch.exp(-(((y + 22.0) / 26.0) ** 2)) * torch.sigmoid((14.0 - z) / 9.0) * (x.abs() / 60.0).clamp_max(1.0) ** 3
    )
    muscle_mm = 7.0 * temple
    skin = bone_mm + muscle_mm + made_of.scalp_mm * (1.0 + 0.12 * soft)
    table = 0.26 * bone_mm
    ridge = _capsule(skull, _PETROUS, radius=8.0)

    in_head = _occupied(skin - distance, width)
    hu = torch.lerp(distance.new_full((), -1000.0), distance.new_full((), 30.0), in_head)
    hu = torch.lerp(hu, -85.0 + 12.0 * soft, _occupied(skin - 1.7 - distance, width))
    hu = torch.lerp(hu, 52.0 + 4.0 * soft, _occupied(bone_mm + muscle_mm - distance, width) * (muscle_mm > 0.5))
    outer = _occupied(bone_mm - distance, width)
    hu = torch.lerp(hu, 1350.0 + 60.0 * soft, outer)
    hu = torch.lerp(hu, 600.0 + 110.0 * diploe, _occupied(bone_mm - table - distance, width))
    hu = torch.lerp(hu, 1400.0 + 60.0 * soft, _occupied(table - distance, width))
    sinus = (
        _occupied(distance - 2.0, width) * _occupied(bone_mm - 2.2 - distance, width) * _occupied(forehead - 0.5, 0.2)
    )
    hu = torch.lerp(hu, distance.new_full((), -980.0), sinus)  # frontal sinus
    inside = _occupied(-distance, width) * (1.0 - _occupied(-ridge, width))
    hu = torch.lerp(hu, distance.new_full((), 1250.0), _occupied(-ridge, width) * _occupied(-distance, width))
    return hu, inside, in_head, (outer - inside).clamp_min(0.0) * (1.0 - sinus)


def _capsule(points: Tensor, line: tuple[tuple[float, float, float], ...], radius: float) -> Tensor:
    """Signed distance to a rounded rod and its mirror image."""
    a, b = points.new_tensor(line[0]), points.new_tensor(line[1])
    p = torch.cat([points[..., :1].abs(), points[..., 1:]], -1)
    along = ((p - a) @ (b - a) / (b - a).dot(b - a)).clamp(0.0, 1.0)
    away = p - a - along[..., None] * (b - a)
    return away.square().sum(-1).sqrt() - radius


def _midline(content: Tensor, skull: Tensor, csf: Tensor, width: float) -> Tensor:
    """The falx: a thin dense sheet in the midline, in front of, behind and above the corpus callosum."""
    x, y, z = skull.unbind(-1)
    height = 32.0 - 0.012 * (y - 5.0) ** 2  # lower edge, dipping to the front and the back
    sheet = _occupied(0.7 - x.abs(), max(width, 1.0)) * _occupied(z - height, 4.0) * _occupied(z + 22.0, 4.0)
    return torch.lerp(content, content.new_tensor(56.0), sheet * (0.35 + 0.65 * csf))


def _calcifications(content: Tensor, skull: Tensor, hu: float, width: float) -> Tensor:
    """Calcified pineal gland and choroid plexus, the landmarks of an elderly head."""
    mirrored = torch.cat([skull[..., :1].abs(), skull[..., 1:]], -1)
    for place, radius in ((_PINEAL, 2.2), (_PLEXUS, 2.6)):
        ball = _occupied(radius - (mirrored - mirrored.new_tensor(place)).norm(dim=-1), max(width, 1.5))
        content = torch.lerp(content, content.new_tensor(hu), 0.8 * ball)
    return content
