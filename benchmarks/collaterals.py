"""Core and hypoperfusion of digital patients against their truth, collaterals between good and bad ones included.

    python benchmarks/collaterals.py THRESHOLDS.json FLOOR.json --seed 8907 --size 256 [--sets continuous:30 good:12]

Three sets of patients that nothing was chosen on: some whose collaterals are drawn continuously; occlusions whose
flow stays above 40 % of normal everywhere, which have no core to show; and good collaterals, no diagnosis and cores as
the phantom draws them by itself. Each scan is read by the default (THRESHOLDS.json, from ``ctp-torch calibrate``), by
conventional thresholds on the same maps, by the earlier rule on its own maps (smoothed across vessels, volume
not completed), and its true maps by the default's rule with thresholds of their own (FLOOR.json): what no measurement
could undercut. The errors of both sets of maps stand beside.
"""

import argparse
import json
import random
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, median

import common
import torch
from beside_vessels import compared, errors
from default_method import scores

from ctp_torch import ops, pipeline
from ctp_torch.data.maps import PerfusionMaps
from ctp_torch.lesions.find import find_lesions
from ctp_torch.lesions.thresholds import Thresholds, read_thresholds
from ctp_torch.phantom import ScanVariant, render_patient
from ctp_torch.phantom.patient import draw_diagnosis

EARLIER = Thresholds(
    rcbf=0.65, rcbv=0.7, mirror_mm=6.0, tmax=9.5, reduced_tmax=5.0, reduced_rcbf=0.75, severe_tmax=11.0, usual_tmax=2.92
)
"""Of csvd, calibrated on 64 digital patients with graded collaterals."""
GHOST_ML = 10.0
GOOD = 0.6
"""Share of the flow lost, up to which it stays above 40 % of normal."""


def chosen(seed):
    """Patients by set: (seed, index, collaterals). By their diagnosis alone, but for the cores, which must be there."""
    continuous = {i: draw_diagnosis(seed, i, collaterals="continuous") for i in range(100, 300)}
    good = [i for i, d in continuous.items() if d.kind == "occlusion" and d.grade <= GOOD]
    graded = {i: draw_diagnosis(seed, i) for i in range(300, 360)}
    spared = [i for i, d in graded.items() if d.kind == "occlusion" and d.collaterals == "good"][:8]
    well = [i for i, d in graded.items() if d.kind == "none"][:6]
    harmed = [i for i, d in graded.items() if d.kind == "occlusion" and d.collaterals != "good"][:12]
    return {
        "continuous": [(seed, i, "continuous") for i in range(100)],
        "good": [(seed, i, "continuous") for i in good],
        "graded": [(seed, i, "graded") for i in (*spared, *well)],
        "graded core": [(seed, i, "graded") for i in harmed],
    }


def aligned(seed, index, size, collaterals):
    """A patient's scan, prepared, and the truth."""
    patient = render_patient(seed, index, size=size, variant=ScanVariant(collaterals=collaterals))
    return pipeline.prepare(patient.series, slab_mm=0.0), patient.truth


def measure(patient, *, size, thresholds, floor):
    """One patient: true volumes, and those of every rule [mL]."""
    scan, truth = aligned(*patient[:2], size, patient[2])
    baseline, geometry = scan.anatomy.baseline, scan.series.geometry
    maps = pipeline.deconvolve(scan, ops.csvd)
    before = pipeline.deconvolve(scan, ops.csvd, smoothing="inside", sigma_mm=2.0, complete_cbv=False)
    perfect = PerfusionMaps({name: truth.maps[name] for name in ("cbf", "cbv", "tmax")}, truth.brain, geometry)
    stroke, ml = truth.facts["stroke"], geometry.voxel_volume_ml
    row = {
        "seed": patient[0],
        "patient": patient[1],
        **{name: stroke[name] for name in ("kind", "site", "collaterals", "grade")},
        "core_true_ml": int(truth.core.sum()) * ml,
        "hypoperfusion_true_ml": int((truth.core | truth.penumbra).sum()) * ml,
    }
    reads = {
        "default": (maps, thresholds),
        "conventional": (maps, Thresholds()),
        "earlier": (before, EARLIER),
        "floor": (perfect, floor),
    }
    for name, (read, limits) in reads.items():
        volumes = find_lesions(read, baseline=baseline, thresholds=limits).volumes()
        row |= {f"{name}_{part}_ml": volumes[f"{part}_ml"] for part in ("core", "hypoperfusion")}
    return row | map_errors(scan, truth, {"beside": maps, "inside": before})


