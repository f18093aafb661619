"""Scans with frames every 2 and 3 s, and scans cut at 45 s: what filling in the missing seconds first is worth.

    python benchmarks/restored_time.py 6500:2 6500:4 6600:6 [--size 128]

Every second or third frame of a scan with frames every second is kept, for all of ``--size`` pixels; nothing is kept
after 45 s in others. Between the frames left, the curves stay as they are (csvd itself interpolates, after smoothing in
time), are filled in to 1 s before anything else by straight lines or monotone cubics, or by a small network that has
learned each missing sample from the eight around it, on simulated curves of tissue and arteries with noise. Maps and
lesions by csvd as ``ctp-torch maps`` makes them, against the truth in grey and white matter. Results go to
``results/restored_time.json``.
"""

import argparse
import warnings
from dataclasses import replace
from statistics import fmean

import common
import torch
from torch import nn

from ctp_torch import ops, pipeline
from ctp_torch.errors import CTPError
from ctp_torch.lesions.belonging import MapsOrigin, shipped_thresholds
from ctp_torch.lesions.find import find_lesions
from ctp_torch.ops.bolus.resample import resample_curves
from ctp_torch.phantom import render_patient

CUT_S = 45.0
BEFORE, WINDOW = 3, 8
"""Samples before the one that a gap begins with, and of all that the network sees."""
ARTERIES, VOXELS, STEPS, BATCH = 600, 12, 2000, 4096


class Restorer(nn.Module):
    """The samples missing in a gap: straight lines, and what the eight samples around tell beyond."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step
        self.more = nn.Sequential(
            nn.Linear(WINDOW, 48), nn.GELU(), nn.Linear(48, 48), nn.GELU(), nn.Linear(48, step - 1)
        )

    def forward(self, windows):
        """``(n, 8)`` of curves with a peak of 1 to ``(n, step - 1)``."""
        share = torch.arange(1, self.step, device=windows.device) / self.step
        begin, end = windows[:, BEFORE, None], windows[:, BEFORE + 1, None]
        return begin + share * (end - begin) + self.more(windows - begin)


def windows_of(curves):
    """The eight samples around every gap ``(voxels, gaps, 8)``; before the first 0, after the last the last."""
    early = torch.zeros_like(curves[:, :1]).expand(-1, BEFORE)
    late = curves[:, -1:].expand(-1, WINDOW - BEFORE - 2)
    return torch.cat((early, curves, late), dim=1).unfold(1, WINDOW, 1)


def learned(step, seed=0):
    """A network that has seen simulated curves."""
    generator = torch.Generator().manual_seed(seed)
    times = torch.arange(0.0, 60.0 // step * step + 1.0, dtype=torch.float64)
    scans = ops.simulate_curves(times, arteries=ARTERIES, voxels=VOXELS, generator=generator)
    curves = torch.cat((scans.curves.flatten(0, 1), scans.aif)).float()
    curves = curves / curves.amax(dim=1, keepdim=True).clamp_min(1e-3)
    windows = windows_of(curves[:, ::step]).flatten(0, 1)
    missing = torch.stack([curves[:, k::step] for k in range(1, step)], dim=-1).flatten(
        0, 1
    )  # their noise is their own
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Restorer(step)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=STEPS)
    for _ in range(STEPS):
        rows = torch.randint(len(windows), (BATCH,), generator=generator)
        optimiser.zero_grad()
        (network(windows[rows]) - missing[rows]).square().mean().backward()
        optimiser.step()
        schedule.step()
    return network.eval()


def filled(scan, way, networks):
    """The scan with a frame every second."""
    series = scan.series
    step, brain = round(series.dt), ops.dilate(scan.anatomy.brain, 6.0, series.geometry.spacing)
    n = (series.n_frames - 1) * step + 1
    times = series.times[0] + torch.arange(n, dtype=series.times.dtype)[:, None]
    base = series.hu[: scan.anatomy.n_baseline].mean(dim=0)
    curves = (series.hu - base)[:, brain].T  # (voxels, time)
    if way == "learned":
        peak = curves.amax(dim=1, keepdim=True).clamp_min(1e-3)
        with torch.no_grad():
            between = networks[step](windows_of(curves / peak).flatten(0, 1)) * peak.repeat_interleave(
                series.n_frames - 1, dim=0
            )
        new = curves.new_empty(len(curves), n)
        new[:, ::step] = curves
        for k in range(1, step):
            new[:, k::step] = between[:, k - 1].reshape(len(curves), -1)
    else:
        new = resample_curves(curves, series.times[:, 0], times[:, 0], method=way)
    hu = series.hu.new_zeros((n, *base.shape)) + base
    hu[:, brain] += new.T
    fine = replace(series, hu=hu, times=times)
    return pipeline.Scan(fine, None, pipeline.locate(fine))


def coarser(scan, step, last_s):
    """The scan with every ``step``-th frame, up to a moment."""
    series = scan.series
    kept = (series.times[:, 0] - series.times[0, 0] <= last_s).nonzero().flatten()[::step]
    fewer = replace(series, hu=series.hu[kept], times=series.times[kept])
    return pipeline.Scan(fewer, None, pipeline.locate(fewer))


def scores(scan, truth):
    """Errors of csvd's maps and lesions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ops.DeconvolutionWarning)
        maps = pipeline.deconvolve(scan, ops.csvd)
    tissue = scan.anatomy.brain & ((truth.labels == 4) | (truth.labels == 5)) & ~scan.large_vessels.any
    found, voxel = {}, maps.geometry.voxel_volume_ml
    for name in ("cbf", "cbv"):
        values, true = maps[name][tissue].double(), truth.maps[name][tissue].double()
        scale = (values * true).sum() / values.square().sum()
        found[f"{name}_rmse"] = float((scale * values - true).square().mean().sqrt())
        found[f"{name}_share"] = float(values.median() / true.median())
    found["tmax_mae"] = float((maps["tmax"] - truth.maps["tmax"])[tissue].abs().mean())
    limits, _ = shipped_thresholds(MapsOrigin("csvd", "beside", 2.5, maps.geometry.shape[1], "completed"))
    try:
        read = find_lesions(maps, baseline=scan.anatomy.baseline, thresholds=limits).volumes()
    except CTPError:
        read = {"core_ml": 0.0, "hypoperfusion_ml": 0.0}
    for part, mask in (("core", truth.core), ("hypoperfusion", truth.core | truth.penumbra)):
        found[f"{part}_error_ml"] = abs(read[f"{part}_ml"] - int(mask.sum()) * voxel)
    return found


