"""Core and hypoperfusion by the stack and by the console's deconvolution, with conventional and with own thresholds.

    python benchmarks/students_lesions.py --train 31:0-12 6500:0-21 --calibrate 6600:0-21 --check 8602:0-19

The stack learns from pixels drawn evenly over patients and their slices, as ``ctp-torch train --target truth --model
stack`` does. Own thresholds are those of ``lesions.calibration.calibrate`` on the second patients, for each set of
maps; all are scored on the third. ``--core 12 --without 8`` takes the first so many of the third with a core and
without one. ``load`` of students_truth renders; replace it to keep scans on disk.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

import students_truth
import torch
from common import write

from ctp_torch import models, pipeline
from ctp_torch.errors import CTPError
from ctp_torch.learning.intervals import bootstrap_mean, paired_difference
from ctp_torch.learning.sampling import sample_pixels
from ctp_torch.learning.stack import scaled_for_stack, stack_model, stack_view
from ctp_torch.learning.training import TrainingSet, recipe_for
from ctp_torch.lesions.calibration import CalibrationCase, calibrate
from ctp_torch.lesions.find import delineate, survey
from ctp_torch.lesions.thresholds import Thresholds
from ctp_torch.pipeline.features import features_of
from ctp_torch.pipeline.recipe import PHYSICAL_RANGES

GHOST_ML = 10.0
SAMPLES = 25_000


def people(specs):
    """Seed and index of ``SEED:FIRST-LAST``."""
    for spec in specs:
        seed, _, span = spec.partition(":")
        first, _, last = span.partition("-")
        yield from ((int(seed), index) for index in range(int(first), int(last or first) + 1))


def train_stack(trained):
    """The stack, of pixels drawn evenly over the tissue of these patients and their slices."""
    view, features, targets = stack_view(), [], []
    for seed, index in trained:
        scan, truth = students_truth.load(seed, index)
        (pixels,) = sample_pixels([students_truth.tissue_of(scan, truth)], SAMPLES // len(trained), seed=0)
        row = scan.anatomy.brain.flatten().cumsum(0) - 1
        features.append(features_of(scan, view).tissue.values[row[pixels]])
        targets.append(torch.stack([truth.maps[name].flatten()[pixels] for name in students_truth.MAPS], dim=1))
    data = TrainingSet(torch.cat(features), torch.cat(targets), {}, 1.0, students_truth.MAPS, {})
    ends = {name: PHYSICAL_RANGES[name] for name in students_truth.MAPS}
    recipe = scaled_for_stack(recipe_for(data, ends, view=view, registration="torch", physical=True))
    stack = stack_model().fit(recipe.scale(data.curves), data.targets)
    stack.metadata_ = {"recipe": recipe.as_metadata()}
    return stack


def chosen(people, with_core, without):
    """The first so many patients with a core and without one; all where neither is asked."""
    if not with_core + without:
        yield from people
        return
    wanted = {True: with_core, False: without}
    for seed, index in people:
        has = bool(students_truth.load(seed, index)[1].core.any())
        if wanted[has] > 0:
            wanted[has] -= 1
            yield seed, index
        if not sum(wanted.values()):
            return


def surveys(seed, index, contenders):
    """By contender the survey of one patient's maps; and the truth."""
    scan, truth = students_truth.load(seed, index)
    return {name: survey(make(scan), baseline=scan.anatomy.baseline) for name, make in contenders.items()}, truth


def scored(surveyed, truth, limits):
    """Volumes [mL] and overlaps of one patient by one set of thresholds."""
    late = truth.core | truth.penumbra
    try:
        found = delineate(surveyed, limits)
    except CTPError:
        return None
    ml = found.voxel_ml
    return {
        "core": int(found.core.sum()) * ml,
        "true_core": int(truth.core.sum()) * ml,
        "hypoperfusion": int(found.hypoperfusion.sum()) * ml,
        "true_hypoperfusion": int(late.sum()) * ml,
        "core_dice": students_truth.dice(found.core, truth.core),
        "hypoperfusion_dice": students_truth.dice(found.hypoperfusion, late),
    }


