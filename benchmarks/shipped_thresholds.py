"""The thresholds that the package ships, and how far their volumes are off on patients they were not chosen on.

    python benchmarks/shipped_thresholds.py [NAME ...] --calibrate 6500:0-21 6600:0-21 --check 31:0-12 [--size 128]

A name is a method, ``csvd-inside`` (smoothed inside by 2 mm, as consoles do it) or a model that comes with the package.
For each: maps of digital patients as ``ctp-torch maps`` makes them, thresholds by ``lesions.calibration.calibrate`` on
the first set, errors on both. A method's are kept in ``ctp_torch/lesions/shipped/NAME.json`` with the patients and the
errors, a model's in its own file. One that misses more than half of all core, reads a large core where flow stays above
40 % of normal everywhere, or whose mean error on the second set is no better than reading nothing at all, ships the
reason instead.
"""

import argparse
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean

import common
import torch

from ctp_torch import ops, pipeline
from ctp_torch.data.methods import METHODS
from ctp_torch.lesions.belonging import VOLUMES, MapsOrigin, bind, conventional_thresholds
from ctp_torch.lesions.calibration import CalibrationCase, calibrate, compare
from ctp_torch.lesions.find import survey
from ctp_torch.lesions.thresholds import THRESHOLDS_KEY, write_thresholds
from ctp_torch.models import load_model
from ctp_torch.models.load import SHIPPED as MODELS
from ctp_torch.models.load import model_file
from ctp_torch.phantom import render_patient
from ctp_torch.pipeline.methods import method_of

SHIPPED = Path(__file__).parent.parent / "ctp_torch" / "lesions" / "shipped"
COARSE = {
    "tmax_grid": (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.5, 11.0, 13.0),
    "reduced_grid": (0.7,),
    "rcbf_grid": tuple(0.15 + 0.075 * i for i in range(10)),
    "rcbv_grid": (0.0, 0.6, 0.7, 0.8, 0.9),
}
"""Thresholds tried where time is short."""
SPARED = 0.6
"""Share of the flow lost, up to which a core that is read is a ghost: more than 40 % is left everywhere."""
_MISSED, _GHOST_ML = 0.5, 50.0
"""Of all true core, the share that may be missed; and the largest core that may be read where flow is spared [mL]."""


def load(seed, index, size):
    """A digital patient made ready, and its truth."""
    patient = render_patient(seed, index, size=size)
    return pipeline.prepare(patient.series, slab_mm=0.0), patient.truth


def mapped(scan, name):
    """Maps of a scan as ``ctp-torch maps`` makes them by that name."""
    if name in MODELS:
        return pipeline.predict(scan, load_model(model_file(name)))
    method, smoothing, *_ = _origin(name)
    return pipeline.deconvolve(scan, method_of(method), smoothing=smoothing, complete_cbv=smoothing == "beside")


def cases_of(patients, names, size):
    """By name what calibration needs of each patient, and of each patient whether its flow is spared."""
    cases, spared = {name: [] for name in names}, []
    for seed, index in patients:
        scan, truth = load(seed, index, size)
        stroke = truth.facts["stroke"]
        spared.append(stroke["kind"] != "occlusion" or stroke["grade"] <= SPARED)
        for name in names:
            surveyed = survey(mapped(scan, name), baseline=scan.anatomy.baseline)
            cases[name].append(_small(f"{seed}:{index}", surveyed, truth))
        print(f"{seed}:{index}", flush=True)
    return cases, spared


def _small(name, surveyed, truth):
    """A case without the air around the brain."""
    inside = (surveyed.tissue | surveyed.hidden).any(dim=0).nonzero()
    (top, left), (bottom, right) = inside.min(dim=0).values - 2, inside.max(dim=0).values + 3
    box = (slice(None), slice(max(int(top), 0), int(bottom)), slice(max(int(left), 0), int(right)))

    def cut(value):
        if isinstance(value, torch.Tensor):
            return value[box].clone()
        return type(value)(*map(cut, value)) if hasattr(value, "_fields") else value

    maps = surveyed.maps
    values = {name: cut(maps[name]) for name in ("cbf", "cbv", "tmax") if name in maps.values}
    mask = cut(maps.mask)
    small = type(maps)(values, mask, replace(maps.geometry, shape=tuple(mask.shape)))
    fields = {name: cut(value) for name, value in surveyed._asdict().items() if name not in ("maps", "shares")}
    shares = {name: cut(share) for name, share in surveyed.shares.items()}
    core = cut(truth.core)
    return CalibrationCase(name, type(surveyed)(maps=small, shares=shares, **fields), core, core | cut(truth.penumbra))


