"""Do a model's intervals hold? Coverage and width over patients unseen, inside lesions, of volumes; strangers flagged.

``python benchmarks/intervals.py --train 31:13 6500:17 --test 8201:14 8311:14 --strangers 8603:10`` trains a stack
on truth as ``ctp-torch train --target truth --intervals 0.9`` does, every patient left out in turn, and
asks of each test patient whether 90 % of the tissue lies within. Floors: the quantiles over all left-out voxels without
a patient's margin; of volumes, the middle 90 % of the training patients' true ones, whatever the scan. ``load`` and
``load_foreign`` render; replace them to keep scans on disk.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from common import write
from foreign import KINDS, render_foreign

from ctp_torch import models, pipeline
from ctp_torch.learning.conformal import calibrate_intervals, predict_left_out
from ctp_torch.learning.prepared import PreparedPatient
from ctp_torch.learning.training import draw, recipe_for
from ctp_torch.lesions.thresholds import Thresholds
from ctp_torch.phantom.patient import render_patient
from ctp_torch.pipeline.features import features_of
from ctp_torch.pipeline.intervals import Intervals
from ctp_torch.pipeline.recipe import Recipe

MAPS = ("cbv", "cbf", "mtt", "tmax")
RANGES = dict.fromkeys(MAPS, (0.0, 1.0))  # physical targets are bounded by what is possible, not by colours
WIDTHS_MM = (2.0, 4.0, 8.0)
FIRST = models.load_model("physics")
"""The physics student, whose answers at several widths the student learns from."""
VIEW = replace(Recipe.of(FIRST).view, smoothing_mm=WIDTHS_MM)
ASKED = {"cbf": 60.0, "rel_cbf": 1.3, "mtt": 9.5, "tmax": 3.5}
"""Widest mean width, in the unit of the quantity."""
TISSUE = (4, 5, 8)
"""Grey, white, scar among the labels of the truth."""
SAMPLES = 25_000


def load(seed, index):
    """A digital patient's scan, aligned, and the truth behind it."""
    patient = render_patient(seed, index, size=128)
    return pipeline.prepare(patient.series, slab_mm=0.0), patient.truth


def load_foreign(seed, index, kind):
    """The same of a stranger."""
    patient = render_foreign(seed, index, kind)
    return pipeline.prepare(patient.series, slab_mm=0.0), patient.truth


def student():
    """The unfitted second stage of a stack; the first never changes, so that its answers are made once a scan."""
    return models.Network([48, 48], steps=1500, learning_rate=5e-3)


def recipe_of(data):
    """How the second stage sees answers: as they are, targets in their units."""
    n = data.curves.shape[1]
    recipe = recipe_for(data, RANGES, view=VIEW, physical=True)
    return replace(recipe, feature_mean=(0.0,) * n, feature_sd=(1.0,) * n)


def answers(features):
    """What the first stage says of features ``(voxels, widths * its own)``, ``(voxels, widths * 5)``."""
    recipe = Recipe.of(FIRST)
    parts = features.split(FIRST.n_features_in_, dim=1)
    return torch.cat([FIRST.predict(recipe.scale(part)) for part in parts], dim=1)


def prepared(scan, truth, name):
    """The patient as the student sees it, and where the truth lies in tissue and in lesions."""
    seen, brain = features_of(scan, VIEW), scan.anatomy.brain
    targets = torch.stack([truth.maps[q] for q in MAPS])
    targets = targets.masked_fill((targets == 0).all(dim=0), torch.nan)
    patient = PreparedPatient(
        name, "", answers(seen.tissue.values), brain, scan.anatomy.head, targets, MAPS, scan.series.dt, view=VIEW,
        facts=seen.facts, bolus=seen.bolus, geometry=scan.series.geometry, baseline=scan.anatomy.baseline,
        lesions=torch.stack([truth.core, truth.core | truth.penumbra]),
    )  # fmt: skip
    tissue = torch.isin(truth.labels, torch.tensor(TISSUE, dtype=truth.labels.dtype))
    return patient, tissue & patient.valid


def of_patient(patient, tissue, model, recipe, intervals):
    """Coverage and width of every band over tissue, over lesions, without margin; volumes and flags."""
    inside = replace(patient, targets=patient.targets.masked_fill(~tissue, torch.nan))
    one = predict_left_out(inside, model, recipe, limits=Thresholds(), most=10**9)
    lesion = patient.lesions[1][patient.brain][inside.valid[patient.brain]]
    ends, rows = intervals.ends(one.predicted), {}
    for name, band in intervals.bands.items():
        lower, upper = ends[f"{name}_lower"], ends[f"{name}_upper"]
        within = ((one.truth[name] >= lower) & (one.truth[name] <= upper)).double()
        bare = replace(band, margin=0.0).ends(one.predicted[name])
        rows[name] = {
            "coverage": float(within.mean()),
            "width": float((upper - lower).mean()),
            "coverage_in_lesions": float(within[lesion].mean()) if int(lesion.sum()) >= 50 else None,
            "width_in_lesions": float((upper - lower)[lesion].mean()) if int(lesion.sum()) >= 50 else None,
            "coverage_without_margin": float(
                ((one.truth[name] >= bare[0]) & (one.truth[name] <= bare[1])).double().mean()
            ),
            "mae": float((one.predicted[name] - one.truth[name]).abs().mean()),
        }
    measured = {name: pair[0] for name, pair in one.volumes.items()}
    promised = intervals.volume_ends(measured, Thresholds())
    volumes = {n: {"measured": m, "true": t, "ends": promised.get(n)} for n, (m, t) in one.volumes.items()}
    far = {n: known.distance(one.signatures[n]) for n, known in intervals.known.items()}
    flagged = bool(intervals.outside(one.signatures))
    doubts = recipe.check_scan(patient.facts)  # frames, reach and width of the bolus against those of the training
    return {"bands": rows, "volumes": volumes, "distance": far, "flagged": flagged, "doubts": doubts}


