"""A study from its first step to its last: what is done already is read, the rest is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ctp_torch.study.design.plan import CALIBRATION, Stage, Study, stages
from ctp_torch.study.engine.steps import load_step, seconds_of
from ctp_torch.study.engine.workers import share_out

__all__ = ["Findings", "collect", "run_study"]

Track = Callable[..., Iterable[str]]
"""``track(iterator, title, total=n)`` passes the names on, with a progress bar."""


class Findings(NamedTuple):
    """Everything that the steps found, by step name."""

    study: Study
    results: dict[str, Any]
    seconds: dict[str, float]
    """How long each step took."""
    missing: list[str]
    """Steps not done yet."""

    def under(self, prefix: str) -> dict[str, Any]:
        """Results of the steps whose names begin so, without the prefix."""
        return {name.removeprefix(prefix): found for name, found in self.results.items() if name.startswith(prefix)}

    def rows(self, prefix: str) -> list[list[Any]]:
        """The rows of these steps in one list."""
        return [row for found in self.under(prefix).values() for row in found]


def run_study(folder: Path, study: Study, *, processes: int = 1, track: Track = lambda items, *_, **__: items) -> None:
    """Do all steps that are missing.

    Parameters
    ----------
    folder
        of all steps
    study
        who is in it
    processes
        how many steps at a time
    track
        shows progress
    """
    folder.mkdir(parents=True, exist_ok=True)
    for stage in _all_stages(folder, study):
        names: Iterator[str] = share_out(folder, stage.steps, processes=processes)
        for _ in track(names, stage.title, total=len(stage.steps)):
            pass


def collect(folder: Path, study: Study) -> Findings:
    """What is there, and what is still missing."""
    results, seconds = {}, {}
    missing: dict[str, None] = {}  # a step can stand in two stages
    for stage in _all_stages(folder, study):
        for step in stage.steps:
            found = load_step(folder, step)
            if found is None:
                missing[step.name] = None
            else:
                results[step.name], seconds[step.name] = found, seconds_of(folder, step)
    return Findings(study, results, seconds, list(missing))


def _all_stages(folder: Path, study: Study) -> Iterator[Stage]:
    """The stages in order, each with the thresholds found by then."""
    for number in range(len(stages(study, {}))):
        yield stages(study, _calibrated(folder, study))[number]


def _calibrated(folder: Path, study: Study) -> Mapping[str, Any]:
    """The thresholds that the calibration step found; none while it is missing."""
    steps = (step for stage in stages(study, {}) for step in stage.steps if step.name == CALIBRATION)
    return next((load_step(folder, step) or {} for step in steps), {})
