"""Maps with lesions drawn into them, and a CT that fits: every size is known."""

import math

import torch

from ctp_torch import ops
from ctp_torch.data.geometry import Geometry
from ctp_torch.data.maps import PerfusionMaps

CORE, PENUMBRA, NORMAL = (8.0, 12.5), (20.0, 8.0), (45.0, 1.5)  # CBF and Tmax


def drawn(
    n=96, n_slices=6, slice_mm=8.0, *, side=1, lesions=1, turn_deg=0.0, offset_mm=0.0, noise=0.0, white=True, seed=0
):
    """Maps with a core in a penumbra on one side (or on none, or both), and their true masks."""
    px = 220.0 / n
    axes = [(torch.arange(m) - (m - 1) / 2) * s for m, s in ((n_slices, slice_mm), (n, px), (n, px))]
    _, y, x = torch.meshgrid(*axes, indexing="ij")
    a = math.radians(turn_deg)
    u, v = math.cos(a) * x - math.sin(a) * y - offset_mm, math.sin(a) * x + math.cos(a) * y
    brain = (u / 66) ** 2 + (v / 82) ** 2 < 1
    core, slow = torch.zeros_like(brain), torch.zeros_like(brain)
    for sign in [side, -side][:lesions]:
        core |= ((u - sign * 32) / 15) ** 2 + (v / 20) ** 2 < 1
        slow |= ((u - sign * 32) / 27) ** 2 + (v / 38) ** 2 < 1
    slow &= brain
    cbf, tmax = (torch.full(brain.shape, value) for value in NORMAL)
    if white:
        cbf[(u.abs() < 40) & (v.abs() < 40)] = 25.0
    for where, (flow, time) in ((slow, PENUMBRA), (core, CORE)):
        cbf[where], tmax[where] = flow, time
    generator = torch.Generator().manual_seed(seed)
    cbf = cbf + noise * torch.randn(cbf.shape, generator=generator)
    cbv = torch.where(slow, 2.0, 4.0)
    values = {"cbf": cbf * brain, "cbv": cbv * brain, "tmax": tmax * brain}
    geometry = Geometry((n_slices, n, n), (slice_mm, px, px))
    return PerfusionMaps(values, brain, geometry), core, slow


def head_ct(maps):
    """A CT that fits drawn maps: skull around the brain."""
    spacing = maps.geometry.spacing
    ct = torch.full(maps.geometry.shape, -1000.0)
    ct[ops.dilate(maps.mask, 12.0, spacing)] = 30.0
    ct[ops.dilate(maps.mask, 8.0, spacing)] = 1000.0
    ct[maps.mask] = 32.0
    return ct
