"""How near the truth each deconvolution is, and how long it takes.

    python benchmarks/deconvolution.py accuracy [--dt 2]   correlation, slope, error on the standard grid of tiles
    python benchmarks/deconvolution.py timing        470,000 curves against vectorised numpy and a loop over curves
    python benchmarks/deconvolution.py alone         seconds and memory of every method on them

The grid: 3 residues x 5 CBV x 7 delays x 7 mean transit times x 8 noise realisations = 5,880 closed-form curves (Kudo
et al. 2013, Radiology 267:201), two arterial inputs, frames 1, 2 and 3 s apart over 60 s, four noise levels. CBF, CBV
and MTT are held against the truth, and the delay (Tmax for methods that have no delay) against the true delay.
"""

import argparse
import warnings
from functools import partial
from pathlib import Path

import common
import deconvolution_delay
import deconvolution_peers as peers
import torch
from deconvolution_tiles import BOLUSES, agreement, tile_curves

from ctp_torch import ops
from ctp_torch.ops.deconvolution.passage import DeconvolutionWarning

METHODS = {
    "ssvd": ops.ssvd,
    "csvd": ops.csvd,
    "csvd .2": partial(ops.csvd, threshold=0.2),
    "osvd .035": partial(ops.osvd, oscillation=0.035),
    "osvd": ops.osvd,
    "tikhonov": ops.tikhonov,
    "tikhonov gcv": partial(ops.tikhonov, selection="gcv"),
    "gaussian_process_deconvolution": ops.gaussian_process_deconvolution,
    "expectation_maximization": ops.expectation_maximization,
    "bayesian": ops.bayesian,
    "box_nlr": ops.box_nlr,
    "vascular_model": ops.vascular_model,
    "max_slope": ops.max_slope,
    "delay_corrected_ssvd": ops.delay_corrected_ssvd,
}
DTS, NOISE = (1.0, 2.0, 3.0), (0.0, 0.5, 1.0, 2.0)
VOXELS, LOOPED = 470_000, 2_000

REFERENCE = {  # (correlation, slope) of CBF, MTT and delay: textbook, then clinical; dt 1 s, 0.5 HU
    "ssvd": (((0.917, 0.71), (0.91, 0.66), (0.40, 1.55)), ((0.885, 0.57), (0.91, 0.71), (0.49, 1.77))),
    "csvd": (((0.931, 0.74), (0.86, 0.55), (0.22, 0.93)), ((0.909, 0.48), (0.92, 0.62), (0.33, 1.02))),
    "csvd .2": (((0.930, 0.64), (0.92, 0.67), (0.30, 1.01)), ((0.894, 0.39), (0.94, 0.66), (0.35, 1.00))),
    "osvd .035": (((0.931, 0.77), (0.94, 0.73), (0.31, 1.01)), ((0.915, 0.57), (0.92, 0.64), (0.34, 1.01))),
    "osvd": (((0.929, 0.86), (0.90, 0.61), (0.27, 0.99)), ((0.887, 0.78), (0.87, 0.59), (0.29, 1.03))),
    "tikhonov": (((0.927, 0.84), (0.93, 0.74), (0.29, 1.00)), ((0.915, 0.65), (0.93, 0.74), (0.33, 1.00))),
    "gaussian_process_deconvolution": (
        ((0.919, 0.82), (0.93, 0.92), (0.34, 1.01)),
        ((0.909, 0.68), (0.93, 0.82), (0.35, 1.00)),
    ),
    "expectation_maximization": (
        ((0.930, 0.89), (0.94, 0.72), (0.32, 1.00)),
        ((0.912, 0.61), (0.94, 0.70), (0.35, 0.96)),
    ),
    "bayesian": (((0.895, 1.07), (0.83, 0.49), (0.79, 0.91)), ((0.909, 0.93), (0.80, 0.42), (0.77, 0.91))),
    "box_nlr": (((0.852, 0.74), (0.94, 1.07), (0.78, 1.0)), ((0.813, 0.71), (0.91, 1.07), (0.69, 0.98))),
    "vascular_model": (((0.933, 1.05), (0.97, 1.08), (0.88, 0.99)), ((0.909, 1.10), (0.96, 1.09), (0.85, 1.00))),
    "max_slope": (((0.917, 0.64), (0.66, 0.33), (0.25, 0.99)), ((0.884, 0.45), (0.55, 0.24), (0.25, 0.97))),
}
"""What a plain numpy prototype of each method reached; correlation may be .02 lower, |slope - 1| .07 higher."""


