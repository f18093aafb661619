"""A head as simple as can be: air, skull, brain with a bolus; its maps are known by construction."""

import numpy as np
import torch

from ctp_torch import CTPSeries, Geometry

RANGES = {"cbv": (0.0, 8.0), "cbf": (0.0, 60.0), "mtt": (0.0, 20.0), "tmax": (0.0, 12.0)}


def head(seed=0, *, size=48, slices=3, frames=24, dt=1.0):
    """A series and its maps by quantity, 0 outside the brain."""
    rng = np.random.default_rng(seed)
    spacing = (5.0, 200.0 / size, 200.0 / size)
    y, x = np.mgrid[:size, :size] * spacing[1] - 100.0
    r = np.hypot(x / 70.0, y / 85.0)
    skull, brain = (r > 1.0) & (r <= 1.1), r <= 0.97
    rows, columns = np.mgrid[:size, :size] / size
    wave = np.sin(5 * rows[None] + np.arange(slices)[:, None, None] + seed) * np.cos(4 * columns[None])
    cbv = np.where(brain, 3.5 + 1.5 * wave, 0.0)
    mtt = np.where(brain, 5.0 + 1.2 * np.cos(6 * columns[None]) + 0 * wave, 0.0)
    maps = {"cbv": cbv, "mtt": mtt, "cbf": 60 * cbv / np.maximum(mtt, 1e-6), "tmax": np.where(brain, 2 + wave, 0.0)}
    t = np.arange(frames) * dt
    late = np.maximum(t[:, None, None, None] - 5 - maps["tmax"], 0)
    bolus = late**2 * np.exp(-late / 2) / 2.17
    hu = np.where(skull, 900.0, np.where(brain, 35.0, -1000.0)) + 6 * cbv * bolus + rng.normal(0, 0.5, bolus.shape)
    geometry = Geometry((slices, size, size), spacing, (-100.0, -100.0, 10.0))
    times = torch.arange(frames, dtype=torch.float64)[:, None].expand(frames, slices) * dt
    series = CTPSeries(torch.from_numpy(hu.astype("float32").round()), times.clone(), geometry)
    return series, {name: torch.from_numpy(value.astype("float32")) for name, value in maps.items()}
