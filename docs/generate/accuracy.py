"""``docs/accuracy.md`` from the committed results: how near the maps and volumes come to a known truth.

python docs/generate/accuracy.py
"""

from statistics import fmean, median

from results import DOCS, page, result, study, table

TOP = """Written by `docs/generate/accuracy.py` from `benchmarks/results/*.json` and `docs/results/results.json`.

**Every figure is from digital patients**, whose truth is known: MNI152 anatomy deformed, analytic curves, scanner noise,
head motion. They say how methods compare. They do not say how a scanner's patients would score. Means are over patients,
with 95 % bootstrap intervals. What the defaults rest on: [defaults](defaults.md); how fast: [benchmarks](benchmarks.md)."""


def interval(one, digits=1):
    """Mean and interval."""
    return f"{one['mean']:.{digits}f} ({one['low']:.{digits}f} to {one['high']:.{digits}f})"


def maps():
    """Maps of unseen patients against the truth."""
    if (one := result("students_truth_unseen")) is None:
        return ""
    parts = ["## Maps against the truth", "Mean absolute errors in the brain, patients that nothing was chosen on."]
    keys = {"cbf mae": "CBF [mL/100 g/min]", "cbv mae": "CBV [mL/100 g]", "mtt mae": "MTT [s]", "tmax mae": "Tmax [s]"}
    for condition, values in one["conditions"].items():
        rows = [
            [name, s["mean"]["cbf mae"]["n"], *(interval(s["mean"][key], 2 if key == "cbv mae" else 1) for key in keys)]
            for name, s in values["summary"].items()
        ]
        parts += [f"**{condition}**:", table(["maps", "patients", *keys.values()], rows)]
    return "\n\n".join(parts)


def deconvolution():
    """Every method on tiles."""
    one = result("deconvolution_accuracy_1s")
    if one is None:
        return ""
    groups = {}
    for row in one["rows"]:
        if row["noise_hu"] == 1.0:
            groups.setdefault(row["method"], []).append(row)
    rows = []
    for name, listed in groups.items():
        get = lambda q, key, listed=listed: fmean(r[q][key] for r in listed if q in r and key in r[q])  # noqa: E731
        rows.append([name, f"{get('cbf', 'r'):.2f}", f"{get('cbf', 'slope'):.2f}", f"{get('cbf', 'mae'):.1f}",
                     f"{get('mtt', 'mae'):.1f}", f"{get('delay', 'mae'):.1f}"])  # fmt: skip
    return f"""## Deconvolutions on tiles

The tile phantom with frames every second and 1 HU of noise, means over a textbook's and a clinic's artery (other noise,
2 and 3 s: the files `deconvolution_accuracy_*.json`). A slope of 1 and an error of 0 are right.
`python benchmarks/deconvolution.py accuracy`.

{table(["method", "CBF r", "slope", "CBF error", "MTT error [s]", "delay error [s]"], rows)}"""


def volumes():
    """Core, penumbra and hypoperfusion."""
    parts = ["## Volumes of lesions"]
    if (one := result("vessels_and_lesions")) is not None:
        rows = [
            [name.replace("_", ", "), *(f"{v[key]:.1f}" for key in
             ("median_absolute_ml", "mean_absolute_ml", "bias_ml"))]
            for name, v in one["overall"]["volumes"].items()
        ]  # fmt: skip
        parts.append(f"""{one["overall"]["patients"]} patients of {one["size"]} x {one["size"]}, csvd with the rules of version 0.1, errors in mL
(`python benchmarks/vessels_and_lesions.py`). "Conventional" is CBF below 30 % within Tmax above 6 s.

{table(["volume", "median error", "mean error", "bias"], rows)}""")
    if (one := result("collaterals")) is not None:
        for name, values in one["sets"].items():
            rows = [
                [rule, f"{r['core_mean_absolute_ml']:.1f}", f"{r['hypoperfusion_mean_absolute_ml']:.1f}",
                 f"{r['ghosts']} of {r['spared']}", f"{r['largest_ghost_ml']:.0f}",
                 f"{r['cores_missed']} of {r['cores']}"]
                for rule, r in values["rules"].items()
            ]  # fmt: skip
            parts.append(f"""{len(values["rows"])} patients, *{name}* collaterals (`python benchmarks/collaterals.py`). A
ghost is a core of 10 mL or more where there is none; "floor" knows the true maps.

{table(["rule", "core error [mL]", "hypoperfusion error [mL]", "ghosts", "largest [mL]", "cores missed"], rows)}""")
    if (one := result("students_lesions")) is not None:
        rows = [
            [who, rule, r["patients"], interval(r["core_dice"], 2), interval(r["core_error_ml"]),
             interval(r["hypoperfusion_error_ml"])]
            for who, rules in one["summary"].items() for rule, r in rules.items() if "core_dice" in r
        ]  # fmt: skip
        parts.append(f"""Models against the teacher, by conventional thresholds and by their own
(`python benchmarks/students_lesions.py`):

{table(["maps", "thresholds", "patients", "core Dice", "core error [mL]", "hypoperfusion error [mL]"], rows)}""")
    return "\n\n".join(parts)