def scores(found, truth):
    """Agreement with the truth of every quantity; Tmax stands for the delay where a method has none."""
    delay = found.tmax if found.delay is None else found.delay
    shown = {"cbf": found.cbf, "mtt": found.mtt, "delay": delay, "cbv": found.cbv}
    return {name: agreement(x, truth[name]) for name, x in shown.items()}


def accuracy(dt):
    """Every method, input and noise; prints one table each and, at 1 s, compares with the prototype's rows."""
    results = []
    for noise in NOISE:
        for input_name, bolus in BOLUSES.items():
            curves, aif, truth = tile_curves(bolus, dt, noise)
            print(f"\n{input_name} AIF, frames {dt:g} s apart, noise {noise:g} HU: correlation, slope, mean error")
            for name, method in METHODS.items():
                row = scores(method(curves, aif, dt), truth)
                cells = " | ".join(
                    f"{q.upper()} {row[q]['r']:5.3f} {row[q]['slope']:4.2f} {row[q]['mae']:5.2f}" for q in row
                )
                print(f"  {name:32s}{cells}", flush=True)
                results.append({"method": name, "aif": input_name, "noise_hu": noise, **row})
    verdicts = compare(results) if dt == 1.0 else []
    figures = {"dt": dt, "rows": results, "reference": verdicts}
    if dt == 1.0:
        figures |= {"delay_correction": deconvolution_delay.by_delay(), "delay_bound": deconvolution_delay.bound()}
    common.write(f"deconvolution_accuracy_{dt:g}s", figures)


def compare(results):
    """Each row of the prototype's table beside ours, and whether it is reached."""
    print("\nreached (correlation no more than .02 lower, |slope - 1| no more than .07 higher):")
    verdicts = []
    for row in results:
        if row["noise_hu"] != 0.5 or row["method"] not in REFERENCE:
            continue
        reference = REFERENCE[row["method"]][list(BOLUSES).index(row["aif"])]
        short = []
        for quantity, (r, slope) in zip(("cbf", "mtt", "delay"), reference, strict=True):
            ours = row[quantity]
            if ours["r"] < r - 0.02 or abs(ours["slope"] - 1) > abs(slope - 1) + 0.07:
                short.append(f"{quantity}: {ours['r']:.3f} {ours['slope']:.2f} against {r:.3f} {slope:.2f}")
        print(f"  {row['method']:32s}{row['aif']:10s}{'; '.join(short) or 'reached'}")
        verdicts.append({"method": row["method"], "aif": row["aif"], "short": short})
    return verdicts


