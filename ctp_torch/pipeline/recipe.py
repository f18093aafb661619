"""What a trained model expects and gives: frames, spacing, preprocessing, features and maps with their ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ctp_torch.data.maps import QUANTITIES
from ctp_torch.errors import ModelMismatchError
from ctp_torch.models.file_checks import check_recipe

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.data.provenance import Preparation, SlabRecord
    from ctp_torch.models.base import Regressor

__all__ = ["Recipe"]

_DT_TOLERANCE = 0.05
"""Frame spacings closer than this [relative] count as equal."""


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
    """How frames were aligned."""
    window: tuple[float, float] = (0.0, 600.0)
    """Clipped to and scaled from [HU]."""
    median_size: int = 3
    """Edge of the median filter [pixels]."""
    feature_mean: tuple[float, ...] = ()
    """Subtracted from the features, one per frame; empty for the plain 0..1 features."""
    feature_sd: tuple[float, ...] = ()
    """The centred features are divided by it; empty for the plain 0..1 features."""

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
            )
            check_recipe(recipe.as_metadata())
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ModelMismatchError(f"the model's recipe is not readable ({error}); train the model again") from error
        unknown = [name for name in recipe.targets if name not in QUANTITIES]
        if unknown:
            raise ModelMismatchError(f"the model predicts unknown maps {', '.join(unknown)}; update ctp_torch")
        return recipe

    def as_metadata(self) -> dict[str, object]:
        """JSON-able form, for the model file."""
        return {**asdict(self), "targets": {name: list(ends) for name, ends in self.targets.items()}}

    def check(self, n_frames: int, dt: float) -> None:
        """Refuse a series whose frame count or spacing [s] isn't the one the model learned from.

        Raises
        ------
        ModelMismatchError
            naming both numbers
        """
        if n_frames != self.frames:
            raise ModelMismatchError(
                f"the model was trained on {self.frames} frames, the series has {n_frames}; "
                "train a model on series like this one"
            )
        if abs(dt - self.dt) > _DT_TOLERANCE * self.dt:
            raise ModelMismatchError(
                f"the model was trained on frames {self.dt:g} s apart, the series has {dt:g} s; "
                "train a model on series like this one"
            )

    def check_preparation(self, done: Preparation | None, slabs: SlabRecord | None) -> None:
        """Refuse HU that were filtered, aligned or averaged otherwise than those the model learned from.

        Raises
        ------
        ModelMismatchError
            naming both, and the way on
        """
        learned = f"median {self.median_size}, registration {self.registration}, slices as they are"
        actual = "as read" if done is None else f"median {done.median_size}, registration {done.registration}"
        options = f"registration={self.registration!r}, median_size={self.median_size}, slab_mm=0"
        aligned_alike = done is not None and (
            done.registration == self.registration or (done.registration == "given" and self.registration != "none")
        )
        if done is None or done.median_size != self.median_size or not aligned_alike or slabs is not None:
            raise ModelMismatchError(
                f"the model learned from scans prepared with {learned}; this one is {actual}"
                f"{'' if slabs is None else f', {slabs.slices} slices averaged to one'}: hand predict the series as "
                f"read, or prepare(series, {options})"
            )

    def scale(self, curves: Tensor) -> Tensor:
        """Features ``(voxels, time)`` as the model saw them in training: standardised where it was."""
        if not self.feature_mean:
            return curves
        return (curves - curves.new_tensor(self.feature_mean)) / curves.new_tensor(self.feature_sd)
