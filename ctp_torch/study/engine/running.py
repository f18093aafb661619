"""A study from its first step to its last: what is done already is read, the rest is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ctp_torch.io.workplace import sweep_below
from ctp_torch.study.design.plan import CALIBRATION, Stage, Study, stages
from ctp_torch.study.design.rows import DegradedRow, LesionRow, ReferenceRow, Row, ScoreRow
from ctp_torch.study.engine.steps import load_step, seconds_of
from ctp_torch.study.engine.workers import share_out

__all__ = ["ResultRows", "StudyResults", "collect", "run_study"]

ProgressTrack = Callable[..., Iterable[str]]
"""``track(iterator, title, total=n)`` passes the names on, with a progress bar."""
Kind = TypeVar("Kind", bound=Row)


class ResultRows(NamedTuple):
    """The rows of a cohort."""

    scores: list[ScoreRow]
    """Models, floors and other teachers against the teacher."""
    card: list[ReferenceRow]
    """The scorecard: against teacher and truth, by region."""
    lesions: list[LesionRow]
    """Core and penumbra."""
    degraded: list[DegradedRow]
    """Degraded scans."""


@dataclass(frozen=True)
class StudyResults:
    """Everything that the steps left, by step name."""

    study: Study
    results: dict[str, Any]
    seconds: dict[str, float]
    """How long each step took."""
    missing: list[str]
    """Steps not done yet."""

    def under(self, prefix: str) -> dict[str, Any]:
        """Results of the steps whose names begin so, without the prefix."""
        return {name.removeprefix(prefix): result for name, result in self.results.items() if name.startswith(prefix)}

    @cached_property
    def rows(self) -> ResultRows:
        """Of the study's own patients."""
        lesions = {name: result for name, result in self.under("lesions/").items() if f"lesions/{name}" != CALIBRATION}
        scored = [self.under(prefix) for prefix in ("scores/", "floors/", "students/", "subtracted/", "teachers")]
        return ResultRows(
            [row for results in scored for row in _read(ScoreRow, results.values())],
            _read(ReferenceRow, self.under("cards/").values()),
            _read(LesionRow, lesions.values()),
            _read(DegradedRow, self.under("robustness/").values()),
        )

    @cached_property
    def external_rows(self) -> ResultRows:
        """Of the cohort that nothing was chosen on."""
        patients = self.under("external/").values()
        return ResultRows(
            _read(ScoreRow, (one["scores"] for one in patients)),
            _read(ReferenceRow, (one["card"] for one in patients)),
            _read(LesionRow, (one["lesions"] for one in patients)),
            [],
        )


def run_study(
    folder: Path, study: Study, *, processes: int = 1, track: ProgressTrack = lambda items, *_, **__: items
) -> None:
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
    sweep_below(folder)
    for stage in _all_stages(folder, study):
        names: Iterator[str] = share_out(folder, stage.steps, processes=processes)
        for _ in track(names, stage.title, total=len(stage.steps)):
            pass


def collect(folder: Path, study: Study) -> StudyResults:
    """What is there, and what is still missing."""
    results, seconds = {}, {}
    missing: dict[str, None] = {}  # a step can be in two stages
    for stage in _all_stages(folder, study):
        for step in stage.steps:
            result = load_step(folder, step)
            if result is None:
                missing[step.name] = None
            else:
                results[step.name], seconds[step.name] = result, seconds_of(folder, step)
    return StudyResults(study, results, seconds, list(missing))


def _all_stages(folder: Path, study: Study) -> Iterator[Stage]:
    """The stages in order, each with the thresholds calibrated by then."""
    for number in range(len(stages(study, {}))):
        yield stages(study, _calibrated(folder, study))[number]


def _calibrated(folder: Path, study: Study) -> Mapping[str, Any]:
    """The thresholds of the calibration step; none while it is missing."""
    steps = (step for stage in stages(study, {}) for step in stage.steps if step.name == CALIBRATION)
    return next((load_step(folder, step) or {} for step in steps), {})


def _read(kind: type[Kind], results: Iterable[Iterable[list[Any]]]) -> list[Kind]:
    """The rows of several steps in one list."""
    return [kind.read(cells) for result in results for cells in result]
