"""One patient's head at rest on thin rows: Hounsfield units, enhancing voxels, and the truth of every thick slice."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.phantom.acquisition import Enhancement, Protocol, Slab, geometry_of, thin_rows
from ctp_torch.phantom.anatomy import Head, Tissue, tissue_at
from ctp_torch.phantom.bank import CurveBank, find_rows, residue_peak_lags
from ctp_torch.phantom.deformation import head_points
from ctp_torch.phantom.interpolation import sample_volume
from ctp_torch.phantom.perfusion import Perfusion, perfusion_at
from ctp_torch.phantom.physiology import Blood, Physiology
from ctp_torch.phantom.stroke import Stroke
from ctp_torch.phantom.vessels import blur_vessels

__all__ = ["CHANNELS", "Person", "build_slab"]

CHANNELS = (
    "flow", "volume", "delay", "tmax", "grey", "white", "artery", "vein", "intracranial", "head", "bone", "scar",
    "flow_factor", "volume_factor",
)  # fmt: skip
"""What the truth of a thick slice is averaged from; delay and tmax are weighted by volume, the factors by tissue."""

_SKIN_MM = 26.0


class Person(NamedTuple):
    """Everything that doesn't depend on the scanner."""

    head: Head
    texture: Tensor
    physiology: Physiology
    stroke: Stroke


def build_slab(
    person: Person, blood: Blood, protocol: Protocol, *, margin_mm: float
) -> tuple[Slab, tuple[Enhancement, Enhancement], Tensor, Tensor]:
    """The head at rest, its enhancing tissue and vessels, and the truth of the slices.

    Parameters
    ----------
    person
        the patient
    blood
        curves and bank
    protocol
        the scanner's settings
    margin_mm
        how far the head will move

    Returns
    -------
    tuple
        slab, (tissue, vessels), truth (channels, z, size, size) of ``CHANNELS``, territory labels (z, size, size)
    """
    heights, step = thin_rows(protocol, margin_mm)
    crop = _crop(person.head, heights, protocol, margin_mm)
    geometry = geometry_of(protocol)
    pixel = geometry.spacing[1]
    y0, ny, x0, nx = crop
    first = (geometry.origin[0] + x0 * pixel, geometry.origin[1] + y0 * pixel, float(heights[0]))
    y = first[1] + pixel * torch.arange(ny)
    x = first[0] + pixel * torch.arange(nx)
    centres = geometry.origin[2] + protocol.spacing_mm * torch.arange(protocol.slices, dtype=torch.float64)
    lags = residue_peak_lags(blood.bank, blood.shapes)
    head = person.head._replace(vessels=blur_vessels(person.head.vessels, pixel))

    hu = torch.empty(len(heights), ny, nx)
    truth = torch.zeros(len(CHANNELS), protocol.slices, ny, nx)
    territory = torch.zeros(protocol.slices, ny, nx, dtype=torch.int64)
    counts = torch.zeros(protocol.slices)
    parts: list[tuple[Tensor, ...]] = []
    for row, z in enumerate(heights.tolist()):
        points = torch.stack([x.expand(ny, nx), y[:, None].expand(ny, nx), torch.full((ny, nx), z)], -1).reshape(-1, 3)
        tissue = tissue_at(points, head, width=max(pixel, step, 0.7))
        perfusion = perfusion_at(tissue, person.texture, person.physiology, person.stroke)
        hu[row] = _baseline(tissue, perfusion, head).reshape(ny, nx)
        nearest = int((centres - z).abs().argmin())
        parts.append(_enhancing(tissue, perfusion, row * ny * nx, nearest))
        if abs(float(centres[nearest]) - z) < protocol.thickness_mm / 2:
            truth[:, nearest] += _channels(tissue, perfusion, blood.bank, lags).reshape(-1, ny, nx)
            territory[nearest] = perfusion.territory.label.reshape(ny, nx)
            counts[nearest] += 1
    slab = Slab(hu, first, pixel, step, crop)
    truth = truth / counts.clamp_min(1)[:, None, None]
    return slab, _collect(parts, blood), _uncrop(truth, crop, protocol), _uncrop(territory, crop, protocol)


