"""Which deconvolution is nearest to the truth: on digital patients, and on tiles whose residues it doesn't assume.

    python benchmarks/default_method.py tiles
    python benchmarks/default_method.py patients 31:0 31:1 6500:0 6600:0 [--size 128]

Tiles: 7 transit times, 7 delays and 5 volumes, three residue families, three arteries, three noise levels after
smoothing, frames every 1 and 2 s; each method is scored on the families that its model doesn't assume. Patients: maps
as ``ctp-torch maps`` makes them, beside vessels, and by csvd smoothed inside as it was before; flow is held against the
true flow smoothed alike beside the same vessels, because no scan shows more than that. Results go to
``results/default_method_*.json``.
"""

import argparse
import time
import warnings
from statistics import fmean, median

import common
import torch

from ctp_torch import ops, pipeline
from ctp_torch.data.methods import METHODS
from ctp_torch.models import load_model
from ctp_torch.models.load import model_file
from ctp_torch.ops.deconvolution.completion import seen_share
from ctp_torch.ops.deconvolution.units import flow_per_peak
from ctp_torch.phantom import render_patient
from ctp_torch.phantom.curves import (
    CLINICAL,
    TEXTBOOK,
    arterial_curve,
    box_tissue_curve,
    exponential_tissue_curve,
    linear_tissue_curve,
)
from ctp_torch.phantom.tiles import DELAYS, TRANSITS, VOLUMES

RESIDUES = {"box": box_tissue_curve, "linear": linear_tissue_curve, "exponential": exponential_tissue_curve}
ASSUMED = {"box_nlr": ("box",), "vascular_model": ("exponential",)}
BOLUSES = {"narrow": TEXTBOOK, "clinical": CLINICAL, "wide": CLINICAL._replace(b=3.6)}
NOISE_HU = (0.5, 1.0, 2.0)
REPEATS = 1
DECONVOLUTIONS = [name for name in METHODS if hasattr(ops, name)]
"""All but what learns from the scan itself."""


def scores(result, truth):
    """Correlation, slope and errors of flow, and errors of times, over voxels ``(n,)``."""
    cbf, true = result["cbf"].double(), truth["cbf"].double()
    centred, true_centred = cbf - cbf.mean(), true - true.mean()
    covariance = (centred * true_centred).mean()
    return {
        "cbf_r": float(covariance / (centred.square().mean() * true_centred.square().mean()).sqrt()),
        "cbf_slope": float(covariance / true_centred.square().mean()),
        "cbf_mae": float((cbf - true).abs().mean()),
        "cbv_mae": float((result["cbv"] - truth["cbv"]).abs().mean()),
        "mtt_mae": float((result["mtt"] - truth["mtt"]).abs().mean()),
        "mtt_median_error": float(result["mtt"].median() - truth["mtt"].median()),
        "tmax_mae": float((result["tmax"] - truth["tmax"]).abs().mean()),
    }


def tiles():
    """A row for each method, residue, artery, noise and spacing of frames."""
    mtt = torch.tensor(TRANSITS)[None, :, None].expand(len(DELAYS), -1, len(VOLUMES)).double()
    delay = torch.tensor(DELAYS)[:, None, None].expand_as(mtt).double()
    cbv = torch.tensor(VOLUMES)[None, None, :].expand_as(mtt).double()
    truth = {name: v.flatten().repeat(REPEATS) for name, v in (("mtt", mtt), ("cbv", cbv), ("tmax", delay))}
    truth["cbf"] = 60.0 * truth["cbv"] / truth["mtt"]
    rows, generator = [], torch.Generator().manual_seed(24)
    for dt in (1.0, 2.0):
        times = torch.arange(0.0, 60.0, dt, dtype=torch.float64)
        for artery, bolus in BOLUSES.items():
            aif = arterial_curve(times, bolus).float()
            for residue, curve in RESIDUES.items():
                flow = (truth["cbf"] / flow_per_peak()).reshape(-1, 1)
                clean = flow * curve(times, bolus, flow=1.0, mtt=truth["mtt"][:, None], delay=truth["tmax"][:, None])
                for noise in NOISE_HU:
                    curves = (clean + noise * torch.randn(clean.shape, generator=generator)).float()
                    for name in DECONVOLUTIONS:
                        if residue in ASSUMED.get(name, ()):
                            continue
                        result, seconds = common.timed(lambda n=name, c=curves, a=aif, d=dt: _mapped(n, c, a, d))
                        where = {"method": name, "residue": residue, "artery": artery, "noise_hu": noise, "dt_s": dt}
                        rows.append(where | scores(result, truth) | {"seconds": round(seconds, 3)})
                        print(rows[-1], flush=True)
    return rows


