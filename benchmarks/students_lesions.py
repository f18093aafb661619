"""Core and hypoperfusion by the stack and by the console's deconvolution, with conventional and with own thresholds.

    python benchmarks/students_lesions.py KEPT --calibrate 6500:0-15 --check 8101:0-7 8203:0-7 8201:0-13 8311:0-13

KEPT is the folder in which ``students_truth.py`` keeps its second stages. Own thresholds are those of
``lesions.calibration.calibrate`` on the first patients, for each set of maps; all are scored on the second.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

import students_truth
from common import write

from ctp_torch import models, pipeline
from ctp_torch.errors import CTPError
from ctp_torch.learning.intervals import bootstrap_mean, paired_difference
from ctp_torch.lesions.calibration import CalibrationCase, calibrate
from ctp_torch.lesions.find import delineate, survey
from ctp_torch.lesions.thresholds import Thresholds

GHOST_ML = 10.0


def people(specs):
    """Seed and index of ``SEED:FIRST-LAST``."""
    for spec in specs:
        seed, _, span = spec.partition(":")
        first, _, last = span.partition("-")
        yield from ((int(seed), index) for index in range(int(first), int(last or first) + 1))


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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kept", type=Path)
    parser.add_argument("--calibrate", nargs="+", required=True)
    parser.add_argument("--check", nargs="+", required=True)
    options = parser.parse_args()
    stack, _ = students_truth.second_stages(options.kept)
    physics = models.load_model("physics")
    contenders = {
        "teacher": students_truth.teacher,
        "stack": lambda scan: pipeline.predict(scan, stack),
        "physics": lambda scan: pipeline.predict(scan, physics),
    }
    cases = {name: [] for name in contenders}
    for seed, index in people(options.calibrate):
        found, truth = surveys(seed, index, contenders)
        for name, surveyed in found.items():
            late = truth.core | truth.penumbra
            cases[name].append(CalibrationCase(f"{seed}:{index}", surveyed, truth.core, late))
    limits = {}
    for name in contenders:
        limits[name] = calibrate(cases[name]).thresholds
        print(name, limits[name], flush=True)
    rows = {}
    for seed, index in people(options.check):
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
    facts = {"calibrated_on": options.calibrate, "checked_on": options.check, "thresholds": thresholds}
    write("students_lesions", {**facts, "summary": summary, "patients": rows})


if __name__ == "__main__":
    main()
