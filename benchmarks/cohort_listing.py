"""How long the headers of many files take to list: ``python benchmarks/cohort_listing.py --files 100000``.

The files are made: scans of 400 images of 8 x 8 pixels, as full a header as ours, in folders of patients.
"""

import argparse
import tempfile
import time
from pathlib import Path

import pydicom
import torch

from ctp_torch.cohorts import find_cases
from ctp_torch.data.geometry import Geometry
from ctp_torch.data.series import CTPSeries
from ctp_torch.io import StudyHeader, write_ct_series

PER_SCAN = 400


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        frames = PER_SCAN // 4
        times = torch.arange(frames, dtype=torch.float64)[:, None].expand(-1, 4).contiguous()
        series = CTPSeries(torch.zeros(frames, 4, 8, 8), times, Geometry((4, 8, 8), (5.0, 1.0, 1.0)))
        write_ct_series(series, root / "model", header=StudyHeader(patient="P00000"))
        images = [path.read_bytes() for path in sorted((root / "model").iterdir())]
        one = pydicom.dcmread(next((root / "model").iterdir()), stop_before_pixels=True)
        marks = [str(one[name].value).encode() for name in ("StudyInstanceUID", "SeriesInstanceUID")]
        for scan in range(asked.files // PER_SCAN):
            folder = root / "in" / f"p{scan:05d}"
            folder.mkdir(parents=True)
            number = f"{scan:05d}".encode()
            for i, image in enumerate(images):
                for mark in marks:
                    image = image.replace(mark, mark[:-5] + number)
                (folder / f"{i:04d}.dcm").write_bytes(image.replace(b"P00000", b"P" + number))
        for what in ("first", "second"):
            start, spent = time.perf_counter(), time.process_time()
            cases, skipped = find_cases(root / "in", index=root / "index.json")
            print(f"{what}: {time.perf_counter() - start:.1f} s ({time.process_time() - spent:.1f} s of a processor), "
                  f"{len(cases)} scans, {len(skipped)} passed over")  # fmt: skip


if __name__ == "__main__":
    main()
