"""Perfusion maps of a scan by a trained regressor, which sees to it that the scan was prepared as it learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from ctp_torch import ops
from ctp_torch.data.maps import PerfusionMaps
from ctp_torch.data.series import TO_SERIES, CTPSeries
from ctp_torch.data.slabs import SLAB_MM
from ctp_torch.errors import ModelMismatchError, check_type
from ctp_torch.models.base import Regressor
from ctp_torch.pipeline.features import Seen, features_of
from ctp_torch.pipeline.intervals import Intervals, answers_signature, relative_flow
from ctp_torch.pipeline.recipe import Recipe
from ctp_torch.pipeline.scan import REGISTRATIONS, Scan, locate, prepare
from ctp_torch.pipeline.slices import answers

if TYPE_CHECKING:
    from ctp_torch.ops import VesselCurve

__all__ = ["features", "predict", "prepare_by_recipe"]


def features(series: CTPSeries, *, window: tuple[float, float] = (0.0, 600.0)) -> Tensor:
    """What a model of raw curves sees: HU clipped to the window and scaled, ``(time, z, y, x)`` in 0..1."""
    check_type(series, CTPSeries, "features: series", TO_SERIES)
    return ops.window(series.hu, *window)


def predict(
    scan: Scan | CTPSeries,
    model: Regressor,
    *,
    mask: Tensor | None = None,
    aif: VesselCurve | None = None,
    vof: VesselCurve | None = None,
    scale_by_vof: bool = True,
) -> PerfusionMaps:
    """Perfusion maps of a scan by a trained regressor.

    A series as read is prepared by the model's recipe. What was prepared otherwise already is refused: a model that
    learned from filtered, aligned curves says nothing right about others. A model of raw curves serves scans with the
    frames that it learned from; one whose features know the artery serves any that go on for long enough.

    Parameters
    ----------
    scan
        a series as read, or a scan or series prepared as the model's recipe says
    model
        trained by `ctp_torch.learning.training.train`, or loaded
    mask
        ``(z, y, x)`` bool, where to predict; the brain when None
    aif, vof
        curves on the frames of the scan; chosen automatically when None, and of no matter to a model of raw curves
    scale_by_vof
        whether the arterial input is scaled to the area of the venous outflow

    Returns
    -------
        maps in physical units, 0 outside the mask; ``provenance`` names the artery, and what lies outside of what the
        model learned from

    Raises
    ------
    ModelMismatchError
        if the scan has other frames than the model learned from, ends too soon after the bolus or was prepared
        otherwise, or the model carries no recipe
    QualityError
        if the model needs an artery and none stands out of the noise
    """
    check_type(scan, (Scan, CTPSeries), "predict: scan", TO_SERIES)
    check_type(model, Regressor, "predict: model", "ctp_torch.load_model(FILE) gives one")
    recipe = Recipe.of(model)
    series = scan.series if isinstance(scan, Scan) else scan
    recipe.check(series.n_frames, series.dt)
    if isinstance(scan, CTPSeries):
        scan = prepare_by_recipe(scan, recipe)
    series = scan.series
    recipe.check_preparation(series.provenance.preparation, series.provenance.slabs)
    seen = features_of(scan, recipe.view, aif=aif, vof=vof, mask=mask, scale_by_vof=scale_by_vof)
    doubts = recipe.check_scan(seen.facts)
    features = recipe.scale(seen.tissue.values)
    outputs = answers(model, features, seen.tissue.mask, series.geometry.spacing)  # (voxels, targets)
    columns = recipe.values(outputs)
    if (intervals := Intervals.of(model)) is not None and len(outputs):
        bounds, strange = _bounded(intervals, columns, seen)
        columns, doubts = {**columns, **bounds}, [*doubts, *strange]
    values = {name: seen.tissue.scatter(column) for name, column in columns.items()}
    provenance = replace(seen.provenance, warnings=(*seen.provenance.warnings, *doubts))
    return PerfusionMaps(values, seen.tissue.mask, series.geometry, provenance)


def _bounded(intervals: Intervals, values: Mapping[str, Tensor], seen: Seen) -> tuple[dict[str, Tensor], list[str]]:
    """Relative flow and both ends of all intervals; of a stranger's scan no ends, and why."""
    flow = relative_flow(values)
    more = {} if flow is None else {"rel_cbf": flow}
    strange = intervals.outside({"answers": answers_signature(values), "bolus": seen.bolus})
    return (more, strange) if strange else ({**more, **intervals.ends({**values, **more})}, [])


def prepare_by_recipe(series: CTPSeries, recipe: Recipe) -> Scan:
    """A series as read made ready; one that was prepared stays as it is, to be checked."""
    if series.provenance.preparation is not None:
        return Scan(series, None, locate(series))
    if recipe.aligned_by not in REGISTRATIONS:
        raise ModelMismatchError(f"the model's registration {recipe.registration!r} is unknown; update ctp_torch")
    registration = REGISTRATIONS[recipe.aligned_by]
    slab_mm = 0.0 if recipe.features == "raw" else SLAB_MM  # pixels that a model of raw curves learned are as thin
    return prepare(series, registration=registration, median_size=recipe.view.prepared_median, slab_mm=slab_mm)
