"""``docs/benchmarks.md`` from the committed results: how fast, beside whom, and where others are faster.

python docs/generate/benchmarks.py
"""

import shutil
from statistics import median

from results import DOCS, RESULTS, machine, page, result, seconds, table

TOP = """Written by `docs/generate/benchmarks.py` from `benchmarks/results/*.json`; each section names the command that
measures it again. Two cores of an AMD EPYC, other programs at work on the same machine, no GPU: **nothing on this page
was measured on a GPU.** A figure is the median of the repeats in its file; ratios
below 1 are losses. Predictions of scikit-learn's kernel ridge were timed on 10,000 curves and scaled up."""


def patient():
    """One patient from files to files."""
    if (one := result("patient")) is None:
        return ""
    ours, script = one["runs"]["ctp_torch"][0], one["runs"]["peers"][0]
    stages = list(dict.fromkeys([*ours["result"], *script["result"]]))
    shown = lambda run, stage: f"{run['result'][stage]:.2f}" if stage in run["result"] else "-"  # noqa: E731
    rows = [[stage, shown(ours, stage), shown(script, stage)] for stage in stages]
    rows.append(["together", f"**{ours['seconds']:.1f}**", f"**{script['seconds']:.0f}**"])
    rows.append(["memory above the imports [GB]", *(f"{run['peak_bytes'] / 1e9:.1f}" for run in (ours, script))])
    return f"""## A whole patient

360 DICOM files of 512 x 512 to four maps, lesions, page and tables on disk, by kernel ridge on 2,000 centres, imports
excluded, against a plain script of the usual libraries (pydicom loop, scipy median, SimpleITK Mattes, scikit-learn
Nystroem and ridge): {script["seconds"] / ours["seconds"]:.1f} times faster. `python benchmarks/patient.py`; {machine(one)}.

{table(["stage", "ours [s]", "script [s]"], rows)}"""


def deconvolution():
    """Every method, and two against numpy."""
    parts = []
    if (one := result("deconvolution_methods")) is not None:
        rows = [
            [name, seconds(m["seconds"]), f"{m['gigabytes_above_data']:.2f}"]
            for name, m in sorted(one["methods"].items(), key=lambda item: item[1]["seconds"])
        ]
        parts.append(f"""## Deconvolution

{one["curves"]:,} curves of {one["frames"]} frames. `python benchmarks/deconvolution.py alone`; {machine(one)}.

{table(["method", "time", "memory above the data [GB]"], rows)}""")
    if (one := result("deconvolution_timing")) is not None:
        times = {name: t["median_s"] for name, t in one["seconds"].items() if "loop" not in name}
        rows = [[name, seconds(value)] for name, value in times.items()]
        parts.append(f"""Against vectorised numpy on the same curves (`python benchmarks/deconvolution.py timing`):

{table(["what", "time"], rows)}""")
    return "\n\n".join(parts)


def kernel_ridge():
    """Fits and predictions beside scikit-learn, and how they grow."""
    parts = ["## Kernel ridge"]
    for name, what in (("rough", "gamma 8, as the paper's"), ("smooth", "sigma 8, a smooth kernel")):
        if (one := result(f"kernel_peers_{name}")) is None:
            continue
        rows = [
            [
                who, seconds(r["fit_s"]), seconds(r["predict_470k_s"]), seconds(r["total_s"]),
                f"{r['times_faster_than_scikit_learn']:.1f}", f"{r['r2']:.4f}", f"{r['peak_gb']:.1f}",
            ]
            for who, r in one["rows"].items()
        ]  # fmt: skip
        parts.append(f"""{one["n"]:,} x {one["features"]}, {what}; predictions of {one["pixels"]:,} curves.
`python benchmarks/kernel.py peers`; {machine(one)}.

{table(["who", "fit", "predict", "together", "times scikit-learn's speed", "R2", "memory [GB]"], rows)}""")
    if (one := result("kernel_growth")) is not None:
        sizes = list(next(iter(one["fit_s"].values())))
        rows = [[who, *(seconds(t[n]) if n in t else "-" for n in sizes)] for who, t in one["fit_s"].items()]
        parts.append(f"""Fit alone as samples grow (`python benchmarks/kernel.py growth`):

{table(["solver", *(f"{int(n):,}" for n in sizes)], rows)}

![Fit time over samples, both axes logarithmic](pictures/kernel_growth.png)""")
    if (one := result("kernel_unstored")) is not None:
        rows = [
            [who, seconds(r["result"]["fit_s"]), f"{r['result']['above_data_gb']:.2f}",
             f"{r['result']['r2_new_patients']:.4f}"]
            for who, r in one["rows"].items()
        ]  # fmt: skip
        parts.append(f"""{one["n"]:,} samples, the kernel never stored (`python benchmarks/kernel.py unstored`):

{table(["solver", "fit", "memory above the data [GB]", "R2 on new patients"], rows)}""")
    if (one := result("kernel_streamed")) is not None:
        rows = [[f"{int(n):,}", seconds(r["fit_s"]), f"{r['above_data_gb']:.2f}"] for n, r in one["rows"].items()]
        parts.append(f"""{one["centres"]:,} centres, samples streamed (`python benchmarks/kernel.py streamed`):

{table(["samples", "fit", "memory above the data [GB]"], rows)}""")
    return "\n\n".join(parts)


