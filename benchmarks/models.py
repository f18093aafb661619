"""Do kernel ridge and the forest beat the linear models on patients never seen? Pooled over independent cohorts.

``python benchmarks/models.py --seeds 11 12 13`` makes a cohort a seed (12 training, 6 test patients, 128 x 128), trains
the paper's four models on 4,000 pixels of each, scores the test patients, and writes the pooled table with paired
intervals over all test patients. The cohorts' settings are the defaults of ``ctp-torch phantom cohort``; nothing is
chosen by the result.
"""

import argparse
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from common import write  # the folder of this file is on the path

from ctp_torch.cli.choices import DEFAULT_REGISTRATION, make_model, pick_registration
from ctp_torch.io import read_cohort
from ctp_torch.learning.evaluate import score_patient
from ctp_torch.learning.prepared import PreparedPatient
from ctp_torch.learning.teacher import console_teacher
from ctp_torch.learning.training import draw, prepare_all
from ctp_torch.phantom.cohort import CohortDesign, write_cohort
from ctp_torch.pipeline.recipe import Recipe
from ctp_torch.report.tables import difference_table, markdown, paper_table

MAPS = ("cbv", "cbf", "mtt", "tmax")
MODELS = ("linear", "ridge", "krr", "rf")


def study(seed, args):
    """Scores of the test patients of one cohort, made in a temporary folder; the patients' names carry the seed."""
    torch.set_num_threads(1)  # one cohort a process
    with tempfile.TemporaryDirectory() as folder:
        return _study(seed, args, Path(folder))


def _study(seed, args, folder):
    """The cohort, the models, the scores."""
    started = time.perf_counter()
    design = CohortDesign(patients=args.train + args.test, train=args.train, size=args.size, seed=seed)
    for _ in write_cohort(folder / "cohort", design, teacher=console_teacher()):
        pass
    cohort = read_cohort(folder / "cohort")
    align = pick_registration(DEFAULT_REGISTRATION)
    files = list(prepare_all(cohort.patients, folder / "prepared", quantities=MAPS, registration=align))
    split = [patient.split for patient in cohort.patients]
    data = draw([f for f, s in zip(files, split, strict=True) if s == "train"], args.samples, seed=seed)
    recipe = Recipe(data.curves.shape[1], data.dt, {name: cohort.ranges[name] for name in MAPS}, DEFAULT_REGISTRATION)
    models = {}
    for name in MODELS:
        models[name] = make_model(name, seed=seed).fit(data.curves, data.targets)
        models[name].metadata_ = {"recipe": recipe.as_metadata()}
    rows = []
    for file, part in zip(files, split, strict=True):
        if part == "test":
            scores = score_patient(PreparedPatient.load(file), models, args.filters)
            rows += [row._replace(patient=f"{seed}/{row.patient}") for row in scores]
    print(f"cohort {seed}: {time.perf_counter() - started:.0f} s", flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--train", type=int, default=12)
    parser.add_argument("--test", type=int, default=6)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--filters", type=float, nargs="+", default=[0.0, 1.0, 2.0])
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    with ProcessPoolExecutor(args.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        rows = [row for part in pool.map(study, args.seeds, [args] * len(args.seeds)) for row in part]
    n = len({row.patient for row in rows})
    page = [f"# Test SSIM pooled over cohorts {args.seeds}: {n} test patients, {args.size} x {args.size}"]
    for width in args.filters:
        for score in ("ssim_frame", "ssim_brain", "r"):
            page += ["", f"## {score}, predictions filtered {width:g} px", ""]
            page += [markdown(paper_table(rows, split="test", score=score, filter_px=width))]
    gaps = difference_table(rows)
    page += ["", f"## {gaps.caption}", "", markdown(gaps)]
    text = "\n".join(page) + "\n"
    print(text)
    results = {"settings": vars(args), "test_patients": n, "differences": [list(row) for row in gaps.rows]}
    path = write("models", results)
    path.with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
