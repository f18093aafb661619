"""How a scan becomes maps: every option of ``ctp-torch maps``, checked before anything is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ctp_torch.data.methods import METHODS
from ctp_torch.errors import CTPError
from ctp_torch.lesions.belonging import CONVENTIONAL, VOLUMES, MapsOrigin, conventional_thresholds
from ctp_torch.lesions.thresholds import Thresholds, read_thresholds
from ctp_torch.models.load import model_file
from ctp_torch.pipeline.deconvolve import SMOOTHINGS, Smoothing
from ctp_torch.pipeline.denoise import DENOISERS, Denoiser
from ctp_torch.pipeline.scan import REGISTRATIONS
from ctp_torch.pipeline.vessel_choice import check_choice

if TYPE_CHECKING:
    from ctp_torch.io.dicom.image import Join

__all__ = ["DEFAULT_METHOD", "MapSettings"]

DEFAULT_METHOD = "csvd"
"""Deconvolves where nobody names a method or a model."""


@dataclass(frozen=True)
class MapSettings:
    """How a scan becomes maps: the options of ``ctp-torch maps``, by their names there."""

    method: str | None = None
    """Name of a deconvolution in `ctp_torch.ops`; csvd when None and there is no model."""
    model: str | Path | None = None
    """File of a trained model that predicts the maps; or ``physics``, which comes with the package; or ``per-scan``,
    which the scan makes for itself (the method ``per_scan``)."""
    aif: str = "auto"
    """Arterial input: auto; ``x,y,z`` (column, row, slice from 0, slices upwards); a NIfTI mask; or a curve file."""
    vof: str = "auto"
    """Venous outflow, as ``aif``."""
    mask: str | Path | None = None
    """NIfTI mask of where to make maps; the brain when None."""
    vof_scaling: bool = True
    """Scale the arterial input to the venous outflow."""
    complete_cbv: bool | None = None
    """Complete a volume by the areas with what passes after the last frame; beside vessels when None, not inside."""
    permeability: bool = False
    """Map flow extraction through a leaking barrier too, of scans of 90 s at least."""
    sigma_mm: float | None = None
    """Gaussian before deconvolution [mm]; 2.5 beside vessels and 2 inside when None."""
    smoothing: Smoothing = "beside"
    """Whether large vessels are left out of that Gaussian (beside) or not (inside)."""
    slab_mm: float | None = None
    """Thickness to which thin slices are averaged [mm], 0 to keep them; 5 when None, 0 with a model of raw curves."""
    denoise: Denoiser = "none"
    """How noise is taken out before anything is measured, for low doses: bilateral, low-rank, noise2noise or none."""
    registration: str | None = None
    """torch, simpleitk or none; the model's, else torch, when None."""
    lesions: bool = True
    """Measure core, hypoperfusion and penumbra too."""
    thresholds: str | Path | Thresholds | None = None
    """Of lesions: a file of ``ctp-torch calibrate``, the thresholds themselves, or ``"conventional"``; those shipped
    for the method, or kept in the model's file, when None."""
    regions: bool = False
    """Find lobes, arterial territories and ASPECTS regions, and measure the maps and lesions in each."""
    times: str | Path | None = None
    """File of frame times [s], where the headers tell none."""
    dt: float | None = None
    """Time between frames [s], where the headers tell none."""
    series: str | None = None
    """Series Instance UID, when several could be meant."""
    join: Join | None = None
    """Identifiers that an anonymiser drew anew: series, frame-of-reference or study."""
    drop_incomplete: bool = False
    """Leave out time points that lack a slice."""
    duplicates: Literal["refuse", "first"] = "refuse"
    """Of several images of one slice and time."""
    strict: bool = False
    """Refuse a series that fails quality control."""
    max_unpacked: float | None = None
    """Most that a zip or a compressed NIfTI may unpack to [GB]; by free memory and disk when None."""
    keep_identity: bool = False
    """Note the patient, names of files and the scanner's own words in the record too."""
    device: str = "cpu"
    """Where to compute."""
    force_thresholds: bool = False
    """Apply thresholds to maps that they weren't calibrated for."""

    def check(self) -> None:
        """Refuse what can be seen to be wrong before anything is read.

        Raises
        ------
        CTPError
            naming the setting
        """
        if self.model is not None and self.method is not None:
            raise CTPError("--model and --method exclude each other: predict with a model, or deconvolve with a method")
        if self.model is not None and self.permeability:
            raise CTPError("--permeability goes with a --method; a --model predicts what it was trained on")
        if self.method is not None and self.method not in METHODS:
            raise CTPError(f"unknown method {self.method!r}; choose among {', '.join(METHODS)}")
        if self.registration is not None and self.registration not in REGISTRATIONS:
            raise CTPError(f"unknown registration {self.registration!r}; choose among {', '.join(REGISTRATIONS)}")
        if self.denoise not in DENOISERS:
            raise CTPError(f"unknown way to denoise {self.denoise!r}; choose among {', '.join(DENOISERS)}")
        if self.smoothing not in SMOOTHINGS:
            raise CTPError(f"unknown smoothing {self.smoothing!r}; choose among {', '.join(SMOOTHINGS)}")
        check_choice(self.aif, "--aif")
        check_choice(self.vof, "--vof")

    def resolved(self) -> MapSettings:
        """The same with names of models as files, and the model that a scan makes for itself as the method it is."""
        if self.model is None:
            return self
        if str(self.model).replace("-", "_") == "per_scan":
            return replace(self, model=None, method="per_scan")
        return replace(self, model=model_file(self.model))

    @property
    def width_mm(self) -> float:
        """Of the Gaussian, as used [mm]."""
        return SMOOTHINGS[self.smoothing] if self.sigma_mm is None else self.sigma_mm

    def origin(self, matrix: int) -> MapsOrigin:
        """How the maps are made, of images with ``matrix`` rows."""
        if self.model is not None:
            return MapsOrigin("", "", 0.0, matrix)
        return MapsOrigin(
            self.method or DEFAULT_METHOD, self.smoothing, self.width_mm, matrix, VOLUMES[self.completes_cbv]
        )

    @property
    def completes_cbv(self) -> bool:
        """Whether volumes are completed."""
        return self.smoothing == "beside" if self.complete_cbv is None else self.complete_cbv

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the settings name."""
        named = (self.model, self.aif, self.vof, self.mask, self.times)
        listed = [*named, None if isinstance(self.thresholds, Thresholds) else self.thresholds]
        return tuple(Path(one) for one in listed if one not in (None, CONVENTIONAL) and Path(str(one)).is_file())

    def given_thresholds(self) -> Thresholds | None:
        """The thresholds that are asked for; None where those that belong to the maps are."""
        if isinstance(self.thresholds, Thresholds):
            return self.thresholds
        if self.thresholds == CONVENTIONAL:
            return conventional_thresholds(self.origin(0).method)
        return None if self.thresholds is None else read_thresholds(Path(self.thresholds))
