"""The reference registration: SimpleITK, one frame after another, for comparison with the batched one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ctp_torch.ops.motion.rigid import RigidMotion, euler_angles

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["register_simpleitk"]

_BINS = 50
_ITERATIONS = 100


def register_simpleitk(
    volumes: Tensor,
    spacing: tuple[float, float, float],
    n_reference_frames: int,
    *,
    samples: float = 0.05,
    levels: tuple[int, ...] = (4, 2, 1),
    seed: int = 1,
) -> RigidMotion:
    """Rigid motion of every frame by SimpleITK: Mattes mutual information, gradient descent, coarse to fine.

    The reference is the mean of the first frames. Levels shrink the slices in plane only, because six thick slices
    leave nothing to shrink along z. All six parameters are estimated, also where thick slices hardly determine them.

    Parameters
    ----------
    volumes
        ``(time, z, y, x)`` [HU], not windowed, so that bone and skin carry the alignment
    spacing
        z, y, x [mm]
    n_reference_frames
        frames before the bolus whose mean is the reference
    samples
        share of the voxels that the metric looks at, drawn at random
    levels
        in-plane shrink factors, coarse to fine
    seed
        of the drawing

    Returns
    -------
    Motion of all frames about the axes of the grid; frames of a single slice and a single frame included

    Raises
    ------
    ValueError
        if ``volumes`` is not ``(time, z, y, x)`` with more than one slice, or has fewer frames than the reference needs

    References
    ----------
    Mattes et al., IEEE TMI 22:120 (2003), doi:10.1109/TMI.2003.809072.
    """
    if volumes.ndim != 4 or volumes.shape[1] < 2:
        raise ValueError(f"volumes must be (time, z, y, x) with at least two slices, got {tuple(volumes.shape)}")
    if not 1 <= n_reference_frames <= volumes.shape[0]:
        raise ValueError(f"n_reference_frames must be 1 to {volumes.shape[0]}, got {n_reference_frames}")
    reference = _pyramid(volumes[:n_reference_frames].float().mean(dim=0), spacing, levels)
    poses = [_register_frame(reference, _pyramid(frame.float(), spacing, levels), samples, seed) for frame in volumes]
    matrices = torch.tensor([pose.GetMatrix() for pose in poses], dtype=torch.float64).reshape(-1, 3, 3)
    translation = torch.tensor([pose.GetTranslation() for pose in poses], dtype=torch.float64)
    return RigidMotion(euler_angles(matrices), translation, torch.ones(6, dtype=torch.bool))


def _pyramid(volume: Tensor, spacing: tuple[float, float, float], levels: tuple[int, ...]) -> list[Any]:
    """SimpleITK images of ``volume (z, y, x)``, averaged over level x level pixels of each slice."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(volume.cpu().numpy())
    image.SetSpacing(spacing[::-1])
    return [image if level == 1 else sitk.BinShrink(image, [level, level, 1]) for level in levels]


def _register_frame(reference: list[Any], moving: list[Any], samples: float, seed: int) -> Any:
    """The Euler transform from the reference to one frame, refined level by level."""
    import SimpleITK as sitk

    pose = sitk.Euler3DTransform()
    pose.SetComputeZYX(True)
    finest = reference[-1]
    pose.SetCenter(finest.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in finest.GetSize()]))
    for fixed_level, moving_level in zip(reference, moving, strict=True):
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(_BINS)
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(samples, seed)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=1.0, minStep=1e-3, numberOfIterations=_ITERATIONS, gradientMagnitudeTolerance=1e-8
        )
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetInitialTransform(pose, inPlace=True)
        method.Execute(fixed_level, moving_level)
    return pose
