"""The whole story: a series, or what a scanner wrote of one, becomes maps and lesions."""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ctp_torch.data.provenance import Preparation
from ctp_torch.data.series import TO_SERIES, CTPSeries
from ctp_torch.data.slabs import SLAB_MM, Slabs
from ctp_torch.data.stored import StoredSeries
from ctp_torch.errors import NoSeriesError, QualityError, check_type
from ctp_torch.io.read_series import open_series
from ctp_torch.io.results.derivation import file_digest
from ctp_torch.lesions.find import Lesions
from ctp_torch.lesions.regions import Regions, find_regions
from ctp_torch.models import load_model
from ctp_torch.pipeline.deconvolve import deconvolve
from ctp_torch.pipeline.denoise import denoise
from ctp_torch.pipeline.measure import choose_thresholds, measure_lesions
from ctp_torch.pipeline.methods import method_of
from ctp_torch.pipeline.predict import predict
from ctp_torch.pipeline.recipe import Recipe
from ctp_torch.pipeline.scan import REGISTRATIONS, Scan, prepare
from ctp_torch.pipeline.settings import DEFAULT_METHOD, MapSettings
from ctp_torch.pipeline.stopwatch import Stopwatch
from ctp_torch.pipeline.vessel_choice import name_of, read_mask, read_vessel

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ctp_torch.data.maps import PerfusionMaps
    from ctp_torch.models.base import Regressor
    from ctp_torch.ops import VesselCurve

__all__ = ["Analysis", "MapSettings", "analyse"]

_REGISTRATION = "torch"


@dataclass(frozen=True, repr=False)
class Analysis:
    """What came of a scan."""

    scan: Scan
    """As the maps saw it."""
    maps: PerfusionMaps
    lesions: Lesions | None
    """None where none were asked for, or can't be told: ``no_volumes`` and a warning say why."""
    conventional: Lesions | None
    """By conventional thresholds, to hold beside; None where there are no others, or they can't be told."""
    regions: Regions | None
    """None where none were asked for."""
    no_volumes: str
    """Why there are no lesions, in words; empty where there are, or none were asked for."""
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

    def to(self, device: torch.device | str) -> Analysis:
        """The same results on another device."""
        lesions = None if self.lesions is None else self.lesions.to(device)
        conventional = None if self.conventional is None else self.conventional.to(device)
        scan, maps = self.scan.to(device), self.maps.to(device)
        return replace(self, scan=scan, maps=maps, lesions=lesions, conventional=conventional)

    def __repr__(self) -> str:
        lesions = self.lesions or self.no_volumes or "no lesions asked for"
        return f"Analysis({self.scan.series!r}, {self.maps!r}, {lesions}, {len(self.warnings)} warnings)"

    def _repr_html_(self) -> str:
        """For a notebook: the maps, the lesions, and what is doubtful."""
        lesions = html.escape(self.no_volumes) if self.lesions is None else self.lesions._repr_html_()
        doubts = "".join(f"<li>{html.escape(warning)}</li>" for warning in self.warnings)
        return f"{self.maps._repr_html_()}{lesions}<ul>{doubts}</ul>"

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
    check_type(source, (str, os.PathLike, CTPSeries, Scan), "analyse: source", TO_SERIES)
    settings = settings or MapSettings()
    check_type(settings, MapSettings, "analyse: settings", 'such as MapSettings(method="osvd")')
    settings.check()
    settings = settings.resolved()
    given = settings.given_thresholds()
    watch = Stopwatch(progress)
    model = None if settings.model is None else load_model(settings.model, settings.device)
    recipe = None if model is None else Recipe.of(model)
    preparation, thickness = _preparation(settings, recipe)
    with ExitStack() as opened:
        series = _read(source, settings, thickness, opened)
        if recipe is not None:
            recipe.check(series.n_frames, series.dt)
        inside = None
        if settings.mask is not None:
            inside = Slabs.of(series.geometry, thickness).mask(read_mask(Path(settings.mask), series))
        origin = settings.origin(series.geometry.shape[1])
        limits, no_volumes = None, ""
        if settings.lesions:
            limits, no_volumes = choose_thresholds(given, origin, model, force=settings.force_thresholds)
        watch.lap("read")
        scan = source if isinstance(source, Scan) else prepare(
            series,
            registration=REGISTRATIONS[preparation.registration],
            median_size=preparation.median_size,
            slab_mm=thickness,
            progress=watch.lap,
        )  # fmt: skip
        done = scan.series.provenance.preparation
        if settings.denoise != "none" and (done is None or done.denoise == "none"):
            scan = denoise(scan, settings.denoise)
            watch.lap("denoising")
        if settings.aif == settings.vof == "auto":
            series = scan.series  # thin slices are needed no more, and take ten times as much memory
        flags = _checked(scan, inside, settings, str(source) if isinstance(source, str | Path) else "the series")
        watch.lap("quality control")
        maps, doubts = _mapped(scan, series, settings, inside, model)
        watch.lap("maps")
    measured = measure_lesions(maps, scan.anatomy.baseline, limits, origin.method, model=model, why_none=no_volumes)
    watch.lap("lesions")
    regions = find_regions(scan.anatomy, maps.geometry) if settings.regions else None
    if regions is not None:
        doubts += regions.warnings
        watch.lap("regions")
    return Analysis(
        scan=scan,
        maps=maps,
        lesions=measured.lesions,
        conventional=measured.conventional,
        regions=regions,
        no_volumes=measured.why_none,
        settings=settings,
        used=_used(settings, scan, thickness, model),
        warnings=(*flags, *doubts, *measured.warnings(), *scan.series.provenance.warnings, *maps.provenance.warnings),
        ranges=None if recipe is None else recipe.display,
        source=Path(source) if isinstance(source, str | Path) else None,
        watch=watch,
    )


