"""How long a series takes to read beside the bare pydicom loop that decodes the same files and checks nothing.

``python benchmarks/reading.py`` writes series of 512 x 512 slices (360 files: 60 frames of 6 slices; 5,000 files: 50
frames of 100), reads each by turns with ``read_series`` and with a loop of ``dcmread``, ``pixel_array``, rescale and a
sort by place and time, and compares what came out before it compares times. The loop looks for no missing cell, no
second series, no padding.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from common import interleaved, write  # the folder of this file is on the path
from pydicom import dcmread

from ctp_torch import CTPSeries, Geometry
from ctp_torch.io import read_series, write_ct_series


def bare_loop(folder, size):
    """HU of all images in the order of the files, and the files' order by time and place."""
    paths = list(folder.iterdir())
    hu = np.empty((len(paths), size, size), np.float32)
    keys = []
    for k, path in enumerate(paths):
        d = dcmread(path)
        hu[k] = d.pixel_array * np.float32(d.RescaleSlope) + np.float32(d.RescaleIntercept)
        keys.append((d.AcquisitionDate + d.AcquisitionTime, float(d.ImagePositionPatient[2])))
    return hu, sorted(range(len(paths)), key=keys.__getitem__)


def make(folder, frames, slices, size):
    """A series of noise."""
    hu = torch.randint(-1024, 2000, (1, slices, size, size), generator=torch.Generator().manual_seed(0)).float()
    times = torch.arange(frames, dtype=torch.float64)[:, None].expand(frames, slices).clone()
    series = CTPSeries(hu.expand(frames, -1, -1, -1), times, Geometry((slices, size, size), (1.0, 0.43, 0.43)))
    write_ct_series(series, folder)


def compare(folder, slices, size):
    """Whether the first and the last volume of both are the same."""
    ours = read_series(folder).hu[[0, -1]].numpy()
    hu, order = bare_loop(folder, size)
    theirs = np.stack([hu[order[:slices]], hu[order[-slices:]]])
    return bool(np.array_equal(ours, theirs))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", nargs="+", default=["60x6", "50x100"], help="frames x slices")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, nargs="+", default=[5, 2])
    args = parser.parse_args()
    rows = []
    for which, repeats in zip(args.series, args.repeats, strict=True):
        frames, slices = map(int, which.split("x"))
        with tempfile.TemporaryDirectory() as home:
            folder = Path(home) / "ct"
            make(folder, frames, slices, args.size)
            same = compare(folder, slices, args.size)
            contenders = {"read_series": read_series, "bare loop": lambda f: bare_loop(f, args.size)}
            timed = interleaved(
                {name: partial(run, folder) for name, run in contenders.items()}, repeats=repeats, warm_up=False
            )
        ratio = timed["bare loop"]["median_s"] / timed["read_series"]["median_s"]
        rows.append({"files": frames * slices, "size": args.size, "same_pixels": same, "speed_up": ratio, **timed})
        print(rows[-1], flush=True)
        write("reading", rows)


if __name__ == "__main__":
    main()
