"""The whole story: a series, or what a scanner wrote of one, becomes maps and lesions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ctp_torch.data.methods import METHODS
from ctp_torch.data.provenance import Preparation
from ctp_torch.data.series import CTPSeries
from ctp_torch.data.slabs import SLAB_MM, Slabs
from ctp_torch.errors import CTPError, NoSeriesError, QualityError
from ctp_torch.io import read_series
from ctp_torch.io.results.derivation import file_digest
from ctp_torch.lesions.find import Lesions
from ctp_torch.lesions.thresholds import Thresholds, read_thresholds
from ctp_torch.models import load_model
from ctp_torch.models.load import model_file
from ctp_torch.pipeline.deconvolve import SMOOTHINGS, Smoothing, deconvolve
from ctp_torch.pipeline.denoise import DENOISERS, Denoiser, denoise
from ctp_torch.pipeline.measured import measured, own_thresholds
from ctp_torch.pipeline.methods import method_of
from ctp_torch.pipeline.predict import predict
from ctp_torch.pipeline.recipe import Recipe
from ctp_torch.pipeline.scan import REGISTRATIONS, Scan, prepare
from ctp_torch.pipeline.stopwatch import Stopwatch
from ctp_torch.pipeline.vessel_choice import check_choice, name_of, read_mask, read_vessel

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.data.maps import PerfusionMaps
    from ctp_torch.io.dicom.image import Join
    from ctp_torch.models.base import Regressor
    from ctp_torch.ops import VesselCurve

__all__ = ["Analysis", "MapSettings", "analyse"]

_METHOD, _REGISTRATION = "csvd", "torch"


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
    """Of lesions: a file of ``ctp-torch calibrate``, or the thresholds; conventional when None."""
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

    def check(self) -> None:
        """Refuse what can be seen to be wrong before anything is read.

        Raises
        ------
        CTPError
            naming the setting
        """
        if self.model is not None and self.method is not None:
            raise CTPError("--model and --method exclude each other: predict with a model, or deconvolve with a method")
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

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the settings name."""
        named = (self.model, self.aif, self.vof, self.mask, self.times)
        listed = [*named, None if isinstance(self.thresholds, Thresholds) else self.thresholds]
        return tuple(Path(one) for one in listed if one is not None and Path(one).is_file())

    @property
    def limits(self) -> Thresholds:
        """The thresholds themselves."""
        if isinstance(self.thresholds, Thresholds):
            return self.thresholds
        return Thresholds() if self.thresholds is None else read_thresholds(Path(self.thresholds))


@dataclass(frozen=True)
class Analysis:
    """What came of a scan."""

    scan: Scan
    """As the maps saw it."""
    maps: PerfusionMaps
    lesions: Lesions | None
    """None where none were asked for, or can't be told: a warning says why."""
    settings: MapSettings
    used: Mapping[str, object]
    """The settings as they were used, defaults filled in; JSON-able, files by their hashes."""
    warnings: tuple[str, ...]
    """All that is doubtful: of the series, its quality, the maps and the lesions."""
    ranges: Mapping[str, tuple[float, float]] | None
    """Quantity to display range, where a model knows it."""
    source: Path | None
    """What was read; None for a series in memory."""
    watch: Stopwatch
    """Runs on while results are written."""

    @property
    def timings(self) -> dict[str, float]:
        """Stage to seconds, so far."""
        return dict(self.watch.laps)

    @property
    def aif(self) -> VesselCurve | None:
        """The arterial input of the maps."""
        return self.maps.provenance.aif  # type: ignore[return-value]

    @property
    def vof(self) -> VesselCurve | None:
        """The venous outflow that it was scaled to."""
        return self.maps.provenance.vof  # type: ignore[return-value]


def analyse(
    source: str | Path | CTPSeries | Scan,
    settings: MapSettings | None = None,
    *,
    progress: Callable[[str], None] | None = None,
) -> Analysis:
    """Everything that ``ctp-torch maps`` does, in memory: read, align, average, look over, map, measure.

    Parameters
    ----------
    source
        what `ctp_torch.read_series` reads; or a series as read; or a scan that `ctp_torch.prepare` made ready
    settings
        the defaults when None
    progress
        called with the name of each stage when it is done

    Returns
    -------
    Analysis
        `ctp_torch.write_analysis` writes it

    Raises
    ------
    CTPError
        as reading does; when no brain is found, no artery stands out, a model doesn't fit, or a strict run fails
        quality control

    Examples
    --------
    >>> analysis = ctp_torch.analyse("DICOM_FOLDER")  # doctest: +SKIP
    >>> analysis.maps["cbf"], analysis.lesions.summary()["core_ml"]  # doctest: +SKIP
    """
    settings = settings or MapSettings()
    settings.check()
    settings = settings.resolved()
    watch = Stopwatch(progress)
    model = None if settings.model is None else load_model(settings.model, settings.device)
    own = model if settings.thresholds is None else None
    limits = own_thresholds(own, settings.limits)
    recipe = None if model is None else Recipe.of(model)
    series = _read(source, settings)
    if recipe is not None:
        recipe.check(series.n_frames, series.dt)
    preparation, thickness = _preparation(settings, recipe)
    thick = Slabs.of(series.geometry, thickness)
    inside = None if settings.mask is None else thick.mask(read_mask(Path(settings.mask), series))
    watch.lap("read")
    scan = source if isinstance(source, Scan) else prepare(
        series,
        registration=REGISTRATIONS[preparation.registration],
        median_size=preparation.median_size,
        slab_mm=thickness,
        progress=watch.lap,
    )  # fmt: skip
    if settings.denoise != "none" and not isinstance(source, Scan):
        scan = denoise(scan, settings.denoise)
        watch.lap("denoising")
    flags = _checked(scan, inside, settings, str(source) if isinstance(source, str | Path) else "the series")
    watch.lap("quality control")
    maps, doubts = _mapped(scan, series, settings, inside, model)
    watch.lap("maps")
    lesions, refusals = measured(maps, scan, limits, model) if settings.lesions else (None, [])
    watch.lap("lesions")
    return Analysis(
        scan=scan,
        maps=maps,
        lesions=lesions,
        settings=settings,
        used=_used(settings, scan, thickness, model),
        warnings=(*flags, *doubts, *refusals, *scan.series.provenance.warnings, *maps.provenance.warnings),
        ranges=None if recipe is None else recipe.display,
        source=Path(source) if isinstance(source, str | Path) else None,
        watch=watch,
    )