def _mapped(name, curves, aif, dt):
    """Maps of a method, volume and transit time completed as the pipeline does."""
    result = getattr(ops, name)(curves, aif, dt)
    passage = ops.Passage(curves, aif, dt)
    maps = result.maps()
    if torch.allclose(result.cbv, passage.cbv):
        seen = seen_share(passage)
        maps |= {"cbv": result.cbv / seen, "mtt": (result.mtt / seen).clamp(max=result.longest)}
    return maps


def patients(names, size, dose):
    """A row for each method and patient."""
    rows = []
    for name in names:
        seed, index = map(int, name.split(":"))
        patient = render_patient(seed, index, size=size, dose=dose)
        rows += patient_rows(pipeline.prepare(patient.series, slab_mm=0.0), patient.truth, {"patient": name})
    return rows


def patient_rows(scan, truth, where):
    """A row for each method, and one for csvd smoothed inside; the truth is that of grey and white matter."""
    large, brain = scan.large_vessels, scan.anatomy.brain
    tissue = brain & ((truth.labels == 4) | (truth.labels == 5)) & ~large.any
    spacing, rows = scan.series.geometry.spacing, []
    solid = brain & (truth.maps["mtt"] > 0) & ~large.any
    for smoothing, method in [("inside", "csvd"), *(("beside", name) for name in (*DECONVOLUTIONS, "physics"))]:
        start = time.process_time()
        maps = mapped(scan, method, smoothing)
        seconds = time.process_time() - start
        smooth = ops.smooth_inside(truth.maps["cbf"], solid, spacing, pipeline.SMOOTHINGS[smoothing])
        alike = {name: values[tissue] for name, values in truth.maps.items()} | {"cbf": smooth[tissue]}
        values = {name: maps[name][tissue] for name in ("cbf", "cbv", "mtt", "tmax")}
        late = (maps["tmax"] > 6.0)[tissue], (truth.maps["tmax"] > 6.0)[tissue]
        row = where | {"method": method, "smoothing": smoothing} | scores(values, alike)
        row["late_dice"] = float(2 * (late[0] & late[1]).sum() / (late[0].sum() + late[1].sum()).clamp_min(1))
        rows.append(row | {"at_longest": dict(maps.provenance.at_longest), "seconds": round(seconds, 2)})
        print(rows[-1], flush=True)
    return rows


def mapped(scan, method, smoothing):
    """Maps by a deconvolution, or by the student of simulated curves that comes with the package."""
    if method == "physics":
        return pipeline.predict(scan, load_model(model_file("physics")))
    complete = smoothing == "beside"  # as it was before, volumes were not
    return pipeline.deconvolve(scan, getattr(ops, method), smoothing=smoothing, complete_cbv=complete)


def means(rows, keys):
    """Mean and median of each figure over the rows of each method."""
    table = {}
    for row in rows:
        table.setdefault(" ".join(str(row[key]) for key in keys), []).append(row)
    names = [name for name, value in rows[0].items() if isinstance(value, float) and name not in ("noise_hu", "dt_s")]
    return {
        method: {name: round(fmean(r[name] for r in listed), 3) for name in names}
        | {"cbf_slope_median": round(median(r["cbf_slope"] for r in listed), 3)}
        | {"mtt_error_of_medians": round(median(r["mtt_median_error"] for r in listed), 3)}
        for method, listed in table.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("tiles", "patients"))
    parser.add_argument("names", nargs="*", help="SEED:INDEX of digital patients")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--dose", type=float, default=1.0)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ops.DeconvolutionWarning)
    if options.what == "tiles":
        rows = tiles()
        common.write("default_method_tiles", {"means": means(rows, ("method",)), "rows": rows})
        return
    rows = patients(options.names, options.size, options.dose)
    settings = {"patients": options.names, "size": options.size, "dose": options.dose}
    common.write("default_method_patients", settings | {"means": means(rows, ("method", "smoothing")), "rows": rows})


if __name__ == "__main__":
    main()
