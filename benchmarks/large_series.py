"""Memory and time of ``ctp-torch maps`` on series that don't fit: thin slices of a whole head, and ISLES'24's grid.

    python benchmarks/large_series.py FOLDER thin --frames 30 [--json results/large_series.json]
    python benchmarks/large_series.py FOLDER isles --step 2.0

``thin`` writes 320 x 512 x 512 voxels of 0.5 x 0.43 x 0.43 mm as DICOM, ``isles`` 75 x 595 x 512 of STEP x 0.43 x 0.43
mm as NIfTI in float32, a head in all slices of both, into FOLDER and deletes them. Reading (`open_series` and
`prepare`) and the whole command are measured in processes of their own.
"""

import argparse
import json
import multiprocessing
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import common
import numpy as np

PIXEL = 0.43
SHAPES = {"thin": (320, 512, 512), "isles": (75, 595, 512)}
PEAK = """
import atexit, re, runpy, sys
from pathlib import Path

def peak():
    print("VmHWM", re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])

atexit.register(peak)
"""
MAPS = """
sys.argv[0] = "ctp-torch"
runpy.run_module("ctp_torch", run_name="__main__")
"""
READING = """
from ctp_torch import prepare
from ctp_torch.io.read_series import open_series
with open_series(sys.argv[1]) as series:
    print(series)
    scan = prepare(series)
print(scan.series, len(scan.series.provenance.warnings), "warnings")
"""


class Head:
    """A skull full of brain with an artery, a vein and a slow territory, moving a little."""

    def __init__(self, shape, spacing):
        rng = np.random.default_rng(0)
        z, y, x = ((np.arange(n, dtype="f4") - (n - 1) / 2) * step for n, step in zip(shape, spacing, strict=True))
        half = shape[0] * spacing[0] * 0.75  # the head goes on beyond the first and the last slice
        r = np.sqrt((z[:, None, None] / half) ** 2 + (y[:, None] / 92) ** 2 + (x / 76) ** 2)
        self.still = np.where(r > 1.12, -1000, np.where(r > 1.06, 40, np.where(r > 1.0, 900, 32))).astype("f4")
        self.brain = r < 0.97
        wave = np.sin(y[:, None] / 9) * np.cos(x / 7) * np.sin(z[:, None, None] / 11)
        self.still += self.brain * 5 * wave
        self.flow = self.brain * (1 + 0.3 * wave)
        self.slow = self.brain & (np.hypot(y[:, None] - 10, x - 40) < 25)
        pipes = lambda at: np.hypot(y[:, None] - at[0], x - at[1])[None] < 2.5  # noqa: E731
        self.artery = self.brain & (pipes((-20, 12)) | pipes((-20, -12)))
        self.vein = self.brain & pipes((80, 0))
        self.noise = rng.standard_normal(shape, dtype="f4") * np.float32(6 if spacing[0] > 1 else 12)
        self.rng = rng

    def frame(self, t):
        """HU at ``t`` [s]."""
        hu = self.still + bolus(t, 8) * 3 * self.flow * ~self.slow + bolus(t, 12) * 2 * self.flow * self.slow
        hu += bolus(t, 5) * 60 * self.artery + bolus(t, 12) * 80 * self.vein
        for axis in range(3):  # the same noise elsewhere
            self.noise = np.roll(self.noise, int(self.rng.integers(7, 60)), axis)
        return np.roll(hu, int(t > 20), 2) + self.noise


def bolus(t, onset):
    """A gamma variate that peaks at 1."""
    u = max(0.0, t - onset) / 5
    return np.float32(u**2 * np.exp(2 - 2 * u))


