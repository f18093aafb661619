"""A map of flow extraction, from a scan whose brain leaks on one side, and scans that are too short for it."""

from dataclasses import replace

import pytest
import torch
from oracles.vessels import gamma_variate, head

from ctp_torch import ops
from ctp_torch.data.geometry import Geometry
from ctp_torch.data.provenance import Provenance
from ctp_torch.data.series import CTPSeries
from ctp_torch.errors import CTPError, QualityError
from ctp_torch.ops.deconvolution.units import flow_per_peak
from ctp_torch.pipeline import deconvolve
from ctp_torch.pipeline.settings import MapSettings

LEAK = 6.0


def series(frames):
    """A head every 2 s whose right half leaks, its artery with a later, flat second pass, and that half."""
    made = head(64, 3, frames=frames, dt=2.0, noise=1.0, bolus=0.0)
    hu = made.hu.double()
    t = torch.arange(frames) * 2.0
    artery = gamma_variate(t, 9.0) + gamma_variate(t, 24.0, 60.0, alpha=1.0, beta=40.0)
    late = gamma_variate(t, 14.0) + gamma_variate(t, 29.0, 60.0, alpha=1.0, beta=40.0)
    blood = 0.03 * (gamma_variate(t, 11.0) + gamma_variate(t, 26.0, 60.0, alpha=1.0, beta=40.0))
    leaked = LEAK / flow_per_peak() * 2.0 * (artery.cumsum(0) - artery / 2.0)
    right = made.brain & (torch.arange(64) >= 32)
    for where, curve in ((made.brain, blood), (right, leaked)):
        hu += curve[:, None, None, None] * (where & ~made.artery & ~made.sinus)
    hu += artery[:, None, None, None] * made.artery + late[:, None, None, None] * made.sinus
    times = t.double()[:, None].expand(frames, 3).contiguous()
    geometry = Geometry((3, 64, 64), made.spacing)
    return (
        CTPSeries(hu.float(), times, geometry, Provenance(format="made")),
        ops.VesselCurve(artery.float(), made.artery),
        right,
    )


def test_one_side_leaks():
    """Within 15 % on the side that leaks, near 0 on the other; no other map changes."""
    scan, aif, right = series(80)
    maps = deconvolve(scan, aif=aif, scale_by_vof=False, permeability=True)
    plain = deconvolve(scan, aif=aif, scale_by_vof=False)
    assert "permeability" not in plain.values
    assert torch.equal(plain["cbf"], maps["cbf"])
    leak = maps["permeability"][maps.mask & right]
    tight = maps["permeability"][maps.mask & ~right]
    assert float(leak.median()) == pytest.approx(LEAK, rel=0.15)
    assert float(tight.median()) < 0.5


def test_short_scans_are_refused_or_doubted():
    scan, aif, _ = series(64)
    doubts = deconvolve(scan, aif=aif, scale_by_vof=False, permeability=True).provenance.warnings
    assert any("leakage reads high below 150 s" in text for text in doubts)
    scan, aif, _ = series(40)
    with pytest.raises(QualityError, match="the scan lasts 78 s: leakage needs 90 s at least"):
        deconvolve(scan, aif=aif, scale_by_vof=False, permeability=True)
    with pytest.raises(CTPError, match="--permeability goes with a --method"):
        replace(MapSettings(model="physics"), permeability=True).check()
