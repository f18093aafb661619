"""Scans of known perfusion in memory: tissue curves with noise, and the artery as a scan shows it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch.ops.bolus.curve_numbers import area
from ctp_torch.ops.deconvolution.units import flow_per_peak, volume_per_area
from ctp_torch.ops.simulation.prior import Tissue, draw_arteries, draw_tissue
from ctp_torch.ops.simulation.spectrum import (
    Family,
    Spectrum,
    Transit,
    curve_spectrum,
    peak_lag,
    read_spectrum,
    tissue_curves,
)

__all__ = ["NOISE_HU", "Simulation", "simulate_curves", "simulate_from_artery"]

NOISE_HU = (0.1, 2.0)
"""Standard deviation of a frame's noise, after smoothing in the plane [HU]."""
_VESSELS = 4
"""Delays of the arteries, and of the veins, that voxels are mixed with."""


class Simulation(NamedTuple):
    """Curves of ``arteries`` scans, all with the same frames, and what is behind them."""

    curves: Tensor
    """``(arteries, voxels, time)`` enhancement [HU] over the mean of the frames before the bolus, with noise."""
    aif: Tensor
    """``(arteries, time)`` enhancement [HU] of the artery as measured: mixed with tissue, noisy, scaled to a vein."""
    noise: Tensor
    """``(arteries, voxels)`` standard deviation of the noise of a frame [HU]."""
    cbf: Tensor
    """``(arteries, voxels)`` [mL/100 g/min]."""
    cbv: Tensor
    """``(arteries, voxels)`` [mL/100 g], large vessels included."""
    mtt: Tensor
    """``(arteries, voxels)`` [s]."""
    tmax: Tensor
    """``(arteries, voxels)`` [s], lag of the largest residue; negative where tissue is earlier than the artery."""
    delay: Tensor
    """``(arteries, voxels)`` [s]."""


def simulate_curves(
    times: Tensor,
    *,
    arteries: int,
    voxels: int,
    generator: torch.Generator,
    family: Family = "gamma",
    cover_s: float = 20.0,
) -> Simulation:
    """Voxel curves of known perfusion behind arteries drawn from the literature.

    Parameters
    ----------
    times
        ``(time,)`` of the frames [s]; the device of the result
    arteries, voxels
        how many arteries, and curves behind each
    generator
        on the CPU
    family
        of transit times; ``gamma`` holds exponentials and boxes too
    cover_s
        the scan goes on for at least this long after the bolus comes [s]

    Returns
    -------
    Simulation

    Raises
    ------
    ValueError
        for fewer than 5 frames, times that don't ascend, or a scan too short
    """
    first, last = _check_times(times, cover_s)
    artery = draw_arteries(arteries, generator, first_onset=first, last_onset=last)
    tissue = draw_tissue((arteries, voxels), generator)
    noise = NOISE_HU[0] * (NOISE_HU[1] / NOISE_HU[0]) ** torch.rand(arteries, 1, generator=generator)
    artery, tissue, noise = _to(times.device, artery, tissue, noise)
    pure = read_spectrum(artery, times)  # (arteries, time)
    before = _before(pure, times)
    measured = _measured(artery, pure, before, times, generator)
    clean, cbv = _mixed(artery, tissue, times, generator, family)
    return _with_noise(clean, measured, before, noise, cbv, tissue, generator, family)


def simulate_from_artery(
    aif: Tensor,
    aif_times: Tensor,
    times: Tensor,
    *,
    voxels: int,
    noise_hu: float,
    n_baseline: int,
    generator: torch.Generator,
    family: Family = "gamma",
) -> Simulation:
    """Voxel curves of known perfusion behind one measured artery, as `simulate_curves`; ``arteries`` is 1.

    Parameters
    ----------
    aif, aif_times
        ``(time,)`` enhancement [HU] and when it was taken [s]
    times
        ``(time,)`` of the curves' frames [s]
    voxels
        how many curves
    noise_hu
        standard deviation of a frame's noise [HU]
    n_baseline
        frames whose mean is the zero of the enhancement
    generator, family
        as in `simulate_curves`
    """
    artery = curve_spectrum(aif.float(), aif_times)
    artery = artery._replace(values=artery.values[None])
    tissue = draw_tissue((1, voxels), generator)
    artery, tissue, noise = _to(aif.device, artery, tissue, torch.full((1, 1), noise_hu))
    clean, cbv = _mixed(artery, tissue, times, generator, family)
    before = (torch.arange(len(times), device=aif.device) < n_baseline).to(noise)[None] / n_baseline
    return _with_noise(clean, aif[None].float(), before, noise, cbv, tissue, generator, family)


def _check_times(times: Tensor, cover_s: float) -> tuple[float, float]:
    """Between which times [s] a bolus may come: after three frames and 4 s, and ``cover_s`` before the end."""
    if times.ndim != 1 or len(times) < 5 or not bool((times.diff() > 0).all()):
        raise ValueError(f"times must be at least 5, in one row and ascending, got {tuple(times.shape)}")
    first = float(times[0]) + max(4.0, float(times[3] - times[0]))
    last = min(first + 12.0, float(times[-1]) - cover_s)
    if last < first:
        raise ValueError(f"a scan of {float(times[-1] - times[0]):g} s doesn't last {cover_s:g} s after its bolus")
    return first, last


