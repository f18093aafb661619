"""Is reading a series as fast as the bare pydicom loop that decodes the same files, checks and all?

``python benchmarks/reading.py`` writes series of 512 x 512 slices (360 files: 60 frames of 6 slices; 5,000 files: 50
frames of 100), reads each by turns with ``read_series`` and with a loop of ``dcmread``, ``pixel_array``, rescale and a
sort by place and time, and compares what came out before it compares times. The loop checks nothing: no missing cell, no
second series, no padding.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from common import interleaved, write  # the folder of this file is on the path
from pydicom import dcmread

from ctp_torch import CTPSeries, Geometry
from ctp_torch.io import read_series, write_ct_series


def bare_loop(folder):
    """HU (time, z, y, x) the short way."""
    images = []
    for path in folder.iterdir():
        d = dcmread(path)
        hu = d.pixel_array.astype(np.float32) * np.float32(d.RescaleSlope) + np.float32(d.RescaleIntercept)
        images.append((float(d.ImagePositionPatient[2]), d.AcquisitionDate + d.AcquisitionTime, hu))
    places = sorted({place for place, _, _ in images})
    images.sort(key=lambda one: one[:2])
    stack = np.stack([hu for _, _, hu in images])
    return stack.reshape(len(places), -1, *stack.shape[1:]).swapaxes(0, 1)


def make(folder, frames, slices, size):
    """A series of noise."""
    hu = torch.randint(-1024, 2000, (1, slices, size, size), generator=torch.Generator().manual_seed(0)).float()
    times = torch.arange(frames, dtype=torch.float64)[:, None].expand(frames, slices).clone()
    series = CTPSeries(hu.expand(frames, -1, -1, -1), times, Geometry((slices, size, size), (1.0, 0.43, 0.43)))
    write_ct_series(series, folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", nargs="+", default=["60x6", "50x100"], help="frames x slices")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, nargs="+", default=[7, 3])
    args = parser.parse_args()
    rows = []
    for which, repeats in zip(args.series, args.repeats, strict=True):
        frames, slices = map(int, which.split("x"))
        with tempfile.TemporaryDirectory() as home:
            folder = Path(home) / "ct"
            make(folder, frames, slices, args.size)
            same = bool(np.array_equal(read_series(folder).hu[0].numpy(), bare_loop(folder)[0]))
            timed = interleaved(
                {"read_series": lambda: read_series(folder), "bare pydicom loop": lambda: bare_loop(folder)},
                repeats=repeats,
            )
        rows.append({"files": frames * slices, "size": args.size, "same_pixels": same, **timed})
        print(rows[-1], flush=True)
    write("reading", rows)


if __name__ == "__main__":
    main()
