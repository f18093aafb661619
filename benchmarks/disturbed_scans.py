"""Lesions of digital patients whose files say what scanners and archives make of them, beside the undisturbed ones.

    python benchmarks/disturbed_scans.py --patients 6500/1 6500/2 [--json results/disturbed_scans.json]

Every disturbance leaves the patient as it is and tells it otherwise. What reading makes up for must leave core and
penumbra within 1 mL; of a moved table and a coarse clock within 5 mL, or a warning names what it was and which frames.
Warnings that the undisturbed scan has too don't count.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import common
import pydicom
import torch
from pydicom.uid import generate_uid

from ctp_torch import analyse
from ctp_torch.io import StudyHeader, write_ct_series
from ctp_torch.phantom import render_patient

HALF = 20  # of the frames


def back_further(d, t, z):
    """Every second pass of the table stops 0.3 mm further."""
    d.ImagePositionPatient[2] = float(d.ImagePositionPatient[2]) + 0.3 * (t % 2)


def lost_voltage(d, t, z):
    """One frame has lost its kVp."""
    if t == HALF:
        del d.KVP


def redrawn_frame(d, t, z):
    """Each frame has a frame of reference of its own."""
    d.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame", str(t)])


def whole_seconds(d, t, z):
    """Times are told in whole seconds, by one clock."""
    del d.AcquisitionDateTime, d.ContentTime
    d.AcquisitionTime = d.AcquisitionTime[:6]


def beside(pixels, spacing):
    """From half of the scan on the reconstruction stands so many columns further, and says so."""

    def change(d, t, z):
        if t >= HALF:
            d.ImagePositionPatient[0] = float(d.ImagePositionPatient[0]) + pixels * spacing
            d.PixelData = torch.roll(_stored(d), -pixels, 1).numpy().tobytes()

    return change


def _stored(d):
    """The stored values of an image."""
    return torch.frombuffer(bytearray(d.PixelData), dtype=torch.int16).reshape(d.Rows, d.Columns)


def lesions(series, folder, seed, change=None):
    """Core and penumbra [mL] and the warnings of a series written, changed file by file, and analysed."""
    files = write_ct_series(series, folder, header=StudyHeader(seed=seed))
    for i, path in enumerate(files if change else []):
        d = pydicom.dcmread(path)
        change(d, i // series.geometry.shape[0], i % series.geometry.shape[0])
        d.save_as(path)
    analysis = analyse(folder)
    volumes = analysis.lesions.volumes()
    return {name: round(volumes[f"{name}_ml"], 2) for name in ("core", "penumbra")}, analysis.warnings


def disturbed(seed, index):
    """Rows of one patient: the disturbance, volumes, differences and new warnings."""
    whole = render_patient(seed, index, size=128, slices=8, frames=2 * HALF, dt=1.5).series
    whole = replace(whole, hu=whole.hu.round())

    def part(first, last):
        grid = whole.geometry
        geometry = replace(grid, shape=(last - first, *grid.shape[1:]), origin=grid.position(first, 0, 0))
        return replace(whole, hu=whole.hu[:, first:last].clone(), times=whole.times[:, first:last], geometry=geometry)

    middle, lower = part(1, 7), part(0, 7)
    step, pixel = whole.geometry.spacing[0], whole.geometry.spacing[2]
    lower.hu[HALF:] = whole.hu[HALF:, 1:]

    def along(d, t, z):
        if t >= HALF:
            d.ImagePositionPatient[2] = float(d.ImagePositionPatient[2]) + step

    pixels = round(6.0 / pixel)
    tried = {
        "undisturbed": (middle, None),
        "return pass 0.3 mm further": (middle, back_further),
        "kVp lost in one frame": (middle, lost_voltage),
        "frame of reference redrawn per frame": (middle, redrawn_frame),
        "times in whole seconds": (middle, whole_seconds),
        f"reconstruction {pixels * pixel:.1f} mm beside from half of the scan on": (middle, beside(pixels, pixel)),
        f"table {step:g} mm further from half of the scan on": (lower, along),
    }
    rows, usual = [], {}
    for name, (series, change) in tried.items():
        with tempfile.TemporaryDirectory() as folder:
            volumes, warnings = lesions(series, Path(folder) / "ct", (seed, index), change)
        usual = usual or {"volumes": volumes, "warnings": warnings}
        apart = {f"{kind}_apart_ml": round(volumes[kind] - usual["volumes"][kind], 2) for kind in volumes}
        new = [warning for warning in warnings if warning not in usual["warnings"]]
        rows.append({"patient": f"{seed}/{index}", "what": name, **volumes, **apart, "new_warnings": new})
        print(rows[-1], flush=True)
    return rows


def main():
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", nargs="+", required=True, help="SEED/INDEX")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = [row for one in options.patients for row in disturbed(*map(int, one.split("/")))]
    if options.json:
        options.json.write_text(
            json.dumps({"machine": common.machine(), "rows": rows}, indent=1) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
