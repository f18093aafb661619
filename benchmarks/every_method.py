"""No silent zero: the volumes that every method and every shipped model tells of digital patients, or why none.

    python benchmarks/every_method.py 0:0-7 8607:0-19 [--size 128]

0:0-7 are the patients of ``ctp-torch demo``. Each is analysed as ``ctp-torch maps`` does, once by each name, with
nothing else said. A zero is silent where nobody warns of it although more than 10 mL are hypoperfused. Results go to
``results/every_method.json``.
"""

import argparse
import warnings
from statistics import fmean

import common
import torch

from ctp_torch import ops, pipeline
from ctp_torch.data.methods import METHODS
from ctp_torch.models.load import SHIPPED as MODELS
from ctp_torch.phantom import render_patient
from ctp_torch.pipeline.analysis import analyse
from ctp_torch.pipeline.settings import MapSettings

MUCH_ML = 10.0
"""Hypoperfusion from this volume on mustn't be missed without a word [mL]."""


def measured(scan, truth, name):
    """What one name tells of a patient."""
    settings = MapSettings(model=name) if name in MODELS else MapSettings(method=name)
    result = analyse(scan, settings)
    voxel = scan.series.geometry.voxel_volume_ml
    row = {
        "name": name,
        "core_true_ml": round(int(truth.core.sum()) * voxel, 1),
        "hypoperfusion_true_ml": round(int((truth.core | truth.penumbra).sum()) * voxel, 1),
        "why_none": result.no_volumes,
    }
    if result.lesions is None:
        return row | {"silent": not result.no_volumes}
    read = result.lesions.volumes()
    row |= {f"{part}_ml": round(read[f"{part}_ml"], 1) for part in ("core", "hypoperfusion")}
    doubts = [line for line in result.lesions.warnings if "look at" in line or "uncertain" in line]
    missed = row["hypoperfusion_true_ml"] > MUCH_ML and row["hypoperfusion_ml"] == 0.0
    return row | {"rules": result.lesions.thresholds.belonging, "doubts": doubts, "silent": missed and not doubts}


def summary(rows):
    """By name: patients with volumes, mean errors [mL], silent zeros, and the reasons why there are none."""
    table = {}
    for name in dict.fromkeys(row["name"] for row in rows):
        listed = [row for row in rows if row["name"] == name]
        told = [row for row in listed if "core_ml" in row]
        found = {"patients": len(listed), "told": len(told), "silent_zeros": sum(row["silent"] for row in listed)}
        for part in ("core", "hypoperfusion") if told else ():
            found[f"{part}_error_ml"] = round(fmean(abs(r[f"{part}_ml"] - r[f"{part}_true_ml"]) for r in told), 1)
        table[name] = found | {"reasons": sorted({row["why_none"] for row in listed if row["why_none"]})}
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("patients", nargs="+", help="SEED:FIRST-LAST")
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ops.DeconvolutionWarning)
    torch.set_num_threads(1)
    rows = []
    for seed, index in common.patients_of(options.patients):
        patient = render_patient(seed, index, size=options.size)
        scan = pipeline.prepare(patient.series, slab_mm=0.0)
        for name in (*METHODS, *MODELS):
            rows.append({"patient": f"{seed}:{index}", **measured(scan, patient.truth, name)})
            print(rows[-1], flush=True)
    table = summary(rows)
    for name, found in table.items():
        print(name, found)
    common.write("every_method", {"patients": options.patients, "size": options.size, "summary": table, "rows": rows})


if __name__ == "__main__":
    main()
