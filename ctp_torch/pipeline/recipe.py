"""What a trained model expects and gives: frames, spacing, preprocessing, features and maps with their ranges."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from ctp_torch.data.maps import QUANTITIES
from ctp_torch.data.scale import ColorScale
from ctp_torch.errors import ModelMismatchError
from ctp_torch.models.file_checks import check_recipe

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.data.provenance import Preparation, SlabRecord
    from ctp_torch.models.base import Regressor

__all__ = ["ANY_REGISTRATION", "FEATURES", "LEAST_REACH_S", "PHYSICAL_RANGES", "FeatureKind", "Recipe", "View"]

FeatureKind = Literal["raw", "arterial", "residue", "pca"]
FEATURES: tuple[FeatureKind, ...] = get_args(FeatureKind)
"""What a model may see of a curve: its HU frame by frame (the paper), the curve as its artery sees it, its residue, or
the principal components of the curves as their artery sees them."""

PHYSICAL_RANGES: Mapping[str, tuple[float, float]] = {
    "cbv": (0.0, 100.0),
    "cbf": (0.0, 300.0),
    "mtt": (0.0, 60.0),
    "tmax": (0.0, 60.0),
    "ttp": (0.0, 120.0),
    "delay": (-10.0, 60.0),
}
"""Ends that predictions in physical units are kept within, far beyond any colour bar."""
ANY_REGISTRATION = "any"
"""Of a model that learned from curves without a head: scans are aligned as they would be without it."""
LEAST_REACH_S = 25.0
"""A scan that ends sooner after the artery's onset [s] shows too little of a late curve to be read."""
_MOST_WIDTHS = 8
"""Each makes a smoothed series: a file that asks for more is no model of ours."""
_DT_TOLERANCE = 0.05
"""Frame spacings closer than this [relative] count as equal."""
_WIDTH_TOLERANCE = 0.1
"""A bolus wider or narrower than those learned from by more than this [relative] is told."""
_WAY_ON = "train a model on series like this one, or one that takes any frames (ctp-torch train --features arterial)"
_TARGET_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True)
class View:
    """What a model sees of a scan, beside its frames: everything that decides the features."""

    features: FeatureKind = "raw"
    window: tuple[float, float] = (0.0, 600.0)
    """Raw curves are clipped to and scaled from [HU]."""
    median_size: int = 3
    """Edge of the median filter [pixels]."""
    smoothing_mm: tuple[float, ...] = ()
    """Gaussians in the plane [mm]; the features at each of them side by side. Nothing is smoothed when empty."""
    smoothing: Literal["inside", "beside"] = "inside"
    """Whether large vessels are smoothed along with the brain, or left out."""
    artery_moments: bool = False
    """Whether four numbers of the artery follow the features of each curve."""
    artery_curve: bool = False
    """Whether the artery's own curve follows those of the tissue, as one more of the same lags."""
    baseline_hu: bool = False
    """Whether the CT before contrast comes last, smoothed by 2 mm [HU]."""

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> View:
        """The view that JSON tells; what it leaves out is the paper's."""
        read: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in stored.items()}
        return cls(**read)

    @property
    def prepared_median(self) -> int:
        """Of the scan: where the artery counts, it is looked for in unfiltered HU, and the tissue filtered after."""
        return self.median_size if self.features == "raw" else 1

    @property
    def key(self) -> str:
        """Alike for views that see the same."""
        return json.dumps(asdict(self), sort_keys=True)

    def check(self) -> None:
        """Refuse what can't be seen.

        Raises
        ------
        ValueError
            naming it
        """
        if self.features not in FEATURES:
            raise ValueError(f"unknown features {self.features!r}; choose among {', '.join(FEATURES)}")
        if self.smoothing not in ("inside", "beside"):
            raise ValueError(f"unknown smoothing {self.smoothing!r}; choose inside or beside")
        if len(self.smoothing_mm) > _MOST_WIDTHS or any(not 0 <= width <= 50 for width in self.smoothing_mm):
            raise ValueError(f"smoothing of {self.smoothing_mm[:9]} mm; give at most {_MOST_WIDTHS} widths of 0 to 50")
        more = self.smoothing_mm or self.artery_moments or self.artery_curve or self.baseline_hu
        if self.features == "raw" and more:
            raise ValueError(
                "smoothing, the artery's moments and curve and the CT before contrast go with arterial features, not "
                "with raw ones"
            )
        if self.features == "residue" and self.artery_curve:
            raise ValueError("the artery's curve goes beside arterial curves; residues know it already")


