"""``ctp-torch node``: a DICOM node that maps what comes in and sends back what came of it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctp_torch.cli import console
from ctp_torch.cli.group import CommandGroup
from ctp_torch.errors import CTPError

if TYPE_CHECKING:
    from ctp_torch.archive.queue import Queue

__all__ = ["app"]

app = typer.Typer(
    cls=CommandGroup, help="Run in a hospital: receive, process, send back, unattended.", no_args_is_help=True
)

FileArgument = Annotated[Path, typer.Argument(help="Settings of the node (TOML).", metavar="FILE")]
CasesArgument = Annotated[list[int], typer.Argument(help="Numbers of cases, as in the list.", metavar="CASE...")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def _node() -> None:
    """Run in a hospital: receive, process, send back, unattended."""


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="File to write.", metavar="FILE")] = Path("node.toml"),
    force: console.ForceOption = False,
) -> None:
    """Write settings with every default and a word about each.

    Example: ctp-torch node init node.toml
    """
    from ctp_torch.archive.template import TEMPLATE
    from ctp_torch.io.atomic import whole

    with whole(file, force=force) as partial:
        partial.write_text(TEMPLATE, encoding="utf-8")
    console.say(f"{file} written: set folder, who may send and where results go; then ctp-torch node check {file}")


@app.command()
def check(file: FileArgument) -> None:
    """Try everything that the node needs: disk, settings, every connection.

    Example: ctp-torch node check node.toml
    """
    from ctp_torch.archive import read_settings
    from ctp_torch.archive.check import findings
    from ctp_torch.archive.journal import silence_libraries

    settings = read_settings(file)
    silence_libraries()
    failed = 0
    for what, problem in findings(settings):
        failed += bool(problem)
        console.say(f"{'FAILED' if problem else 'well':>6}  {what}{': ' + problem if problem else ''}")
    if failed:
        raise CTPError(f"{failed} of these must be mended before the node can run")


@app.command()
def run(
    file: FileArgument,
    part: Annotated[
        str | None, typer.Option(help="One part alone (receive, watch, work, send, page); the node starts them itself.")
    ] = None,
) -> None:
    """Run the node until it is told to end; killed anywhere, the same command goes on.

    Example: ctp-torch node run node.toml
    """
    from ctp_torch.archive.run import run_node, run_part

    if part is None:
        run_node(file)
    else:
        run_part(file, part)


@app.command()
def status(file: FileArgument, as_json: JsonOption = False) -> None:
    """Tell whether a person should look, and at what.

    Example: ctp-torch node status node.toml
    """
    from ctp_torch.archive.status import health

    settings, queue = _opened(file)
    well, facts = health(settings, queue)
    if as_json:
        console.say(json.dumps(facts, indent=1))
    else:
        console.say("healthy" if well else "needs a look")
        for problem in facts["problems"]:
            console.say(f"  {problem}")
        for state, n in sorted(facts["cases"].items()):
            console.say(f"{n:>7}  {state}")
        console.say(f"{facts['disk_free_bytes'] / 1e9:7.1f}  GB of disk free")
    if not well:
        raise typer.Exit(1)


@app.command(name="list")
def list_cases(
    file: FileArgument,
    state: Annotated[
        str | None, typer.Option(help="Only those in it: complete, running, stored, done, parked or replaced.")
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Only those of a study, by its UID or its hash.", metavar="UID")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List cases, the newest first, and studies still on their way.

    Example: ctp-torch node list node.toml --state parked
    """
    from ctp_torch.archive.journal import digest
    from ctp_torch.archive.status import case_rows, study_rows

    _, queue = _opened(file)
    cases, studies = case_rows(queue, state=state or "", limit=limit), [] if state else study_rows(queue, limit=limit)
    if study:
        wanted = digest(study) if "." in study else study
        cases, studies = ([row for row in rows if row["study"] == wanted] for rows in (cases, studies))
    if as_json:
        console.say(json.dumps({"cases": cases, "studies": studies}, indent=1))
        return
    for row in cases:
        console.say(_line(row))
    for row in studies:
        console.say(f"{'':>6}  {row['study']}  {row['state']:<9} {row['images']:>6} images  {row['message']}")
    if not cases and not studies:
        console.say("none")


