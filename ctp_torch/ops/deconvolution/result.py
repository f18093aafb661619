"""What every deconvolution returns, and the one readout of CBF, CBV, MTT and Tmax from a residue function."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ctp_torch.ops.bolus.curve_numbers import half_rise_time, parabola_offset
from ctp_torch.ops.compute.gradients import gradient_asked
from ctp_torch.ops.deconvolution.passage import Passage
from ctp_torch.ops.deconvolution.units import SECONDS_PER_MINUTE

__all__ = [
    "SEARCH_WINDOW",
    "Deconvolution",
    "chunks",
    "finish",
    "from_peak",
    "largest_in_window",
    "longest_time",
    "mean_transit_time",
    "peak_of_residue",
    "read_filtered",
    "read_out",
]

SEARCH_WINDOW = (-5.0, 25.0)
"""Lags [s] in which the maximum of the residue function is looked for."""

CACHED_VALUES = 2**19
"""Values worked on at a time by a processor: 2 MB in single precision, about a core's second-level cache."""

ACCELERATOR_VALUES = 2**27
"""Values worked on at a time by an accelerator, whose memory is large and whose launches are dear."""

_LANES = 16  # columns that a processor's product takes at a time


@dataclass(frozen=True, eq=False)
class Deconvolution:
    """Perfusion of every voxel; None for what a method doesn't give."""

    cbf: Tensor
    """``(voxels,)`` cerebral blood flow [mL/100 g/min]."""
    cbv: Tensor
    """``(voxels,)`` cerebral blood volume [mL/100 g]."""
    mtt: Tensor
    """``(voxels,)`` mean transit time [s], ``longest`` at the most."""
    tmax: Tensor | None = None
    """``(voxels,)`` time of the maximum of the residue function [s], never below 0, ``longest`` at the most."""
    delay: Tensor | None = None
    """``(voxels,)`` arrival of the tissue after the AIF [s], ``longest`` at the most; negative for earlier tissue."""
    k: Tensor | None = None
    """``(voxels, lags)`` flow-scaled residue function CBF · R [1/s]."""
    lags: Tensor | None = None
    """``(lags,)`` ascending [s]; negative ones are residues of tissue that is earlier than the AIF."""
    sd: Tensor | None = None
    """``(voxels,)`` standard deviation of ``cbf`` [mL/100 g/min]."""
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    """What else a method maps, ``(voxels,)`` by name of the quantity and in its unit: ``cth`` [s], ``oefmax`` [%]."""
    longest: float = math.inf
    """The longest time that the scan can show [s], from the half rise of the AIF to the last frame: where hardly any
    flow is read, a transit time would be whatever noise makes of it."""
    route: str = "left to the method"
    """How frames that are uneven or far apart were treated, in words."""

    def maps(self) -> dict[str, Tensor]:
        """What a method gives of the quantities that are mapped, by name and in their units."""
        usual = {"cbv": self.cbv, "cbf": self.cbf, "mtt": self.mtt, "tmax": self.tmax}
        return {name: values for name, values in usual.items() if values is not None} | dict(self.extra)


def finish(result: Deconvolution, passage: Passage) -> Deconvolution:
    """The result with 0 for flat curves, NaN for those that weren't finite, no overlong times, the passage's route."""
    longest = longest_time(passage)
    result = replace(
        result,
        mtt=result.mtt.clamp(max=longest),
        tmax=None if result.tmax is None else result.tmax.clamp(max=longest),
        delay=None if result.delay is None else result.delay.clamp(max=longest),
    )
    names = ("cbf", "cbv", "mtt", "tmax", "delay", "k", "sd")
    parts = {name: passage.blank(part) for name in names if (part := getattr(result, name)) is not None}
    extra = {name: passage.blank(part) for name, part in result.extra.items()}
    return replace(result, **parts, extra=extra, longest=longest, route=passage.route)


def longest_time(passage: Passage) -> float:
    """Time from the half rise of the AIF to the last frame [s], a frame at least: the end of longer ones isn't seen."""
    return max(float(passage.times.max()) - half_rise_time(passage.aif, passage.aif_times), passage.dt)


