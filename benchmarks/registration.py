"""Accuracy and speed of the batched registration, beside SimpleITK, on motion that is known exactly.

``python benchmarks/registration.py --seeds 101 102`` moves heads given by formulas (tests/oracles/images.py), so that
every frame is evaluated in its pose and none interpolated: 59 frames of 6 x 512 x 512 (8 mm slices, 0.45 mm pixels)
that move in the plane by up to 3 mm and 3 degrees, and of 16 x 256 x 256 (2 mm, 0.9 mm) that move in space; bolus and
5 HU of noise on both. The case ``phantom`` takes a digital patient, whose still frames are turned and shifted in the
plane by cubic splines before noise is added. The error is the distance between where the true and the estimated motion
put the points of the brain. No setting was chosen on seeds above 100.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from common import interleaved, write  # the folder of this file is on the path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from oracles.images import DigitalHead, registration_error  # the tests' own head, with exact motion

from ctp_torch import ops

THICK = (6, 512, 512), (8.0, 0.45, 0.45)
THIN = (16, 256, 256), (2.0, 0.9, 0.9)


def poses(n, seed, *, in_plane):
    """Rotations [degrees] and translations [mm] of n frames, the first still, up to 3 about and along each axis."""
    draw = np.random.default_rng(seed)
    rotation, translation = draw.uniform(-3, 3, (2, n, 3))
    rotation[0] = translation[0] = 0.0
    if in_plane:
        rotation[:, :2] = translation[:, 2] = 0.0
        length = np.linalg.norm(translation, axis=1, keepdims=True)
        translation *= np.minimum(1.0, 3.0 / np.maximum(length, 1e-9))
    return rotation, translation


def bolus(n):
    """Enhancement of the vessels [HU]: a gamma-variate over 60 s, 250 HU high."""
    t = np.maximum(np.linspace(0, 60, n) - 10.0, 0.0)
    curve = t**3 * np.exp(-t / 2.2)
    return 250.0 * curve / curve.max()


def by_formula(grid, seed, n, *, in_plane):
    """Moving volumes, their poses and the brain of a head given by formulas."""
    head, (rotation, translation) = DigitalHead(seed), poses(n, seed, in_plane=in_plane)
    frames = [
        head.volume(*grid, rotation=r, translation=t, bolus=b, thin=1 if in_plane else 3)
        for r, t, b in zip(rotation, translation, bolus(n), strict=True)
    ]
    return torch.stack(frames), (rotation, translation), head.brain(*grid)


def by_phantom(seed, n):
    """Moving volumes, their poses and the brain of a digital patient, slices moved by cubic splines."""
    from scipy.ndimage import affine_transform

    from ctp_torch.phantom.patient import render_patient

    patient = render_patient(seed, 0, size=512, frames=n, dt=60 / n, motion="none", noise_hu=0.0)
    spacing = patient.series.geometry.spacing
    rotation, translation = poses(n, seed, in_plane=True)
    moved = patient.series.hu.clone()
    centre = np.array([(m - 1) / 2 for m in moved.shape[2:]])
    for frame in range(1, n):
        angle = np.deg2rad(rotation[frame, 2])
        back = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])  # R^T on (row, column)
        shift = translation[frame, 1::-1] / np.array(spacing[1:])
        for z in range(moved.shape[1]):
            image = moved[frame, z].numpy()
            offset = centre - back @ (centre + shift)
            moved[frame, z] = torch.from_numpy(affine_transform(image, back, offset, order=3, mode="nearest"))
    return moved, (rotation, translation), patient.truth.brain, spacing


def judge(volumes, truth, brain, spacing, peers, repeats):
    """Errors and seconds of every method on the same noisy frames."""
    generator = torch.Generator().manual_seed(len(volumes))
    noisy = volumes + 5.0 * torch.randn(volumes.shape, generator=generator)
    methods = {"ctp_torch": lambda: ops.register_rigid(noisy, spacing, 1)}
    if peers:
        methods["SimpleITK, 5 % of the voxels"] = lambda: ops.register_simpleitk(noisy, spacing, 1)
    still = (np.zeros_like(truth[0]), np.zeros_like(truth[1]))
    row = {"frames": len(volumes) - 1, "before_mm": summary(registration_error(still, truth, brain, spacing))}
    found = {}

    def keep(name, method):
        def call():
            found[name] = method()

        return call

    timed = interleaved({name: keep(name, method) for name, method in methods.items()}, repeats=repeats, warm_up=False)
    for name, motion in found.items():
        row[f"{name}, mm"] = summary(registration_error((motion.rotation, motion.translation), truth, brain, spacing))
    ours = found["ctp_torch"]
    resampling = interleaved({"ctp_torch, resampling": lambda: ops.apply_motion(noisy, ours, spacing)}, repeats=1)
    return {**row, **timed, **resampling}


def summary(errors):
    """Mean, 95th percentile and maximum over the moving frames [mm]."""
    moving = errors[1:]
    return {"mean": float(moving.mean()), "p95": float(moving.quantile(0.95)), "max": float(moving.max())}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[101])
    parser.add_argument("--frames", type=int, default=60, help="the first one is still")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--cases", nargs="+", default=["thick", "thin"], choices=["thick", "thin", "phantom"])
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--name", default="registration")
    args = parser.parse_args()
    rows = []
    for seed in args.seeds:
        for case in args.cases:
            if case == "phantom":
                volumes, truth, brain, spacing = by_phantom(seed, args.frames)
            else:
                grid = THICK if case == "thick" else THIN
                volumes, truth, brain = by_formula(grid, seed, args.frames, in_plane=case == "thick")
                spacing = grid[1]
            found = judge(volumes, truth, brain, spacing, args.peers, args.repeats)
            rows.append({"case": case, "seed": seed, **found})
            print(rows[-1], flush=True)
    write(args.name, {"rows": rows})


if __name__ == "__main__":
    main()
