"""``ctp-torch cohort``: which scans there are below a folder, all of them mapped, one table of what came of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctp_torch.cli import choices, console, formats, reading
from ctp_torch.cli.cohort_progress import told
from ctp_torch.cli.group import CommandGroup
from ctp_torch.cli.lesion import ThresholdsOption
from ctp_torch.cli.maps import (
    LesionsOption,
    RegionsOption,
    RegistrationOption,
    ReportOption,
    ScalingOption,
    SlabOption,
    StrictOption,
)
from ctp_torch.errors import CTPError, OptionError

if TYPE_CHECKING:
    from ctp_torch.cohorts import Case
    from ctp_torch.cohorts.cases import Skipped
    from ctp_torch.pipeline.analysis import MapSettings
    from ctp_torch.pipeline.engine import Engine

__all__ = ["app"]

_SOME_FAILED = 8
_INDEX = "index.private.json"

app = typer.Typer(
    cls=CommandGroup, help="Map many scans: find them, run them, tell what came of them.", no_args_is_help=True
)

WhereArgument = Annotated[
    Path,
    typer.Argument(
        help="Folder of patients, studies, mixed DICOM files, NIfTI series or zips; or a CSV or TSV of paths.",
        metavar="WHERE",
    ),
]
OutOption = Annotated[Path, typer.Option("-o", "--output", help="Folder of all results; a run that is there goes on.")]


@app.callback()
def _cohort() -> None:
    """Map many scans: find them, run them, tell what came of them."""


@app.command(name="list")
def list_cases(
    where: WhereArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, paths included.")] = False,
    index: Annotated[
        Path | None, typer.Option(help="File to keep headers in, so that the next time takes seconds.")
    ] = None,
) -> None:
    """List the scans that a run would map, and what it would pass over and why.

    Example: ctp-torch cohort list ARCHIVE

    Example: ctp-torch cohort list ARCHIVE --json
    """
    cases, skipped = _found(where, index)
    if as_json:
        found = [
            {"case": case.key, "source": str(case.source), "files": len(case.files), "options": dict(case.options)}
            for case in cases
        ]
        passed = [{"source": str(one.source), "reason": one.reason, "files": one.files} for one in skipped]
        console.say(json.dumps({"cases": found, "skipped": passed}, indent=1))
        return
    for number, case in enumerate(cases, start=1):
        series = "" if case.example is None else ", one series of several"
        console.say(f"{number:>5}  {case.key}  {len(case.files):>6} files  {case.source}{series}")
    _say_skipped(skipped)
    console.say(f"{len(cases)} scans")


@app.command()
def run(
    where: WhereArgument,
    output: OutOption,
    method: Annotated[
        str | None,
        typer.Option(
            help=f"Deconvolve, by one or several of {', '.join(choices.METHODS)} [default: csvd].", metavar="NAMES"
        ),
    ] = None,
    model: Annotated[list[Path] | None, typer.Option(help="Predict with this model file; may be repeated.")] = None,
    vof_scaling: ScalingOption = True,
    sigma_mm: choices.SigmaOption = None,
    smoothing: choices.SmoothingOption = "beside",
    slab_mm: SlabOption = None,
    registration: RegistrationOption = None,
    lesions: LesionsOption = True,
    thresholds: ThresholdsOption = None,
    regions: RegionsOption = False,
    report: ReportOption = True,
    drop_incomplete: reading.DropOption = False,
    duplicates: reading.DuplicatesOption = "refuse",
    write: formats.FormatsOption = "nifti",
    strict: StrictOption = False,
    engine: Annotated[
        str, typer.Option(help="Who does the work: local (this machine), or ray (a cluster).", metavar="NAME")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster that runs already [default: one on this machine].")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes of this machine at once [default: one for every core; two with CUDA]."),
    ] = None,
    memory_gb: Annotated[
        float | None, typer.Option(min=0.5, help="Of all processes together [GB] [default: 4/5 of what is free].")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(help="Map a part only: i/n, every n-th scan from the i-th.", metavar="I/N")
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Map these only: numbers or hashes of `cohort list`, separated by commas.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Do again what failed.")] = False,
    keep_identity: Annotated[
        bool, typer.Option("--keep-identity", help="Name folders and paths in the shared table too.")
    ] = False,
    device: console.DeviceOption = "auto",
) -> None:
    """Map every scan below a folder; one that fails stops no other, and the same command goes on where it stopped.

    Exit code 8 when some failed: cohort.csv and cohort.html say which and why.

    Example: ctp-torch cohort run ARCHIVE -o OUT

    Example: ctp-torch cohort run ARCHIVE -o OUT --method csvd,osvd --shard 2/10
    """
    repeated = choices.pick_duplicates(duplicates)
    names = formats.pick_formats(write, lesions=lesions)
    part = _shard(shard)
    methods = [choices.find_name("method", one, choices.METHODS) for one in (method or "").split(",") if one.strip()]
    from ctp_torch.cohorts import run_cohort
    from ctp_torch.cohorts.run import Shard
    from ctp_torch.pipeline.analysis import MapSettings

    common = MapSettings(
        vof_scaling=vof_scaling, sigma_mm=sigma_mm, smoothing=choices.pick_smoothing(smoothing), slab_mm=slab_mm,
        registration=registration, lesions=lesions, thresholds=thresholds, regions=regions,
        drop_incomplete=drop_incomplete, duplicates=repeated, strict=strict, device=str(console.pick_device(device)),
    )  # fmt: skip
    variants = _variants(common, methods, model or [])
    output.mkdir(parents=True, exist_ok=True)
    crew = _engine(engine, address, workers, memory_gb, common.device)
    cases, skipped = _found(where, output / _INDEX)
    _say_skipped(skipped)
    chosen = _only(cases, only)
    with told(len(chosen)) as progress:
        rows = run_cohort(
            cases, output, variants, formats=names, report=report, engine=crew, retry_failed=retry_failed,
            shard=None if part is None else Shard(*part), only={case.key for case in chosen}, progress=progress,
        )  # fmt: skip
    if keep_identity:
        from ctp_torch.cohorts.table import write_tables

        rows = write_tables(output, cases, list(variants), identity=True)
    _finish(output, rows)


@app.command()
def table(
    output: Annotated[Path, typer.Argument(help="Folder of a cohort run, or of all its parts.", metavar="OUT")],
    keep_identity: Annotated[
        bool, typer.Option("--keep-identity", help="Name folders and paths in the shared table too.")
    ] = False,
) -> None:
    """Write the tables of a cohort run anew, from what all its parts have done by now.

    Exit code 8 when some failed.

    Example: ctp-torch cohort table OUT
    """
    from ctp_torch.cohorts.table import read_plan, write_tables

    cases, variants = read_plan(output)
    _finish(output, write_tables(output, cases, variants, identity=keep_identity))


def _finish(output: Path, rows: list[dict[str, object]]) -> None:
    """How a run ended, in words and as an exit code."""
    counts = {status: sum(row["status"] == status for row in rows) for status in ("done", "failed", "waiting")}
    words = ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "no scan"
    console.say(f"{words}: see {output / 'cohort.html'} and cohort.csv")
    if counts["failed"]:
        raise typer.Exit(_SOME_FAILED)


def _engine(name: str, address: str | None, workers: int | None, memory_gb: float | None, device: str) -> Engine:
    """The engine of that name."""
    from ctp_torch.pipeline.engine import LocalEngine

    if choices.find_name("engine", name, ("local", "ray")) == "local":
        if address is not None:
            raise OptionError("--address is of a Ray cluster: give --engine ray too")
        on_gpu = device.startswith("cuda")  # one process computes while the other one reads
        return LocalEngine(workers or (2 if on_gpu else None), memory_gb)
    if workers is not None or memory_gb is not None:
        raise OptionError("--workers and --memory-gb are of --engine local: Ray knows its nodes")
    from ctp_torch.pipeline.ray_engine import RayEngine

    return RayEngine(address, gpu=device.startswith("cuda"))


def _found(where: Path, index: Path | None) -> tuple[list[Case], list[Skipped]]:
    """The cases of a place; none is an error."""
    from ctp_torch.cohorts import find_cases

    cases, skipped = find_cases(where, index=index, progress=console.note)
    if not cases:
        reasons = sorted({one.reason for one in skipped})
        from ctp_torch.errors import NoSeriesError

        raise NoSeriesError(f"{where} holds no perfusion scan{f' ({chr(59).join(reasons)})' if reasons else ''}")
    return cases, skipped


def _say_skipped(skipped: list[Skipped]) -> None:
    """What was passed over, a line a reason."""
    for reason in sorted({one.reason for one in skipped}):
        files = sum(one.files for one in skipped if one.reason == reason)
        console.say(f"passed over: {files} file(s): {reason}")


def _shard(text: str | None) -> tuple[int, int] | None:
    """The numbers of ``i/n``."""
    if text is None:
        return None
    index, slash, of = text.partition("/")
    if not (slash and index.isdigit() and of.isdigit()):
        raise OptionError(f"--shard {text!r}: give i/n, such as 2/10")
    return int(index), int(of)


def _variants(common: MapSettings, methods: list[str], models: list[Path]) -> dict[str, MapSettings]:
    """The settings of each method and model."""
    variants = {name: replace(common, method=name) for name in methods}
    for path in models:
        name = path.stem.replace(".", "-")
        if name in variants:
            raise OptionError(f"two variants are called {name}: give model files different names")
        variants[name] = replace(common, model=path)
    return variants or {"maps": common}


def _only(cases: list[Case], text: str | None) -> list[Case]:
    """The cases that are meant by their numbers or hashes."""
    if text is None:
        return cases
    known = {**{str(n): case for n, case in enumerate(cases, start=1)}, **{case.key: case for case in cases}}
    words = [word.strip() for word in text.split(",") if word.strip()]
    if unknown := [word for word in words if word not in known]:
        raise CTPError(f"--only {', '.join(unknown)}: no such scan among {len(cases)}; see ctp-torch cohort list")
    return [known[word] for word in words]
