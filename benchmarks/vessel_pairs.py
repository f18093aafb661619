"""Ninety arteries and veins as clinical scans have them: whether the vein is found, and the artery scaled to it.

    python benchmarks/vessel_pairs.py

Drawn by the 10th, 50th and 90th percentiles of 93 clinical scans: area of the vein over that of the thin artery 1.6,
3.6, 7.6 (tails to 12.8), artery 9, 11.3, 18.1 s wide, peak to peak 4, 6, 9 s, vein 93, 148, 310 HU high and 9.8, 13.2,
19.9 s wide, tails as theirs, 43 to 64 s of scan. "passed": the vein is the artery behind a spread of transit times;
"apart": its width and tail are drawn by themselves, as if the tissue were another's. Each pair is put into a small head
with noise.

"same window" is the area of the scaled artery up to the end of the scan less the lag, over what the noise-free curves
give there: what selection does. "whole scan" is its whole area over the vein's: above 1 by what has come in and not yet
out. "blood" (passed alone) is its area over that of the artery free of partial volume, which both should give.
"""

import math

import common
import numpy as np
import torch

from ctp_torch import ops
from ctp_torch.errors import QualityError

FINE, PAIRS, ALPHA = 0.1, 90, 6.9
T = np.arange(0, 140, FINE)
QUANTILES = {  # least, 10 %, 50 %, 90 %, most
    "ratio": (1.05, 1.6, 3.6, 7.6, 12.8),
    "width": (7.5, 9, 11.3, 18.1, 24),
    "vein_width": (8.5, 9.8, 13.2, 19.9, 26),
    "lag": (2.5, 4, 6, 9, 12),
    "vein_peak": (70, 93, 148, 310, 420),
    "tail": (0.1, 0.13, 0.2, 0.3, 0.36),
    "vein_tail": (0.12, 0.17, 0.26, 0.53, 0.6),
    "onset": (2.5, 5, 7, 12, 14),
    "frames": (43, 45, 55, 62, 64),
}


def draws(seed=0):
    """Dictionaries of one pair each, every quantity spread evenly over its quantiles and by itself."""
    rng = np.random.default_rng(seed)
    columns = {}
    for name, values in QUANTILES.items():
        place = (rng.permutation(PAIRS) + rng.random(PAIRS)) / PAIRS
        columns[name] = np.exp(np.interp(place, (0, 0.1, 0.5, 0.9, 1), np.log(values)))
    return [{name: float(column[i]) for name, column in columns.items()} for i in range(PAIRS)]


def first_and_second_pass(width, tail, onset, frames):
    """A gamma variate (fine time,) of peak 1 and that width, and a second pass that leaves the tail."""
    scale = width / (2.355 * math.sqrt(ALPHA))
    for _ in range(20):
        u = np.clip(T - onset, 0, None)
        first = (u / (ALPHA * scale)) ** ALPHA * np.exp(ALPHA - u / scale)
        scale *= width / ((first >= 0.5).sum() * FINE)
    again = np.convolve(first, np.exp(-T / 40) / 40)[: len(T)] * FINE
    again = later(again, 8 + 0.6 * width)
    end = slice(int((frames - 3) / FINE), int(frames / FINE))
    part = np.clip((tail - first[end].mean()) / max(again[end].mean(), 1e-9), 0, 4)
    curve = first + part * again
    return curve / curve.max()


def later(curve, seconds):
    """The curve moved by that much."""
    return np.interp(T - seconds, T, curve, left=0.0)


def passed(artery, lag):
    """The artery behind gamma transit times that move its peak by the lag, with the same area."""
    peak, best = T[artery.argmax()], None
    for mean in np.arange(2, 20, 0.5):
        transit = (T / (mean / 3)) ** 2 * np.exp(-T / (mean / 3))
        vein = np.convolve(artery, transit / transit.sum())[: len(T)]
        off = abs(T[vein.argmax()] - peak - lag)
        if best is None or off < best[0]:
            best = off, vein
    return best[1]