def timing(repeats, voxels):
    """Seconds for 470,000 curves of 60 frames: ours and numpy's in turn, then every method alone with its memory."""
    curves, aif = many_curves(voxels)
    wide, wide_aif = curves.double().numpy(), aif.double().numpy()
    check(curves, aif, wide, wide_aif)
    few = wide[:: voxels // LOOPED][:LOOPED]
    seconds = common.interleaved(
        {
            "csvd": lambda: ops.csvd(curves, aif, 1.0),
            "csvd, maps only": lambda: ops.csvd(curves, aif, 1.0, residues=False),
            "csvd numpy": lambda: peers.csvd_numpy(wide, wide_aif, 1.0),
            "csvd numpy float32": lambda: peers.csvd_numpy(curves.numpy(), aif.numpy(), 1.0),
            f"csvd loop, {LOOPED} curves": lambda: peers.csvd_loop(few, wide_aif, 1.0),
            "osvd": lambda: ops.osvd(curves, aif, 1.0),
            "osvd numpy, settled curves dropped": lambda: peers.osvd_numpy(wide, wide_aif, 1.0, skip_done=True),
            f"osvd loop, {LOOPED} curves": lambda: peers.osvd_loop(few, wide_aif, 1.0),
        },
        repeats=repeats,
    )
    _, slow = common.timed(lambda: peers.osvd_numpy(wide, wide_aif, 1.0))
    seconds["osvd numpy"] = common.summary([slow])
    for name, figure in seconds.items():
        print(f"  {name:36s}{figure['median_s']:8.3f} s  (+- {figure['iqr_s']:.3f})", flush=True)
    for ours, theirs in (
        ("csvd", "csvd numpy"),
        ("csvd, maps only", "csvd numpy"),
        ("osvd", "osvd numpy"),
        ("osvd", "osvd numpy, settled curves dropped"),
    ):
        print(f"  {ours} is {seconds[theirs]['median_s'] / seconds[ours]['median_s']:.1f} times faster than {theirs}")
    return seconds


def alone(voxels):
    """Seconds and memory above the data of every method, each in a process of its own."""
    rows = {}
    for name in METHODS:
        answer = common.in_child(one_method, name, voxels, timeout_s=280.0)
        rows[name] = answer.get("result", answer)
        print(f"  {name:36s}{rows[name]}", flush=True)
    return rows


def one_method(name, voxels):
    """Seconds and gigabytes above the data of one method on all curves; runs in a child."""
    curves, aif = many_curves(voxels)
    METHODS[name](curves[:1000], aif, 1.0)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak that making the data reached
    before = peak_bytes()
    _, seconds = common.timed(lambda: METHODS[name](curves, aif, 1.0))
    return {"seconds": round(seconds, 3), "gigabytes_above_data": round((peak_bytes() - before) / 1e9, 3)}


def many_curves(voxels):
    """That many noisy tile curves (voxels, time) and their AIF."""
    curves, aif, _ = tile_curves(BOLUSES["textbook"], 1.0, 0.5, repeats=voxels // 735 + 1)
    return curves[:voxels].contiguous(), aif


def peak_bytes():
    """Highest resident memory of this process since the last reset."""
    line = next(
        line for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM")
    )
    return 1024 * int(line.split()[1])


def check(curves, aif, wide, wide_aif):
    """What is timed gives the same maps: CBF within 1e-4 and Tmax within 1e-3 s of numpy's, on 5,000 curves."""
    few = slice(0, len(curves), len(curves) // 5000)
    for ours, theirs in ((ops.csvd, peers.csvd_numpy), (ops.osvd, peers.osvd_numpy)):
        found, expected = ours(curves[few], aif, 1.0), theirs(wide[few], wide_aif, 1.0)
        cbf, tmax = torch.from_numpy(expected[0]), torch.from_numpy(expected[3])
        apart = (found.cbf.double() / cbf - 1).abs() > 1e-4
        late = (found.tmax.double() - tmax).abs() > 1e-3
        if int((apart | late).sum()) > 5:  # single precision may settle a tie between thresholds or lags otherwise
            raise SystemExit(f"{ours.__name__} and numpy disagree on {int((apart | late).sum())} of {len(cbf)} curves")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("accuracy", "timing", "alone"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--curves", type=int, default=VOXELS)
    parser.add_argument("--dt", type=float, default=1.0, choices=DTS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", DeconvolutionWarning)
    if arguments.what == "accuracy":
        accuracy(arguments.dt)
    elif arguments.what == "timing":
        seconds = timing(arguments.repeats, arguments.curves)
        common.write("deconvolution_timing", {"curves": arguments.curves, "frames": 60, "seconds": seconds})
    else:
        methods = alone(arguments.curves)
        common.write("deconvolution_methods", {"curves": arguments.curves, "frames": 60, "methods": methods})


if __name__ == "__main__":
    main()
