"""Flow, volume, transit time and arrival at every point of one patient's brain, from anatomy, territory and stroke."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.ops.deconvolution.units import flow_per_peak
from ctp_torch.phantom.anatomy import Tissue
from ctp_torch.phantom.deformation import BOX_EXTENT, BOX_ORIGIN
from ctp_torch.phantom.interpolation import sample_volume, smooth_noise
from ctp_torch.phantom.physiology import MTT_RANGE, Physiology
from ctp_torch.phantom.stroke import Ischaemia, Stroke, ischaemia_at, old_infarct_at
from ctp_torch.phantom.territories import Territory, territory_at

__all__ = ["N_SHAPES", "Perfusion", "draw_texture", "perfusion_at", "transit_shapes"]

N_SHAPES = 6
"""Steps from normal to fully ischaemic transit time distributions."""


class Perfusion(NamedTuple):
    """Perfusion at ``(n,)`` points."""

    flow: Tensor
    """f = CBF rho / kH [1/s] of the voxel, partial volume included."""
    mtt: Tensor
    """[s]"""
    delay: Tensor
    """Arrival after the AIF site [s]."""
    shape: Tensor
    """int64, index of the transit time distribution: 0 normal."""
    vessel_delay: Tensor
    """Arrival in arteries and veins, relative to AIF and VOF [s]."""
    scar: Tensor
    """Fraction of old infarct."""
    ischaemia: Ischaemia
    territory: Territory


def draw_texture(generator: torch.Generator) -> Tensor:
    """Smooth random fields ``(7, z, y, x)`` of sd 1: CBF, MTT, 3 of the territories' borders, collaterals, scar."""
    fine = smooth_noise(generator, BOX_EXTENT, spacing=3.0, sigma_mm=4.5, channels=2)
    broad = smooth_noise(generator, BOX_EXTENT, spacing=3.0, sigma_mm=9.0, channels=5)
    return torch.cat([fine, broad])


def transit_shapes(patient: Physiology, stroke: Stroke) -> tuple[tuple[float, float], ...]:
    """(alpha, dispersion [s]) from normal to fully ischaemic tissue: alpha falls to 1.5, dispersion grows."""
    steps = [i / (N_SHAPES - 1) for i in range(N_SHAPES)]
    return tuple((patient.alpha + (1.5 - patient.alpha) * s, stroke.dispersion * s) for s in steps)


def perfusion_at(tissue: Tissue, texture: Tensor, patient: Physiology, stroke: Stroke) -> Perfusion:
    """Perfusion of tissue, partial volume included.

    Grey and white flow and volume mix by their fractions, so the mixture's MTT is its volume over its flow.

    Parameters
    ----------
    tissue
        anatomy at (n,) points
    texture
        (7, z, y, x), from ``draw_texture``
    patient
        normal physiology
    stroke
        what is wrong
    """
    fields = sample_volume(texture, tissue.position, origin=BOX_ORIGIN, spacing=3.0)  # (7, n)
    territory = territory_at(tissue.position, fields[2:5])
    ischaemia = ischaemia_at(territory, fields[5], stroke)
    scar = old_infarct_at(tissue.position, fields[6], stroke)
    alive = ischaemia.flow * (1.0 - 0.92 * scar)
    cbf = (tissue.grey * patient.grey[0] + tissue.white * patient.white[0]) * (1.0 + 0.15 * fields[0]).clamp(0.5, 1.6)
    cbv = tissue.grey * patient.grey[1] + tissue.white * patient.white[1]
    normal_mtt = 60.0 * cbv / (tissue.grey * patient.grey[0] + tissue.white * patient.white[0]).clamp_min(1e-4)
    mtt = normal_mtt * (1.0 + 0.08 * fields[1]) * ischaemia.volume / ischaemia.flow
    mtt = mtt.clamp(MTT_RANGE[0], 24.0)

    arrival = _arrival(tissue, territory, patient)
    shape = (ischaemia.severity * (N_SHAPES - 1)).round().long()
    return Perfusion(
        flow=cbf * alive / flow_per_peak(),
        mtt=mtt,
        delay=arrival + ischaemia.delay,
        shape=shape,
        vessel_delay=0.4 * arrival + 0.8 * ischaemia.delay,
        scar=scar,
        ischaemia=ischaemia,
        territory=territory,
    )


def _arrival(tissue: Tissue, territory: Territory, patient: Physiology) -> Tensor:
    """Normal arrival [s]: by territory, later in white matter and between territories."""
    base = tissue.hu.new_tensor(patient.delays)[territory.label % 5]
    border = torch.exp(-territory.depth.amax(-1).clamp_min(0.0) / 5.0)
    white = tissue.white / (tissue.grey + tissue.white).clamp_min(1e-4)
    return base + patient.white_delay * white + patient.watershed_delay * border
