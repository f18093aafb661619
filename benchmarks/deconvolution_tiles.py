"""The grid of tile curves that deconvolutions are compared on, and how near the truth an estimate is."""

import torch

from ctp_torch.ops.deconvolution.units import flow_per_peak
from ctp_torch.phantom import curves as closed_form

BOLUSES = {"textbook": closed_form.TEXTBOOK, "clinical": closed_form.CLINICAL}
RESIDUES = (closed_form.exponential_tissue_curve, closed_form.linear_tissue_curve, closed_form.box_tissue_curve)
MTT = (24.0, 12.0, 8.0, 6.0, 4.8, 4.0, 24 / 7)
DELAYS = tuple(0.5 * i for i in range(7))
SCAN_S = 60.0


def frames(dt):
    """Times of the frames (time,) [s]."""
    return torch.arange(0, SCAN_S - 1e-9, dt, dtype=torch.float64)


def tile_curves(bolus, dt, noise_hu, *, repeats=8, seed=0):
    """Curves (voxels, time) in float32, the AIF (time,), and the truth: cbf, mtt, delay, cbv, each (voxels,)."""
    t = frames(dt)
    cbv, delay, mtt = (
        g.reshape(-1, 1)
        for g in torch.meshgrid(
            *(torch.tensor(v, dtype=torch.float64) for v in ((1.0, 2, 3, 4, 5), DELAYS, MTT)), indexing="ij"
        )
    )
    flow = 60 * cbv / mtt / flow_per_peak()
    curves = torch.cat([residue(t, bolus, flow=flow, mtt=mtt, delay=delay) for residue in RESIDUES])
    truth = torch.cat((60 * cbv / mtt, mtt, delay, cbv), dim=1).repeat(3, 1).repeat_interleave(repeats, dim=0)
    curves = curves.repeat_interleave(repeats, dim=0)
    noise = torch.randn(curves.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    aif = closed_form.arterial_curve(t, bolus).float()
    return (curves + noise_hu * noise).float(), aif, dict(zip(("cbf", "mtt", "delay", "cbv"), truth.T, strict=True))


def agreement(x, y):
    """Correlation, slope of x on y, and mean absolute error."""
    x, y = x.double(), y.double()
    slope = float(((x - x.mean()) * (y - y.mean())).mean() / y.var(correction=0))
    r = slope * float(y.std(correction=0) / x.std(correction=0))
    return {"r": r, "slope": slope, "mae": float((x - y).abs().mean())}
