"""How a head moves during the scan: rest, slow drift, jerks; nodding first, then turning."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

__all__ = ["MotionClass", "draw_motion", "draw_motion_class"]

MotionClass = Literal["none", "negligible", "mild", "severe"]

_NODDING = (1.0, 0.35, 0.7)
"""Relative size of the rotations about x (nod), y and z (turn)."""
_SEVERE_AT_LEAST = 4.0
_LIMIT = {"negligible": 1.0, "mild": 2.5, "severe": 8.0}


def draw_motion_class(generator: torch.Generator) -> MotionClass:
    """Negligible or mild in the proportion 58 to 24 in which acute strokes move; severe ones are made on request only.

    Parameters
    ----------
    generator
        source of randomness
    """
    return "negligible" if float(torch.rand(1, generator=generator)) < 58.0 / 82.0 else "mild"


def draw_motion(generator: torch.Generator, n_frames: int, kind: MotionClass) -> Tensor:
    """Motion ``(time, 6)``: rotations rx, ry, rz [degrees] and translations tx, ty, tz [mm], LPS, frame 0 at rest.

    x_frame = R (x_ref - c) + c + t, R = Rz Ry Rx, c the centre of the volume.

    Parameters
    ----------
    generator
        source of randomness
    n_frames
        number of frames
    kind
        negligible (sd .2 mm and .2 degrees), mild (drift up to 2 mm and 2 degrees, one jerk) or severe (4 to 8 mm or
        degrees, 2 to 4 jerks)

    Raises
    ------
    ValueError
        for an unknown kind
    """
    if kind not in get_args(MotionClass):
        raise ValueError(f"motion must be one of {', '.join(get_args(MotionClass))}, got {kind!r}")
    if kind == "none":
        return torch.zeros(n_frames, 6, dtype=torch.float64)
    weight = torch.tensor([*_NODDING, 0.6, 1.0, 0.8], dtype=torch.float64)
    rest = 0.2 * _wander(generator, n_frames)
    if kind == "negligible":
        path = rest
    else:
        large = kind == "severe"
        n_jerks = 2 + int(torch.randint(3, (1,), generator=generator)) if large else 1
        path = rest + weight * _drift(generator, n_frames, 5.0 if large else 1.3)
        for _ in range(n_jerks):
            path = path + weight * _jerk(generator, n_frames, 4.0 if large else 0.9)
    path = path - path[:1]
    if kind == "severe":
        path = path * (_SEVERE_AT_LEAST / path.abs().max()).clamp_min(1.0)
    limit = _LIMIT[kind]
    return path.clamp(-limit, limit)


def _wander(generator: torch.Generator, n: int) -> Tensor:
    """Correlated noise of sd 1, ``(n, 6)``."""
    white = torch.randn(n + 4, 6, generator=generator, dtype=torch.float64)
    kernel = torch.tensor([1.0, 2.0, 3.0, 2.0, 1.0], dtype=torch.float64)
    return torch.div((white.unfold(0, 5, 1) * kernel).sum(-1), torch.linalg.vector_norm(kernel))


def _drift(generator: torch.Generator, n: int, size: float) -> Tensor:
    """A slow monotone path, faster in the first quarter of the scan, ending about ``size`` away, ``(n, 6)``."""
    end = size * (2.0 * torch.rand(6, generator=generator, dtype=torch.float64) - 1.0)
    x = torch.linspace(0.0, 1.0, n, dtype=torch.float64)[:, None]
    return end * (0.6 * (1.0 - torch.exp(-x / 0.2)) + 0.4 * x)


def _jerk(generator: torch.Generator, n: int, size: float) -> Tensor:
    """A sudden step that partly goes back, ``(n, 6)``."""
    u = torch.rand(8, generator=generator, dtype=torch.float64)
    start = (0.1 + 0.8 * u[6]) * n
    since = (torch.arange(n, dtype=torch.float64) - start)[:, None]
    shape = torch.sigmoid(4.0 * since) * (0.4 + 0.6 * torch.exp(-since.clamp_min(0.0) / (2.0 + 6.0 * u[7])))
    return size * (2.0 * u[:6] - 1.0) * shape
