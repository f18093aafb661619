"""How near learned maps come to their teacher, patients unseen: kernel ridge on raw and arterial features, and a floor.

``python benchmarks/students.py likeness`` trains on patients of one seed and scores others: SSIM of the brain against
the console teacher (csvd, 2 mm, vessels smoothed along), with paired intervals over patients. ``load`` renders digital
patients; replace it to keep them on disk.
"""

import argparse
import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from common import write

from ctp_torch import models, ops, pipeline
from ctp_torch.data.maps import QUANTITIES
from ctp_torch.data.scale import ColorScale
from ctp_torch.learning.evaluate import predict_indices
from ctp_torch.learning.intervals import bootstrap_mean
from ctp_torch.learning.prepared import PreparedPatient
from ctp_torch.learning.sampling import sample_pixels
from ctp_torch.learning.scoring import measure, reference_of
from ctp_torch.learning.training import TrainingSet, recipe_for
from ctp_torch.phantom.patient import render_patient
from ctp_torch.pipeline.features import features_of
from ctp_torch.pipeline.recipe import Recipe, View

MAPS = ("cbv", "cbf", "mtt", "tmax")
FILTERS = (0.0, 2.0)
ARTERIAL = View("arterial", median_size=1, smoothing_mm=(2.0,))
VIEWS = {
    "krr, raw": View(),
    "krr, arterial, 3 x 3 median": View("arterial", artery_moments=True),
    "krr, arterial, 2 mm": ARTERIAL,
    "krr, arterial, 2 mm, moments": replace(ARTERIAL, artery_moments=True),
}
"""Name of a student to what it sees."""
AT_BOTH = ("krr, raw", "krr, arterial, 3 x 3 median", "krr, arterial, 2 mm, moments")
"""Students that a finer grid is tried on."""
PEAK = "floor: peak enhancement"


def load(seed, index, size):
    """A digital patient's scan, aligned, and the truth behind it."""
    patient = render_patient(seed, index, size=size)
    return pipeline.prepare(patient.series, slab_mm=0.0), patient.truth


def teacher(scan):
    """Indices ``(maps, z, y, x)`` int16 of the console teacher's maps, -1 beside the brain."""
    method = partial(ops.csvd, threshold=0.1)
    maps = pipeline.deconvolve(scan, method, sigma_mm=2.0, smoothing="inside")
    index = torch.stack([ColorScale(*QUANTITIES[name].display).index(maps[name]).round() for name in MAPS])
    return torch.where(maps.mask, index, -1).to(torch.int16)


def seen(scan, view, name, targets):
    """The patient as a student of that view learns it; raw curves come from the filtered scan."""
    if view.features == "raw":
        filtered = ops.median_filter(scan.series.hu, view.median_size)
        scan = replace(scan, series=replace(scan.series, hu=filtered))
    features = features_of(scan, view)
    return PreparedPatient(
        name=name,
        split="",
        curves=features.tissue.values,
        brain=scan.anatomy.brain,
        head=scan.anatomy.head,
        targets=targets,
        quantities=MAPS,
        dt=scan.series.dt,
        view=view,
        facts=features.facts,
    )


def peak_view(scan):
    """One number ``(voxels, 1)`` of each curve, over 600 HU: how far it rises above its mean before contrast."""
    hu = ops.window(ops.median_filter(scan.series.hu, 3))[:, scan.anatomy.brain]  # (time, voxels)
    return (ops.smooth_in_time(hu).amax(dim=0) - hu[: scan.anatomy.n_baseline].mean(dim=0))[:, None]


def learn(people, size, n_samples):
    """Name to fitted model, all from the same pixels of these (seed, index)."""
    parts, targets, facts = {name: [] for name in (*VIEWS, PEAK)}, [], []
    loaded = [(name, load(*name, size)[0]) for name in people]
    truths = [teacher(scan) for _, scan in loaded]
    valid = [scan.anatomy.brain & (t >= 0).all(dim=0) for (_, scan), t in zip(loaded, truths, strict=True)]
    drawn = sample_pixels(valid, n_samples, seed=0)
    for (name, scan), target, pixels in zip(loaded, truths, drawn, strict=True):
        row = scan.anatomy.brain.flatten().cumsum(0) - 1
        parts[PEAK].append(peak_view(scan)[row[pixels]])
        for student, view in VIEWS.items():
            one = seen(scan, view, str(name), target)
            features, values = one.sample(pixels)
            parts[student].append(features)
        targets.append(values)
        facts.append(one.facts)
    bounds = {key: (min(f[key] for f in facts), max(f[key] for f in facts)) for key in facts[0]}
    ranges = {name: QUANTITIES[name].display for name in MAPS}
    students = {}
    for student, view in VIEWS.items():
        data = TrainingSet(torch.cat(parts[student]), torch.cat(targets), {}, 1.0, MAPS, bounds)
        recipe = recipe_for(data, ranges, view=view, registration="torch")
        model = models.KernelRidge(alpha=0.1, gamma=8.0).fit(recipe.scale(data.curves), data.targets)
        model.metadata_ = {"recipe": recipe.as_metadata()}
        students[student] = model
        print(f"{student}: fitted by {model.plan_['solver']}", flush=True)
    students[PEAK] = models.RandomForest(30, min_samples_leaf=25).fit(torch.cat(parts[PEAK]), torch.cat(targets))
    return students