def _crop(head: Head, heights: Tensor, protocol: Protocol, margin_mm: float) -> tuple[int, int, int, int]:
    """The rows and columns of the image that hold the head and its motion: first row, rows, first column, columns."""
    axis = torch.linspace(-protocol.fov_mm / 2, protocol.fov_mm / 2, 48)
    z = torch.linspace(float(heights[0]), float(heights[-1]), 9)
    zz, yy, xx = torch.meshgrid(z, axis, axis, indexing="ij")
    points = head_points(torch.stack([xx, yy, zz], -1), head.deformation)
    near = sample_volume(head.template.table, points, origin=head.template.origin) < _SKIN_MM
    reach = margin_mm + protocol.fov_mm / 47
    pixel = protocol.fov_mm / protocol.size
    bounds: list[int] = []
    for occupied in (near.any(2).any(0), near.any(1).any(0)):
        where = axis[occupied] if bool(occupied.any()) else axis
        low = math.floor((float(where[0]) - reach + protocol.fov_mm / 2) / pixel)
        high = math.ceil((float(where[-1]) + reach + protocol.fov_mm / 2) / pixel)
        low, high = max(low, 0), min(high, protocol.size)
        bounds += [low, high - low]
    return bounds[0], bounds[1], bounds[2], bounds[3]


def _baseline(tissue: Tissue, perfusion: Perfusion, head: Head) -> Tensor:
    """HU without contrast, with old infarcts and the first faint hypodensity of a fresh core."""
    matter = tissue.grey + tissue.white
    fresh = ((0.3 - perfusion.ischaemia.flow) / 0.3).clamp(0.0, 1.0)
    hu = tissue.hu - 1.8 * fresh * matter
    return torch.lerp(hu, hu.new_tensor(head.materials.csf + 5.0), perfusion.scar * matter.clamp_max(1.0))


def _enhancing(tissue: Tissue, perfusion: Perfusion, offset: int, row: int) -> tuple[Tensor, ...]:
    """Index, scale and parameters of the voxels of one thin row that enhance: tissue, then vessels."""
    wet = (tissue.grey + tissue.white > 0.01).nonzero()[:, 0]
    vessel = (tissue.artery + tissue.vein > 0.01).nonzero()[:, 0]
    artery, vein = tissue.artery[vessel], tissue.vein[vessel]
    flow, mtt, delay, shape = (v[wet] for v in (perfusion.flow, perfusion.mtt, perfusion.delay, perfusion.shape))
    blood = artery + vein
    return (
        wet + offset, torch.full_like(wet, row), flow, mtt, delay, shape,
        vessel + offset, torch.full_like(vessel, row), blood, vein / blood, perfusion.vessel_delay[vessel],
    )  # fmt: skip


def _collect(parts: list[tuple[Tensor, ...]], blood: Blood) -> tuple[Enhancement, Enhancement]:
    """The rows' voxels joined; vessels use a bank of two curves, arterial and venous, mixed by the venous share."""
    joined = [torch.cat(column) for column in zip(*parts, strict=True)]
    place, moment, flow, mtt, delay, shape, vessel_place, vessel_moment, fraction, venous, vessel_delay = joined
    tissue = Enhancement(place, moment, blood.bank, find_rows(blood.bank, mtt, shape), flow, delay)
    two = CurveBank(torch.stack([blood.aif, blood.vof])[None].float(), torch.tensor([0.0, 1.0]), blood.bank.step)
    rows = find_rows(two, venous, torch.zeros_like(vessel_place))
    return tissue, Enhancement(vessel_place, vessel_moment, two, rows, fraction, vessel_delay)


def _channels(tissue: Tissue, perfusion: Perfusion, bank: CurveBank, lags: Tensor) -> Tensor:
    """The ``CHANNELS`` of one thin row, ``(channels, n)``."""
    blood_volume = perfusion.flow * perfusion.mtt
    cell = torch.searchsorted(bank.transits, perfusion.mtt).clamp_max(len(bank.transits) - 1)
    tmax = perfusion.delay + lags[perfusion.shape, cell]
    matter = tissue.grey + tissue.white
    return torch.stack(
        [
            perfusion.flow, blood_volume, perfusion.delay * blood_volume, tmax * blood_volume,
            tissue.grey * (1 - perfusion.scar), tissue.white * (1 - perfusion.scar), tissue.artery, tissue.vein,
            tissue.intracranial, tissue.head, tissue.bone, perfusion.scar * matter,
            perfusion.ischaemia.flow * matter, perfusion.ischaemia.volume * matter,
        ]
    )  # fmt: skip


def _uncrop(values: Tensor, crop: tuple[int, int, int, int], protocol: Protocol) -> Tensor:
    """The crop put back into the image, 0 around it."""
    y0, ny, x0, nx = crop
    out = values.new_zeros(*values.shape[:-2], protocol.size, protocol.size)
    out[..., y0 : y0 + ny, x0 : x0 + nx] = values
    return out
