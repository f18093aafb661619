"""What taking noise out first is worth: maps and lesions of digital patients at full, half, quarter and eighth dose.

    python benchmarks/low_dose.py --seed 8907 --patients 6 [--size 128]

The same heads are scanned at each dose with noise of their own. Every scan goes through the default maps and three ways
of denoising before them (`ctp-torch maps --denoise`), and beside the teacher of earlier releases, which smooths vessels
along ("inside"). Errors are against the truth over tissue: root mean square of CBF and CBV after one scale a patient,
mean absolute error of Tmax, volume of the core. Differences from the default at the same dose have 95 % intervals over
patients.
"""

import argparse
import time

import common
import torch

from ctp_torch import ops, pipeline
from ctp_torch.errors import CTPError
from ctp_torch.learning.intervals import bootstrap_mean, paired_difference
from ctp_torch.lesions.find import find_lesions
from ctp_torch.phantom import render_patient
from ctp_torch.pipeline.denoise import denoise

DOSES = (1.0, 0.5, 0.25, 0.125)
WAYS = ("inside", "none", "bilateral", "low-rank", "noise2noise")
TISSUE = (4, 5, 8)
"""Grey, white and scar among the truth's labels."""
SCORES = ("cbf_rmse", "cbv_rmse", "tmax_mae", "core_error_ml")


def scores(scan, truth, way):
    """Errors of one scan's maps against the truth."""
    started = time.perf_counter()
    quiet = scan if way in ("inside", "none") else denoise(scan, way)
    maps = pipeline.deconvolve(quiet, ops.csvd, smoothing="inside" if way == "inside" else "beside")
    seconds = time.perf_counter() - started
    inside = torch.isin(truth.labels, torch.tensor(TISSUE)) & maps.mask
    found = {"seconds": seconds}
    for name in ("cbf", "cbv"):
        measured, true = maps[name][inside].double(), truth.maps[name][inside].double()
        scale = float((measured @ true) / (measured @ measured))
        found[f"{name}_rmse"] = float((scale * measured - true).square().mean().sqrt())
    found["tmax_mae"] = float((maps["tmax"][inside] - truth.maps["tmax"][inside]).abs().mean())
    voxel = maps.geometry.voxel_volume_ml
    try:
        core = find_lesions(maps, baseline=scan.anatomy.baseline).volumes()["core_ml"]
    except CTPError:
        core = float("nan")
    found["core_error_ml"] = abs(core - int(truth.core.sum()) * voxel)
    return found


def measured(seed, patients, size):
    """By dose and way the scores of every patient."""
    table = {f"{dose:g}": {way: {} for way in WAYS} for dose in DOSES}
    for index in range(patients):
        for dose in DOSES:
            series, truth = render_patient(seed, index, size=size, dose=dose)
            scan = pipeline.prepare(series, slab_mm=0.0)
            for way in WAYS:
                table[f"{dose:g}"][way][str(index)] = scores(scan, truth, way)
            print(f"patient {index} dose {dose:g}", flush=True)
    return table


def summary(table):
    """Means over patients, and differences from the default at the same dose."""
    rows = []
    for dose, ways in table.items():
        for way, patients in ways.items():
            row = {"dose": float(dose), "way": way}
            for score in SCORES:
                values = {name: one[score] for name, one in patients.items()}
                plain = {name: one[score] for name, one in ways["none"].items()}
                row[score] = bootstrap_mean(list(values.values())).mean
                row[f"{score}_difference"] = paired_difference(values, plain)._asdict()
            row["seconds"] = sum(one["seconds"] for one in patients.values()) / len(patients)
            rows.append(row)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=8907)
    parser.add_argument("--patients", type=int, default=6)
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args()
    table = measured(options.seed, options.patients, options.size)
    rows = summary(table)
    for row in rows:
        told = "  ".join(f"{score} {row[score]:7.3f}" for score in SCORES)
        print(f"dose {row['dose']:<6g} {row['way']:<12} {told}  {row['seconds']:5.1f} s")
    facts = {"seed": options.seed, "patients": options.patients, "size": options.size}
    common.write("low_dose", {**facts, "rows": rows, "patients_by_dose": table})


if __name__ == "__main__":
    main()
