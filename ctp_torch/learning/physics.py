"""A student that needs no patient: curves of known perfusion, simulated over many arteries and scanners, to a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ctp_torch import ops
from ctp_torch.pipeline.recipe import ANY_REGISTRATION, PHYSICAL_RANGES, Recipe

if TYPE_CHECKING:
    from ctp_torch.models.base import Regressor
    from ctp_torch.ops.simulation.spectrum import Family

__all__ = ["PHYSICS_TARGETS", "SimulatedSet", "physics_network", "simulate_set", "train_physics"]

PHYSICS_TARGETS = ("cbv", "cbf", "mtt", "tmax", "delay")
"""What the student predicts, in order."""
_LOGARITHMIC = ("cbv", "cbf", "mtt")
"""Learned as logarithms: errors count by their ratio, so that low flow is as sharp as high."""
_DT_S, _SCAN_S = (0.5, 3.0), (30.0, 90.0)
"""Between frames, and of the whole scan."""
_EVERY_SECOND = 0.3
"""Share of the scans with a frame a second, the commonest."""
_SMOOTHING_MM = 2.0


class SimulatedSet(NamedTuple):
    """Features of simulated curves with their truth."""

    features: Tensor
    """``(samples, features)``, as `ctp_torch.ops.residue_features`."""
    targets: Tensor
    """``(samples, 5)`` `PHYSICS_TARGETS` in their units."""
    bounds: dict[str, tuple[float, float]]
    """Of the scans, as a recipe has them."""


def simulate_set(
    n_scans: int = 200,
    *,
    arteries: int = 8,
    voxels: int = 100,
    seed: int = 0,
    family: Family = "gamma",
    device: torch.device | str = "cpu",
) -> SimulatedSet:
    """Curves of ``n_scans`` protocols with ``arteries`` patients each, and ``voxels`` curves of every patient.

    Frames lie 0.5 to 3 s apart, scans last 30 to 90 s, all log-uniform; three scans in ten have a frame a second.

    Parameters
    ----------
    n_scans, arteries, voxels
        how many
    seed
        of everything
    family
        of transit times; another than gamma is for tests
    device
        where curves and features are made; what is drawn doesn't depend on it
    """
    generator = torch.Generator().manual_seed(seed)
    features: list[Tensor] = []
    targets, facts = [], []
    while len(features) < n_scans * arteries:
        times = _draw_times(generator).to(device)
        cover_s = min(20.0, float(times[-1] - times[3]) - 4.0)
        scans = ops.simulate_curves(
            times, arteries=arteries, voxels=voxels, generator=generator, family=family, cover_s=cover_s
        )
        for i, aif in enumerate(scans.aif):
            features.append(ops.residue_features(scans.curves[i], times, aif, times))
            targets.append(torch.stack([getattr(scans, name)[i] for name in PHYSICS_TARGETS], dim=1))
            reach, width = ops.arterial_reach(times, aif, times)[1], float(ops.artery_moments(aif, times)[1])
            facts.append((reach, width, float(times.diff().mean())))
    names = ("reach_s", "bolus_s", "dt_s")
    marks = torch.tensor(facts).quantile(torch.tensor([0.01, 0.99]), dim=0).T.tolist()
    bounds = {name: (low, high) for name, (low, high) in zip(names, marks, strict=True)}
    return SimulatedSet(torch.cat(features), torch.cat(targets), bounds)


def physics_network(seed: int = 0) -> Regressor:
    """The unfitted regressor that measured best on what `simulate_set` makes."""
    from ctp_torch.models import Network

    return Network([96, 96], steps=8000, batch_size=512, learning_rate=3e-3, seed=seed)


def train_physics(data: SimulatedSet, regressor: Regressor, *, smoothing_mm: float = _SMOOTHING_MM) -> Recipe:
    """Fit a regressor to simulated curves; the recipe that its file carries.

    Parameters
    ----------
    data
        from `simulate_set`
    regressor
        any of `ctp_torch.models`; fitted in place
    smoothing_mm
        Gaussian in the plane that these are smoothed by, beside their vessels [mm]
    """
    mean, sd = data.features.double().mean(dim=0), data.features.double().std(dim=0)
    recipe = Recipe(
        frames=data.features.shape[1],
        dt=1.0,
        targets={name: PHYSICAL_RANGES[name] for name in PHYSICS_TARGETS},
        registration=ANY_REGISTRATION,
        median_size=1,
        feature_mean=tuple(mean.tolist()),
        feature_sd=tuple(sd.clamp_min(1e-12).tolist()),
        features="residue",
        smoothing_mm=(smoothing_mm,),
        smoothing="beside",
        units="physical",
        logarithmic=_LOGARITHMIC,
        bounds=data.bounds,
    )
    columns = zip(PHYSICS_TARGETS, data.targets.unbind(1), strict=True)
    learned = torch.stack([values.log() if name in _LOGARITHMIC else values for name, values in columns], dim=1)
    regressor.fit(recipe.scale(data.features), learned)
    return recipe


def _draw_times(generator: torch.Generator) -> Tensor:
    """Times ``(time,)`` [s] of a scan's frames; at least 12 s are left after four frames for a bolus."""
    while True:
        ours, length, often = torch.rand(3, generator=generator).tolist()
        dt = 1.0 if often < _EVERY_SECOND else _DT_S[0] * (_DT_S[1] / _DT_S[0]) ** ours
        times = torch.arange(0.0, _SCAN_S[0] * (_SCAN_S[1] / _SCAN_S[0]) ** length, dt, dtype=torch.float64)
        if float(times[-1]) - max(4.0, 3 * dt) >= 18.0:
            return times
