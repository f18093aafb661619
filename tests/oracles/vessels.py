"""Small digital heads with known masks and vessels, and plain float64 readings of curves."""

import math
from typing import NamedTuple

import numpy as np
import torch


def gamma_variate(t, onset, peak=300.0, alpha=4.0, beta=2.4):
    """A bolus that starts at ``onset`` s and peaks ``alpha beta`` s later."""
    u = torch.as_tensor(t, dtype=torch.float64).sub(onset).clamp_min(0)
    return peak * (u / (alpha * beta)) ** alpha * torch.exp(alpha - u / beta)


class Head(NamedTuple):
    hu: torch.Tensor  # (time, z, y, x)
    spacing: tuple[float, float, float]
    head: torch.Tensor
    brain: torch.Tensor
    ventricle: torch.Tensor
    artery: torch.Tensor
    sinus: torch.Tensor
    aif: torch.Tensor
    vof: torch.Tensor


def head(
    n=128,
    n_slices=6,
    slice_mm=8.0,
    fov_mm=230.0,
    *,
    frames=50,
    dt=1.0,
    noise=3.0,
    onset=9.0,
    turn_deg=0.0,
    shift_mm=(0.0, 0.0),
    roll=0.0,
    table=False,
    gap_deg=0.0,
    bolus=1.0,
    partial=1.0,
    seed=0,
):
    """An ellipsoidal head: scalp, skull, fluid, brain, ventricles, two arteries, a sagittal sinus; optionally a table,
    a gap in the skull, and arteries that fill only a part of their voxels."""
    generator = torch.Generator().manual_seed(seed)
    px = fov_mm / n
    axes = [
        (torch.arange(m, dtype=torch.float64) - (m - 1) / 2) * s for m, s in ((n_slices, slice_mm), (n, px), (n, px))
    ]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    x, y = x - shift_mm[0] - roll * z, y - shift_mm[1]
    a = math.radians(turn_deg)
    u, v = math.cos(a) * x - math.sin(a) * y, math.sin(a) * x + math.cos(a) * y  # across and along the midline

    def ellipsoid(rx, ry, rz, cx=0.0, cy=0.0, cz=-10.0):
        return ((u - cx) / rx) ** 2 + ((v - cy) / ry) ** 2 + ((z - cz) / rz) ** 2 < 1

    skin, outer, inner = ellipsoid(78, 96, 90), ellipsoid(73, 91, 85), ellipsoid(66, 84, 78)
    cortex = ellipsoid(64, 82, 76)
    ventricle = ellipsoid(7, 22, 30, 9, 0, 0) | ellipsoid(7, 22, 30, -9, 0, 0)
    static = torch.full_like(x, -1000.0)
    if table:
        static[(y > fov_mm / 2 - 8) & (y < fov_mm / 2 - 5)] = 300.0
        rest = torch.hypot(x, y - 2)
        static[(rest > 100) & (rest < 103) & (y > 30)] = -50.0
    static[skin] = 30.0
    static[outer] = 1000.0
    if gap_deg:
        static[outer & (torch.atan2(u, v).abs() < math.radians(gap_deg / 2)) & ~inner] = 40.0
    static[inner] = 8.0
    static[cortex] = 33.0
    static[cortex & ventricle] = 8.0
    time = torch.arange(frames, dtype=torch.float64) * dt
    aif = bolus * gamma_variate(time, onset)
    vof = bolus * 0.8571 * gamma_variate(time, onset + 5.0, beta=2.8)  # the same area: 2.4 / 2.8
    tissue = 0.03 * bolus * gamma_variate(time, onset + 1.0, beta=3.0)
    artery = inner & ((torch.hypot(u - 28, v + 12) < 1.9) | (torch.hypot(u + 28, v + 12) < 1.9))
    sinus = inner & (torch.hypot(u, v - 77) < 3.3) & (z.abs() < 30)
    hu = static.expand(frames, -1, -1, -1).clone()
    hu += tissue[:, None, None, None] * (cortex & ~ventricle & ~artery & ~sinus)
    hu += (partial * aif)[:, None, None, None] * artery + vof[:, None, None, None] * sinus
    hu += noise * torch.randn(hu.shape, generator=generator, dtype=torch.float64)
    return Head(
        hu.float(), (slice_mm, px, px), skin, inner, cortex & ventricle, artery, sinus, aif.float(), vof.float()
    )


def dice(a, b):
    """Overlap of two masks."""
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def onset_by_loop(curve, dt, fraction=0.1, n_baseline=3):
    """Walk back from the peak of one curve to the level, and interpolate."""
    curve = np.asarray(curve, dtype=np.float64)
    base = np.sort(curve[:n_baseline])[(n_baseline - 1) // 2]
    level = base + fraction * (curve.max() - base)
    i = int(curve.argmax())
    while i >= 0 and not (i < curve.argmax() and curve[i] < level):
        i -= 1
    return 0.0 if i < 0 else max(0.0, (i + (level - curve[i]) / (curve[i + 1] - curve[i])) * dt)