def _checked(scan: Scan, inside: Tensor | None, settings: MapSettings, name: str) -> list[str]:
    """The raised quality flags, a line each; a scan that no maps should be made of is refused."""
    if inside is None and not bool(scan.anatomy.brain.any()):
        raise NoSeriesError(f"{name}: no skull with a brain in it was found; is it a head CT? Give --mask otherwise")
    flags = scan.quality.lines()
    if settings.strict and flags:
        raise QualityError(f"{name} fails quality control: {'; '.join(flags)}")
    return flags


def _read(source: str | Path | CTPSeries | Scan, settings: MapSettings) -> CTPSeries:
    """The series, on the device."""
    if isinstance(source, Scan):
        return source.series
    if isinstance(source, CTPSeries):
        return source.to(settings.device)
    series = read_series(
        source,
        times=settings.times,
        dt=settings.dt,
        series=settings.series,
        join=settings.join,
        drop_incomplete=settings.drop_incomplete,
        duplicates=settings.duplicates,
        keep_identity=settings.keep_identity,
        max_unpacked=settings.max_unpacked,
    )
    return series.to(settings.device)


def _preparation(settings: MapSettings, recipe: Recipe | None) -> tuple[Preparation, float]:
    """What is done to the HU, and the thickness of slabs [mm]: a deconvolution smooths by its own Gaussian."""
    if recipe is not None:  # a model learned its own filter, registration and slices
        registration, raw = settings.registration or recipe.aligned_by, recipe.features == "raw"
        thickness = (0.0 if raw else SLAB_MM) if settings.slab_mm is None else settings.slab_mm
        return Preparation(registration, recipe.view.prepared_median), thickness
    thickness = SLAB_MM if settings.slab_mm is None else settings.slab_mm
    return Preparation(settings.registration or _REGISTRATION, 1), thickness


def _mapped(
    scan: Scan, source: CTPSeries, settings: MapSettings, inside: Tensor | None, model: Regressor | None
) -> tuple[PerfusionMaps, list[str]]:
    """Maps by a model or a deconvolution, and what is doubtful about vessels chosen by hand."""
    if model is not None and Recipe.of(model).features == "raw":
        return predict(scan, model, mask=inside), []
    aif, doubts = read_vessel(settings.aif, "--aif", scan, source)
    vof, others = read_vessel(settings.vof, "--vof", scan, source)
    if model is not None:
        maps = predict(scan, model, mask=inside, aif=aif, vof=vof, scale_by_vof=settings.vof_scaling)
        return maps, doubts + others
    maps = deconvolve(
        scan, method_of(settings.method or _METHOD), aif=aif, vof=vof, mask=inside, sigma_mm=settings.sigma_mm,
        smoothing=settings.smoothing, scale_by_vof=settings.vof_scaling,
    )  # fmt: skip
    return maps, doubts + others


def _used(settings: MapSettings, scan: Scan, thickness: float, model: Regressor | None) -> dict[str, object]:
    """The settings as they were used; of files the hashes, because files and folders may be named after people."""
    origin = scan.series.provenance
    done = origin.preparation or Preparation("none", 1)
    used: dict[str, object] = {
        "registration": done.registration,
        "motion_through_plane": "left" if origin.motion is None else origin.motion.through_plane,
        "median_size": done.median_size,
        **({} if done.denoise == "none" else {"denoise": done.denoise}),
        "slab_mm": thickness,
        "mask": "brain" if settings.mask is None else name_of(settings.mask),
    }
    if settings.model is not None and model is not None:
        used["model"] = f"{type(model).__name__} {file_digest(settings.model)[:8]}"
        recipe = Recipe.of(model)
        if recipe.features == "raw":
            return used
        used |= {"features": recipe.features, "features_median": recipe.median_size}
        smoothing, sigma_mm = recipe.smoothing, recipe.smoothing_mm
    else:
        used["method"] = settings.method or _METHOD
        smoothing, sigma_mm = settings.smoothing, (settings.width_mm,)
    return {
        **used,
        "aif": name_of(settings.aif),
        "vof": name_of(settings.vof),
        "vof_scaling": settings.vof_scaling,
        "smoothing": smoothing,
        "sigma_mm": sigma_mm[0] if len(sigma_mm) == 1 else list(sigma_mm),
    }
