"""What a study cost: seconds of its steps, beside the paper's own words."""

from __future__ import annotations

from statistics import fmean

from ctp_torch.report.tables import MODEL_LABELS, Table
from ctp_torch.study.engine.running import Findings
from ctp_torch.study.work.models import MODELS

__all__ = ["cost_table", "step_table"]

_PAPER = "less than 20 minutes for 38 patients (the paper, all in all)"


def cost_table(found: Findings, *, caption: str = "") -> Table:
    """Seconds of what a user waits for: a patient made ready, a model trained, its maps of a patient predicted.

    Parameters
    ----------
    found
        of the run; steps are timed as they ran, side by side with others and whatever else the machine did
    caption
        of the table
    """
    names = ["patients/train/", "patients/test/"]
    body = [[f"a patient scanned, aligned, taught ({name.split('/')[1]})", *_times(found, name)] for name in names]
    body.append(["kernel ridge of all sizes, one factorisation", *_times(found, "fits/krr-")])
    largest = found.study.preset.sizes[-1]
    for name in MODELS:
        prefix = f"scores/{name}-"
        if name == "rf":
            done = {k: v for k, v in found.seconds.items() if k.startswith(prefix) and k.endswith(f"-{largest}")}
            body.append([f"{MODEL_LABELS[name]}, {largest:,} samples: fit, maps of all patients, scores", *_of(done)])
        elif name == "krr":
            body.append([f"{MODEL_LABELS[name]}, all sizes: maps of one patient, scores", *_times(found, prefix)])
        else:
            body.append(
                [f"{MODEL_LABELS[name]}, all sizes: fits, maps of all patients, scores", *_times(found, prefix)]
            )
    total = sum(found.seconds.values())
    body.append(["everything, summed over steps", f"{total:.0f}", f"{total / 60:.1f} min", str(len(found.seconds))])
    body.append([_PAPER, "", "", ""])
    return Table(caption, ["what", "seconds (mean)", "longest", "times"], body)


def step_table(found: Findings, *, caption: str = "") -> Table:
    """Seconds of every kind of step."""
    kinds: dict[str, list[float]] = {}
    for name, seconds in found.seconds.items():
        kinds.setdefault(name.split("/")[0], []).append(seconds)
    body = [[kind, str(len(values)), f"{sum(values):.0f}"] for kind, values in kinds.items()]
    return Table(caption, ["steps", "number", "seconds in all"], body)


def _times(found: Findings, prefix: str) -> list[str]:
    """Mean, longest and number of the steps whose names begin so."""
    return _of({name: seconds for name, seconds in found.seconds.items() if name.startswith(prefix)})


def _of(seconds: dict[str, float]) -> list[str]:
    """Mean, longest, number."""
    values = list(seconds.values())
    return [f"{fmean(values):.1f}", f"{max(values):.1f}", str(len(values))] if values else ["-", "-", "0"]
