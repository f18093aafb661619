"""How well brain, artery, vein, core and penumbra are found in digital patients, against their truth.

    python benchmarks/vessels_and_lesions.py THRESHOLDS.json --seed 9000 --patients 30 [--size 256] [--name NAME]

THRESHOLDS.json comes from ``ctp-torch calibrate`` on patients of another seed; the seed is one that no setting was
chosen on. Patients are rendered, measured and dropped, ``--processes`` at a time.
"""

import argparse
import json
import multiprocessing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import fmean, median

import common
import torch

from ctp_torch import ops, pipeline
from ctp_torch.lesions.find import find_lesions
from ctp_torch.lesions.thresholds import Thresholds, read_thresholds
from ctp_torch.phantom import render_patient


def measure(index, *, seed, size, thresholds):
    """One patient: Dice of the intracranial mask, onset and area of the arterial input, volumes [mL]."""
    scan, truth = render_patient(seed, index, size=size)
    scan = replace(scan, hu=scan.hu.round_())  # as files hold it
    made = pipeline.prepare(scan)
    ready, anatomy = made.series, made.anatomy
    spacing, n = ready.geometry.spacing, anatomy.n_baseline
    found = ops.brain_mask(anatomy.baseline, spacing)
    aif, vof, _ = made.vessels
    scaled, ratio = (aif.curve, 1.0) if vof is None else ops.scale_aif(aif.curve, vof.curve)
    true_aif = truth.aif - truth.aif[:n].mean()
    onset = ops.bolus_onset(torch.stack([aif.curve, true_aif]), ready.dt)
    maps = pipeline.deconvolve(made, ops.csvd)
    ml = ready.geometry.voxel_volume_ml
    row = {
        "patient": index,
        "diagnosis": truth.facts["stroke"]["kind"],
        "site": truth.facts["stroke"]["site"],
        "collaterals": truth.facts["stroke"]["collaterals"],
        "motion": truth.facts["motion"],
        "dice": float(2 * (found & truth.brain).sum() / (found.sum() + truth.brain.sum())),
        "onset_error_s": float(onset[0] - onset[1]),
        "area_ratio": float(scaled.sum() / true_aif.sum()),
        "vof_to_aif_ratio": ratio,
        "core_true_ml": int(truth.core.sum()) * ml,
        "penumbra_true_ml": int(truth.penumbra.sum()) * ml,
    }
    for name, limits in (("", thresholds), ("conventional_", Thresholds())):
        volumes = find_lesions(maps, baseline=anatomy.baseline, thresholds=limits).volumes()
        row |= {f"{name}{part}_ml": volumes[f"{part}_ml"] for part in ("core", "penumbra")}
    return row


def summary(rows):
    """The figures of all patients, and the volume errors of those with an occlusion."""
    occluded = [row for row in rows if row["diagnosis"] == "occlusion"]
    vascular = [abs(row["onset_error_s"]) <= 2 and abs(row["area_ratio"] - 1) <= 0.15 for row in rows]
    return {
        "patients": len(rows),
        "dice_lowest": min(row["dice"] for row in rows),
        "onset_within_2_s": sum(abs(row["onset_error_s"]) <= 2 for row in rows),
        "area_within_15_percent": sum(abs(row["area_ratio"] - 1) <= 0.15 for row in rows),
        "onset_and_area": sum(vascular),
        "area_ratio_mean": fmean(row["area_ratio"] for row in rows),
        "volumes": errors(rows),
        "volumes_of_occlusions": {"patients": len(occluded), **errors(occluded)} if occluded else None,
    }


def errors(rows):
    """Median and mean absolute error and mean error [mL] of every part, calibrated and conventional."""
    found = {}
    for name in ("core", "penumbra", "conventional_core", "conventional_penumbra"):
        off = [row[f"{name}_ml"] - row[f"{name.removeprefix('conventional_')}_true_ml"] for row in rows]
        found[name] = {
            "median_absolute_ml": median(map(abs, off)),
            "mean_absolute_ml": fmean(map(abs, off)),
            "bias_ml": fmean(off),
        }
    return found


def main():
    """Measure every patient of the seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("thresholds", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--patients", type=int, default=30)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--name", default="vessels_and_lesions")
    options = parser.parse_args()
    thresholds = read_thresholds(options.thresholds)
    one = partial(measure, seed=options.seed, size=options.size, thresholds=thresholds)
    rows = []
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for row in pool.imap_unordered(one, range(options.patients)):
            rows.append(row)
            print(json.dumps(row), flush=True)
    rows.sort(key=lambda row: row["patient"])
    overall = summary(rows)
    print(json.dumps(overall, indent=1))
    facts = {"seed": options.seed, "size": options.size, "thresholds": asdict(thresholds)}
    print(common.write(options.name, {**facts, "overall": overall, "rows": rows}))


if __name__ == "__main__":
    main()
