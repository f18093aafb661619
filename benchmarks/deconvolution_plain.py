"""Every method beside a plain numpy float64 version of its formula, on curves that no method assumes.

    python benchmarks/deconvolution_plain.py

Tiles of 5 CBV x 7 delays x 7 transit times with exponential and Fermi residues (both 1 at their start), four arteries
(two gamma variates; a median and a wide one of patients, with recirculation), frames 1 and 2 s apart over
60 s, no noise and 0.5, 1, 2 HU. Convolved on a grid of 0.05 s that no method shares. "behind" lists where a method's
correlation lies more than .02 below the plain version's, or its mean error more than 10 % above it.
"""

import warnings

import common
import numpy as np
import plain_deconvolution as plain
import torch

from ctp_torch import ops
from ctp_torch.ops.deconvolution.passage import DeconvolutionWarning

FINE = 0.05
NOISE, DTS = (0.0, 0.5, 1.0, 2.0), (1.0, 2.0)
PAIRS = {
    "ssvd": (ops.ssvd, plain.sssvd),
    "csvd": (ops.csvd, plain.csvd),
    "osvd": (ops.osvd, plain.osvd),
    "tikhonov": (ops.tikhonov, plain.tikhonov),
    "gaussian_process_deconvolution": (ops.gaussian_process_deconvolution, plain.gaussian_process),
    "expectation_maximization": (ops.expectation_maximization, plain.expectation_maximization),
    "bayesian": (ops.bayesian, plain.bayes),
    "vascular_model": (ops.vascular_model, plain.vascular_model),
    "box_nlr": (ops.box_nlr, plain.box),
    "max_slope": (ops.max_slope, plain.max_slope),
    "delay_corrected_ssvd": (ops.delay_corrected_ssvd, plain.delay_corrected_ssvd),
}


def arteries():
    """Enhancement (fine time,) [HU] of each artery."""
    return {
        "textbook (6.2 s)": _gamma(10, 3, 1.5, 300),
        "clinical (11.4 s)": _gamma(10, 4, 2.4, 300),
        "median patient (11.1 s)": _recirculated(_gamma(6, 6.9, 1.8, 250), 16, 40),
        "wide patient (19 s)": _recirculated(_gamma(4, 6.5, 3.0, 250), 18, 45),
    }


def _gamma(onset, alpha, b, peak):
    u = np.clip(np.arange(0, 120, FINE) - onset, 0, None)
    return peak * (u / (alpha * b)) ** alpha * np.exp(alpha - u / b)


def _recirculated(first, delay, tau, part=1.2):
    t = np.arange(0, 120, FINE)
    again = np.convolve(first, np.exp(-t / tau) / tau)[: len(t)] * FINE
    return first + part * np.concatenate((np.zeros(round(delay / FINE)), again))[: len(t)]


def exponential(t, mtt):
    return np.exp(-t / mtt)


def fermi(t, mtt, steepness=4.0):
    """(1 + exp(-ab)) / (1 + exp(a (t - b))) with a = 4 / MTT and b so that its area is MTT."""
    a = steepness / mtt
    low, high = -20 * mtt, 3 * mtt
    for _ in range(80):
        b = (low + high) / 2
        area = np.log1p(np.exp(a * b)) / a * (1 + np.exp(-a * b))
        low, high = (b, high) if area < mtt else (low, b)
    return (1 + np.exp(-a * b)) / (1 + np.exp(a * (t - b)))


def tiles(artery, dt, noise, *, repeats=2, seed=0):
    """Noisy curves (voxels, frames), the AIF, and the true cbf, cbv, mtt, delay."""
    t = np.arange(0, 120, FINE)
    at = np.rint(np.arange(0, 60 - 1e-9, dt) / FINE).astype(int)
    rows, truth = [], []
    for residue in (exponential, fermi):
        for mtt in (24, 12, 8, 6, 4.8, 4, 24 / 7):
            r = residue(t, mtt)
            whole = (np.convolve(artery, r)[: len(t)] - 0.5 * (artery * r[0] + artery[0] * r)) * FINE
            for delay in np.arange(7) / 2:
                curve = np.concatenate((np.zeros(round(delay / FINE)), whole))[at]
                for cbv in (1, 2, 3, 4, 5):
                    rows.append(60 * cbv / mtt / 6000 / plain.KH_OVER_RHO * curve)
                    truth.append((60 * cbv / mtt, cbv, mtt, delay))
    curves, truth = (np.repeat(np.array(part), repeats, axis=0) for part in (rows, truth))
    curves = curves + noise * np.random.default_rng(seed).normal(size=curves.shape)
    return curves, artery[at], dict(zip(("cbf", "cbv", "mtt", "delay"), truth.T, strict=True))


def agreement(x, y):
    """Correlation, slope on the truth, mean absolute error."""
    slope = float(np.polyfit(y, x, 1)[0])
    return {"r": float(np.corrcoef(x, y)[0, 1]), "slope": slope, "mae": float(np.abs(x - y).mean())}


def ours(method, curves, aif, dt):
    found = method(torch.from_numpy(curves).float(), torch.from_numpy(aif).float(), dt)
    delay = found.tmax if found.delay is None else found.delay.clamp(min=0)
    parts = {"cbf": found.cbf, "cbv": found.cbv, "mtt": found.mtt, "delay": delay}
    return {name: part.double().numpy() for name, part in parts.items()}


def main():
    warnings.simplefilter("ignore", DeconvolutionWarning)
    rows = []
    for name, artery in arteries().items():
        for dt in DTS:
            for noise in NOISE:
                curves, aif, truth = tiles(artery, dt, noise)
                for method, (function, formula) in PAIRS.items():
                    pair = ours(function, curves, aif, dt), formula(curves, aif, dt, noise)
                    own, other = ({q: agreement(found[q], truth[q]) for q in truth} for found in pair)
                    behind = [
                        q for q in truth if own[q]["r"] < other[q]["r"] - 0.02 or own[q]["mae"] > 1.1 * other[q]["mae"]
                    ]
                    rows.append(
                        {"artery": name, "dt": dt, "noise_hu": noise, "method": method}
                        | {"ours": own, "plain": other, "behind": behind}
                    )
                    cells = " | ".join(
                        f"{q} {own[q]['r']:.3f} {own[q]['mae']:.2f} ({other[q]['r']:.3f} {other[q]['mae']:.2f})"
                        for q in truth
                    )
                    print(f"{name:24s}{dt:g} s {noise:3g} HU {method:31s}{cells}  {', '.join(behind)}", flush=True)
    noisy = [row for row in rows if row["noise_hu"] > 0]
    summary = {q: sum(q in row["behind"] for row in noisy) for q in ("cbf", "cbv", "mtt", "delay")}
    print(f"of {len(noisy)} noisy sets behind in: {summary}")
    common.write("deconvolution_plain", {"noisy_sets": len(noisy), "behind": summary, "rows": rows})


if __name__ == "__main__":
    main()
