"""Perfusion maps of a preprocessed series by a trained regressor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ctp_torch import ops
from ctp_torch.data.curves import TissueCurves
from ctp_torch.data.maps import PerfusionMaps
from ctp_torch.pipeline.recipe import Recipe
from ctp_torch.pipeline.scan import locate

if TYPE_CHECKING:
    from ctp_torch.data.series import CTPSeries
    from ctp_torch.models.base import Regressor

__all__ = ["features", "predict"]


def features(series: CTPSeries, *, window: tuple[float, float] = (0.0, 600.0)) -> Tensor:
    """What a model sees: HU clipped to the window and scaled, ``(time, z, y, x)`` in 0..1."""
    return ops.window(series.hu, *window)


def predict(series: CTPSeries, model: Regressor, *, mask: Tensor | None = None) -> PerfusionMaps:
    """Perfusion maps of a preprocessed series by a trained regressor.

    Parameters
    ----------
    series
        preprocessed as the model's recipe says, HU
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
        if the series has other frames than the model learned from, or the model carries no recipe
    """
    recipe = Recipe.of(model)
    recipe.check(series.n_frames, series.dt)
    inside = locate(series).brain if mask is None else mask.to(series.hu.device)
    tissue = TissueCurves.gather(series.hu, inside, series.geometry, dt=series.dt)
    indices = model.predict(recipe.scale(ops.window(tissue.values, *recipe.window))).clamp(0, 255)  # (voxels, targets)
    indices = indices[:, None] if indices.ndim == 1 else indices
    values = {
        name: tissue.scatter(low + indices[:, i] / 255 * (high - low))
        for i, (name, (low, high)) in enumerate(recipe.targets.items())
    }
    return PerfusionMaps(values, inside, series.geometry)
