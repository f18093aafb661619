"""How near learned maps come to the truth of digital patients that nobody trained on, beside deconvolution.

``python benchmarks/students_truth.py score --seeds 8307,8419 --patients 0-7`` scores the student that comes along, the
one a scan makes for itself, the stack and a network on the teacher's maps, as scanned, with a wider bolus, frames every
2 s, 45 s, and a quarter of the dose; ``strangers`` does on tissue whose transit times no student learned from. ``load``
renders digital patients; replace it to keep them on disk.
"""

import argparse
import math
from functools import partial
from pathlib import Path

import torch
from common import write

from ctp_torch import models, ops, pipeline
from ctp_torch.data.series import CTPSeries
from ctp_torch.learning.intervals import bootstrap_mean
from ctp_torch.learning.physics import PHYSICS_TARGETS, simulate_set
from ctp_torch.learning.stack import scaled_for_stack, stack_model, stack_view
from ctp_torch.learning.training import TrainingSet, recipe_for
from ctp_torch.lesions.find import find_lesions
from ctp_torch.ops.deconvolution.units import volume_per_area
from ctp_torch.phantom.curves import (
    CLINICAL,
    TEXTBOOK,
    arterial_curve,
    box_tissue_curve,
    exponential_tissue_curve,
    linear_tissue_curve,
)
from ctp_torch.phantom.patient import ScanVariant, render_patient
from ctp_torch.phantom.tiles import DELAYS, TRANSITS, VOLUMES
from ctp_torch.pipeline.features import features_of
from ctp_torch.pipeline.per_scan import per_scan
from ctp_torch.pipeline.recipe import PHYSICAL_RANGES, Recipe
from ctp_torch.pipeline.scan import Scan, locate

MAPS = ("cbf", "cbv", "mtt", "tmax")
TRAINING = [(31, index) for index in range(13)]
"""Seed and index of the patients that the second stages learn from."""
SAMPLES = 12_000
CONDITIONS = ("as scanned", "bolus 1.6 x", "frames every 2 s", "45 s", "quarter dose")
TEACHER, SMOOTHED = "teacher: csvd, 2 mm inside", "teacher, 2 px more"
PHYSICS, STACK, BASELINE = "physics, comes along", "stack", "teacher's maps at 3 widths, network"
SLOW = 2
"""Patients of a seed that the slow contenders are tried on too."""
MINIMUM = 100
"""Voxels of a lesion that make a patient's error in it."""


def load(seed, index, **options):
    """A digital patient's scan at 128 x 128 pixels, aligned, and the truth behind it."""
    variant = ScanVariant(**options.pop("variant", {}))
    patient = render_patient(seed, index, size=128, variant=variant, **options)
    return pipeline.prepare(patient.series, slab_mm=0.0), patient.truth


def scanned(seed, index, condition):
    """A patient under a condition."""
    options = {"bolus 1.6 x": {"variant": {"bolus_stretch": 1.6}}, "quarter dose": {"dose": 0.25}}
    scan, truth = load(seed, index, **options.get(condition, {}))
    frames = {"frames every 2 s": slice(None, None, 2), "45 s": slice(0, 45)}.get(condition)
    if frames is not None:
        series = scan.series
        series = CTPSeries(series.hu[frames], series.times[frames], series.geometry, series.provenance)
        scan = Scan(series, None, locate(series))
    return scan, truth


def teacher(scan):
    """The console teacher's maps."""
    return pipeline.deconvolve(scan, partial(ops.csvd, threshold=0.1), sigma_mm=2.0, smoothing="inside")


def smoothed(maps):
    """Maps of the teacher filtered by 2 pixels within the brain."""
    spacing = (maps.geometry.spacing[0], 1.0, 1.0)
    values = {name: ops.smooth_inside(maps[name], maps.mask, spacing, 2.0) * maps.mask for name in MAPS}
    return type(maps)(values, maps.mask, maps.geometry, maps.provenance)


def teacher_numbers(scan, console):
    """The teacher's maps at three widths: ``(voxels, 12)``."""
    method, listed = partial(ops.csvd, threshold=0.1), [console]
    listed += [pipeline.deconvolve(scan, method, sigma_mm=width, smoothing="inside") for width in (4.0, 8.0)]
    return torch.stack([maps[name][maps.mask] for maps in listed for name in MAPS], dim=1)


def tissue_of(scan, truth):
    """Where truth is asked: grey and white matter and scars."""
    return scan.anatomy.brain & ((truth.labels == 4) | (truth.labels == 5) | (truth.labels == 8))


def second_stages(folder):
    """The stack and the network on the teacher's maps, kept in a folder."""
    files = [folder / f"{name}.safetensors" for name in ("stack", "baseline")]
    if not all(file.exists() for file in files):
        folder.mkdir(parents=True, exist_ok=True)
        for model, file in zip(train_second_stages(), files, strict=True):
            model.save(file)
    return [models.load_model(file) for file in files]


