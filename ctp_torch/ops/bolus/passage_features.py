"""What a student of simulated curves sees of a curve: its residue, and how far artery, frames and noise let it see."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ctp_torch.ops.bolus.arterial import arterial_area, arterial_reach, artery_moments, residue_features

__all__ = ["N_CONTEXT", "passage_features"]

N_CONTEXT = 7
"""Numbers that all curves of a scan share."""
_REACH_S = 60.0
"""Seconds after the onset beyond which a longer scan shows nothing new."""


def passage_features(
    curves: Tensor, times: Tensor, artery: Tensor, artery_times: Tensor, *, noise_hu: float
) -> Tensor:
    """Residues as `residue_features`, followed by numbers of the scan that tell how sharp and how sure they are.

    These are the artery's four moments [s], the logarithm of the noise of a second of scanning over the artery's area,
    the last time after the onset [s], and the spacing of the frames [s].

    Parameters
    ----------
    curves, times, artery, artery_times
        as for `residue_features`
    noise_hu
        standard deviation of a frame [HU]

    Returns
    -------
        ``(voxels, residues + 7)``

    Raises
    ------
    ValueError
        as `residue_features`
    """
    residues = residue_features(curves, times, artery, artery_times)
    dt = float(times.diff(dim=-1).double().mean())
    level = math.log(max(noise_hu, 1e-3) * math.sqrt(dt) / float(arterial_area(artery, artery_times)))
    _, reach = arterial_reach(times, artery, artery_times)
    own = residues.new_tensor([level, min(reach, _REACH_S), dt])
    context = torch.cat((artery_moments(artery, artery_times).to(residues), own))
    return torch.cat((residues, context.expand(len(residues), -1)), dim=1)
