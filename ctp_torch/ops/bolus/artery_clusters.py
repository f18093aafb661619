"""Bright curves to those of an artery among them: clustered by shape, chosen by height and time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ctp_torch.ops.bolus.concentration import bolus_onset

__all__ = ["earliest_cluster"]

VENOUS_LAG_S = 2.0
"""A cluster that rises this much after another one is a vein, though it rise before the tissue [s]."""


def earliest_cluster(curves: Tensor, tissue: Tensor, dt: float, *, n_highest: int, n_clusters: int = 5) -> Tensor:
    """Which curves belong to the k-means cluster with the smallest first moment that is high and rises early.

    High is at least 0.4 times the highest cluster; early is half way up before the tissue is, and less than 2 s after
    the first cluster that is twice as high as the tissue. Where no cluster is both, the height that counts is that of
    the highest early one, if it is twice the tissue's: a late one is a vein, or drifted before the contrast came, which
    makes its first moment small. Where there is none, time is passed over.

    The highest curves of a cluster tell its height and its rise. Its mean would not do: beside thick veins, a few
    arteries among much tissue would count as low.

    Parameters
    ----------
    curves
        ``(voxels, time)`` smoothed in time, baseline at 0 [HU]
    tissue
        ``(time,)`` the brain's median curve, alike
    dt
        time between frames [s]
    n_highest
        curves of a cluster that tell its height and rise
    n_clusters
        at most; never so many that six curves are too few for each

    Returns
    -------
        ``(voxels,)`` bool; all where there are fewer than twelve curves
    """
    n, n_clusters = len(curves), min(n_clusters, len(curves) // 6)
    if n_clusters < 2:
        return torch.ones(n, dtype=torch.bool, device=curves.device)
    moment, members = _cluster(curves, dt, n_clusters)
    count = members.sum(dim=0)
    peaks = torch.where(members.T > 0, curves.amax(dim=1), 0.0)  # (clusters, voxels)
    highest = peaks.topk(min(n_highest, n), dim=1)
    height = highest.values.sum(dim=1) / count.clamp(1, n_highest)
    chosen = torch.zeros_like(peaks).scatter(1, highest.indices, (highest.values > 0).to(peaks.dtype))
    rise = bolus_onset(chosen @ curves, dt, fraction=0.5)  # (clusters,) [s], of a sum as of a mean
    enough = count >= max(3.0, 0.05 * n)
    early = enough & (rise < bolus_onset(tissue, dt, fraction=0.5))
    clear = early & (height >= 2.0 * tissue.max())  # the tissue itself is no artery, however early
    venous = rise > torch.where(clear, rise, torch.inf).min() + VENOUS_LAG_S
    eligible = early & ~venous & (height >= 0.4 * height.max())
    if not bool(eligible.any()):
        pool = clear & ~venous if bool(clear.any()) else enough
        eligible = pool & (height >= 0.4 * torch.where(pool, height, 0.0).max())
    mean_moment = torch.where(eligible, (members.T @ moment) / count.clamp_min(1), torch.inf)
    return members[:, mean_moment.argmin()] > 0


def _cluster(curves: Tensor, dt: float, n_clusters: int, n_rounds: int = 20) -> tuple[Tensor, Tensor]:
    """First moment of each curve ``(voxels,)`` and its k-means cluster by shape, one-hot ``(voxels, clusters)``."""
    start = max(0, int(float(bolus_onset(curves.mean(dim=0), dt)) / dt) - 1)
    window = curves[:, start : start + max(4, math.ceil(16.0 / dt))].clamp_min(0)
    # By shape alone: by height, the thin and the thick pieces of one artery would fall into different groups.
    shape = window / window.sum(dim=1, keepdim=True).clamp_min(1e-12)  # (voxels, frames)
    frames = torch.arange(shape.shape[1], device=shape.device, dtype=shape.dtype)
    moment = shape @ frames
    group = moment.argsort().argsort() * n_clusters // len(moment)  # from quintiles, not at random: a scan has one AIF
    for _ in range(n_rounds):
        members = torch.nn.functional.one_hot(group, n_clusters).to(shape.dtype)  # (voxels, clusters)
        centres = (members.T @ shape) / members.sum(dim=0)[:, None].clamp_min(1)
        regroup = torch.cdist(shape, centres).argmin(dim=1)
        if torch.equal(regroup, group):
            break
        group = regroup
    return moment, torch.nn.functional.one_hot(group, n_clusters).to(shape.dtype)
