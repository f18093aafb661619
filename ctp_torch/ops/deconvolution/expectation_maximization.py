"""Deconvolution by expectation maximisation: multiplicative updates that keep the residue function positive."""

from __future__ import annotations

import torch
from torch import Tensor

from ctp_torch.ops.deconvolution.convolution import extended_lags, hat_matrix
from ctp_torch.ops.deconvolution.method import deconvolution
from ctp_torch.ops.deconvolution.passage import Passage, by_timing
from ctp_torch.ops.deconvolution.result import Deconvolution, chunks, read_out

__all__ = ["expectation_maximization"]

OFFSET_OF_PEAK = 0.2
"""Least offset of a curve whose noise is estimated from itself, as part of its largest value."""

OFFSET_OF_NOISE = 10.0
"""Offset in standard deviations of the noise."""

LEAST_OFFSET_HU = 3.0
"""Offset below which clipping at 0 begins to bias."""

UNEXPLAINED = 0.02
"""Parts of a curve along singular values below this share of the largest are noise: no residue function shows there."""

LEAST_ENERGY = 0.1
"""Lags whose column of the convolution matrix holds less than this part of the largest hold only noise: left out."""


@deconvolution
def expectation_maximization(
    passage: Passage,
    *,
    iterations: int = 40,
    noise_hu: float | None = None,
    step: float = 1.0,
) -> Deconvolution:
    """Perfusion by ``k <- k A^T((c + B) / (A k + B)) / A^T 1``, starting from a constant.

    The offset B keeps curves positive whose noise is additive, as CT's is; without one late lags blow up. More
    iterations sharpen k and its noise alike. Uneven frames are used as they are.

    Parameters
    ----------
    iterations
        updates at most
    noise_hu
        standard deviation of the noise [HU], if known: B is 10 of them (3 HU at least), and a voxel stops when its
        misfit has come down to the noise. None: it is estimated from what no residue explains of each curve (B is at
        least a fifth of the peak then), and all updates are made
    step
        spacing of the lags [s]

    Returns
    -------
    Deconvolution
        without ``delay`` and ``sd``

    Raises
    ------
    ValueError
        for fewer than one iteration, or noise that is not positive

    References
    ----------
    Vonken et al. 1999, Magn Reson Med 41:343
    """
    if iterations < 1:
        raise ValueError(f"at least one iteration is needed, got {iterations}")
    if noise_hu is not None and not noise_hu > 0:
        raise ValueError(f"noise_hu must be positive or None, got {noise_hu}")
    lags = extended_lags(passage.times, step)

    def solve(curves: Tensor, moments: Tensor) -> tuple[Tensor]:
        matrix = hat_matrix(passage.aif, passage.aif_times, moments, lags).clamp(min=0)
        energy = matrix.sum(dim=0)
        kept = (energy >= LEAST_ENERGY * energy.max()).nonzero().squeeze(1)
        columns = slice(int(kept[0]), int(kept[-1]) + 1)
        modes, size, _ = torch.linalg.svd(matrix)
        first = min(int((size >= UNEXPLAINED * size[0]).sum()), 3 * len(modes) // 4)  # a quarter is left in any case
        unexplained = modes[:, first:]
        k = curves.new_zeros(len(curves), len(lags))
        for rows in chunks(curves, 4 * len(lags)):
            k[rows, columns] = _updated(curves[rows], matrix[:, columns], iterations, noise_hu, unexplained)
        return (k,)

    (k,) = by_timing(passage, solve)
    return read_out(k, lags, passage)


def _updated(curves: Tensor, matrix: Tensor, iterations: int, noise_hu: float | None, unexplained: Tensor) -> Tensor:
    """Residues ``(voxels, lags)`` after the updates; ``unexplained (time, modes)`` are directions of noise alone."""
    forward = matrix.T.to(curves).contiguous()  # (lags, time)
    backward = (matrix / matrix.sum(dim=0)).to(curves)  # (time, lags)
    peak = curves.amax(dim=1, keepdim=True).clamp(min=torch.finfo(curves.dtype).tiny)
    if noise_hu is None:
        noise = (curves @ unexplained.to(curves)).square().mean(dim=1, keepdim=True).sqrt()
        offset = torch.maximum(OFFSET_OF_NOISE * noise, OFFSET_OF_PEAK * peak)
    else:
        offset = peak.new_tensor(max(OFFSET_OF_NOISE * noise_hu, LEAST_OFFSET_HU))
    lifted = (curves + offset).clamp(min=0)
    k = (peak / forward.sum(dim=0).max()).expand(len(curves), len(forward)).clone()
    moving = torch.ones_like(peak, dtype=torch.bool)
    for _ in range(iterations):
        expected = k @ forward  # (voxels, time)
        if noise_hu is not None:
            misfit = (expected - curves).square().sum(dim=1, keepdim=True)
            moving &= misfit > curves.shape[1] * noise_hu**2
        ratio = (lifted / (expected + offset)) @ backward
        k = torch.where(moving, k * ratio, k) if noise_hu is not None else k.mul_(ratio)
    return k
