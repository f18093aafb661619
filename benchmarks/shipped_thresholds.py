"""The thresholds that the package ships, and how far their volumes are off on patients they were not chosen on.

    python benchmarks/shipped_thresholds.py [METHOD ...] --calibrate 6500:0-11 --check 31:0-11 [--size 128]

For each method: maps of digital patients as ``ctp-torch maps`` makes them, thresholds by
``lesions.calibration.calibrate`` on the first set, errors on both. ``ctp_torch/lesions/shipped/METHOD.json`` holds the
thresholds, the patients and the errors. A method that misses more than half of all core, reads a large one where
there is none, or whose mean error on the second set is no better than reading nothing at all, ships the reason
instead. ``csvd-inside`` is csvd smoothed inside by 2 mm, as consoles do it.
"""

import argparse
import warnings
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import torch

from ctp_torch import ops, pipeline
from ctp_torch.data.methods import METHODS
from ctp_torch.lesions.belonging import VOLUMES, MapsOrigin, bind, conventional_thresholds
from ctp_torch.lesions.calibration import CalibrationCase, calibrate, compare
from ctp_torch.lesions.find import survey
from ctp_torch.lesions.thresholds import write_thresholds
from ctp_torch.phantom import render_patient

SHIPPED = Path(__file__).parent.parent / "ctp_torch" / "lesions" / "shipped"
COARSE = {
    "tmax_grid": (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.5, 11.0, 13.0),
    "reduced_grid": (0.7,),
    "rcbf_grid": tuple(0.15 + 0.075 * i for i in range(10)),
    "rcbv_grid": (0.0, 0.6, 0.7, 0.8, 0.9),
}
"""Thresholds tried where time is short."""
_MISSED, _GHOST_ML = 0.5, 50.0
"""Of all true core, the share that may be missed; and the largest core that may be read where there is none [mL]."""


def load(seed, index, size):
    """A digital patient made ready, and its truth."""
    patient = render_patient(seed, index, size=size)
    return pipeline.prepare(patient.series, slab_mm=0.0), patient.truth


def case(scan, truth, name, method, smoothing):
    """What calibration needs of a patient."""
    maps = pipeline.deconvolve(scan, getattr(ops, method), smoothing=smoothing, complete_cbv=smoothing == "beside")
    surveyed = survey(maps, baseline=scan.anatomy.baseline)
    small = surveyed._replace(maps=replace(maps, provenance=type(maps.provenance)()))
    return CalibrationCase(name, small, truth.core, truth.core | truth.penumbra)


def errors(rows):
    """Volumes against the truth [mL]."""
    ghosts = [row.core for row in rows if row.core_true == 0]
    true = sum(row.core_true for row in rows)
    return {
        "patients": len(rows),
        "core_mean_ml": round(fmean(abs(row.core - row.core_true) for row in rows), 2),
        "core_if_none_were_read_ml": round(fmean(row.core_true for row in rows), 2),
        "core_read_of_true": round(sum(min(r.core, r.core_true) for r in rows) / true, 3) if true else None,
        "ghosts_above_10_ml": sum(core > 10.0 for core in ghosts),
        "largest_ghost_ml": round(max(ghosts, default=0.0), 1),
        "hypoperfusion_mean_ml": round(fmean(abs(r.hypoperfusion - r.hypoperfusion_true) for r in rows), 2),
        "hypoperfusion_if_none_were_read_ml": round(fmean(r.hypoperfusion_true for r in rows), 2),
    }


def reason_against(found):
    """Why thresholds with such errors are not shipped, in words; empty where they are."""
    if found["core_read_of_true"] is not None and found["core_read_of_true"] < _MISSED:
        return f"even its best thresholds miss {1 - found['core_read_of_true']:.0%} of the core of digital patients"
    if found["largest_ghost_ml"] > _GHOST_ML:
        return f"even its best thresholds read a core of {found['largest_ghost_ml']:.0f} mL where there is none"
    if found["core_mean_ml"] >= found["core_if_none_were_read_ml"]:
        return f"even its best thresholds are off by {found['core_mean_ml']:.0f} mL of core in digital patients"
    if found["hypoperfusion_mean_ml"] >= found["hypoperfusion_if_none_were_read_ml"]:
        return f"even its best thresholds are off by {found['hypoperfusion_mean_ml']:.0f} mL of hypoperfusion"
    return ""


def ship(name, chosen, checked, size, folder, *, coarse):
    """One file."""
    method, smoothing = name.split("-")[0], "inside" if name.endswith("-inside") else "beside"
    sets = []
    for patients in (chosen, checked):
        cases = []
        for seed, index in patients:
            scan, truth = load(seed, index, size)
            cases.append(case(scan, truth, f"{seed}:{index}", method, smoothing))
        sets.append(cases)
    calibration = calibrate(sets[0], method=method, **(COARSE if coarse else {}))
    origin = MapsOrigin(method, smoothing, pipeline.SMOOTHINGS[smoothing], size, VOLUMES[smoothing == "beside"])
    thresholds = bind(calibration.thresholds, [origin, origin._replace(matrix=2 * size)])
    found = {
        f"{which} {by}": errors(compare(cases, rule))
        for which, cases in zip(("chosen on", "others"), sets, strict=True)
        for by, rule in (("calibrated", thresholds), ("conventional", conventional_thresholds(method)))
    }
    facts = {
        "made_by": "benchmarks/shipped_thresholds.py",
        "chosen_on": [f"{seed}:{index}" for seed, index in chosen],
        "others": [f"{seed}:{index}" for seed, index in checked],
        "size": size,
        "coarse": coarse,
        "errors_ml": found,
    }
    if why := reason_against(found["others calibrated"]):
        facts["reason"] = why
    folder.mkdir(exist_ok=True)
    write_thresholds(thresholds, folder / f"{name}.json", facts=facts)
    print(name, thresholds.core_rule, "|", thresholds.late_rule, found, facts.get("reason", ""), flush=True)


def spread(text):
    """Seed and indices of SEED:FIRST-LAST."""
    seed, _, rest = text.partition(":")
    first, _, last = rest.partition("-")
    return [(int(seed), index) for index in range(int(first), int(last or first) + 1)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--calibrate", nargs="+", default=["6500:0-11"])
    parser.add_argument("--check", nargs="+", default=["31:0-11"])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--coarse", action="store_true", help="try every third threshold alone")
    parser.add_argument("--folder", type=Path, default=SHIPPED)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ops.DeconvolutionWarning)
    torch.set_num_threads(1)
    chosen, checked = (
        [one for text in listed for one in spread(text)] for listed in (options.calibrate, options.check)
    )
    for name in options.methods or ("csvd-inside", *METHODS):
        ship(name, chosen, checked, options.size, options.folder, coarse=options.coarse)


if __name__ == "__main__":
    main()