def _checked(scan: Scan, inside: Tensor | None, settings: MapSettings, name: str) -> list[str]:
    """The raised quality flags, a line each; a scan that no maps should be made of is refused."""
    if inside is None and not bool(scan.anatomy.brain.any()):
        doubts = "; ".join(scan.series.provenance.warnings)
        raise NoSeriesError(
            f"{name}: no skull with a brain in it was found; is it a head CT? Give --mask otherwise"
            + (f" (reading it, these were doubtful: {doubts})" if doubts else "")
        )
    flags = scan.quality.lines()
    if settings.strict and flags:
        raise QualityError(f"{name} fails quality control: {'; '.join(flags)}")
    return flags


def _read(
    source: str | Path | CTPSeries | Scan, settings: MapSettings, slab_mm: float, opened: ExitStack
) -> CTPSeries | StoredSeries:
    """The series, on the device; of many thin slices only what `open_series` keeps, until the stack is closed."""
    if isinstance(source, Scan):
        return source.series
    if isinstance(source, CTPSeries):
        return source.to(settings.device)
    series = opened.enter_context(
        open_series(
            source,
            times=settings.times,
            dt=settings.dt,
            series=settings.series,
            join=settings.join,
            drop_incomplete=settings.drop_incomplete,
            duplicates=settings.duplicates,
            keep_identity=settings.keep_identity,
            max_unpacked=settings.max_unpacked,
            slab_mm=slab_mm,
        )
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
    scan: Scan, source: CTPSeries | StoredSeries, settings: MapSettings, inside: Tensor | None, model: Regressor | None
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
        scan, method_of(settings.method or DEFAULT_METHOD), aif=aif, vof=vof, mask=inside, sigma_mm=settings.sigma_mm,
        smoothing=settings.smoothing, scale_by_vof=settings.vof_scaling, complete_cbv=settings.completes_cbv,
        permeability=settings.permeability,
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
        used["method"] = settings.method or DEFAULT_METHOD
        used |= {"complete_cbv": settings.completes_cbv}
        used |= {"permeability": True} if settings.permeability else {}
        smoothing, sigma_mm = settings.smoothing, (settings.width_mm,)
    return {
        **used,
        "aif": name_of(settings.aif),
        "vof": name_of(settings.vof),
        "vof_scaling": settings.vof_scaling,
        "smoothing": smoothing,
        "sigma_mm": sigma_mm[0] if len(sigma_mm) == 1 else list(sigma_mm),
    }