def patient_rows(name, scan, truth, networks):
    """Every spacing, end and way."""
    rows = []
    for step, last_s in ((1, 60.0), (2, 60.0), (3, 60.0), (1, CUT_S), (2, CUT_S)):
        kept = coarser(scan, step, last_s)
        for way in ("as scanned", "linear", "monotone", "learned") if step > 1 else ("as scanned",):
            restored = kept if way == "as scanned" else filled(kept, way, networks)
            where = {"patient": name, "dt_s": step, "last_s": last_s, "way": way}
            rows.append(where | scores(restored, truth))
            print(rows[-1], flush=True)
    return rows


def means(rows):
    """Mean of each figure over patients, by spacing, end and way."""
    table = {}
    for row in rows:
        table.setdefault((row["dt_s"], row["last_s"], row["way"]), []).append(row)
    names = [name for name, value in rows[0].items() if isinstance(value, float) and name != "last_s"]
    return [
        {"dt_s": dt, "last_s": last, "way": way} | {n: round(fmean(r[n] for r in listed), 3) for n in names}
        for (dt, last, way), listed in table.items()
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("patients", nargs="+", help="SEED:INDEX")
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args()
    torch.set_num_threads(1)
    networks, rows = {step: learned(step) for step in (2, 3)}, []
    for name in options.patients:
        patient = render_patient(*map(int, name.split(":")), size=options.size)
        rows += patient_rows(name, pipeline.prepare(patient.series, slab_mm=0.0), patient.truth, networks)
    for row in means(rows):
        print(row)
    facts = {"patients": options.patients, "size": options.size}
    common.write("restored_time", {**facts, "means": means(rows), "rows": rows})


if __name__ == "__main__":
    main()
