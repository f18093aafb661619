"""``docs/defaults.md`` from the committed results: what maps are made by when nothing is said, and why.

python benchmarks/defaults_page.py
"""

import json
from pathlib import Path
from statistics import fmean, median

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "defaults.md"
SHIPPED = HERE.parent / "ctp_torch" / "lesions" / "shipped"

TOP = """# What maps are made by when nothing is said

Written by `benchmarks/defaults_page.py` from the files it names; every figure is from digital patients, whose
truth is known, not from people.

## Smoothing beside vessels

A Gaussian before deconvolution spreads large vessels over the tissue beside them. By default they are left out of
it (`--smoothing beside`, 2.5 mm; masked smoothing, Wack et al. 2014, doi:10.1186/1471-2342-14-28). They are told
from tissue by the height of their curves: from 2.4 times the blood of normal tissue a voxel counts as partly a
vessel, from 10 times as mostly one; what noise reaches doesn't count, nor do regions more than 8 mm wide, which
are tissue with much blood. A vessel keeps its own values. Where one reaches into a voxel, CBF, MTT and Tmax are
those of the tissue beside, and CBV is the voxel's own, so that MTT = 60 CBV / CBF doesn't hold there. A narrow
band of tissue with more than 2.4 times the blood of the rest (luxury perfusion along the cortex) would be taken
for one: its CBV shows, its flow doesn't. `--smoothing inside` smooths everything alike by 2 mm, as consoles do;
the maps that students learn from stay so.
"""


def read(name):
    """A result, or None where it isn't there."""
    path = HERE / "results" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def table(header, rows):
    """Lines of a table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def beside_vessels():
    """The comparison on unseen patients."""
    result = read("beside_vessels")
    if result is None:
        return ""
    words = {
        "cbf_rmse": "CBF, rmse after one scale", "cbv_rmse": "CBV, rmse after one scale",
        "cbf_rmse_unscaled": "CBF, rmse as it is", "cbv_rmse_unscaled": "CBV, rmse as it is",
        "tmax_mae": "Tmax, mean error [s]", "core_error_ml": "core, mean error [mL]",
        "hypoperfusion_error_ml": "hypoperfusion, mean error [mL]",
    }  # fmt: skip
    text = f"\n{len(result['rows'])} unseen patients of {result['size']} pixels ({result['about']}), csvd:\n\n"
    for key, title in (
        ("beside_against_inside", "beside vessels against inside, the same scans"),
        ("quarter_beside_against_full_inside", "a quarter of the dose beside vessels against all of it inside"),
    ):
        rows = []
        for name, label in words.items():
            one = result[key][name]
            shown = (lambda v: f"{v:+.1f} mL") if name.endswith("_ml") else (lambda v: f"{v:+.0%}")
            low, high = one["interval_95"]
            rows.append([label, one["old"], one["new"], f"{shown(one['change'])} ({shown(low)} to {shown(high)})"])
        text += table([title, "inside", "beside", "change (95 %)"], rows) + "\n"
    return text


def methods():
    """The methods against the truth."""
    tiles, patients = read("default_method_tiles"), read("default_method_patients")
    text = "\n## The method\n\n"
    if patients is not None:
        by = {}
        for row in patients["rows"]:
            by.setdefault((row["method"], row["smoothing"]), []).append(row)
        with_late = {row["patient"] for row in patients["rows"] if row["late_dice"] > 0.5}
        rows = []
        for (method, smoothing), listed in by.items():
            means = [fmean(r[key] for r in listed) for key in ("cbf_r", "cbf_mae", "mtt_mae", "tmax_mae", "seconds")]
            slope = median(r["cbf_slope"] for r in listed)
            error = median(r["mtt_median_error"] for r in listed)
            cells = [f"{means[0]:.2f}", f"{slope:.2f}", f"{means[1]:.1f}", f"{error:+.1f}", f"{means[2]:.1f}"]
            late = fmean(r["late_dice"] for r in listed if r["patient"] in with_late)
            rows.append([f"{method}, {smoothing}", *cells, f"{means[3]:.1f}", f"{late:.2f}", f"{means[4]:.1f}"])
        names = ", ".join(patients["patients"])
        text += (
            f"Development patients {names} of {patients['size']} pixels: grey and white matter away from vessels"
            " against the truth, flow against the true flow smoothed alike.\n\n"
        )
        head = ["method", "CBF r", "slope", "mean error", "MTT of medians [s]", "MTT mean error", "Tmax mean error"]
        head += ["Dice of Tmax > 6 s", "CPU s"]
        text += table(head, rows) + "\n"
    if tiles is not None:
        text += (
            f"Tiles ({len(tiles['rows'])} combinations of method, residue that it doesn't assume, three arteries, noise"
            " of 0.5, 1 and 2 HU, frames every 1 and 2 s):\n\n"
        )
        head = ["method", "CBF r", "slope", "mean error", "MTT mean error", "delay mean error"]
        rows = [
            [name, *(f"{one[key]:.2f}" for key in ("cbf_r", "cbf_slope_median", "cbf_mae", "mtt_mae", "tmax_mae"))]
            for name, one in tiles["means"].items()
        ]
        text += table(head, rows)
    return text + CHOICE


CHOICE = """
**csvd stays the default, and isn't the nearest to the truth.** `delay_corrected_ssvd` has the better flow, MTT and
Tmax on patients and on tiles; but what it reads later than 6 s overlaps the truth less, and its thresholds are not
calibrated: a default is used for volumes first. It is the first candidate once they are. csvd's flow reads low and its
MTT long, the more so the wider the bolus. Who needs absolute numbers takes `--method vascular_model` (or `bayesian`):
on patients and on tiles they alone come within a quarter of the true slope of CBF and within 1.5 s of the true median
MTT. They are not the default because their Tmax is the arrival of the blood (no map of theirs shows "Tmax > 6 s"),
because they rank the tissue of a head worse (r), because even the best thresholds of `vascular_model` read a large core
in one patient without any, and because they cost four to seven times csvd. `--model physics` has the smallest errors of
flow and MTT, but draws flow towards its mean (slope 0.4 to 0.7), which makes extremes look milder than they are.