def write_dicom(folder, head, shape, spacing, times, first=0):
    """One file an image."""
    import pydicom
    import torch

    from ctp_torch import CTPSeries, Geometry
    from ctp_torch.io import write_ct_series

    one = CTPSeries(torch.zeros(1, 1, *shape[1:]), torch.zeros(1, 1).double(), Geometry((1, *shape[1:]), spacing))
    (template,) = write_ct_series(one, folder / "template")
    ds = pydicom.dcmread(template)
    shutil.rmtree(folder / "template")
    for k, t in enumerate(times, first):
        frame = np.clip(np.rint(head.frame(t)), -1024, 3000).astype("<i2")
        clock = f"1200{int(t):02d}.{round(t % 1 * 1e6):06d}" if t < 60 else f"1201{int(t) - 60:02d}.000000"
        for name in ("AcquisitionTime", "ContentTime"):
            setattr(ds, name, clock)
        ds.AcquisitionDateTime = "20200101" + clock
        for z in range(shape[0]):
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{k}.{z + 1}"
            ds.InstanceNumber = k * shape[0] + z + 1
            ds.ImagePositionPatient = [-100, -100, z * spacing[0]]
            if "SliceLocation" in ds:
                ds.SliceLocation = z * spacing[0]
            ds.RescaleIntercept, ds.RescaleSlope, ds.PixelRepresentation = 0, 1, 1
            ds.PixelData = frame[z].tobytes()
            ds.save_as(folder / f"{k:03d}_{z:03d}.dcm")


def write_nifti(folder, head, shape, spacing, times):
    """One file in float32, frame by frame."""
    import nibabel

    path = folder / "sub-stroke0001_ses-01_space-ncct_ctp.nii"
    header = nibabel.Nifti1Header()
    header.set_data_shape((*shape[::-1], len(times)))
    header.set_data_dtype("f4")
    header.set_sform(np.diag([*spacing[::-1], 1.0]), 1)
    header.set_zooms((*spacing[::-1], times[1] - times[0]))
    header.set_xyzt_units("mm", "sec")
    header["magic"], header["vox_offset"] = b"n+1", 352
    with path.open("wb") as stream:
        stream.write(header.binaryblock + bytes(4))
        for t in times:
            stream.write(head.frame(t).astype("<f4").tobytes())


def measured(code, *arguments):
    """What a process takes at its peak [GB], by its own word, and in all [s]."""
    start, before = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", PEAK + code, *arguments], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(done.stdout, done.stderr, flush=True)
    if done.returncode:
        sys.exit(f"ended with {done.returncode}")
    return {
        "peak_gb": round(int(re.findall(r"VmHWM (\d+)", done.stdout)[-1]) * 1024 / 1e9, 2),
        "processor_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime),
        "seconds": round(time.time() - start),
    }


def write(kind, folder, shape, spacing, times):
    """The files of a kind; in a process of its own, whose memory goes with it."""
    {"thin": write_dicom, "isles": write_nifti}[kind](folder, Head(shape, spacing), shape, spacing, times)


def main():
    """Write, measure, delete."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("kind", choices=SHAPES)
    parser.add_argument("--frames", type=int)
    parser.add_argument("--step", type=float, help="between slices [mm]")
    parser.add_argument("--only", choices=("reading", "maps"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    shape, thin = SHAPES[options.kind], options.kind == "thin"
    spacing = (options.step or (0.5 if thin else 2.0), PIXEL, PIXEL)
    n = options.frames or (30 if thin else 60)
    folder = options.folder / f"large_{options.kind}"
    folder.mkdir(parents=True)
    try:
        job = (options.kind, folder, shape, spacing, np.arange(n) * (60 / n))
        writer = multiprocessing.get_context("spawn").Process(target=write, args=job)
        writer.start()
        writer.join()
        place = folder if thin else next(folder.glob("*.nii"))
        print("written", flush=True)
        record = {"shape": (n, *shape), "spacing_mm": spacing, "float32_gb": round(4e-9 * n * np.prod(shape), 2)}
        if options.only != "maps":
            record["reading"] = measured(READING, str(place))
        if options.only != "reading":
            record["maps"] = measured(MAPS, "maps", str(place), "-o", f"{folder}_maps")
    finally:
        shutil.rmtree(folder)
        shutil.rmtree(f"{folder}_maps", ignore_errors=True)
    print(json.dumps(record), flush=True)
    if options.json:
        kept = json.loads(options.json.read_text(encoding="utf-8")) if options.json.is_file() else {}
        kept[f"{options.kind} {spacing[0]:g} mm"] = {**record, "machine": common.machine()}
        options.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
