"""How well brain, artery, vein, core and penumbra are found in digital patients, against their truth.

    python benchmarks/vessels_and_lesions.py THRESHOLDS.json COHORT ... [--name NAME]

THRESHOLDS.json comes from ``ctp-torch calibrate`` on another cohort; COHORTs are ``ctp-torch phantom cohort`` folders
that no setting was chosen on.
"""

import argparse
import json
from pathlib import Path
from statistics import median

import common
import torch

from ctp_torch import ops, pipeline
from ctp_torch.io import read_cohort, read_series, read_volume
from ctp_torch.lesion import delineate, survey
from ctp_torch.thresholds import read_thresholds


def measure(patient, thresholds):
    """One patient: Dice of the intracranial mask, onset and area of the arterial input, volumes [mL]."""
    truth = {name: read_volume(patient.truth_path / f"{name}.nii.gz")[0] > 0 for name in ("brain", "core", "penumbra")}
    facts = json.loads((patient.truth_path / "truth.json").read_text(encoding="utf-8"))
    series = read_series(patient.series_path)
    ready = pipeline.preprocess(series, registration=ops.register_rigid, median_size=1)
    anatomy = pipeline.locate(ready)
    spacing, n = ready.geometry.spacing, anatomy.n_baseline
    found = ops.brain_mask(anatomy.baseline, spacing)
    change = ops.enhancement(ready.hu, n)
    aif = ops.select_aif(change, anatomy.brain, ready.dt, spacing=spacing)
    vof = ops.select_vof(change, anatomy.brain, ready.dt, spacing=spacing, aif=aif.curve)
    scaled, ratio = (aif.curve, 1.0) if vof is None else ops.scale_aif(aif.curve, vof.curve)
    true_aif = torch.tensor(facts["aif_hu"])
    true_aif = true_aif - true_aif[:n].mean()
    onset = ops.bolus_onset(torch.stack([aif.curve, true_aif]), ready.dt)
    maps = pipeline.deconvolve(ready, ops.csvd, aif=aif, vof=vof)
    lesions = delineate(survey(maps, baseline=anatomy.baseline), thresholds)
    ml = ready.geometry.voxel_volume_ml
    return {
        "patient": patient.name,
        "matrix": ready.geometry.shape[-1],
        "dice": float(2 * (found & truth["brain"]).sum() / (found.sum() + truth["brain"].sum())),
        "onset_error_s": float(onset[0] - onset[1]),
        "area_ratio": float(scaled.sum() / true_aif.sum()),
        "vof_to_aif_ratio": ratio,
        "core_ml": lesions.volumes()["core_ml"],
        "core_true_ml": int(truth["core"].sum()) * ml,
        "penumbra_ml": lesions.volumes()["penumbra_ml"],
        "penumbra_true_ml": int(truth["penumbra"].sum()) * ml,
    }


def main():
    """Measure every train and test patient of the cohorts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("thresholds", type=Path)
    parser.add_argument("cohorts", type=Path, nargs="+")
    parser.add_argument("--name", default="vessels_and_lesions")
    options = parser.parse_args()
    thresholds = read_thresholds(options.thresholds)
    rows = []
    for cohort in options.cohorts:
        for patient in read_cohort(cohort).patients:
            rows.append(measure(patient, thresholds))
            print(rows[-1], flush=True)
    overall = {
        "patients": len(rows),
        "dice_lowest": min(row["dice"] for row in rows),
        "onset_within_2_s": sum(abs(row["onset_error_s"]) <= 2 for row in rows),
        "area_within_15_percent": sum(abs(row["area_ratio"] - 1) <= 0.15 for row in rows),
        "core_median_error_ml": median(abs(row["core_ml"] - row["core_true_ml"]) for row in rows),
        "penumbra_median_error_ml": median(abs(row["penumbra_ml"] - row["penumbra_true_ml"]) for row in rows),
    }
    print(overall)
    print(common.write(options.name, {"overall": overall, "rows": rows}))


if __name__ == "__main__":
    main()
