"""Where a series and its maps came from: what was read, inferred, left out and done. Never a patient's identity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.data.plausibility import Plausibility

__all__ = [
    "Inference",
    "LeftOutFiles",
    "MapsProvenance",
    "MotionRecord",
    "Preparation",
    "Provenance",
    "SlabRecord",
    "Vessel",
]


@dataclass(frozen=True)
class LeftOutFiles:
    """Files that are no part of the series, for one reason."""

    reason: str
    count: int
    files: tuple[str | int, ...] = ()
    """The first ones: their numbers in the order of names, or, where identity is kept, their names."""
    cost: str = ""
    """What the series lacks without them; empty where nothing is missed."""


class Inference(NamedTuple):
    """What was concluded about one axis of a series, and from what."""

    axis: Literal["images", "slices", "times", "values"]
    """Which images belong together, where their slices lie, when they were taken, what their values mean."""
    conclusion: str
    """A sentence."""
    sources: tuple[str, ...] = ()
    """The attributes it rests on, each with its resolution where that matters."""


class MotionRecord(NamedTuple):
    """The motion that was undone, about the patient's axes (LPS), a row a frame."""

    rotation_deg: Sequence[Sequence[float]]
    translation_mm: Sequence[Sequence[float]]
    through_plane: Literal["interpolated", "subtracted", "both"]
    """What was done about motion through the plane: thick slices can't be sampled between."""


class SlabRecord(NamedTuple):
    """Thin slices averaged to slabs."""

    slices: int
    """Of one slab."""
    slice_mm: float
    """Their distance [mm]."""


class Preparation(NamedTuple):
    """What was done to the HU before maps: held against a model's recipe."""

    registration: str
    """``torch``, ``simpleitk``, ``none``, or the name of another function."""
    median_size: int
    """Edge of the median filter [pixels]; 1 for none."""
    denoise: str = "none"
    """How noise was taken out before anything was measured."""


@dataclass(frozen=True)
class Provenance:
    """What is known of a series beside its voxels; None or empty where nothing is."""

    format: str = ""
    """DICOM or NIfTI."""
    vendor: str = ""
    model: str = ""
    kernel: str = ""
    kvp: float | None = None
    """Tube voltage [kV]."""
    slice_thickness_mm: float | None = None
    """As the headers say [mm]."""
    time_source: str = ""
    """What the times were read from."""
    transfer_syntax: str = ""
    n_files: int | None = None
    """Files that hold the series."""
    warnings: tuple[str, ...] = ()
    """What was inferred or is doubtful, a sentence each."""
    inferences: tuple[Inference, ...] = ()
    """What each axis of the series rests on."""
    plausibility: Plausibility | None = None
    """What was measured of the series as read; None for one that wasn't read."""
    left_out: tuple[LeftOutFiles, ...] = ()
    incomplete_frames: int = 0
    """Time points left out because they lack a slice, or differ from the others."""
    motion: MotionRecord | None = None
    slabs: SlabRecord | None = None
    preparation: Preparation | None = None
    """None for HU as they were read."""

    def as_dict(self) -> dict[str, object]:
        """For JSON; what isn't known is left out."""
        plain = {name: value for name, value in vars(self).items() if value not in (None, "", 0)}
        files = [{k: v for k, v in asdict(entry).items() if k != "cost" or v} for entry in self.left_out]
        listed = {"warnings": list(self.warnings), "left_out": files}
        if self.inferences:
            listed["inferences"] = [entry._asdict() for entry in self.inferences]
        if self.plausibility is not None:
            listed["plausibility"] = self.plausibility.as_dict()
        parts = {name: getattr(self, name) for name in ("motion", "slabs", "preparation")}
        return {**plain, **listed, **{name: part._asdict() for name, part in parts.items() if part is not None}}


class Vessel(Protocol):
    """The enhancement of an artery or a vein, and where it was taken; such as `ctp_torch.ops.VesselCurve`."""

    @property
    def curve(self) -> Tensor:
        """``(time,)`` [HU]."""

    @property
    def mask(self) -> Tensor:
        """``(z, y, x)`` bool; empty where the curve came from a file."""


@dataclass(frozen=True, eq=False)
class MapsProvenance:
    """What maps rest on; None where a method needs no such thing, or nothing was found."""

    aif: Vessel | None = None
    """The arterial input, unscaled."""
    vof: Vessel | None = None
    """The venous outflow that the arterial input was scaled to."""
    vof_to_aif_ratio: float | None = None
    """By which the arterial input was multiplied."""
    tissue_curve: Tensor | None = None
    """``(time,)`` mean enhancement inside the mask [HU], smoothed as it was deconvolved."""
    baseline_frames: int | None = None
    """Pre-contrast frames."""
    times: str = ""
    """How the frames' times were treated."""
    longest_s: float | None = None
    """The longest time that the scan can show [s]; none is mapped beyond."""
    at_longest: Mapping[str, float] = field(default_factory=dict)
    """Name of a map of times to the share of its voxels that read that."""
    volume_seen: float | None = None
    """Mean share of the blood volume that passed within the frames, which CBV was completed by; None where not."""
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """For JSON, curves rounded; empty where nothing is known."""
        if self.baseline_frames is None:
            return {"warnings": list(self.warnings)}
        tissue, ratio = self.tissue_curve, self.vof_to_aif_ratio
        return {
            "aif": _described(self.aif),
            "vof": _described(self.vof),
            "vof_to_aif_ratio": None if ratio is None else round(ratio, 4),
            "tissue": None if tissue is None else {"curve_hu": [round(v, 4) for v in tissue.tolist()]},
            "baseline_frames": self.baseline_frames,
            "times": self.times,
            "longest_s": None if self.longest_s is None else round(self.longest_s, 2),
            "at_longest": {name: round(share, 4) for name, share in self.at_longest.items()},
            "volume_seen": None if self.volume_seen is None else round(self.volume_seen, 4),
            "warnings": list(self.warnings),
        }


def _described(vessel: Vessel | None) -> dict[str, object] | None:
    """Where a curve was taken (column, row, slice) and the curve [HU]."""
    if vessel is None:
        return None
    return {
        "voxels_xyz": vessel.mask.nonzero().flip(1).tolist(),
        "curve_hu": [round(value, 3) for value in vessel.curve.tolist()],
    }
