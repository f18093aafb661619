"""Leakage by regression and by Patlak's line, against known extraction: scans of 90 to 210 s, frames 1 and 2 s apart.

    python benchmarks/permeability.py

0 to 8 mL/100 g/min in tissue of 2 and 4 mL/100 g, transit times of 4, 8, 12 s and delays of 0, 1.5, 3 s, exponential
and Fermi residues, a median and a wide artery with recirculation, 1 HU of noise (after smoothing). "first pass": the
same line through the first 60 s, which the package refuses.
"""

import warnings

import common
import deconvolution_plain as tiles
import numpy as np
import plain_deconvolution as plain
import torch

from ctp_torch import ops
from ctp_torch.ops.deconvolution.passage import DeconvolutionWarning

FINE, LEAKS = tiles.FINE, (0, 1, 2, 4, 6, 8)
T = np.arange(0, 240, FINE)


def artery(onset, alpha, b):
    """A first pass of 250 HU and what comes round again (fine time,) [HU]."""
    u = np.clip(T - onset, 0, None)
    first = 250 * (u / (alpha * b)) ** alpha * np.exp(alpha - u / b)
    again = np.convolve(first, np.exp(-T / 60) / 60)[: len(T)] * FINE
    return first + 1.3 * np.interp(T - 16, T, again, left=0.0)


def leaking(a, residue, seconds, dt, *, noise=1.0, repeats=2):
    """Curves (voxels, frames), the AIF, and the true flow extraction (voxels,)."""
    at = np.rint(np.arange(0, seconds + 1e-9, dt) / FINE).astype(int)
    area = np.cumsum(a) * FINE - 0.5 * FINE * (a + a[0])
    rows, truth = [], []
    for mtt in (4, 8, 12):
        r = residue(T, mtt)
        blood = (np.convolve(a, r)[: len(T)] - 0.5 * (a * r[0] + a[0] * r)) * FINE
        for delay in (0, 1.5, 3):
            for cbv in (2, 4):
                for leak in LEAKS:
                    flow, lost = (v / 6000 / plain.KH_OVER_RHO for v in (60 * cbv / mtt, leak))
                    if lost < flow:
                        curve = (flow - lost) * blood + lost * area
                        rows.append(np.interp(T[at] - delay, T, curve, left=0.0))
                        truth.append(leak)
    curves, truth = (np.repeat(np.array(part, float), repeats, axis=0) for part in (rows, truth))
    return curves + noise * np.random.default_rng(0).normal(size=curves.shape), a[at], truth


def first_pass(curves, aif, dt):
    """K of a line through the frames of the first 60 s, as early Patlak analyses took it [mL/100 g/min]."""
    n = int(60 / dt) + 1
    rise = int(np.argmax(aif > 0.1 * aif.max()))
    area = np.concatenate(([0.0], np.cumsum((aif[1:] + aif[:-1]) / 2))) * dt
    design = np.stack((aif[rise:n], area[rise:n]), axis=1)
    return np.linalg.lstsq(design, curves[:, rise:n].T, rcond=None)[0][1] * 6000 * plain.KH_OVER_RHO


def main():
    warnings.simplefilter("ignore", DeconvolutionWarning)
    rows = []
    for name, a in {"median": artery(6, 6.9, 1.8), "wide": artery(4, 6.5, 3.0)}.items():
        for residue in (tiles.exponential, tiles.fermi):
            for seconds in (90, 120, 150, 210):
                for dt in (1.0, 2.0):
                    curves, aif, truth = leaking(a, residue, seconds, dt)
                    passage = ops.Passage(torch.from_numpy(curves).float(), torch.from_numpy(aif).float(), dt)
                    found = {
                        method: ops.permeability(passage, method=method).flow_extraction.double().numpy()
                        for method in ("regression", "patlak")
                    }
                    found["first pass"] = first_pass(curves, aif, dt)
                    row = {"artery": name, "residue": residue.__name__, "seconds": seconds, "dt": dt}
                    for method, values in found.items():
                        none = values[truth == 0]
                        row[method] = tiles.agreement(values, truth) | {"without_leak": float(none.mean())}
                    rows.append(row)
                    cells = " | ".join(
                        f"{m} r {row[m]['r']:.3f} slope {row[m]['slope']:.2f} error {row[m]['mae']:.2f}, "
                        f"none {row[m]['without_leak']:+.2f}"
                        for m in found
                    )
                    print(f"{name} {residue.__name__} {seconds} s, dt {dt:g}: {cells}", flush=True)
    long = [row for row in rows if row["seconds"] >= 150]
    least = {m: min(row[m]["r"] for row in long) for m in ("regression", "patlak")}
    print("least correlation from 150 s on:", least)
    common.write("permeability", {"least_r_from_150_s": least, "rows": rows})


if __name__ == "__main__":
    main()
