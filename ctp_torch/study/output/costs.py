"""What a study cost: seconds of its steps, beside the paper's own words."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from ctp_torch.report.tables import MODEL_LABELS, Table
from ctp_torch.study.engine.running import StudyResults

__all__ = ["cost_table", "step_table"]

_PAPER = "less than 20 minutes for 38 patients (the paper, all in all)"


def cost_table(results: StudyResults, caption: str) -> Table:
    """Seconds of what a user waits for: a patient made ready, a model trained, its maps of a patient predicted."""
    largest = results.study.largest
    lines = [
        *((f"a patient scanned, aligned, taught ({split})", f"patients/{split}/", "") for split in ("train", "test")),
        ("kernel ridge of all sizes, one factorisation", "fits/krr-", ""),
        *((f"{MODEL_LABELS[name]}, all sizes: fits, maps of all patients, scores", f"scores/{name}-", "")
          for name in ("linear", "ridge")),
        (f"{MODEL_LABELS['krr']}, all sizes: maps of one patient, scores", "scores/krr-", ""),
        (f"{MODEL_LABELS['rf']}, {largest:,} samples: fit, maps of all patients, scores", "scores/rf-", f"-{largest}"),
    ]  # fmt: skip
    total = sum(results.seconds.values())
    body = [
        *([what, *_times([s for name, s in results.seconds.items() if name.startswith(start) and name.endswith(end)])]
          for what, start, end in lines),
        ["everything, summed over steps", f"{total:.0f}", f"{total / 60:.1f} min", str(len(results.seconds))],
        [_PAPER, "", "", ""],
    ]  # fmt: skip
    return Table(caption, ["what", "seconds (mean)", "longest", "times"], body)


def step_table(results: StudyResults, caption: str) -> Table:
    """Seconds of every kind of step."""
    kinds: dict[str, list[float]] = {}
    for name, seconds in results.seconds.items():
        kinds.setdefault(name.split("/")[0], []).append(seconds)
    body = [[kind, str(len(values)), f"{sum(values):.0f}"] for kind, values in kinds.items()]
    return Table(caption, ["steps", "number", "seconds in all"], body)


def _times(seconds: Sequence[float]) -> list[str]:
    """Mean, longest, number."""
    return [f"{fmean(seconds):.1f}", f"{max(seconds):.1f}", str(len(seconds))] if seconds else ["-", "-", "0"]