## Times

No method tells a time longer than the scan can show: MTT, Tmax and delay end at the time from the half rise of
the arterial input to the last frame. `run.json` tells that time and the share of voxels that read it; above 5 %
it is a warning.
"""


def thresholds():
    """What is shipped."""
    text = """
## Thresholds

Volumes are told by thresholds that were calibrated for the method, the smoothing and its width; those shipped are
used by default, those in a model's file with that model. Conventional thresholds (CBF < 30 %, Tmax > 6 s, or
delay > 3 s where a method's Tmax is one) belong to another product: they stand beside, named, and are used alone
by `--thresholds conventional`. Where a method or a model has none of its own, maps are made and no volume is
told, with the reason. A file calibrated for other maps is refused, unless `--force-thresholds`.

"""
    rows = []
    for file in sorted(SHIPPED.glob("*.json")):
        page = json.loads(file.read_text(encoding="utf-8"))
        errors, limits = page["errors_ml"], page["thresholds"]
        own, other = errors["others calibrated"], errors["others conventional"]
        rule = f"CBF < {limits['rcbf']:.0%}" + (f" and CBV < {limits['rcbv']:.0%}" if limits["rcbv"] else "")
        name = f"{limits['method']}, {limits['smoothing']}, {limits['width_mm']:g} mm"
        cells = [f"{own['core_mean_ml']:.1f} ({other['core_mean_ml']:.1f})", own["patients"]]
        rows.append([name, page.get("reason") or rule, *cells])
    head = ["for", "core", "mean error of the core on others [mL] (conventional)", "patients"]
    return text + table(head, rows) + "\nEvery other method has none: its maps come without volumes.\n"


def main():
    PAGE.write_text(TOP + beside_vessels() + methods() + thresholds(), encoding="utf-8")


if __name__ == "__main__":
    main()