def errors(rows, spared):
    """Volumes against the truth [mL]; ghosts are cores read where flow is spared."""
    ghosts = [row.core for row, one in zip(rows, spared, strict=True) if one]
    true = sum(row.core_true for row in rows)
    return {
        "patients": len(rows),
        "core_mean_ml": round(fmean(abs(row.core - row.core_true) for row in rows), 2),
        "core_if_none_were_read_ml": round(fmean(row.core_true for row in rows), 2),
        "core_read_of_true": round(sum(min(r.core, r.core_true) for r in rows) / true, 3) if true else None,
        "largest_core_read_for_none_ml": round(max((r.core for r in rows if r.core_true == 0), default=0.0), 1),
        "spared": len(ghosts),
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
        return f"even its best thresholds read a core of {found['largest_ghost_ml']:.0f} mL where flow is spared"
    if found["core_mean_ml"] >= found["core_if_none_were_read_ml"]:
        return f"even its best thresholds are off by {found['core_mean_ml']:.0f} mL of core in digital patients"
    if found["hypoperfusion_mean_ml"] >= found["hypoperfusion_if_none_were_read_ml"]:
        return f"even its best thresholds are off by {found['hypoperfusion_mean_ml']:.0f} mL of hypoperfusion"
    return ""


def ship(name, chosen, checked, size, folder, *, coarse):
    """Thresholds of one name, from cases and whether each is spared; a file, or what a model's own file holds."""
    origin = _origin(name)._replace(matrix=size)
    calibration = calibrate(chosen[0], method=origin.method, **(COARSE if coarse else {}))
    thresholds = bind(calibration.thresholds, [origin, origin._replace(matrix=2 * size)])
    found = {
        f"{which} {by}": errors(compare(cases, rule), spared)
        for which, (cases, spared) in (("chosen on", chosen), ("others", checked))
        for by, rule in (("calibrated", thresholds), ("conventional", conventional_thresholds(origin.method)))
    }
    facts = {
        "made_by": "benchmarks/shipped_thresholds.py",
        "chosen_on": [case.name for case in chosen[0]],
        "others": [case.name for case in checked[0]],
        "size": size,
        "coarse": coarse,
        "errors_ml": found,
    }
    if why := reason_against(found["others calibrated"]):
        facts["reason"] = why
    print(name, thresholds.core_rule, "|", thresholds.late_rule, found, why, flush=True)
    if name not in MODELS:
        folder.mkdir(exist_ok=True)
        write_thresholds(thresholds, folder / f"{name}.json", facts=facts)
        return
    model = load_model(model_file(name))
    kept = {} if why else {THRESHOLDS_KEY: asdict(thresholds)}
    others = {key: value for key, value in model.metadata_.items() if key != THRESHOLDS_KEY}
    path = model_file(name) if folder == SHIPPED else folder / f"{name}.safetensors"
    model.save(path, metadata={**others, **kept, "calibration": facts})


def _origin(name):
    """How the maps of that name are made, but for their matrix."""
    if name in MODELS:
        return MapsOrigin(type(load_model(model_file(name))).__name__, "", 0.0, 0)
    smoothing = "inside" if name.endswith("-inside") else "beside"
    width, volume = pipeline.SMOOTHINGS[smoothing], VOLUMES[smoothing == "beside"]
    return MapsOrigin(name.removesuffix("-inside"), smoothing, width, 0, volume)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--calibrate", nargs="+", default=["6500:0-21", "6600:0-21"])
    parser.add_argument("--check", nargs="+", default=["31:0-12"])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--coarse", action="store_true", help="try every third threshold alone")
    parser.add_argument("--folder", type=Path, default=SHIPPED)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ops.DeconvolutionWarning)
    torch.set_num_threads(1)
    names = options.names or ["csvd-inside", *METHODS, *MODELS]
    chosen, checked = (
        cases_of(common.patients_of(texts), names, options.size) for texts in (options.calibrate, options.check)
    )
    for name in names:
        sets = [(cases[name], spared) for cases, spared in (chosen, checked)]
        ship(name, *sets, options.size, options.folder, coarse=options.coarse)


if __name__ == "__main__":
    main()
