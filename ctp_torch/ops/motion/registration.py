"""A moving head to its rigid motion: all frames at once, Gauss-Newton on robustly weighted points, coarse to fine."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ctp_torch.ops.motion.pyramid import Landmarks, Level, build_pyramid, find_head, pick_landmarks
from ctp_torch.ops.motion.rigid import RigidMotion, apply_motion, euler_angles, mean_displacement

__all__ = ["register_rigid"]

THICK_MM = 3.0
_HUBER = 1.345
_REACH_MM = 65.0
_STILL_MM = 0.1
_EDGE = 0.25  # voxels beyond the volume at which a point no longer counts


def register_rigid(
    volumes: Tensor,
    spacing: tuple[float, float, float],
    n_reference_frames: int,
    *,
    n_points: int = 15_000,
    max_iterations: int = 20,
    tolerance_mm: float = 0.002,
) -> RigidMotion:
    """Rigid motion of every frame against the mean of the first frames, all frames at once.

    Inverse-compositional Gauss-Newton on about 4, 2 and 1 mm pixels: the residuals of ``n_points`` steep points,
    interpolated linearly in every frame, divided by the error to expect there and weighted after Huber, so that bone
    and skin carry the alignment and the bolus, a small part of the points, does not. The Jacobian belongs to the
    reference and is computed once a level. Table and head rest are left out. When the reference frames themselves
    moved, they are aligned and averaged again before a last refinement.

    One or two slices tell nothing about motion through the plane, which then is 0. Slices further apart than 3 mm tell
    it roughly: those parameters are given, and marked as not determined.

    Parameters
    ----------
    volumes
        ``(time, z, y, x)`` [HU], not windowed: the wide range is what makes bone and skin count
    spacing
        z, y, x [mm]
    n_reference_frames
        frames before the bolus whose mean is the reference
    n_points
        points compared per frame and iteration
    max_iterations
        per level
    tolerance_mm
        a level ends when no point 65 mm from the centre moves further than this in any frame

    Returns
    -------
    Motion of all frames about the axes of the grid, on the device of ``volumes``

    Raises
    ------
    ValueError
        if ``volumes`` is not ``(time, z, y, x)``, or has fewer frames than the reference needs

    References
    ----------
    Baker and Matthews, Lucas-Kanade 20 years on, IJCV 56:221 (2004), doi:10.1023/B:VISI.0000011205.11775.fd.
    """
    if volumes.ndim != 4:
        raise ValueError(f"volumes must be (time, z, y, x), got shape {tuple(volumes.shape)}")
    if not 1 <= n_reference_frames <= volumes.shape[0]:
        raise ValueError(f"n_reference_frames must be 1 to {volumes.shape[0]}, got {n_reference_frames}")
    hu = volumes if volumes.is_floating_point() else volumes.float()
    free = torch.ones(6, dtype=torch.bool, device=hu.device)
    if hu.shape[1] < 3:
        free[[0, 1, 5]] = False  # rotation about x and y, shift along z
    pose = (
        torch.eye(3, dtype=torch.float64, device=hu.device).repeat(hu.shape[0], 1, 1),
        torch.zeros(hu.shape[0], 3, dtype=torch.float64, device=hu.device),
    )
    levels = build_pyramid(hu, spacing)
    head = find_head(levels[0].frames[:n_reference_frames].mean(dim=0), levels[0])
    finest = float(levels[-1].step[0])
    for level in levels:
        limits = (max_iterations, tolerance_mm * (float(level.step[0]) / finest) ** 2)
        landmarks = pick_landmarks(level.frames[:n_reference_frames].mean(dim=0), level, head, n_points)
        pose = _refine(level, landmarks, pose, free, limits)
    motion = _motion(pose, free, spacing)
    first = RigidMotion(motion.rotation[:n_reference_frames], motion.translation[:n_reference_frames], free)
    if n_reference_frames > 1 and bool((mean_displacement(first) > _STILL_MM).any()):
        still = apply_motion(hu[:n_reference_frames], first, spacing).mean(dim=0, keepdim=True)
        reference = build_pyramid(still, spacing)[-1].frames[0]
        landmarks = pick_landmarks(reference, levels[-1], head, n_points)
        motion = _motion(_refine(levels[-1], landmarks, pose, free, limits), free, spacing)
    return motion


def _refine(
    level: Level, landmarks: Landmarks, pose: tuple[Tensor, Tensor], free: Tensor, limits: tuple[int, float]
) -> tuple[Tensor, Tensor]:
    """Gauss-Newton on one level, from ``pose`` = matrices ``(time, 3, 3)`` and shifts ``(time, 3)``.

    Frames that have come to rest drop out; the images of the others are gathered anew each time half of them have.
    """
    matrix, shift = (part.clone() for part in pose)
    if not len(landmarks.points):
        return pose
    jacobian = landmarks.jacobian * free
    products = (jacobian[:, :, None] * jacobian[:, None]).flatten(1)  # (points, 36)
    damping = torch.where(free, 1e-6, 1.0).double().diag()
    active, frames = torch.arange(len(matrix), device=matrix.device), level.frames
    for _ in range(limits[0]):
        residuals, counted = _residuals(level, frames, landmarks, matrix[active], shift[active])  # (active, points)
        scale = 1.4826 * residuals[:, ::8].abs().median(dim=1, keepdim=True).values.clamp(min=0.05)
        weights = counted * (_HUBER * scale / residuals.abs().clamp(min=_HUBER * scale))
        normal = (weights @ products).reshape(-1, 6, 6).double()
        gradient = ((weights * residuals) @ jacobian).double()
        scaled = damping * normal.diagonal(dim1=1, dim2=2).amax(dim=1).clamp(min=1.0)[:, None, None]
        change = torch.linalg.solve(normal + scaled, gradient)  # (active, 6)
        matrix[active] = matrix[active] @ torch.linalg.matrix_exp(-_cross_matrix(change[:, :3]))
        shift[active] -= (matrix[active] @ change[:, 3:, None]).squeeze(-1)
        moved = _REACH_MM * change[:, :3].square().sum(1).sqrt() + change[:, 3:].square().sum(1).sqrt()
        moving = moved > limits[1]
        if not bool(moving.any()):
            break
        if 2 * int(moving.sum()) <= len(active):
            active, frames = active[moving], frames[moving]
    return matrix, shift


def _residuals(
    level: Level, frames: Tensor, landmarks: Landmarks, matrix: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor]:
    """Frames at the moved points minus the reference, in expected errors, and how far each point counts, 0..1."""
    moved = landmarks.points @ matrix.float().mT + shift.float()[:, None]  # (time, points, 3)
    grid = level.grid(moved)
    sampled = F.grid_sample(
        frames[:, None], grid[:, None, None], mode="bilinear", padding_mode="border", align_corners=True
    ).flatten(1)
    half = 0.5 * (grid.new_tensor(frames.shape[:0:-1]) - 1.0)
    beyond = ((grid.abs() - 1.0) * half).amax(dim=-1)  # voxels outside the volume
    return (sampled - landmarks.values) * landmarks.weight, (1.0 - beyond / _EDGE).clamp(0.0, 1.0)


def _cross_matrix(vectors: Tensor) -> Tensor:
    """Matrices ``(n, 3, 3)`` whose product with p is the cross product of ``vectors (n, 3)`` with p."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(-1, 3, 3)


def _motion(pose: tuple[Tensor, Tensor], free: Tensor, spacing: tuple[float, float, float]) -> RigidMotion:
    """The motion of a pose, with what thick slices don't determine marked."""
    determined = free.clone()
    if spacing[0] > THICK_MM:
        determined[[0, 1, 5]] = False
    return RigidMotion(euler_angles(pose[0]), pose[1], determined)