def summary(patients, true_volumes):
    """What the single patients come to."""
    out = {}
    for name in patients[0]["bands"]:
        rows = [one["bands"][name] for one in patients]
        in_lesions = [row["coverage_in_lesions"] for row in rows if row["coverage_in_lesions"] is not None]
        out[name] = {
            "patients": len(rows),
            "with_90_percent": sum(row["coverage"] >= 0.9 for row in rows),
            "with_90_percent_without_margin": sum(row["coverage_without_margin"] >= 0.9 for row in rows),
            "lowest_coverage": min(row["coverage"] for row in rows),
            "mean_width": sum(row["width"] for row in rows) / len(rows),
            "widest_asked": ASKED.get(name),
            "mae": sum(row["mae"] for row in rows) / len(rows),
            "patients_with_lesions": len(in_lesions),
            "mean_coverage_in_lesions": sum(in_lesions) / max(1, len(in_lesions)),
            "with_90_percent_in_lesions": sum(value >= 0.9 for value in in_lesions),
        }
    for name in ("core_ml", "hypoperfusion_ml", "mismatch_ml"):
        known = [one["volumes"][name] for one in patients if one["volumes"].get(name, {}).get("ends")]
        spread = torch.tensor(true_volumes[name], dtype=torch.float64).quantile(torch.tensor([0.05, 0.95]).double())
        low, high = (float(v) for v in spread)
        widths = sorted(one["ends"][1] - one["ends"][0] for one in known)
        out[name] = {
            "patients": len(known),
            "covered": sum(one["ends"][0] <= one["true"] <= one["ends"][1] for one in known),
            "median_width": widths[len(widths) // 2] if widths else None,
            "floor_covered": sum(low <= one["true"] <= high for one in known),
            "floor_width": high - low,
        }
    out["flagged"] = sum(one["flagged"] for one in patients)
    out["flagged_or_doubted"] = sum(one["flagged"] or bool(one["doubts"]) for one in patients)
    return out


def run(train, test, strangers, folder):
    """Everything, as JSON."""
    files = []
    for seed, index in train:
        files.append(folder / f"{seed}-{index}.safetensors")
        if not files[-1].exists():
            prepared(*load(seed, index), f"{seed}-{index}")[0].save(files[-1])
    data = draw(files, SAMPLES, seed=0)
    recipe = recipe_of(data)
    if not (kept := folder / "student.safetensors").exists():
        intervals = calibrate_intervals(files, data, student, recipe_of, level=0.9)
        model = student().fit(recipe.scale(data.curves), data.targets)
        model.save(kept, metadata={"recipe": recipe.as_metadata(), **intervals.as_metadata()})
    model = models.load_model(kept)
    intervals = Intervals.of(model)
    learned = [PreparedPatient.load(file) for file in files]
    slow = [one.lesions.flatten(1).sum(1) * one.geometry.voxel_volume_ml for one in learned]
    true = {
        "core_ml": [float(v[0]) for v in slow],
        "hypoperfusion_ml": [float(v[1]) for v in slow],
        "mismatch_ml": [float(v[1] - v[0]) for v in slow],
    }
    own = {f"{s}/{i}": of_patient(*prepared(*load(s, i), f"{s}-{i}"), model, recipe, intervals) for s, i in test}
    names, others = list(KINDS), {}
    for n, (s, i) in enumerate(strangers):
        kind = names[n % len(names)]
        patient = prepared(*load_foreign(s, i, kind), f"{s}-{i}")
        others[f"{s}/{i} {kind}"] = of_patient(*patient, model, recipe, intervals)
    margins = {name: band.margin for name, band in intervals.bands.items()}
    return {
        "setting": {"train": len(files), "samples": len(data.curves), "view": VIEW.key, "model": repr(student())},
        "margins": margins,
        "volume_margins_root_ml": dict(intervals.volumes),
        "own": summary(list(own.values()), true) if own else None,
        "strangers": summary(list(others.values()), true) if others else None,
        "patients": own,
        "stranger_patients": others,
    }


def listed(specs):
    """``31:13`` to patients 0..12 of seed 31; ``31:4-6`` to 4..6."""
    pairs = []
    for spec in specs:
        seed, _, tail = spec.partition(":")
        first, dash, last = tail.partition("-")
        span = range(int(first), int(last) + 1) if dash else range(int(first))
        pairs += [(int(seed), index) for index in span]
    return pairs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", nargs="+", default=["31:13", "6500:17"])
    parser.add_argument("--test", nargs="*", default=["8201:14", "8311:14"])
    parser.add_argument("--strangers", nargs="*", default=["8603:10"])
    parser.add_argument("--name", default="intervals")
    parser.add_argument("--keep", type=Path, help="folder for the trained student and its patients, used again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(exist_ok=True)
        result = run(listed(options.train), listed(options.test), listed(options.strangers), folder)
    for name in ("own", "strangers"):
        for key, row in (result[name] or {}).items():
            print(name, key, row)
    write(options.name, result)


if __name__ == "__main__":
    main()
