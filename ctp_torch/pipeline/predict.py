"""Perfusion maps of a scan by a trained regressor, which sees to it that the scan was prepared as it learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ctp_torch import ops
from ctp_torch.data.curves import TissueCurves
from ctp_torch.data.maps import PerfusionMaps
from ctp_torch.data.scale import ColorScale
from ctp_torch.data.series import CTPSeries
from ctp_torch.errors import ModelMismatchError
from ctp_torch.pipeline.recipe import Recipe
from ctp_torch.pipeline.scan import REGISTRATIONS, Scan, locate, prepare

if TYPE_CHECKING:
    from ctp_torch.models.base import Regressor

__all__ = ["features", "predict"]


def features(series: CTPSeries, *, window: tuple[float, float] = (0.0, 600.0)) -> Tensor:
    """What a model sees: HU clipped to the window and scaled, ``(time, z, y, x)`` in 0..1."""
    return ops.window(series.hu, *window)


def predict(scan: Scan | CTPSeries, model: Regressor, *, mask: Tensor | None = None) -> PerfusionMaps:
    """Perfusion maps of a scan by a trained regressor.

    A series as read is prepared by the model's recipe. What was prepared otherwise already is refused: a model that
    learned from filtered, aligned curves says nothing right about others.

    Parameters
    ----------
    scan
        a series as read, or a scan or series prepared as the model's recipe says
    model
        trained by `ctp_torch.learning.training.train`, or loaded
    mask
        ``(z, y, x)`` bool, where to predict; the brain when None

    Returns
    -------
        maps in physical units, 0 outside the mask

    Raises
    ------
    ModelMismatchError
        if the scan has other frames than the model learned from or was prepared otherwise, or the model carries no
        recipe
    """
    recipe = Recipe.of(model)
    series = scan.series if isinstance(scan, Scan) else scan
    recipe.check(series.n_frames, series.dt)
    if isinstance(scan, CTPSeries):
        scan = _by_recipe(scan, recipe)
    series = scan.series
    recipe.check_preparation(series.provenance.preparation, series.provenance.slabs)
    inside = scan.anatomy.brain if mask is None else mask.to(series.hu.device)
    tissue = TissueCurves.gather(series.hu, inside, series.geometry, dt=series.dt)
    indices = model.predict(recipe.scale(ops.window(tissue.values, *recipe.window))).clamp(0, 255)  # (voxels, targets)
    indices = indices[:, None] if indices.ndim == 1 else indices
    values = {
        name: tissue.scatter(ColorScale(*ends).value(indices[:, i]))
        for i, (name, ends) in enumerate(recipe.targets.items())
    }
    return PerfusionMaps(values, inside, series.geometry)


def _by_recipe(series: CTPSeries, recipe: Recipe) -> Scan:
    """A series as read made ready; one that was prepared stays as it is, to be checked."""
    if series.provenance.preparation is not None:
        return Scan(series, None, locate(series))
    if recipe.registration not in REGISTRATIONS:
        raise ModelMismatchError(f"the model's registration {recipe.registration!r} is unknown; update ctp_torch")
    registration = REGISTRATIONS[recipe.registration]
    return prepare(series, registration=registration, median_size=recipe.median_size, slab_mm=0.0)