def told(rows, name, rule):
    """Means over patients of one contender by one rule."""
    one = {key: row["scores"][name][rule] for key, row in rows.items() if row["scores"][name][rule]}
    with_core = {key: s for key, s in one.items() if s["true_core"] > 0}
    without = [s["core"] for s in one.values() if s["true_core"] == 0]
    return {
        "patients": len(one),
        "with_core": len(with_core),
        "core_dice": bootstrap_mean([s["core_dice"] for s in one.values()])._asdict(),
        "core_error_ml": bootstrap_mean([abs(s["core"] - s["true_core"]) for s in one.values()])._asdict(),
        "hypoperfusion_error_ml": bootstrap_mean(
            [abs(s["hypoperfusion"] - s["true_hypoperfusion"]) for s in one.values()]
        )._asdict(),
        "false_core_mean_ml": sum(without) / max(1, len(without)),
        "false_core_largest_ml": max(without, default=0.0),
        "ghosts": sum(value > GHOST_ML for value in without),
    }


def calibrated(contenders, specs):
    """By contender its own thresholds."""
    cases = {name: [] for name in contenders}
    for seed, index in people(specs):
        found, truth = surveys(seed, index, contenders)
        for name, surveyed in found.items():
            late = truth.core | truth.penumbra
            cases[name].append(CalibrationCase(f"{seed}:{index}", surveyed, truth.core, late))
    limits = {}
    for name in contenders:
        limits[name] = calibrate(cases[name]).thresholds
        print(name, limits[name], flush=True)
    return limits


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", nargs="+", required=True)
    parser.add_argument("--calibrate", nargs="+", required=True)
    parser.add_argument("--check", nargs="+", required=True)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--without", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="file of the stack and its thresholds, used again")
    parser.add_argument("--name", default="students_lesions", help="of the file in benchmarks/results")
    options = parser.parse_args()
    if options.keep and options.keep.exists():
        stack = models.load_model(options.keep)
    else:
        stack = train_stack(list(people(options.train)))
    physics = models.load_model("physics")
    contenders = {
        "teacher": students_truth.teacher,
        "stack": lambda scan: pipeline.predict(scan, stack),
        "physics": lambda scan: pipeline.predict(scan, physics),
    }
    kept = stack.metadata_.get("limits")
    limits = (
        {name: Thresholds(**one) for name, one in kept.items()} if kept else calibrated(contenders, options.calibrate)
    )
    if options.keep and not kept:
        about = {**stack.metadata_, "limits": {name: asdict(one) for name, one in limits.items()}}
        stack.save(options.keep, metadata=about)
    rows = {}
    for seed, index in chosen(list(people(options.check)), options.core, options.without):
        found, truth = surveys(seed, index, contenders)
        rows[f"{seed}:{index}"] = {
            "scores": {
                name: {
                    "conventional": scored(one, truth, Thresholds()),
                    "own": scored(one, truth, limits[name]),
                }
                for name, one in found.items()
            }
        }
        print(seed, index, flush=True)
    summary = {name: {rule: told(rows, name, rule) for rule in ("conventional", "own")} for name in contenders}
    for rule in ("conventional", "own"):
        dices = [
            {key: row["scores"][name][rule]["core_dice"] for key, row in rows.items() if row["scores"][name][rule]}
            for name in ("stack", "teacher")
        ]
        summary["stack"][rule]["core_dice_over_teacher"] = paired_difference(*dices)._asdict()
    for name, rules in summary.items():
        for rule, figures in rules.items():
            numbers = {key: value["mean"] if isinstance(value, dict) else value for key, value in figures.items()}
            print(name, rule, {key: round(value, 3) for key, value in numbers.items()})
    thresholds = {name: asdict(one) for name, one in limits.items()}
    facts = {"trained_on": options.train, "calibrated_on": options.calibrate, "checked_on": list(rows),
             "thresholds": thresholds}  # fmt: skip
    write(options.name, {**facts, "summary": summary, "patients": rows})


if __name__ == "__main__":
    main()