def map_errors(scan, truth, sets):
    """Errors of maps in grey and white matter, and of the default's flow against the true flow smoothed alike."""
    brain, large, spacing = scan.anatomy.brain, scan.large_vessels, scan.series.geometry.spacing
    tissue = brain & ((truth.labels == 4) | (truth.labels == 5))
    found = {name: errors(maps, truth, tissue) for name, maps in sets.items()}
    clear, solid = tissue & ~large.any, brain & (truth.maps["mtt"] > 0) & ~large.any
    smooth = ops.smooth_inside(truth.maps["cbf"], solid, spacing, pipeline.SMOOTHINGS["beside"])
    alike = {name: values[clear] for name, values in truth.maps.items()} | {"cbf": smooth[clear]}
    alone = scores({name: sets["beside"][name][clear] for name in ("cbf", "cbv", "mtt", "tmax")}, alike)
    return found | {name: alone[name] for name in ("cbf_r", "cbf_slope", "mtt_median_error", "tmax_mae")}


def summary(rows):
    """Errors [mL], ghosts and misses of every rule."""
    found = {}
    for name in ("default", "conventional", "earlier", "floor"):
        off = {p: [r[f"{name}_{p}_ml"] - r[f"{p}_true_ml"] for r in rows] for p in ("core", "hypoperfusion")}
        spared = [r[f"{name}_core_ml"] for r in rows if r["kind"] != "occlusion" or r["grade"] <= GOOD]
        cores = [r for r in rows if r["core_true_ml"] > GHOST_ML]
        without = [r[f"{name}_hypoperfusion_ml"] for r in rows if r["kind"] == "none"]
        found[name] = {
            **{f"{p}_mean_absolute_ml": round(fmean(map(abs, errors)), 2) for p, errors in off.items()},
            **{f"{p}_median_absolute_ml": round(median(map(abs, errors)), 2) for p, errors in off.items()},
            **{f"{p}_bias_ml": round(fmean(errors), 2) for p, errors in off.items()},
            "spared": len(spared),
            "ghosts": sum(one > GHOST_ML for one in spared),
            "largest_ghost_ml": max(spared, default=0.0),
            "cores": len(cores),
            "cores_missed": sum(r[f"{name}_core_ml"] < 1.0 for r in cores),
            "hypoperfusion_without_diagnosis_ml": max(without, default=0.0),
        }
    return found


def paired(rows, *, seed=0, draws=10_000):
    """Core error of the default less that of the earlier rule: mean, share and 95 % interval over patients."""
    before = [abs(r["earlier_core_ml"] - r["core_true_ml"]) for r in rows]
    less = [abs(r["default_core_ml"] - r["core_true_ml"]) - b for r, b in zip(rows, before, strict=True)]
    drawn = random.Random(seed)
    means = sorted(fmean(drawn.choices(less, k=len(less))) for _ in range(draws))
    share = fmean(less) / fmean(before) if any(before) else float("nan")
    low, high = means[int(0.025 * draws)], means[int(0.975 * draws)]
    return {"mean_ml": round(fmean(less), 2), "share": round(share, 3), "interval_ml": [round(low, 2), round(high, 2)]}


def maps_summary(rows):
    """Maps beside vessels against those smoothed inside, and flow and transit time of the default."""
    about = {name: round(median(row[name] for row in rows), 3) for name in ("cbf_r", "cbf_slope", "mtt_median_error")}
    return {"patients": len(rows), "beside_against_inside": compared(rows, "beside", "inside"), "medians": about}


def summarised(sets, facts):
    """What is written: of every set its rules, paired difference and rows; of the first the errors of maps too."""
    results = {name: {"rules": summary(rows), "paired": paired(rows), "rows": rows} for name, rows in sets.items()}
    first = next(iter(sets.values()))[:20]
    return {**facts, "maps": maps_summary(first), "sets": results}


def main():
    """Measure every set and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("thresholds", type=Path)
    parser.add_argument("floor", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--sets", nargs="+", default=["continuous:30", "good:12", "graded:14", "graded core:6"])
    parser.add_argument("--name", default="collaterals")
    options = parser.parse_args()
    torch.set_num_threads(1)
    thresholds, floor = read_thresholds(options.thresholds), read_thresholds(options.floor)
    sets, patients = {}, chosen(options.seed)
    for name, most in (text.split(":") for text in options.sets):
        sets[name] = []
        for patient in patients[name]:
            if len(sets[name]) == int(most):
                break
            row = measure(patient, size=options.size, thresholds=thresholds, floor=floor)
            if name != "graded core" or row["core_true_ml"] > 0:
                sets[name].append(row)
            print(json.dumps(row), flush=True)
    if "graded core" in sets:
        sets["graded"] = sets.get("graded", []) + sets.pop("graded core")
    facts = {"seed": options.seed, "size": options.size}
    facts |= {"default": asdict(thresholds), "earlier": asdict(EARLIER), "floor": asdict(floor)}
    found = summarised(sets, facts)
    print(json.dumps({**found, "sets": {n: {**s, "rows": len(s["rows"])} for n, s in found["sets"].items()}}, indent=1))
    print(common.write(options.name, found))


if __name__ == "__main__":
    main()