def chunks(like: Tensor, columns: int) -> Iterator[slice]:
    """Consecutive slices over the voxels of ``like (voxels, ...)``, sized for ``columns`` values of work a voxel.

    What a slice needs fits the processor's cache, or, on an accelerator, half a gigabyte. No voxels: one empty slice.
    """
    room = CACHED_VALUES if like.device.type == "cpu" else ACCELERATOR_VALUES
    size = max(1, room // columns)
    for first in range(0, max(len(like), 1), size):
        yield slice(first, min(first + size, len(like)))


def read_filtered(filters: Tensor, lags: Tensor, passage: Passage, *, residues: bool = True) -> Deconvolution:
    """What :func:`read_out` gives for ``k = curves @ filters.T``, computed slice by slice.

    The residues of a volume are gigabytes that the readout passes over several times: in slices they are read from the
    cache, and where nobody wants them they never reach memory at all.

    Parameters
    ----------
    filters
        ``(lags, time)``
    lags
        ``(lags,)`` ascending, evenly spaced [s]
    passage
        the checked curves
    residues
        False leaves ``k`` and ``lags`` None, and doesn't compute lags that are not searched
    """
    curves = passage.curves
    peak, tmax = curves.new_empty(len(curves)), curves.new_empty(len(curves))
    if not residues:
        first, last = _window(lags)
        filters, lags = filters[first : last + 1], lags[first : last + 1]
    n_lags = len(lags)
    if not residues:
        filters = torch.nn.functional.pad(filters, (0, 0, 0, -n_lags % _LANES))  # products of 31 columns are slow
    transposed = filters.to(curves).T.contiguous()  # (time, lags)
    if gradient_asked(curves):  # gradients need memory that isn't written to again
        k = curves @ transposed
        kept = {"k": k, "lags": lags.to(curves)} if residues else {}
        return from_peak(*peak_of_residue(k[:, :n_lags], lags), passage, **kept)
    slices = list(chunks(curves, len(filters)))
    k = curves.new_empty(len(curves) if residues else slices[0].stop, len(filters))
    for rows in slices:
        part = k[rows] if residues else k[: rows.stop - rows.start]
        torch.mm(curves[rows], transposed, out=part)
        peak[rows], tmax[rows] = peak_of_residue(part[:, :n_lags], lags)
    if not residues:
        return from_peak(peak, tmax, passage)
    return from_peak(peak, tmax, passage, k=k, lags=lags.to(curves))


def read_out(
    k: Tensor, lags: Tensor, passage: Passage, *, delay: Tensor | None = None, sd: Tensor | None = None
) -> Deconvolution:
    """CBF, CBV, MTT and Tmax from residue functions.

    ``CBF = 6000 (kH / rho) max k`` over the sampled lags in [-5, 25] s, ``CBV = 100 (kH / rho) ∫c / ∫a``,
    ``MTT = 60 CBV / CBF``, and Tmax is the lag of the maximum, refined by a parabola through its two neighbours and
    never reported below 0 (``k`` and ``lags`` keep the sign).

    Parameters
    ----------
    k
        ``(voxels, lags)`` [1/s]
    lags
        ``(lags,)`` ascending, evenly spaced [s]
    passage
        the curves that ``k`` came from
    delay
        ``(voxels,)`` arrival [s] that lags count from, where they don't count from the AIF's; added to Tmax
    sd
        ``(voxels,)`` standard deviation of CBF [mL/100 g/min]

    Returns
    -------
    Deconvolution
        with ``k`` itself inside
    """
    peak, tmax = peak_of_residue(k, lags)
    if delay is not None:
        tmax = tmax + delay
    return from_peak(peak, tmax, passage, k=k, lags=lags.to(k), delay=delay, sd=sd)


def from_peak(
    peak: Tensor,
    tmax: Tensor,
    passage: Passage,
    *,
    k: Tensor | None = None,
    lags: Tensor | None = None,
    delay: Tensor | None = None,
    sd: Tensor | None = None,
) -> Deconvolution:
    """CBF from the maximum ``peak (voxels,)`` [1/s] of k, CBV from the areas, MTT from both; others as handed over."""
    cbf = peak * passage.flow_per_peak
    mtt = mean_transit_time(passage.cbv, cbf)
    return finish(Deconvolution(cbf, passage.cbv, mtt, tmax.clamp(min=0), delay, k, lags, sd), passage)


def peak_of_residue(k: Tensor, lags: Tensor) -> tuple[Tensor, Tensor]:
    """Largest values ``(voxels,)`` [1/s] in the search window and their signed, refined lags ``(voxels,)`` [s]."""
    peak, best = largest_in_window(k, lags)
    inside = best.clamp(1, k.shape[1] - 2)
    left, middle, right = (k.gather(1, (inside + i)[:, None]).squeeze(1) for i in (-1, 0, 1))
    first, last = _window(lags)
    refined = (best > first) & (best < last) & (best == inside)
    offset = torch.where(refined, parabola_offset(left, middle, right), 0.0)
    return peak, (best + offset) * float(lags[1] - lags[0]) + float(lags[0])


def largest_in_window(k: Tensor, lags: Tensor) -> tuple[Tensor, Tensor]:
    """Largest value ``(voxels,)`` of each residue in the search window, and its index ``(voxels,)`` among all lags."""
    first, last = _window(lags)
    peak, best = k[:, first : last + 1].max(dim=1)
    return peak, best + first


def _window(lags: Tensor) -> tuple[int, int]:
    """First and last index of the ascending lags inside the search window."""
    slack = 1e-6 * float(lags[-1] - lags[0])
    inside = ((lags >= SEARCH_WINDOW[0] - slack) & (lags <= SEARCH_WINDOW[1] + slack)).nonzero().squeeze(1)
    return int(inside[0]), int(inside[-1])


def mean_transit_time(cbv: Tensor, cbf: Tensor) -> Tensor:
    """MTT ``(voxels,)`` [s] by the central volume theorem, ``60 CBV / CBF``; 0 where nothing flows."""
    return torch.where(cbf > 0, SECONDS_PER_MINUTE * cbv / cbf, torch.where(cbf.isnan(), cbf, 0.0))
