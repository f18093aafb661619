"""Maps of a moving head on thick slices against those of the same head lying still.

    python benchmarks/through_plane.py --patients 8100/0 8100/1 [--motion mild] [--size 128] [--processes 2]

Three ways to treat motion that is estimated alike: undone within the plane alone (as far as `ops.correctable` goes),
what its path through the plane explains removed as well (`ops.remove_through_plane`), and undone in all directions by
interpolation between slices 8 mm apart. Errors are those of curves smoothed by 2 mm in the plane [HU], and of
block-circulant SVD's maps: CBF and CBV as a share of the still brain's median, Tmax in seconds, means over the brain.
"""

import argparse
import json
import multiprocessing
from dataclasses import replace
from functools import partial
from statistics import median

import torch
from common import write

from ctp_torch import ops, pipeline
from ctp_torch.errors import QualityError
from ctp_torch.phantom import render_patient

WAYS = ("in the plane", "path removed", "between slices")


def measure(patient, *, size, motion):
    """Errors of each way for one patient."""
    seed, index = map(int, patient.split("/"))
    still = pipeline.preprocess(rounded(seed, index, size, "none"), median_size=1)
    moving = rounded(seed, index, size, motion)
    found = pipeline.estimate_motion(moving, ops.register_rigid)
    spacing = moving.geometry.spacing
    in_plane = replace(moving, hu=ops.apply_motion(moving.hu, ops.correctable(found, spacing), spacing))
    treated = {
        "in the plane": in_plane,
        "path removed": pipeline.align(moving, found),
        "between slices": replace(moving, hu=ops.apply_motion(moving.hu, found, spacing)),
    }
    errors = {"patient": patient, "motion": motion}
    for way, series in treated.items():
        try:
            errors[way] = compare(series, still)
        except QualityError as error:
            errors[way] = {"refused": str(error)}
    return errors


def rounded(seed, index, size, motion):
    """A thick scan as stored: whole HU."""
    scan, _ = render_patient(seed, index, size=size, motion=motion)
    return replace(scan, hu=scan.hu.round())


def compare(series, still):
    """Errors of curves and maps against the still head's."""
    anatomy, other = pipeline.locate(series), pipeline.locate(still)
    brain, spacing = anatomy.brain & other.brain, series.geometry.spacing
    one, two = (
        ops.smooth_inside(ops.enhancement(s.hu, n), brain, spacing, 2.0)[:, brain]
        for s, n in ((series, anatomy.n_baseline), (still, other.n_baseline))
    )
    maps, wanted = (pipeline.deconvolve(s, ops.csvd, mask=brain) for s in (series, still))
    found = {"curves_hu": float((one - two).square().mean().sqrt())}
    for name in ("cbf", "cbv", "tmax"):
        a, b = maps[name][brain], wanted[name][brain]
        if name != "tmax":  # each in its own scale: the arterial input's is another matter
            a, b = a / a.median(), b / b.median()
        found[name] = float((a - b).abs().mean())
    return found


def main():
    """All patients, and the median share of the error within the plane alone that is left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", nargs="+", required=True, metavar="SEED/INDEX")
    parser.add_argument("--motion", nargs="+", default=["negligible", "mild", "severe"])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    rows, medians = [], {}
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for motion in options.motion:
            one = partial(measure, size=options.size, motion=motion)
            for row in pool.imap(one, options.patients, chunksize=1):
                rows.append(row)
                print(json.dumps(row), flush=True)
            judged = [row for row in rows if row["motion"] == motion and not any("refused" in row[w] for w in WAYS)]
            if not judged:  # every way found its artery in no patient
                continue
            medians[motion] = {
                way: {part: median(row[way][part] for row in judged) for part in judged[0][way]} for way in WAYS
            }
            print(motion, json.dumps(medians[motion], indent=1), flush=True)
    print(write("through_plane", {"size": options.size, "medians": medians, "rows": rows}))


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