def train_second_stages():
    """The stack and the network on the teacher's maps, of the same pixels of the same patients."""
    view, generator = stack_view(), torch.Generator().manual_seed(0)
    features, numbers, targets = [], [], []
    for seed, index in TRAINING:
        scan, truth = scanned(seed, index, "as scanned")
        inside = tissue_of(scan, truth)[scan.anatomy.brain].nonzero().squeeze(1)
        lesion = (truth.core | truth.penumbra)[scan.anatomy.brain][inside]
        weights = torch.where(lesion, 0.5 / lesion.sum().clamp_min(1), 0.5 / (~lesion).sum().clamp_min(1))
        chosen = inside[torch.multinomial(weights, SAMPLES // len(TRAINING), replacement=True, generator=generator)]
        features.append(features_of(scan, view).tissue.values[chosen])
        numbers.append(teacher_numbers(scan, teacher(scan))[chosen])
        targets.append(torch.stack([truth.maps[name][scan.anatomy.brain][chosen] for name in MAPS], dim=1))
    data = TrainingSet(torch.cat(features), torch.cat(targets), {}, 1.0, MAPS, {})
    ends = {name: PHYSICAL_RANGES[name] for name in MAPS}
    recipe = scaled_for_stack(recipe_for(data, ends, view=view, registration="torch", physical=True))
    stack = stack_model().fit(recipe.scale(data.curves), data.targets)
    stack.metadata_ = {"recipe": recipe.as_metadata()}
    baseline = models.Network([48, 48], steps=3000, learning_rate=3e-3).fit(torch.cat(numbers), data.targets)
    return stack, baseline


def all_maps(scan, stack, baseline, *, every):
    """Name to maps of a scan, by all contenders; ``every`` asks for those that take long."""
    console = teacher(scan)
    listed = {
        TEACHER: console,
        SMOOTHED: smoothed(console),
        PHYSICS: pipeline.predict(scan, models.load_model("physics")),
        STACK: pipeline.predict(scan, stack),
    }
    if baseline is not None:
        answers = baseline.predict(teacher_numbers(scan, console))
        volumes = {name: torch.zeros_like(console[name]) for name in MAPS}
        for i, name in enumerate(MAPS):
            volumes[name][console.mask] = answers[:, i].clamp_min(0.0)
        listed[BASELINE] = type(console)(volumes, console.mask, console.geometry)
    if every:
        listed["csvd as today"] = pipeline.deconvolve(scan)
        listed["physics, per scan"] = pipeline.deconvolve(scan, per_scan, sigma_mm=2.0)
    return listed


def score(maps, scan, truth, *, delineated):
    """What is wrong with maps against the truth."""
    tissue = tissue_of(scan, truth)
    lesion = tissue & (truth.core | truth.penumbra)
    off = {name: (maps[name] - truth.maps[name]).abs() for name in MAPS}
    row = {f"{name} mae": float(off[name][tissue].mean()) for name in MAPS}
    for name in ("cbf", "mtt", "tmax"):
        row[f"{name} mae in lesions"] = float(off[name][lesion].mean()) if int(lesion.sum()) >= MINIMUM else math.nan
    for where, mask in (("tissue", tissue), ("grey", tissue & (truth.labels == 4)), ("lesions", lesion)):
        pair = torch.stack((maps["cbf"][mask], truth.maps["cbf"][mask]))
        row[f"cbf r in {where}"] = float(torch.corrcoef(pair)[0, 1]) if int(mask.sum()) >= MINIMUM else math.nan
    row["late dice"] = dice((maps["tmax"] > 6.0) & tissue, (truth.maps["tmax"] > 6.0) & tissue)
    if not delineated:
        return row
    lesions = find_lesions(maps, baseline=scan.anatomy.baseline)
    row["core dice"] = dice(lesions.core, truth.core & scan.anatomy.brain)
    row["hypoperfusion dice"] = dice(lesions.hypoperfusion, (truth.core | truth.penumbra) & scan.anatomy.brain)
    row["core ml"] = int(lesions.core.sum()) * lesions.voxel_ml
    row["true core ml"] = int(truth.core.sum()) * lesions.voxel_ml
    return row


def dice(ours, true):
    """Overlap; NaN where hardly anything is there to find."""
    if int(true.sum()) < MINIMUM:
        return math.nan
    return 2.0 * int((ours & true).sum()) / max(1, int(ours.sum()) + int(true.sum()))


def summary(rows):
    """Means over patients, and each contender against the two teachers, paired."""
    text = {}
    everybody = rows
    for name in rows[0]["scores"]:
        rows = [row for row in everybody if name in row["scores"]]
        keys = rows[0]["scores"][name]
        text[name] = {
            "mean": {key: bootstrap_mean([row["scores"][name][key] for row in rows])._asdict() for key in keys}
        }
        for against in (one for one in (TEACHER, SMOOTHED, BASELINE) if one != name and one in rows[0]["scores"]):
            shared = [key for key in keys if key in rows[0]["scores"][against]]
            differences = {
                key: [row["scores"][name][key] - row["scores"][against][key] for row in rows] for key in shared
            }
            text[name][f"less {against}"] = {key: bootstrap_mean(v)._asdict() for key, v in differences.items()}
    return text


def rounded(value):
    """Five digits are enough; what is unknown is null, for JSON has no NaN."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.5g}")
    return value


def run_score(arguments):
    """All contenders under the conditions asked for."""
    stack, baseline = second_stages(arguments.kept)
    first, _, last = arguments.patients.partition("-")
    patients = [(int(s), i) for i in range(int(first), int(last or first) + 1) for s in arguments.seeds.split(",")]
    results = {}
    for condition in arguments.conditions.split(","):
        rows = []
        for seed, index in patients:
            scan, truth = scanned(seed, index, condition)
            beside = baseline if condition in CONDITIONS[:2] else None
            listed = all_maps(scan, stack, beside, every=condition == CONDITIONS[0] and index < SLOW)
            scores = {n: score(m, scan, truth, delineated=n in (TEACHER, PHYSICS, STACK)) for n, m in listed.items()}
            rows.append({"seed": seed, "index": index, "scores": scores})
            print(condition, seed, index, {n: round(one["cbf mae"], 2) for n, one in scores.items()}, flush=True)
        results[condition] = {"patients": rows, "summary": summary(rows)}
        write(f"students_truth_{arguments.tag}", rounded({"training": TRAINING, "conditions": results}))


def told(curves, aif, times):
    """What the student that comes along says of curves ``(voxels, time)``, in units."""
    model = models.load_model("physics")
    recipe = Recipe.of(model)
    features = ops.residue_features(curves.float(), times, aif.float(), times)
    return recipe.values(model.predict(recipe.scale(features)))


def errors_of(values, truth):
    """Mean absolute errors of what is there."""
    return {name: float((values[name] - truth[name]).abs().mean()) for name in truth}


def strange_tiles(bolus, curve, noise_hu, seed):
    """Errors on the tile phantom's transit times, delays and volumes, by closed forms, with white noise."""
    times = torch.arange(0.0, 60.0, 1.0, dtype=torch.float64)
    grid = torch.meshgrid(*(torch.tensor(v, dtype=torch.float64) for v in (TRANSITS, DELAYS, VOLUMES)), indexing="ij")
    mtt, delay, cbv = (values.flatten() for values in grid)
    flow = cbv / mtt / volume_per_area()
    clean = curve(times, bolus, flow=flow[:, None], mtt=mtt[:, None], delay=delay[:, None])
    generator = torch.Generator().manual_seed(seed)
    noisy = clean.repeat(8, 1)
    noisy = noisy + noise_hu * torch.randn(noisy.shape, generator=generator, dtype=noisy.dtype)
    noisy = noisy - noisy[:, :8].mean(dim=1, keepdim=True)
    aif = arterial_curve(times, bolus)
    truth = {"cbf": 60.0 * cbv / mtt, "cbv": cbv, "mtt": mtt, "tmax": delay}
    truth = {name: values.repeat(8).float() for name, values in truth.items()}
    smooth = ops.smooth_in_time(noisy.T).T, ops.smooth_in_time(aif[:, None])[:, 0]
    return {
        "physics": errors_of(told(noisy, aif, times), truth),
        "csvd": errors_of(ops.csvd(*smooth, 1.0).maps(), truth),
    }


def run_strangers(arguments):
    """The student that comes along on tissue and arteries that it never learned from, beside csvd."""
    data = simulate_set(40, arteries=4, voxels=150, seed=arguments.seed, family="linear")
    model = models.load_model("physics")
    recipe = Recipe.of(model)
    values = recipe.values(model.predict(recipe.scale(data.features)))
    truth = dict(zip(PHYSICS_TARGETS, data.targets.unbind(1), strict=True))
    results = {"linear residues, arteries of the prior": {"physics": errors_of(values, truth)}}
    for name, bolus in (("textbook artery (FWHM 6 s)", TEXTBOOK), ("clinical artery (FWHM 11 s)", CLINICAL)):
        for kind in (linear_tissue_curve, box_tissue_curve, exponential_tissue_curve):
            results[f"{name}, {kind.__name__}"] = strange_tiles(bolus, kind, 0.5, arguments.seed)
    for name, row in results.items():
        print(name, {who: {k: round(v, 2) for k, v in errors.items()} for who, errors in row.items()})
    write("students_strangers", {"noise_hu": 0.5, "seed": arguments.seed, "mean absolute errors": results})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    scoring = commands.add_parser("score")
    scoring.add_argument("--seeds", default="8307,8419")
    scoring.add_argument("--patients", default="0-7")
    scoring.add_argument("--conditions", default=",".join(CONDITIONS))
    scoring.add_argument("--tag", default="unseen")
    scoring.add_argument("--kept", type=Path, default=Path("build/students"), help="folder of the second stages")
    scoring.set_defaults(run=run_score)
    strangers = commands.add_parser("strangers")
    strangers.add_argument("--seed", type=int, default=77)
    strangers.set_defaults(run=run_strangers)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