def forest():
    """The forest beside scikit-learn's and others."""
    if (one := result("forest")) is None:
        return ""
    groups = {}
    for r in one["rows"]:
        if r["trees"] == 90:
            groups.setdefault((r["contender"], r["samples"]), []).append(r)
    rows = [
        [
            who, f"{n:,}", len(rs), *(f"{median(r[key] for r in rs):.0f} s" for key in ("fit_cpu_s", "predict_cpu_s")),
            f"{min(r['r2'] for r in rs):.3f} to {max(r['r2'] for r in rs):.3f}",
            f"{median(r['peak_mb'] for r in rs) / 1000:.2f}",
        ]
        for (who, n), rs in groups.items()
    ]  # fmt: skip
    return f"""## Random forest

90 trees; processor seconds, medians over seeds, as the machine was shared; 470,000 predictions.
`python benchmarks/forest.py`; {machine(one)}.

{table(["who", "samples", "seeds", "fit", "predict", "R2", "memory [GB]"], rows)}"""


def images():
    """Reading, filtering, colours, registration, writing, rendering."""
    parts, rows = ["## Images"], []
    if (one := result("reading")) is not None:
        for r in one["rows"]:
            ours, loop = r["read_series"]["median_s"], r["bare loop"]["median_s"]
            rows.append([f"read {r['files']:,} DICOM files of {r['size']} x {r['size']}", seconds(ours),
                         f"bare pydicom loop {seconds(loop)} ({loop / ours:.1f}x)", "reading.py"])  # fmt: skip
    if (one := result("preprocessing")) is not None:
        for name, timed in one.items():
            if not isinstance(timed, dict) or "ctp_torch" not in timed:
                continue
            ours = timed["ctp_torch"]["median_s"]
            others = {w: t["median_s"] for w, t in timed.items() if isinstance(t, dict) and "median_s" in t}
            said = ", ".join(
                f"{who} {seconds(t)} ({t / ours:.1f}x)" for who, t in others.items()
                if who != "ctp_torch" and "of the pixels" not in who
            )  # fmt: skip
            rows.append([name, seconds(ours), said, "preprocessing.py"])
    if (one := result("registration")) is not None:
        for r in one["rows"]:
            ours = r["ctp_torch"]["median_s"]
            for who, timed in r.items():
                if who.startswith("SimpleITK") and isinstance(timed, dict) and "median_s" in timed:
                    t, off = timed["median_s"], r[f"{who}, mm"]["mean"]
                    rows.append([f"register {r['frames']} frames, {r['case']} slices, mean error "
                                 f"{r['ctp_torch, mm']['mean']:.3f} mm", seconds(ours),
                                 f"{who}: {seconds(t)} ({t / ours:.0f}x), {off:.2f} mm", "registration.py"])  # fmt: skip
    if (one := result("writing")) is not None:
        rows += [
            [f"write all six formats, {r['slices']} slices, {r['megabytes']:,.0f} MB", seconds(r["seconds"]), "-",
             "writing.py"]
            for r in one["rows"]
        ]  # fmt: skip
    if (one := result("phantom")) is not None:
        rows += [
            [f"render a digital patient at {r['size']} x {r['size']}, {r['peak_process_gb']} GB",
             seconds(r["wall_s"]), "-", "phantom.py"]
            for r in one["rows"]
        ]  # fmt: skip
    return "\n\n".join([*parts, table(["what", "ours", "others (times ours)", "`benchmarks/`"], rows)])


def files():
    """Every result that is committed."""
    rows = []
    for path in sorted(RESULTS.glob("*.json")):
        one = result(path.stem)
        rows.append([f"`{path.name}`", machine(one) if "machine" in one else "-"])
    return f"## All committed results\n\n{table(['file', 'measured on'], rows)}"


def text():
    """The page."""
    return page("Benchmarks", [TOP, patient(), deconvolution(), kernel_ridge(), forest(), images(), files()])


if __name__ == "__main__":
    shutil.copy(RESULTS / "kernel_growth.png", DOCS / "pictures" / "kernel_growth.png")
    (DOCS / "benchmarks.md").write_text(text(), encoding="utf-8")