def curves(pair, kind):
    """The thin artery's, the vein's, the tissue's and, passed, the full artery's curve (frames,) [HU]."""
    frames = round(pair["frames"])
    at = np.rint(np.arange(frames) / FINE).astype(int)
    artery = first_and_second_pass(pair["width"], pair["tail"], pair["onset"], frames)
    if kind == "passed":
        vein = passed(artery, pair["lag"])
        full = artery * pair["vein_peak"] / vein.max()
    else:
        vein = first_and_second_pass(pair["vein_width"], pair["vein_tail"], pair["onset"], frames)
        vein = later(vein, T[artery.argmax()] + pair["lag"] - T[vein.argmax()])
        full = artery * pair["vein_peak"] * vein[at].sum() / vein[at].max() / artery[at].sum()
    tissue = later(np.convolve(full, np.exp(-T / 4.5))[: len(T)] * FINE * 0.7 / 70.5, 1.0)  # CBF 42, MTT 4.5 s
    vein = vein * pair["vein_peak"] / vein.max()
    return full[at] / pair["ratio"], vein[at], tissue[at], full[at] if kind == "passed" else None


def head(pair, kind, noise, number, *, n=96, slices=4, fov_mm=230.0):
    """Enhancement (time, z, y, x) of an ellipsoid of brain with two arteries and a sinus, masks, spacing and curves."""
    given = curves(pair, kind)
    spacing = (8.0, fov_mm / n, fov_mm / n)
    z, y, x = np.meshgrid(
        *(s * (np.arange(m) - (m - 1) / 2) for s, m in zip(spacing, (slices, n, n), strict=True)), indexing="ij"
    )
    brain = (x / 66) ** 2 + (y / 84) ** 2 + ((z + 10) / 78) ** 2 < 1
    artery = brain & ((np.hypot(x - 28, y + 12) < 1.9) | (np.hypot(x + 28, y + 12) < 1.9))
    sinus = brain & (np.hypot(x, y - 77) < 3.3)
    volume = given[2][:, None, None, None] * (brain & ~artery & ~sinus)
    volume = volume + given[0][:, None, None, None] * artery + given[1][:, None, None, None] * sinus
    volume = volume + noise * np.random.default_rng(number).normal(size=volume.shape)
    n_baseline = max(3, int(pair["onset"]) - 2)
    moved = ops.enhancement(torch.from_numpy(volume).float(), n_baseline)
    return moved, *(torch.from_numpy(m) for m in (brain, artery, sinus)), spacing, given


def outcome(pair, kind, noise, number):
    """What is found of one pair."""
    moved, brain, artery, sinus, spacing, (thin, vein, _, full) = head(pair, kind, noise, number)
    row = {"pair": number, "kind": kind, "noise_hu": noise, **{k: round(v, 2) for k, v in pair.items()}}
    row["artery_peak_hu"] = round(float(thin.max()), 1)
    try:
        aif = ops.select_aif(moved, brain, 1.0, spacing=spacing)
        row["artery_found"] = bool((aif.mask & artery).sum() > 0.9 * aif.mask.sum())
        found = aif.curve
    except QualityError:
        row["artery_found"] = False
    if not row["artery_found"]:  # the vein is looked for behind the artery that is there
        found = moved[:, artery].mean(dim=1)
    vof = ops.select_vof(moved, brain, 1.0, spacing=spacing, aif=found)
    row["vein_found"] = vof is not None and bool((vof.mask & sinus).sum() > 0.9 * vof.mask.sum())
    if vof is not None:
        scaled, ratio = ops.scale_aif(found, vof.curve)
        whole = float(scaled.sum())
        thin, vein = torch.from_numpy(thin).float(), torch.from_numpy(vein).float()
        _, expected = ops.scale_aif(thin, vein, limits=(0.1, 100.0))
        row |= {"ratio_found": ratio, "same_window": ratio * float(found.sum()) / (expected * float(thin.sum()))}
        row |= {"whole_scan": whole / float(vein.sum())}
        if full is not None:
            row["blood"] = whole / float(full.sum())
    return row


def main():
    rows, summary = [], []
    for kind in ("passed", "apart"):
        for noise in (1.0, 3.0):
            part = [outcome(pair, kind, noise, i) for i, pair in enumerate(draws())]
            line = {"kind": kind, "noise_hu": noise, "pairs": len(part)}
            line |= {name: sum(row[name] for row in part) for name in ("artery_found", "vein_found")}
            for name in ("same_window", "whole_scan", "blood"):
                values = np.array([row[name] for row in part if name in row])
                if len(values):
                    line[name] = {
                        "quantiles_0_10_50_90_100": np.quantile(values, (0, 0.1, 0.5, 0.9, 1)).round(3).tolist(),
                        "within_15_percent": float((abs(values - 1) <= 0.15).sum() / len(part)),
                    }
            print(line, flush=True)
            rows += part
            summary.append(line)
    common.write("vessel_pairs", {"summary": summary, "rows": rows})


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