@app.command()
def retry(file: FileArgument, cases: CasesArgument) -> None:
    """Do cases again, as if they had just come; results that were sent are sent again.

    Example: ctp-torch node retry node.toml 12 13
    """
    _, queue = _opened(file)
    for number in cases:
        row = _known(queue, number)
        if row["state"] == "running":
            raise CTPError(f"case {number} is running: wait, or park it first")
        with queue.change() as db:
            db.execute(
                "UPDATE cases SET state='complete', attempts=0, due=0, failure=0, priority=1, done=NULL WHERE id=?",
                (number,),
            )
            db.execute(
                "UPDATE deliveries SET state='waiting', attempts=0, due=0 WHERE number=? AND what='maps'", (number,)
            )
        _audit(file, "retried by a user", row)
        console.say(f"case {number} will be done again")


@app.command()
def park(file: FileArgument, cases: CasesArgument) -> None:
    """Take cases out of the queue, and their results off the way; retry brings them back.

    Example: ctp-torch node park node.toml 12
    """
    _, queue = _opened(file)
    for number in cases:
        row = _known(queue, number)
        with queue.change() as db:
            db.execute(
                "UPDATE cases SET state='parked', message='parked by a user', failure=0 WHERE id=? AND state<>'done'",
                (number,),
            )
            db.execute("DELETE FROM deliveries WHERE number=? AND state='waiting'", (number,))
        _audit(file, "parked by a user", row)
        console.say(f"case {number} is parked")


@app.command()
def purge(
    file: FileArgument,
    cases: Annotated[
        list[int] | None, typer.Argument(help="Numbers of cases, as in the list.", metavar="CASE...")
    ] = None,
    days: Annotated[
        float | None,
        typer.Option("--older", min=0, help="All that is done and older than so many days.", metavar="DAYS"),
    ] = None,
) -> None:
    """Delete the images and results of cases and their studies from this node; nothing is deleted elsewhere.

    Example: ctp-torch node purge node.toml 12

    Example: ctp-torch node purge node.toml --older 2
    """
    from ctp_torch.archive.store import Store

    settings, queue = _opened(file)
    store = Store(settings, queue)
    if days is not None:
        before = time.time() - (days - settings.keep_days) * 86_400
        console.say(f"{store.clear(now=before)} studies deleted")
    for number in cases or []:
        row = _known(queue, number)
        busy = queue.one(
            "SELECT id FROM cases WHERE study=? AND state IN ('complete', 'running', 'stored')", row["study"]
        )
        if busy:
            raise CTPError(f"case {busy['id']} of the same study is on its way: wait, or park it first")
        store.delete(row["study"])
        _audit(file, "purged by a user", row)
        console.say(f"the study of case {number} is deleted from this node")
    if days is None and not cases:
        raise CTPError("say which: numbers of cases, or --older DAYS")


def _opened(file: Path) -> tuple[Any, Queue]:
    """The settings, and the queue that is there."""
    from ctp_torch.archive import Queue, read_settings

    settings = read_settings(file)
    if not (settings.folder / "queue.sqlite").is_file():
        raise CTPError(f"{settings.folder} holds no queue yet: run the node first, ctp-torch node run {file}")
    return settings, Queue(settings.folder)


def _known(queue: Queue, number: int) -> Any:
    """The row of a case."""
    row = queue.one("SELECT * FROM cases WHERE id=?", number)
    if row is None:
        raise CTPError(f"there is no case {number}: see ctp-torch node list")
    return row


def _audit(file: Path, action: str, row: Any) -> None:
    """A line of the audit, where it is kept."""
    import getpass

    from ctp_torch.archive import read_settings
    from ctp_torch.archive.journal import Journal

    settings = read_settings(file)
    Journal("cli", log=settings.log, audit=settings.audit).note(action, study=row["study"], who=getpass.getuser())


def _line(row: dict[str, Any]) -> str:
    """A case on one line."""
    arrived = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["last_image"]))
    took = "" if row["to_last_result_s"] is None else f"  {row['to_last_result_s']:.1f} s to the last result"
    waits = [f"{one['destination']} waits: {one['message']}" for one in row["deliveries"] if one["message"]]
    message = "; ".join(filter(None, [row["message"].split("\n")[0], *waits]))
    images = f"{row['images']:>6} images  last {arrived}"
    return f"{row['case']:>6}  {row['study']}  {row['state']:<9} {images}{took}{'  ' + message if message else ''}"