def kept(folder, make):
    """Fitted models by name, from the folder if a run has left them there."""
    files = {name: folder / f"{i}.safetensors" for i, name in enumerate((*VIEWS, PEAK))}
    if not all(file.is_file() for file in files.values()):
        folder.mkdir(parents=True, exist_ok=True)
        for name, model in make().items():
            model.save(files[name])
    return {name: models.load_model(file) for name, file in files.items()}


def predicted(scan, targets, model):
    """Indices ``(maps, z, y, x)`` of a student's maps, or of the floor's."""
    if isinstance(model, models.RandomForest):
        volume = torch.zeros(targets.shape)
        volume[:, scan.anatomy.brain] = model.predict(peak_view(scan)).clamp(0, 255).T
        return volume
    return torch.stack(list(predict_indices(seen(scan, Recipe.of(model).view, "", targets), model).values()))


def score(students, people, size, folder):
    """Student to filter to ``(patients, maps)`` SSIM of the brain, mean over slices; a patient's are kept in a file."""
    table = {name: {width: [] for width in FILTERS} for name in students}
    for seed, index in people:
        file = folder / f"{seed}-{index}-{size}.json"
        if not file.is_file():
            scan, _ = load(seed, index, size)
            target = teacher(scan)
            reference = reference_of(target, scan.anatomy.brain, scan.anatomy.head)
            volumes = {name: predicted(scan, target, model) for name, model in students.items()}
            rows = {
                name: [measure(reference, v, filter_px=w)[..., 1].nanmean(dim=1).tolist() for w in FILTERS]
                for name, v in volumes.items()
            }
            file.write_text(json.dumps(rows))
            print(f"scored {seed}:{index} at {size} px", flush=True)
        rows = json.loads(file.read_text())
        for name, widths in table.items():
            for width, values in zip(FILTERS, rows[name], strict=True):
                widths[width].append(torch.tensor(values))
    return {student: {w: torch.stack(rows) for w, rows in widths.items()} for student, widths in table.items()}


def likeness(arguments):
    """Acceptance by likeness to the teacher, at the size learned from and at twice that."""
    people = patients(arguments.test)
    folder = arguments.keep
    students = kept(folder, partial(learn, patients(arguments.train), 128, arguments.samples))
    scores = {128: score(students, people, 128, folder)}
    if arguments.large:
        fewer = {name: student for name, student in students.items() if name in (*AT_BOTH, PEAK)}
        scores[256] = score(fewer, patients(arguments.large), 256, folder)
    facts = {"train": arguments.train, "test": arguments.test, "test_256": arguments.large,
             "samples": arguments.samples, "teacher": "csvd 0.1, 2 mm, vessels smoothed along"}  # fmt: skip
    same = [people.index(one) for one in patients(arguments.large)] if arguments.large else []
    print(write(arguments.name, {"settings": facts, **summarised(scores, same)}))


def summarised(scores, same):
    """Means with intervals, differences from the floor and from raw curves, and what a finer grid costs."""
    rows, paired, finer = [], [], []
    for size, table in scores.items():
        for student, widths in table.items():
            for width, values in widths.items():
                means = {m: _interval(values[:, i]) for i, m in enumerate(MAPS)}
                rows.append({"size": size, "student": student, "filter_px": width, **means})
                print(size, student, f"{width:g} px", *(f"{m} {means[m]['mean']:.3f}" for m in MAPS))
    for student, widths in scores[128].items():
        for other in (PEAK, "krr, raw"):
            for width in FILTERS:
                difference = widths[width] - scores[128][other][width]
                if student != other:
                    gains = {m: _interval(difference[:, i]) for i, m in enumerate(MAPS)}
                    paired.append({"student": student, "less": other, "filter_px": width, **gains})
        if student in scores.get(256, {}):
            change = scores[256][student][0.0] - widths[0.0][same]
            finer.append({"student": student, **{m: _interval(change[:, i]) for i, m in enumerate(MAPS)}})
    return {"ssim_brain": rows, "paired_at_128": paired, "at_256_less_128": finer}


def _interval(values):
    interval = bootstrap_mean(values.tolist())
    return {k: None if isinstance(v, float) and math.isnan(v) else round(v, 4) for k, v in interval._asdict().items()}


def patients(text):
    """(seed, index) of each of ``8101:0-7,8203:0-7``."""
    people = []
    for part in filter(None, text.split(",")):
        seed, _, span = part.partition(":")
        first, _, last = span.partition("-")
        people += [(int(seed), index) for index in range(int(first), int(last or first) + 1)]
    return people


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("likeness", help=likeness.__doc__)
    one.set_defaults(run=likeness)
    one.add_argument("--train", default="31:0-12")
    one.add_argument("--test", default="8101:0-7,8203:0-7")
    one.add_argument("--large", default="8101:0-1,8203:0-1", help="scored at 256 px too")
    one.add_argument("--samples", type=int, default=5000)
    one.add_argument("--keep", type=Path, required=True, help="folder of models and scores, to go on from")
    one.add_argument("--name", default="students_likeness", help="of the file in benchmarks/results")
    arguments = parser.parse_args(argv)
    arguments.run(arguments)


if __name__ == "__main__":
    main()
