"""How long maps and lesions take to write in every format: ``python benchmarks/writing.py [--slices 6 320]``.

Five maps of 512 x 512 slices, core and penumbra, and a baseline, for a source study of 20 frames a slice that only its
identifiers stand for. The maps are smoothed noise inside an ellipse: files of a real size, if not content.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import torch
from common import timed, write  # the folder of this file is on the path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from oracles.derived import Found

from ctp_torch import Geometry, PerfusionMaps, write_maps
from ctp_torch.io.results.derivation import Derivation
from ctp_torch.io.results.identity import anonymous_elements
from ctp_torch.io.results.source import Source, SourceImage

FORMATS = ("nifti", "ct", "rgb", "pm", "seg", "sr")
HIGHEST = {"cbv": 8.0, "cbf": 60.0, "mtt": 10.0, "tmax": 12.0, "ttp": 40.0}
N, FRAMES, DIFFERENT = 512, 20, 20  # pixels a side, frames of the source, slices until the content repeats


def scene(n_slices):
    """Maps, lesions, baseline and source of so many slices."""
    geometry = Geometry((n_slices, N, N), (0.5 if n_slices > 50 else 8.0, 0.45, 0.45), (-115.0, -115.0, 0.0))
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(N), torch.arange(N), indexing="ij")
    mask = (((x - 256) / 150) ** 2 + ((y - 256) / 180) ** 2 < 1).expand(geometry.shape).contiguous()

    def noise(highest):
        few = torch.rand(min(n_slices, DIFFERENT), 1, N, N, generator=generator)
        smooth = torch.nn.functional.avg_pool2d(few, 5, 1, 2)[:, 0] * highest
        return smooth.repeat(n_slices // len(smooth) + 1, 1, 1)[:n_slices]

    maps = PerfusionMaps({name: noise(highest) * mask for name, highest in HIGHEST.items()}, mask, geometry)
    late = mask & (x > 300)
    core = late & (y < 200)
    images = [
        (
            geometry.position(z, 0, 0)[2],
            [SourceImage("1.2.840.10008.5.1.4.1.1.2", _uid(1000 + z * FRAMES + t), 0, _uid(3)) for t in range(FRAMES)],
        )
        for z in range(n_slices)
    ]
    patient = anonymous_elements(_uid(1), "P")
    source = Source(patient, _uid(2), 3, ("20260101", "100000"), "HFS", ("A", "B"), images, key="x")
    return maps, Found(core, late & ~core, geometry.voxel_volume_ml), noise(80.0), source


def _uid(k):
    return f"2.25.{10**20 + k}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, nargs="+", default=[6, 320])
    rows = []
    for n_slices in parser.parse_args().slices:
        maps, lesions, baseline, source = scene(n_slices)
        with tempfile.TemporaryDirectory() as folder:
            files, seconds = timed(
                lambda folder=folder, maps=maps, lesions=lesions, baseline=baseline, source=source: write_maps(
                    maps,
                    Path(folder) / "out",
                    formats=FORMATS,
                    source=source,
                    lesions=lesions,
                    baseline=baseline,
                    derivation=Derivation("csvd", settings={}),
                )
            )
            megabytes = sum(file.stat().st_size for file in files) / 1e6
        rows.append({"slices": n_slices, "seconds": seconds, "files": len(files), "megabytes": megabytes})
        print(rows[-1], flush=True)
    write("writing", rows)


if __name__ == "__main__":
    main()