def _to(device: torch.device, artery: Spectrum, tissue: Tissue, noise: Tensor) -> tuple[Spectrum, Tissue, Tensor]:
    """What was drawn, moved."""
    transit = Transit(*(values.to(device) for values in tissue.transit))
    moved = Spectrum(artery.values.to(device), artery.omega.to(device))
    return moved, Tissue(tissue.cbf.to(device), transit), noise.to(device)


def _measured(artery: Spectrum, pure: Tensor, before: Tensor, times: Tensor, generator: torch.Generator) -> Tensor:
    """The artery ``(arteries, time)`` as a scan shows it: mixed with grey matter, noisy, scaled to a vein."""
    n = len(pure)
    part = (0.25 + 0.75 * torch.rand(n, 1, generator=generator)).to(pure)
    one = part.new_ones(n, 1)
    around = tissue_curves(artery, Transit(4.0 * one, 1.0 * one, 3.0 * one, 0.0 * one), times)[:, 0]
    mixed = part * pure + (1.0 - part) * around * (55.0 / flow_per_peak())
    noise = 3.0 * torch.rand(n, 1, generator=generator) * torch.randn(pure.shape, generator=generator)
    measured = mixed + noise.to(pure)
    measured = measured - torch.linalg.vecdot(measured, before)[:, None]
    vein = _vessels(artery, times, generator, late=(4.0, 9.0), spread=(2.0, 4.0))[:, 0]
    error = torch.exp(0.07 * torch.randn(n, 1, generator=generator)).to(pure)
    ratio = area(vein, times)[:, None] / area(measured, times)[:, None]
    return measured * ratio.clamp(1.0, 8.0) * error


def _vessels(
    artery: Spectrum,
    times: Tensor,
    generator: torch.Generator,
    *,
    late: tuple[float, float],
    spread: tuple[float, float],
) -> Tensor:
    """Pure blood ``(arteries, _VESSELS, time)`` [HU] that comes later than the artery and is dispersed [s]."""
    shape = (len(artery.values), _VESSELS, 1)
    low, high = (torch.rand(shape, generator=generator).to(artery.omega) for _ in range(2))
    wait, tau = late[0] + (late[1] - late[0]) * low, spread[0] + (spread[1] - spread[0]) * high
    turned = torch.polar(
        (1.0 + (artery.omega * tau) ** 2).rsqrt(), -artery.omega * wait - torch.atan(artery.omega * tau)
    )
    return read_spectrum(Spectrum(artery.values[:, None] * turned, artery.omega), times)


def _mixed(
    artery: Spectrum, tissue: Tissue, times: Tensor, generator: torch.Generator, family: Family
) -> tuple[Tensor, Tensor]:
    """Noiseless curves ``(arteries, voxels, time)`` as smoothing leaves them, and all CBV ``(arteries, voxels)``.

    Every other voxel holds up to a third of another one, in whose stead its own perfusion is the truth: at the rim of a
    lesion the early curve of its neighbour outshines its own. A tenth hold large vessels, 2 % in the mean, arteries as
    often as veins: smoothing beside vessels leaves out those that are seen.
    """
    curves = tissue_curves(artery, tissue.transit, times, family=family) * (tissue.cbf / flow_per_peak())[..., None]
    kinds = ((0.0, 4.0), (0.0, 1.0)), ((3.0, 10.0), (2.0, 4.0))
    blood = torch.cat([_vessels(artery, times, generator, late=late, spread=tau) for late, tau in kinds], dim=1)
    shape = tissue.cbf.shape
    strange = (0.7 * torch.rand(shape, generator=generator) - 0.35).clamp_min(0.0).to(curves)[..., None]
    curves = torch.lerp(curves, curves.roll(1, dims=1), strange)
    amount = -0.02 * torch.rand(shape, generator=generator).clamp_min(1e-6).log()
    amount = (amount * (torch.rand(shape, generator=generator) < 0.1)).clamp_max(0.1).to(curves)
    which = torch.randint(2 * _VESSELS, shape, generator=generator).to(curves.device)
    share = torch.nn.functional.one_hot(which, 2 * _VESSELS) * amount[..., None]  # (arteries, voxels, vessels)
    return curves + share @ blood, tissue.cbv + volume_per_area() * amount


def _with_noise(
    clean: Tensor,
    aif: Tensor,
    before: Tensor,
    noise: Tensor,
    cbv: Tensor,
    tissue: Tissue,
    generator: torch.Generator,
    family: Family,
) -> Simulation:
    """The simulation: white noise, a quarter more or less from voxel to voxel, and that of the baseline's mean."""
    sd = noise * torch.exp(0.25 * torch.randn(tissue.cbf.shape, generator=generator)).to(noise)
    noisy = clean + sd[..., None] * torch.randn(clean.shape, generator=generator).to(clean)
    noisy = noisy - noisy @ before[..., None]
    transit = tissue.transit
    return Simulation(noisy, aif, sd, tissue.cbf, cbv, transit.mtt, peak_lag(transit, family=family), transit.delay)


def _before(pure: Tensor, times: Tensor) -> Tensor:
    """Weights ``(arteries, time)`` of the frames that make the baseline: up to 2 s before the bolus, three at least."""
    rising = (pure > 0.1 * pure.amax(dim=-1, keepdim=True)).to(torch.int8).argmax(dim=-1, keepdim=True)
    frames = torch.arange(len(times), device=pure.device)
    early = (times.to(pure) <= times.to(pure)[rising] - 2.0) | (frames < 3)
    return early / early.sum(dim=-1, keepdim=True)