@dataclass(frozen=True)
class Recipe:
    """How curves become features and predictions become maps; stored in the model file."""

    frames: int
    """Time points per curve."""
    dt: float
    """Time between frames [s]."""
    targets: Mapping[str, tuple[float, float]]
    """Quantity to the range [its unit] that indices 0..255 stand for, in the order of the model's outputs."""
    registration: str = "none"
    """How frames were aligned; `ANY_REGISTRATION` where the model saw none that move."""
    window: tuple[float, float] = (0.0, 600.0)
    """Clipped to and scaled from [HU]."""
    median_size: int = 3
    """Edge of the median filter [pixels]."""
    feature_mean: tuple[float, ...] = ()
    """Subtracted from the features, one per frame; empty for the plain 0..1 features."""
    feature_sd: tuple[float, ...] = ()
    """The centred features are divided by it; empty for the plain 0..1 features."""
    features: FeatureKind = "raw"
    """Kind of the features; raw is the paper's."""
    smoothing_mm: tuple[float, ...] = ()
    """Gaussians in the plane [mm], features at each."""
    smoothing: Literal["inside", "beside"] = "inside"
    """Whether large vessels are smoothed along."""
    artery_moments: bool = False
    """Whether the artery's moments are features too."""
    artery_curve: bool = False
    """Whether the artery's curve is one more."""
    baseline_hu: bool = False
    """Whether the CT before contrast is the last feature."""
    components: tuple[tuple[float, ...], ...] = ()
    """Rows onto which scaled features are projected; empty for none."""
    units: Literal["display", "physical"] = "display"
    """Whether the model gives indices 0..255 of the targets' ranges, or values in their unit within them."""
    logarithmic: tuple[str, ...] = ()
    """Targets whose natural logarithm the model gives; their units are physical."""
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """What the scans learned from had, lowest and highest: ``reach_s`` (last frame after the artery's onset),
    ``bolus_s`` (standard deviation of the artery in time), ``dt_s``."""

    @property
    def view(self) -> View:
        """What the model sees of a scan."""
        return View(
            self.features,
            self.window,
            self.median_size,
            self.smoothing_mm,
            self.smoothing,
            self.artery_moments,
            self.artery_curve,
            self.baseline_hu,
        )

    @property
    def aligned_by(self) -> str:
        """The registration that a scan gets where nobody asks for another."""
        return "torch" if self.registration == ANY_REGISTRATION else self.registration

    @property
    def display(self) -> dict[str, tuple[float, float]]:
        """Quantity to the range that its colours show."""
        if self.units == "display":
            return dict(self.targets)
        return {n: QUANTITIES[n].display if n in QUANTITIES else ends for n, ends in self.targets.items()}

    @classmethod
    def of(cls, model: Regressor) -> Recipe:
        """The recipe stored with a model.

        Raises
        ------
        ModelMismatchError
            if the model carries none, or one that this version cannot read
        """
        stored = model.metadata_.get("recipe")
        if not isinstance(stored, dict):
            raise ModelMismatchError(
                "this model holds no recipe (frames, window, maps), so it can't be applied to a series; "
                "train one with ctp-torch train"
            )
        try:
            recipe = cls(
                frames=int(stored["frames"]),
                dt=float(stored["dt"]),
                targets={str(name): (float(low), float(high)) for name, (low, high) in stored["targets"].items()},
                registration=str(stored["registration"]),
                window=(float(stored["window"][0]), float(stored["window"][1])),
                median_size=int(stored["median_size"]),
                feature_mean=tuple(float(v) for v in stored["feature_mean"]),
                feature_sd=tuple(float(v) for v in stored["feature_sd"]),
                **_later_fields(stored),
            )
            recipe.view.check()
            check_recipe(recipe.as_metadata())
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ModelMismatchError(f"the model's recipe is not readable ({error}); train the model again") from error
        unknown = [name for name in recipe.targets if name not in QUANTITIES and not _TARGET_NAME.fullmatch(name)]
        if unknown:
            raise ModelMismatchError(f"the model predicts unknown maps {', '.join(unknown)}; update ctp_torch")
        return recipe

    def as_metadata(self) -> dict[str, object]:
        """JSON-able form, for the model file."""
        return {
            **asdict(self),
            **{n: {k: list(ends) for k, ends in getattr(self, n).items()} for n in ("targets", "bounds")},
        }

    def check(self, n_frames: int, dt: float) -> None:
        """Refuse a series whose frame count or spacing [s] isn't the one a model of raw curves learned from.

        Raises
        ------
        ModelMismatchError
            naming both numbers
        """
        if self.features != "raw":
            return
        if n_frames != self.frames:
            raise ModelMismatchError(
                f"the model was trained on {self.frames} frames, the series has {n_frames}; {_WAY_ON}"
            )
        if abs(dt - self.dt) > _DT_TOLERANCE * self.dt:
            raise ModelMismatchError(
                f"the model was trained on frames {self.dt:g} s apart, the series has {dt:g} s; {_WAY_ON}"
            )

    def check_preparation(self, done: Preparation | None, slabs: SlabRecord | None) -> None:
        """Refuse HU that were filtered, aligned or averaged otherwise than those the model learned from.

        Raises
        ------
        ModelMismatchError
            naming both, and the way on
        """
        median, whole = self.view.prepared_median, self.features != "raw"  # slabs are as good where the artery counts
        learned = f"median {median}, registration {self.registration}, slices as they are"
        actual = (
            "as read"
            if done is None
            else (
                f"median {done.median_size}, registration {done.registration}"
                + ("" if done.denoise == "none" else f", denoised by {done.denoise}")
            )
        )
        options = f"registration={self.aligned_by!r}, median_size={median}, slab_mm=0"
        aligned_alike = done is not None and (
            self.registration in (done.registration, ANY_REGISTRATION)
            or (done.registration == "given" and self.registration != "none")
        )
        refined = (slabs is not None or (done is not None and done.denoise != "none")) and not whole
        if done is None or done.median_size != median or not aligned_alike or refined:
            raise ModelMismatchError(
                f"the model learned from scans prepared with {learned}; this one is {actual}"
                f"{'' if slabs is None else f', {slabs.slices} slices averaged to one'}: hand predict the series as "
                f"read, or prepare(series, {options})"
            )

    def check_scan(self, facts: Mapping[str, float]) -> list[str]:
        """What of a scan lies outside of what the model learned from, a sentence with numbers each.

        Parameters
        ----------
        facts
            as in ``bounds``; none for raw curves

        Raises
        ------
        ModelMismatchError
            if the scan ends too soon after the onset to tell anything
        """
        reach, dt, width = (facts.get(name) for name in ("reach_s", "dt_s", "bolus_s"))
        if reach is not None and reach < LEAST_REACH_S:
            raise ModelMismatchError(
                f"the scan ends {reach:.1f} s after the artery's onset, the model needs {LEAST_REACH_S:g} s to see "
                "late tissue; scan longer, or deconvolve (--method)"
            )
        doubts = []
        if reach is not None and "reach_s" in self.bounds and reach < self.bounds["reach_s"][0] - 0.5:
            doubts.append(
                f"the scan ends {reach:.1f} s after the artery's onset, those that the model learned from after "
                f"{self.bounds['reach_s'][0]:.1f} s or more: late tissue is less certain"
            )
        if dt is not None and "dt_s" in self.bounds and dt > max(2.0, self.bounds["dt_s"][1]) * (1 + _DT_TOLERANCE):
            doubts.append(
                f"frames are {dt:.2g} s apart, those that the model learned from at most {self.bounds['dt_s'][1]:.2g} s"
            )
        if width is not None and "bolus_s" in self.bounds:
            low, high = self.bounds["bolus_s"]
            if not low * (1 - _WIDTH_TOLERANCE) <= width <= high * (1 + _WIDTH_TOLERANCE):
                doubts.append(
                    f"the bolus is {width:.1f} s wide (standard deviation), those that the model learned from "
                    f"{low:.1f} to {high:.1f} s: its maps may be off"
                )
        return doubts

    def scale(self, curves: Tensor) -> Tensor:
        """Features ``(voxels, n)`` as the model saw them in training: standardised and projected where they were."""
        if not self.feature_mean:
            return curves
        if curves.shape[-1] != len(self.feature_mean):
            raise ModelMismatchError(
                f"the model learned from {len(self.feature_mean)} features, this version makes {curves.shape[-1]}; "
                "train the model again"
            )
        scaled = (curves - curves.new_tensor(self.feature_mean)) / curves.new_tensor(self.feature_sd)
        return scaled @ curves.new_tensor(self.components).T if self.components else scaled

    def values(self, outputs: Tensor) -> dict[str, Tensor]:
        """Each map ``(voxels,)`` in its unit, kept within its range, of what a model gives ``(voxels, maps)``."""
        columns = (outputs[:, None] if outputs.ndim == 1 else outputs).unbind(1)
        named = list(zip(self.targets.items(), columns, strict=True))
        if self.units == "physical":
            return {n: (c.exp() if n in self.logarithmic else c).clamp(*ends) for (n, ends), c in named}
        return {name: ColorScale(*ends).value(column.clamp(0, 255)) for (name, ends), column in named}


def _later_fields(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What recipes tell since there are features that know the artery; files of before hold none of it."""
    read: dict[str, Any] = {name: stored[name] for name in ("features", "smoothing", "units") if name in stored}
    for name in ("artery_moments", "artery_curve", "baseline_hu"):
        if name in stored:
            read[name] = bool(stored[name])
    if "logarithmic" in stored:
        read["logarithmic"] = tuple(str(name) for name in stored["logarithmic"])
    if "smoothing_mm" in stored:
        read["smoothing_mm"] = _floats(stored["smoothing_mm"])
    if "components" in stored:
        read["components"] = tuple(_floats(row) for row in stored["components"])
    if "bounds" in stored:
        read["bounds"] = {str(name): (float(low), float(high)) for name, (low, high) in stored["bounds"].items()}
    return read


def _floats(values: Sequence[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
