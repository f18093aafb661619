"""Random forests side by side: fit, prediction, memory and R2 of ours, scikit-learn's, LightGBM's and XGBoost's.

python benchmarks/forest.py --samples 25000 --seeds 0 1 2 3 4
python benchmarks/forest.py --samples 5000 25000 100000 --contenders ours sklearn ours_random
python benchmarks/forest.py --plot

Every run has a process of its own (peak memory), the contenders of one size and seed follow each other, and rows of
earlier calls with the same size, seed and contender are replaced in results/forest.json.
"""

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks.common import RESULTS, in_child, write
from benchmarks.curves import time_curves

_TEST = 20_000
_PREDICT = 470_000


def ours(trees, seed, device="cpu", **options):
    """Our forest as a pair of functions; depth 55, the paper's, by default."""
    from ctp_torch.models import RandomForest

    model = RandomForest(trees, seed=seed, **options)
    return lambda X, y: model.fit(X.to(device), y.to(device)), lambda X: model.predict(X.to(device)).cpu()


def scikit_learn(estimator, trees, seed, **options):
    """scikit-learn's forest on both cores."""
    import sklearn.ensemble

    forest = getattr(sklearn.ensemble, estimator)
    model = forest(trees, max_depth=55, n_jobs=torch.get_num_threads(), random_state=seed, **options)
    return lambda X, y: model.fit(X.numpy(), y.numpy()), lambda X: torch.from_numpy(model.predict(X.numpy()))


def lightgbm(trees, seed):
    """LightGBM's random forest mode: leaf-wise, 1,024 leaves, 255 bins."""
    from lightgbm import LGBMRegressor

    model = LGBMRegressor(
        boosting_type="rf",
        n_estimators=trees,
        num_leaves=1024,
        min_child_samples=1,
        bagging_fraction=0.632,
        bagging_freq=1,
        n_jobs=torch.get_num_threads(),
        random_state=seed,
        verbose=-1,
    )
    return lambda X, y: model.fit(X.numpy(), y.numpy()), lambda X: torch.from_numpy(model.predict(X.numpy()))


def xgboost(trees, seed):
    """XGBoost's random forest: histograms, depth 12."""
    from xgboost import XGBRFRegressor

    model = XGBRFRegressor(
        n_estimators=trees,
        max_depth=12,
        subsample=0.632,
        colsample_bynode=1.0,
        n_jobs=torch.get_num_threads(),
        random_state=seed,
    )
    return lambda X, y: model.fit(X.numpy(), y.numpy()), lambda X: torch.from_numpy(model.predict(X.numpy()))


CONTENDERS = {
    "ours": ours,
    "sklearn": partial(scikit_learn, "RandomForestRegressor"),
    "ours_random": partial(ours, splitter="random"),
    "sklearn_extra_trees_bootstrap": partial(scikit_learn, "ExtraTreesRegressor", bootstrap=True),
    "ours_third": partial(ours, max_features=1 / 3),
    "sklearn_third": partial(scikit_learn, "RandomForestRegressor", max_features=1 / 3),
    "lightgbm": lightgbm,
    "xgboost": xgboost,
    "ours_depth_20": partial(ours, max_depth=20),
    "ours_depth_20_random": partial(ours, max_depth=20, splitter="random"),
    "ours_cuda": partial(ours, device="cuda"),
}


def measure(name, n_samples, trees, seed, n_predict):
    """Seconds and R2 of one contender."""
    X, Y = time_curves(n_samples + _TEST, seed=seed)
    y = Y[:, 1]  # CBF
    fit, predict = CONTENDERS[name](trees, seed)
    _, fitted, fitted_cpu = clocked(lambda: fit(X[:n_samples], y[:n_samples]))
    answers = predict(X[n_samples:])
    truth = y[n_samples:].double()
    r2 = 1 - (answers.double() - truth).square().sum() / (truth - truth.mean()).square().sum()
    curves = X[n_samples:].repeat(n_predict // _TEST + 1, 1)[:n_predict].contiguous()
    _, predicted, predicted_cpu = clocked(lambda: predict(curves))
    seconds = {"fit_s": fitted, "fit_cpu_s": fitted_cpu, "predict_s": predicted, "predict_cpu_s": predicted_cpu}
    return seconds | {"r2": float(r2)}


def clocked(work):
    """What the work gives back, its seconds, and those of all its threads (which other processes disturb less)."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def plot(rows):
    """Seconds of fit and prediction against the number of samples."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for axis, key, label in zip(
        axes, ("fit_s", "predict_s", "r2"), ("fit [s]", f"prediction of {_PREDICT:,} curves [s]", "R2"), strict=True
    ):
        for name in dict.fromkeys(row["contender"] for row in rows):
            mine = [row for row in rows if row["contender"] == name and key in row]
            sizes = sorted({row["samples"] for row in mine})
            medians = [torch.tensor([r[key] for r in mine if r["samples"] == n]).median().item() for n in sizes]
            axis.plot(sizes, medians, "o-", label=name, color=None)
        axis.set(xscale="log", yscale="linear" if key == "r2" else "log", xlabel="training curves", ylabel=label)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=7)
    figure.savefig(RESULTS / "forest.png", dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="*", default=[])
    parser.add_argument("--trees", type=int, default=90)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=[*CONTENDERS][:8])
    parser.add_argument("--predict", type=int, default=_PREDICT)
    parser.add_argument("--plot", action="store_true")
    arguments = parser.parse_args()
    path = RESULTS / "forest.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    for n_samples in arguments.samples:
        for seed in arguments.seeds:
            for name in arguments.contenders:
                answer = in_child(measure, name, n_samples, arguments.trees, seed, arguments.predict, timeout_s=1500)
                row = {"contender": name, "samples": n_samples, "trees": arguments.trees, "seed": seed}
                row["predicted"] = arguments.predict
                row |= answer.pop("result", {}) | {"peak_mb": answer.pop("peak_bytes", 0) >> 20} | answer
                row.pop("seconds", None)
                print(row, flush=True)
                same = ("contender", "samples", "trees", "seed")
                rows = [old for old in rows if any(old[key] != row[key] for key in same)] + [row]
                write("forest", rows)
    if arguments.plot:
        plot(rows)


if __name__ == "__main__":
    main()
