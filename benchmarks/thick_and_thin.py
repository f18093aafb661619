"""Core and penumbra of the same digital patient scanned with 320 thin and with 6 thick slices.

    python benchmarks/thick_and_thin.py THRESHOLDS.json --patients 7100/0 7100/2 7200/4 [--size 128] [--processes 2]

320 slices of 0.5 mm cover 160 mm, 6 slices of 5 mm every 8 mm cover 48 mm: volumes are compared within those 48 mm.
Thin slices go through `ctp_torch.slabs` as ``ctp-torch maps`` does it; "kept" are the same without, maps of every thin
slice. So that sampling can be told from measuring, the same is done with 6 slices of 8 mm that touch, and the true
masks of each protocol are compared as well; how well a measurement repeats at all, the thick scan with other noise
shows. ``--motion none`` leaves out what thick slices undo in part only: motion through their plane. At 128 x 128 and 60
frames the thin scan is 1.3 GB, and each process stays below 10 GB.
"""

import argparse
import gc
import json
import multiprocessing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import common
import torch

from ctp_torch import ops, pipeline
from ctp_torch.data.slabs import Slabs
from ctp_torch.lesions.find import find_lesions
from ctp_torch.lesions.thresholds import read_thresholds
from ctp_torch.phantom import ScanVariant, render_patient

PROTOCOLS = {
    "thick": {"slices": 6, "slice_thickness_mm": 5.0, "slice_spacing_mm": 8.0},
    "touching": {"slices": 6, "slice_thickness_mm": 8.0, "slice_spacing_mm": 8.0},
    "again": {"slices": 6, "slice_thickness_mm": 5.0, "slice_spacing_mm": 8.0, "repeat": 1},
    "thin": {"slices": 320, "slice_thickness_mm": 0.5, "slice_spacing_mm": 0.5},
}
COVERED_MM = 48.0
PARTS = ("core", "penumbra", "core_true", "penumbra_true")


def volumes(seed, index, size, protocol, thresholds, motion):
    """By protocol the volumes [mL] of one patient, measured and true, in the slab that all cover."""
    settings = dict(PROTOCOLS[protocol])
    slices = settings.pop("slices")
    variant = ScanVariant(**settings)
    scan, truth = render_patient(seed, index, size=size, motion=motion, slices=slices, variant=variant)
    scan = replace(scan, hu=scan.hu.round_())
    averaged = pipeline.prepare(scan)
    found = {protocol: measured(averaged, truth, thresholds)}
    if averaged.series.provenance.slabs is not None:
        kept = pipeline.prepare(scan, registration=averaged.motion, slab_mm=0.0)
        del scan, averaged
        gc.collect()
        found["kept"] = measured(kept, truth, thresholds)
    return found


def measured(made, truth, thresholds):
    """Volumes [mL] of core and penumbra within the 48 mm, as measured and as true."""
    series, maps = made.series, pipeline.deconvolve(made, ops.csvd)
    found = find_lesions(maps, baseline=made.anatomy.baseline, thresholds=thresholds)
    depth = truth.core.shape[0]
    n = depth // len(found.core)  # slices of the scan in one of the maps
    height = (torch.arange(depth) - (depth - 1) / 2) * series.geometry.spacing[0] / n
    covered = (height.abs() < COVERED_MM / 2)[:, None, None]
    masks = {"core": found.core, "penumbra": found.penumbra}
    masks = {name: Slabs(n).spread(mask, depth) for name, mask in masks.items()}
    masks |= {"core_true": truth.core, "penumbra_true": truth.penumbra}
    sizes = {f"{name}_ml": int((mask & covered).sum()) * found.voxel_ml / n for name, mask in masks.items()}
    return {**sizes, "tmax_moved_s": found.tmax_moved}


def apart(first, second):
    """Difference of two volumes as a share of the larger; None where both are 0."""
    return (second - first) / max(first, second) if max(first, second) else None


def compared(found):
    """How far thin lies from each of the others, measured and true."""
    return {
        other: {part: apart(found[other][f"{part}_ml"], found["thin"][f"{part}_ml"]) for part in PARTS}
        for other in ("thick", "touching", "again", "kept")
    }


def measure(patient, *, size, thresholds, motion):
    """One patient by all protocols."""
    seed, index = map(int, patient.split("/"))
    found = {}
    for name in PROTOCOLS:
        found |= volumes(seed, index, size, name, thresholds, motion)
    repeated = {part: apart(found["thick"][f"{part}_ml"], found["again"][f"{part}_ml"]) for part in PARTS[:2]}
    return {"patient": patient, **found, "thin_apart_from": compared(found), "repeat_apart": repeated}


def main():
    """All protocols of every patient, and how far they are apart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("thresholds", type=Path)
    parser.add_argument("--patients", nargs="+", required=True, metavar="SEED/INDEX")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--motion", help="none: what is left when the head lies still; as drawn by default")
    parser.add_argument("--processes", type=int, default=1, help="patients at a time")
    parser.add_argument("--name", default="thick_and_thin")
    options = parser.parse_args()
    limits = read_thresholds(options.thresholds)
    rows = []
    one = partial(measure, size=options.size, thresholds=limits, motion=options.motion)
    with multiprocessing.get_context("spawn").Pool(options.processes, maxtasksperchild=1) as pool:
        for row in pool.imap(one, options.patients, chunksize=1):
            rows.append(row)
            print(json.dumps(row), flush=True)
    facts = {
        "size": options.size,
        "motion": options.motion or "as drawn",
        "thresholds": asdict(limits),
        "protocols": PROTOCOLS,
    }
    print(common.write(options.name, {**facts, "rows": rows}))


if __name__ == "__main__":
    main()
