"""Damped Gauss-Newton (Levenberg-Marquardt) steps of many small least-squares problems at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["damped_steps"]


def damped_steps(
    model: Callable[[Tensor], tuple[Tensor, Tensor]],
    curves: Tensor,
    start: Tensor,
    *,
    bounds: Sequence[tuple[float, float]],
    steps: int,
) -> Tensor:
    """Parameters ``(voxels, parameters)`` after ``steps`` tries to lower ``|model(p) - curve|^2`` inside the bounds.

    Each voxel has a damping of its own: a tenth after a step that helped, ten times as much after one that didn't
    (which isn't taken), so that no voxel ends worse than it started.

    Parameters
    ----------
    model
        parameters ``(voxels, parameters)`` to curves ``(voxels, time)`` and derivatives ``(voxels, time, parameters)``
    curves
        ``(voxels, time)``
    start
        ``(voxels, parameters)``
    bounds
        lower and upper limit of each parameter
    steps
        how many

    References
    ----------
    Marquardt 1963, https://doi.org/10.1137/0111030
    """
    low, high = start.new_tensor(bounds).unbind(1)
    now = start.clamp(low, high)
    damping = start.new_full((len(start), 1), 1e-2)
    values, slopes = model(now)
    misfit = (curves - values).square().sum(dim=1)
    for _ in range(steps):
        pull = (slopes.mT @ (curves - values)[..., None]).squeeze(-1)  # (voxels, parameters)
        free = ~(((now <= low) & (pull < 0)) | ((now >= high) & (pull > 0)))  # the others stay on their bound
        moving, pull = slopes * free[:, None, :], pull * free
        normal = moving.mT @ moving  # (voxels, parameters, parameters)
        size = normal.diagonal(dim1=1, dim2=2)
        extra = torch.where(size > 0, (damping + 1e-7) * size, 1.0)  # a parameter without effect stays where it is
        step = torch.linalg.solve_ex(normal + torch.diag_embed(extra), pull)[0]
        trial = (now + step).clamp(low, high)
        new_values, new_slopes = model(trial)
        new_misfit = (curves - new_values).square().sum(dim=1)
        better = new_misfit < misfit
        now = torch.where(better[:, None], trial, now)
        values = torch.where(better[:, None], new_values, values)
        slopes = torch.where(better[:, None, None], new_slopes, slopes)
        misfit = torch.where(better, new_misfit, misfit)
        damping = torch.where(better[:, None], damping / 10, damping * 10).clamp(1e-6, 1e6)
    return now
