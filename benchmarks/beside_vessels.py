"""What smoothing beside vessels changes on unseen digital patients, at full and at a quarter of the dose.

    python benchmarks/beside_vessels.py 8501:0-9 8607:0-9 [--size 256] [--name beside_vessels]

csvd smoothed inside by 2 mm, as it was the default, against csvd smoothed beside vessels by 2.5 mm, on the same scans:
root mean square error of CBF and CBV in grey and white matter after one scale for each patient, and without, and of
Tmax in seconds; core and hypoperfusion by the thresholds that belong to each. The quarter dose is the same scan with
three parts more of noise of its own kind, added to the aligned frames. Intervals are of the mean over patients, by
bootstrap. Results go to ``results/NAME.json``.
"""

import argparse
import math
import random
import warnings
from dataclasses import replace
from statistics import fmean

import common
import torch

from ctp_torch import ops, pipeline
from ctp_torch.errors import CTPError
from ctp_torch.lesions.belonging import MapsOrigin, shipped_thresholds
from ctp_torch.lesions.find import find_lesions
from ctp_torch.phantom import render_patient
from ctp_torch.phantom.noise import noise_amplitude, noise_images, noise_profile

WAYS = {"inside": {"smoothing": "inside", "complete_cbv": False}, "beside": {"smoothing": "beside"}}


def load(seed, index, size):
    """A digital patient made ready, and its truth."""
    patient = render_patient(seed, index, size=size)
    return pipeline.prepare(patient.series, slab_mm=0.0), patient.truth


def quarter_dose(scan, truth, seed):
    """The scan with as much noise more as makes it one of a quarter of the dose."""
    facts, hu = truth.facts, scan.series.hu
    protocol = facts["protocol"]
    slices, size = hu.shape[1:3]
    heights = 8.0 + scan.series.geometry.origin[2] + protocol["spacing_mm"] * torch.arange(slices)
    thickness = protocol["thickness_mm"]
    profile = facts["noise_hu"] * noise_profile(size, protocol["fov_mm"], heights, thickness_mm=thickness, dose=1.0)
    amplitude, generator = noise_amplitude(size, protocol["fov_mm"]), torch.Generator().manual_seed(seed)
    noise = torch.stack([profile * noise_images(slices, amplitude, generator) for _ in range(len(hu))])
    series = replace(scan.series, hu=hu + math.sqrt(3.0) * noise)
    return pipeline.Scan(series, None, scan.anatomy)


def errors(maps, truth, tissue):
    """Root mean square errors in the tissue, after one scale and as they are."""
    row = {}
    for name in ("cbf", "cbv"):
        values, true = maps[name][tissue], truth.maps[name][tissue]
        scale = (values * true).sum() / values.square().sum()
        row[f"{name}_rmse"] = float((scale * values - true).square().mean().sqrt())
        row[f"{name}_rmse_unscaled"] = float((values - true).square().mean().sqrt())
    row["tmax_mae"] = float((maps["tmax"] - truth.maps["tmax"])[tissue].abs().mean())
    row["tmax_rmse"] = float((maps["tmax"] - truth.maps["tmax"])[tissue].square().mean().sqrt())
    return row


def volumes(maps, scan, truth, smoothing):
    """Errors of core and hypoperfusion by the thresholds that belong to csvd smoothed that way [mL]."""
    width, ml = pipeline.SMOOTHINGS[smoothing], maps.geometry.voxel_volume_ml
    limits, _ = shipped_thresholds(MapsOrigin("csvd", smoothing, width, maps.geometry.shape[1]))
    true = int(truth.core.sum()) * ml, int((truth.core | truth.penumbra).sum()) * ml
    try:
        read = find_lesions(maps, baseline=scan.anatomy.baseline, thresholds=limits).volumes()
    except CTPError:
        read = {"core_ml": 0.0, "hypoperfusion_ml": 0.0}
    return {
        "core_error_ml": abs(read["core_ml"] - true[0]),
        "hypoperfusion_error_ml": abs(read["hypoperfusion_ml"] - true[1]),
    }


def measure(seed, index, size):
    """Both ways at both doses."""
    scan, truth = load(seed, index, size)
    tissue = scan.anatomy.brain & ((truth.labels == 4) | (truth.labels == 5))
    row = {"patient": f"{seed}:{index}", "diagnosis": truth.facts["stroke"]["kind"]}
    for dose, one in (("full", scan), ("quarter", quarter_dose(scan, truth, 1000 * seed + index))):
        for way, how in WAYS.items():
            maps = pipeline.deconvolve(one, ops.csvd, mask=scan.anatomy.brain, **how)
            row[f"{way}, {dose}"] = errors(maps, truth, tissue) | volumes(maps, one, truth, how["smoothing"])
    print(row, flush=True)
    return row


def compared(rows, new, old, repeats=10_000):
    """Mean of each figure both ways, and the change [relative, but mL of volumes] with its interval over patients."""
    draw, table = random.Random(24), {}
    picks = [draw.choices(range(len(rows)), k=len(rows)) for _ in range(repeats)]
    for name in rows[0][new]:
        pairs = [(row[new][name], row[old][name]) for row in rows]
        drawn = sorted(_change([pairs[i] for i in pick], absolute=name.endswith("_ml")) for pick in picks)
        table[name] = {
            "new": round(fmean(a for a, _ in pairs), 3),
            "old": round(fmean(b for _, b in pairs), 3),
            "change": round(_change(pairs, absolute=name.endswith("_ml")), 3),
            "interval_95": [round(drawn[int(p * repeats)], 3) for p in (0.025, 0.975)],
        }
    return table


def _change(pairs, *, absolute):
    """New less old [mL], or new over old less 1, of the means."""
    new, old = fmean(a for a, _ in pairs), fmean(b for _, b in pairs)
    return new - old if absolute else new / old - 1.0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("patients", nargs="+", help="SEED:FIRST-LAST")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--name", default="beside_vessels")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ops.DeconvolutionWarning)
    rows = [measure(seed, index, options.size) for seed, index in common.patients_of(options.patients)]
    common.write(options.name, {"size": options.size, **summary(rows), "rows": rows})


def summary(rows):
    """Item by item: beside against inside at full dose, and a quarter beside against all of it inside."""
    return {
        "beside_against_inside": compared(rows, "beside, full", "inside, full"),
        "quarter_beside_against_full_inside": compared(rows, "beside, quarter", "inside, full"),
        "quarter_inside_against_full_inside": compared(rows, "inside, quarter", "inside, full"),
    }


if __name__ == "__main__":
    main()
