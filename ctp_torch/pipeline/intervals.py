"""Where the truth lies when a model gives a value, as its training left it in the model's file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ctp_torch.data.maps import BOUNDED
from ctp_torch.errors import ModelMismatchError
from ctp_torch.lesions.thresholds import Thresholds
from ctp_torch.ops.conformal import band_ends
from ctp_torch.ops.familiar import Familiar, distance

if TYPE_CHECKING:
    from ctp_torch.models.base import Regressor

__all__ = ["VOLUMES", "Band", "Intervals", "Neighbourhood", "answers_signature", "relative_flow"]

VOLUMES = ("core_ml", "hypoperfusion_ml", "mismatch_ml")
"""Of a lesion summary, those with an interval."""
_KEY = "intervals"
_QUANTILES = (0.1, 0.5, 0.9)
_BELONGING = ("method", "smoothing", "width_mm", "least_matrix", "most_matrix")
"""Of thresholds, what tells which maps they are for."""
_ENOUGH = 1_000_000
"""Voxels that tell a quantile."""
_LEAST = 0.1
"""Answers count as this at the least, before their logarithm [their unit]."""
_WORDS = {"bolus": "the shape of its bolus", "answers": "what the model answers over the brain"}


@dataclass(frozen=True)
class Band:
    """Of one quantity: quantiles of truth minus prediction, by predicted value, and how much patients differ."""

    knots: tuple[float, ...]
    """Predicted values, ascending [the quantity's unit]."""
    low: tuple[float, ...]
    """Lower quantile of truth minus prediction at the knots."""
    high: tuple[float, ...]
    """Upper quantile."""
    margin: float
    """Both ends move out by so many widths of the band, so that it holds for the next patient."""

    def ends(self, predicted: Tensor) -> tuple[Tensor, Tensor]:
        """Lower and upper end for predicted values of any shape; never below 0."""
        knots, low, high = (predicted.new_tensor(values) for values in (self.knots, self.low, self.high))
        lower, upper = band_ends(predicted, knots, low, high, self.margin)
        return lower.clamp_min(0.0), upper.clamp_min(0.0)


@dataclass(frozen=True)
class Neighbourhood:
    """Scans that a model learned from, by one of their signatures."""

    mean: tuple[float, ...]
    axes: tuple[tuple[float, ...], ...]
    variances: tuple[float, ...]
    rest: float
    limit: float
    """Distance from all others that no training scan exceeds, or hardly any."""

    def distance(self, signature: Tensor) -> float:
        """In limits: above 1 lies outside."""
        mean, axes, variances, rest = (
            torch.tensor(values, dtype=torch.float64) for values in (self.mean, self.axes, self.variances, self.rest)
        )
        return float(distance(signature.detach().cpu(), Familiar(mean, axes, variances, rest))) / self.limit


@dataclass(frozen=True)
class Intervals:
    """What a model's training says of the truth about the next patient."""

    level: float
    """Share of the voxels that lie within the band of a patient, in that share of the patients at the least."""
    patients: int
    """That were left out in turn."""
    bands: Mapping[str, Band]
    """By quantity, ``rel_cbf`` among them."""
    volumes: Mapping[str, float] = field(default_factory=dict)
    """Of ``VOLUMES``, how far the root of the truth lies from the root of what is measured [mL^.5]."""
    thresholds: Mapping[str, object] = field(default_factory=dict)
    """With which ``volumes`` holds."""
    known: Mapping[str, Neighbourhood] = field(default_factory=dict)
    """By signature: ``bolus``, ``answers``."""

    @classmethod
    def of(cls, model: Regressor) -> Intervals | None:
        """Those stored with a model; None where it has none.

        Raises
        ------
        ModelMismatchError
            if they can't be read
        """
        stored = model.metadata_.get(_KEY)
        if stored is None:
            return None
        try:
            made = cls(
                level=float(stored["level"]),
                patients=int(stored["patients"]),
                bands={str(name): _band(parts) for name, parts in stored["bands"].items()},
                volumes={str(name): float(margin) for name, margin in stored["volumes"].items()},
                thresholds=dict(stored["thresholds"]),
                known={str(name): _neighbourhood(parts) for name, parts in stored["known"].items()},
            )
            made.check()
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ModelMismatchError(f"the model's intervals are not readable ({error}); train it again") from error
        return made

    def check(self) -> None:
        """Refuse numbers that no training writes.

        Raises
        ------
        ValueError
            naming them
        """
        if not 0 < self.level < 1 or self.patients < 1:
            raise ValueError(f"level {self.level} over {self.patients} patients")
        for name, band in self.bands.items():
            sizes = {len(band.knots), len(band.low), len(band.high)}
            finite = all(map(math.isfinite, [*band.knots, *band.low, *band.high, band.margin]))
            ascend = list(band.knots) == sorted(band.knots)
            if name not in BOUNDED or len(sizes) != 1 or 0 in sizes or not ascend or not finite:
                raise ValueError(f"the band of {name}")
        for name, one in self.known.items():
            numbers = [*one.mean, *one.variances, one.rest, one.limit, *(v for row in one.axes for v in row)]
            fits = len(one.axes) == len(one.variances) and all(len(row) == len(one.mean) for row in one.axes)
            positive = min([*one.variances, one.rest, one.limit], default=0.0) > 0
            if not fits or not positive or not all(map(math.isfinite, numbers)):
                raise ValueError(f"the neighbourhood of {name}")
        if not all(math.isfinite(margin) and margin >= 0 and name in VOLUMES for name, margin in self.volumes.items()):
            raise ValueError(f"margins of volumes {self.volumes}")

    def as_metadata(self) -> dict[str, object]:
        """JSON-able form, for the model file."""
        return {_KEY: asdict(self)}

    def ends(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``cbf_lower``, ``cbf_upper`` ... of predicted values, as far as there are bands."""
        made = {}
        for name, band in self.bands.items():
            if name in values:
                made[f"{name}_lower"], made[f"{name}_upper"] = band.ends(values[name])
        return made

    def volume_ends(self, summary: Mapping[str, object], limits: Thresholds) -> dict[str, tuple[float, float]]:
        """Lower and upper volume [mL] of a lesion summary; none with other thresholds than those of the training."""
        if not self.volumes or _rules(asdict(limits)) != _rules(self.thresholds):
            return {}
        measured = {name: summary.get(name) for name in self.volumes}
        roots = {name: math.sqrt(value) for name, value in measured.items() if isinstance(value, int | float)}
        return {
            name: (max(root - self.volumes[name], 0.0) ** 2, (root + self.volumes[name]) ** 2)
            for name, root in roots.items()
        }

    def outside(self, signatures: Mapping[str, Tensor | None]) -> list[str]:
        """What about a scan lies outside of what the model learned from: a sentence with numbers each."""
        far = {}
        for name, one in self.known.items():
            signature = signatures.get(name)
            if signature is not None and len(signature) == len(one.mean):
                far[name] = one.distance(signature)
        return [
            f"the scan lies outside of what the model learned from by {_WORDS.get(name, name)} ({ratio:.1f} times as "
            f"far as its {self.patients} scans): its maps may be off, and no intervals are given"
            for name, ratio in far.items()
            if ratio > 1
        ]


def _rules(thresholds: Mapping[str, object]) -> dict[str, object]:
    """Thresholds without what they belong to: the same rules measure the same."""
    return {name: value for name, value in thresholds.items() if name not in _BELONGING}


def relative_flow(values: Mapping[str, Tensor], cbf: Tensor | None = None) -> Tensor | None:
    """CBF over its median in normal tissue ``(voxels,)``: where the predicted Tmax is normal, if it is predicted.

    Parameters
    ----------
    values
        predicted, by quantity ``(voxels,)``; None comes back without CBF
    cbf
        what is divided: the predicted CBF when None, else the truth, over the same tissue
    """
    if "cbf" not in values:
        return None
    flow = values["cbf"] if cbf is None else cbf
    normal = values["tmax"] < Thresholds.normal_tmax if "tmax" in values else torch.ones_like(flow, dtype=torch.bool)
    tissue = normal if bool(normal.any()) else torch.ones_like(normal)
    return flow / flow[tissue].median().clamp_min(1e-3)


def answers_signature(values: Mapping[str, Tensor]) -> Tensor:
    """Log quantiles of every map over the brain, from values ``(voxels,)``, float64."""
    at = torch.tensor(_QUANTILES, dtype=torch.float64)
    some = {name: column[:: 1 + len(column) // _ENOUGH] for name, column in values.items()}  # torch sorts 16 M at most
    rows = [some[name].detach().cpu().double().clamp_min(_LEAST).log() for name in sorted(some)]
    return torch.cat([row.quantile(at) for row in rows])


def _band(parts: Mapping[str, Any]) -> Band:
    knots, low, high = (tuple(map(float, parts[name])) for name in ("knots", "low", "high"))
    return Band(knots, low, high, float(parts["margin"]))


def _neighbourhood(parts: Mapping[str, Any]) -> Neighbourhood:
    return Neighbourhood(
        mean=tuple(map(float, parts["mean"])),
        axes=tuple(tuple(map(float, row)) for row in parts["axes"]),
        variances=tuple(map(float, parts["variances"])),
        rest=float(parts["rest"]),
        limit=float(parts["limit"]),
    )