def intervals():
    """Whether the bands of 90 % hold."""
    if (one := result("intervals")) is None:
        return ""
    rows = [
        [name, f"{own['with_90_percent']} of {own['patients']}", f"{own['lowest_coverage']:.2f}",
         f"{own['mean_width']:.1f}", f"{far['with_90_percent']} of {far['patients']}"]
        for name, own in one["own"].items()
        if isinstance(own, dict) and "lowest_coverage" in own and isinstance(far := one["strangers"].get(name), dict)
    ]  # fmt: skip
    return f"""## Intervals

The promise of `--intervals 0.9`: nine tenths of the voxels in nine of ten new patients of that kind. Patients whose
voxels were covered so, of patients like those of training and of strangers (other residues, boluses, scanners);
`python benchmarks/intervals.py`.

{table(["map", "patients held", "lowest coverage", "mean width", "strangers held"], rows)}"""


def the_study():
    """The paper's tables on digital patients."""
    tables = study()
    names = ("table2_ssim_frame_0px", "table2_ssim_frame_2px", "table2_r_2px", "floors_2px", "truth_tissue_r_2px")
    shown = [
        f"{tables[n]['caption']}:\n\n{table(tables[n]['header'], tables[n]['rows'])}" for n in names if n in tables
    ]
    differences = result("models")
    more = ""
    if differences is not None:
        head = ["filter", "score", "map", "comparison", "points", "95 % interval"]
        chosen = [row for row in differences["differences"] if row[0] == "0 px" and row[1] == "frame"]
        more = f"""

Paired differences in points of frame SSIM on {differences["test_patients"]} other patients of
{differences["settings"]["size"]} x {differences["settings"]["size"]} (`python benchmarks/models.py`):

{table(head, chosen)}"""
    return f"""## The paper's study on digital patients

`ctp-torch reproduce --preset paper`; what it means: [the study](results/README.md). A constant scores high on frame
SSIM, so that floors stand beside: what a predictor reaches that knows one number of the curve, or none.

{(chr(10) * 2).join(shown)}{more}"""


def images():
    """Motion, arteries, thin slices."""
    parts = ["## Motion, arteries and slices"]
    if (one := result("through_plane")) is not None:
        rows = [
            [motion, way, f"{v['curves_hu']:.1f}", f"{v['tmax']:.2f}", f"{v['cbf']:.0%}", f"{v['cbv']:.0%}"]
            for motion, ways in one["medians"].items() for way, v in ways.items()
        ]  # fmt: skip
        parts.append(f"""Motion through the plane of slices 8 mm apart, against the same heads lying still; the default
is "path removed" (`python benchmarks/through_plane.py`):

{table(["motion", "undone", "curves [HU]", "Tmax [s]", "CBF", "CBV"], rows)}""")
    if (one := result("vessel_pairs")) is not None:
        rows = [
            [s["kind"], f"{s['noise_hu']:g}", f"{s['artery_found']} of {s['pairs']}", f"{s['vein_found']} of {s['pairs']}",
             f"{s['same_window']['within_15_percent']:.0%}"]
            for s in one["summary"]
        ]  # fmt: skip
        parts.append(f"""Arterial input and vein on noisy pairs (`python benchmarks/vessel_pairs.py`):

{table(["curves", "noise [HU]", "artery found", "vein found", "area within 15 %"], rows)}""")
    rows = []
    for name, what in (("thick_and_thin", "moving as drawn"), ("thick_and_thin_still", "lying still")):
        if (one := result(name)) is not None:
            apart = [abs(r["thin_apart_from"]["thick"][part]) for part in ("core", "penumbra") for r in one["rows"]]
            n = len(one["rows"])
            rows.append([what, n, f"{median(apart[:n]):.1%}, {max(apart[:n]):.1%}",
                         f"{median(apart[n:]):.1%}, {max(apart[n:]):.1%}"])  # fmt: skip
    if rows:
        parts.append(f"""320 thin slices averaged to 5 mm against 6 thick ones of the same patients: how far volumes are
apart, median and largest (`python benchmarks/thick_and_thin.py`):

{table(["heads", "patients", "core", "penumbra"], rows)}""")
    return "\n\n".join(parts)


def text():
    """The page."""
    return page("Accuracy", [TOP, maps(), volumes(), intervals(), the_study(), deconvolution(), images()])


if __name__ == "__main__":
    (DOCS / "accuracy.md").write_text(text(), encoding="utf-8")
