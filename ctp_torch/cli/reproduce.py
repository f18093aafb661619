"""``ctp-torch reproduce``: the paper's study on a cohort, its tables beside the paper's, and an honest scorecard."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctp_torch.cli import choices, console, reading
from ctp_torch.errors import CTPError

if TYPE_CHECKING:
    from ctp_torch.study.design.plan import Study
    from ctp_torch.study.engine.running import StudyResults

__all__ = ["reproduce"]

_SHOWN = ("table2_ssim_frame_0px", "table2_ssim_brain_0px", "table2_ssim_frame_2px", "table2_r_2px", "floors_2px")
_VIEWED = 2
"""Test patients in the page's viewer."""


def reproduce(
    cohort: Annotated[
        Path | None, typer.Argument(help="Cohort folder; digital patients are drawn when it is left out.")
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for tables, figures, report and steps.")
    ] = Path("ctp-study"),
    preset: Annotated[str, typer.Option(help="quick (some minutes) or paper (hours on 2 cores).")] = "quick",
    size: Annotated[
        int | None,
        typer.Option(min=64, max=1024, help="Rows and columns of the digital patients [default: the preset's]."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, max=100, help="Draws of training pixels [default: the preset's].")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the digital patients.")] = 2021,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Steps at a time [default: as many as cores, up to 4].")
    ] = None,
    lut: reading.LutOption = "jet",
    tables_only: Annotated[
        bool, typer.Option("--tables-only", help="Compute nothing: tables and figures of the steps that are done.")
    ] = False,
) -> None:
    """Repeat the paper's study, and say what it leaves open: how much of the score is perfusion at all.

    Every step's result is kept in OUT/steps. Killed at any moment and started again, it goes on where it was.

    Example: ctp-torch reproduce -o study --preset quick
    """
    from ctp_torch.study.design.presets import PRESETS, choose

    chosen = choose(choices.find_name("preset", preset, PRESETS), size=size, seeds=seeds)
    if cohort is not None and size is not None:
        raise CTPError("--size is of digital patients that are drawn here; the cohort's patients have theirs")
    started = time.perf_counter()

    from ctp_torch.io.claims import check_folder
    from ctp_torch.study.design.plan import cohort_names
    from ctp_torch.study.design.sources import Drawn, open_folder
    from ctp_torch.study.engine.running import collect, run_study

    source = Drawn(seed, chosen.patients, chosen.train, chosen.size) if cohort is None else open_folder(cohort, lut=lut)
    study = cohort_names(source, chosen)
    check_folder(output, force=True, apart=("steps",))
    steps = output / "steps"
    if not tables_only:
        steps.mkdir(parents=True, exist_ok=True)
    console.claim(output, force=True, inputs=(cohort,), apart=("steps",))
    if not tables_only:
        run_study(steps, study, processes=processes or _cores(), track=_track)
    results = collect(steps, study)
    if not results.results:
        raise CTPError(f"{steps} holds no step of this study; leave --tables-only out to compute them")
    _deliver(steps, output, study, results, seconds=time.perf_counter() - started)
    if results.missing:
        console.warn(f"{len(results.missing)} steps are missing; without --tables-only they are computed")
    console.say(f"done in {time.perf_counter() - started:.0f} s; open {output / 'report.html'}")


def _deliver(steps: Path, output: Path, study: Study, results: StudyResults, *, seconds: float) -> None:
    """Write everything and print the main tables."""
    from ctp_torch.io.results.derivation import versions
    from ctp_torch.report.tables import markdown
    from ctp_torch.study.output.delivery import deliver
    from ctp_torch.study.output.tables import all_tables
    from ctp_torch.study.output.viewers import views

    facts = {
        "machine": _machine(),
        "seconds of this call": f"{seconds:.0f}",
        "seconds of all steps": f"{sum(results.seconds.values()):.0f}",
        **versions(),
    }
    shown = views(steps, results, study.test[:_VIEWED])
    with console.delivered(output) as folder:
        figures = deliver(steps, folder, results, patients=shown, facts=facts)
    tables = all_tables(results)
    for name in _SHOWN:
        if name in tables:
            console.say(f"\n{tables[name].caption}\n")
            console.say(markdown(tables[name]))
    console.say(f"\n{len(tables)} tables and {len(figures)} figures in {output}")


def _track(names: Iterable[str], title: str, *, total: int) -> Iterator[str]:
    """The names, with a progress bar and the time that the stage took."""
    started = time.perf_counter()
    yield from console.track(names, title, total=total)
    if not console.settings.quiet:
        console.say(f"{title}: {total} steps, {time.perf_counter() - started:.0f} s")


def _cores() -> int:
    """Processes that make sense here."""
    import os

    return min(4, os.cpu_count() or 1)


def _machine() -> str:
    """Processor and cores."""
    import os
    import platform

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        models = [line.split(":", 1)[1].strip() for line in info.read_text(encoding="utf-8").splitlines()
                  if line.startswith("model name")]  # fmt: skip
        name = models[0] if models else name
    return f"{name}, {os.cpu_count()} cores"
