"""Speed of the median filter and the colour lookup, beside scipy, OpenCV, SimpleITK, kornia and a k-d tree.

``python benchmarks/preprocessing.py`` filters 360 images of 512 x 512 (float32) with a 3 x 3 median and turns 24 JET
maps of 512 x 512 back into indices, all candidates by turns, after comparing what they return. Everything a candidate
builds (tree, table) is inside its time. Brute force over colours is timed on a part and scaled, and says so.
"""

import argparse

import cv2
import numpy as np
import SimpleITK as sitk
import torch
from common import interleaved, write  # the folder of this file is on the path
from kornia.filters import median_blur
from scipy.ndimage import median_filter as scipy_median
from scipy.spatial import cKDTree

from ctp_torch import ops


def medians(images, repeats):
    """Seconds by candidate, and whether each equals scipy (``reflect``) everywhere or inside the border only."""
    flat = images.numpy()

    def by_simpleitk():
        return np.stack([sitk.GetArrayFromImage(sitk.Median(sitk.GetImageFromArray(i), [1, 1])) for i in flat])

    ops.median_filter(images[:2])  # the first call of anything is slower
    candidates = {
        "ctp_torch": lambda: ops.median_filter(images).numpy(),
        "scipy": lambda: np.stack([scipy_median(image, 3, mode="reflect") for image in flat]),
        "OpenCV": lambda: np.stack([cv2.medianBlur(image, 3) for image in flat]),
        "SimpleITK": by_simpleitk,
        "kornia": lambda: torch.cat([median_blur(image[None, None], 3) for image in images])[:, 0].numpy(),
    }
    found, timed = measured(candidates, repeats)
    truth = found["scipy"]
    equal = {}
    for name, filtered in found.items():
        inside = np.array_equal(filtered[:, 1:-1, 1:-1], truth[:, 1:-1, 1:-1])
        equal[name] = "everywhere" if np.array_equal(filtered, truth) else "inside" if inside else "no"
    return {"images": list(images.shape), "equal_to_scipy": equal, **timed}


def measured(candidates, repeats):
    """What every candidate returns, and its seconds; the runs that are timed are the runs that are compared."""
    found = {}

    def keep(name, run):
        def call():
            found[name] = run()

        return call

    return found, interleaved({n: keep(n, run) for n, run in candidates.items()}, repeats=repeats, warm_up=False)


def colors(rgb, repeats, brute_share=48):
    """Seconds by candidate for the index of every pixel of JET maps with black background."""
    lut = ops.jet_lut()
    table, pixels = lut.numpy().astype(np.float32), rgb.reshape(-1, 3).numpy()

    def by_tree():
        distance, index = cKDTree(table).query(pixels.astype(np.float32))
        return _marked(index, distance, pixels)

    def by_brute_force():
        some = pixels[:: len(pixels) // (len(pixels) // brute_share)].astype(np.float32)
        parts = [((part[:, None] - table) ** 2).sum(-1).argmin(-1) for part in np.array_split(some, 256)]
        return np.concatenate(parts)

    def by_unique():
        code = (pixels.astype(np.int32) * np.array([65536, 256, 1], np.int32)).sum(-1)
        present, inverse = np.unique(code, return_inverse=True)
        some = np.stack([present >> 16, present >> 8 & 255, present & 255], -1).astype(np.float32)
        squared = np.stack([((one - table) ** 2).sum(-1) for one in some])
        return _marked(squared.argmin(-1)[inverse], np.sqrt(squared.min(-1))[inverse], pixels)

    candidates = {
        "ctp_torch": lambda: ops.nearest_color_index(rgb, lut),
        "k-d tree": by_tree,
        "unique colours, then brute force": by_unique,
        f"brute force (1/{brute_share} of the pixels)": by_brute_force,
    }
    found, timed = measured(candidates, repeats)
    ours = found["ctp_torch"].reshape(-1).numpy()
    exact = {name: bool(np.array_equal(index, ours)) for name, index in list(found.items())[1:3]}
    return {"maps": list(rgb.shape), "equal_to_ctp_torch": exact, **timed}


def _marked(index, distance, pixels):
    """-1 for background and -2 for colours far from the table, as `nearest_color_index` does."""
    index = np.where(distance > 40.0, -2, index)
    return np.where(pixels.max(-1) < 64, -1, index).astype(np.int16)


def maps_of(generator, n, size, noise):
    """JET pictures of smooth maps in a disc, the rest black."""
    coarse = torch.rand(n, 1, 12, 12, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic", align_corners=False)[:, 0]
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    index = (255 * smooth.clamp(0, 1)).round().short().where((x**2 + y**2 < 0.5)[None], -1)
    rgb = ops.apply_lut(index, ops.jet_lut())
    if noise:
        rgb = (rgb + noise * torch.randn(rgb.shape, generator=generator)).round().clamp(0, 255).byte()
    return rgb


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=360)
    parser.add_argument("--maps", type=int, default=24)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--parts", nargs="+", default=["median", "colors"], choices=["median", "colors"])
    args = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    images = 300.0 * torch.randn(args.images, args.size, args.size, generator=generator)
    rows = {}
    if "median" in args.parts:
        rows["median 3 x 3"] = medians(images, args.repeats)
        print(rows, flush=True)
    for name, noise in (
        () if "colors" not in args.parts else (("colours, lossless", 0.0), ("colours, noise of 2 grey levels", 2.0))
    ):
        rows[name] = colors(maps_of(generator, args.maps, args.size, noise), args.repeats)
        print(name, rows[name], flush=True)
    write(
        "preprocessing_" + "_".join(args.parts) if len(args.parts) < 2 else "preprocessing",
        {"opencv": cv2.__version__, **rows},
    )


if __name__ == "__main__":
    main()
