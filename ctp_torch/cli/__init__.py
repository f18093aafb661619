"""The command line: the only place that picks a device, prints, or names a method by string."""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated

import typer

from ctp_torch import __version__
from ctp_torch.cli import console
from ctp_torch.cli.calibrate import calibrate
from ctp_torch.cli.cohort import app as cohort
from ctp_torch.cli.compare import compare
from ctp_torch.cli.convert import convert
from ctp_torch.cli.demo import demo
from ctp_torch.cli.doctor import doctor
from ctp_torch.cli.evaluate import evaluate
from ctp_torch.cli.group import CommandGroup
from ctp_torch.cli.info import info
from ctp_torch.cli.lesion import lesion
from ctp_torch.cli.lut import lut
from ctp_torch.cli.maps import maps
from ctp_torch.cli.node import app as node
from ctp_torch.cli.phantom import app as phantom
from ctp_torch.cli.qc import qc
from ctp_torch.cli.reproduce import reproduce
from ctp_torch.cli.train import train
from ctp_torch.cli.tune import tune
from ctp_torch.errors import CTPError
from ctp_torch.interrupts import Interrupted, raised_signals

__all__ = ["app", "main"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A disk, a user's share of it, or a limit on files that is used up."""

app = typer.Typer(
    cls=CommandGroup,
    name="ctp-torch",
    help="CT perfusion of the brain: CBF, CBV, MTT and Tmax maps from DICOM, by deconvolution and learned regressors."
    "\n\nStart with [bold]ctp-torch demo[/bold]; then [bold]ctp-torch maps DICOM_FOLDER -o OUT[/bold]."
    "\n\nFor research only: not a medical device.",
    epilog="Exit codes: 0 done; 1 refused, as the message says; 2 options that can't be read; 3 no series or cohort; "
    "4 a file that can't be read, or a model that doesn't fit; 5 an incomplete or ambiguous series; "
    "6 a place that can't be written; 7 quality control under --strict; 8 some scans of a cohort failed; "
    "130 interrupted.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


for command in (
    demo,
    maps,
    lesion,
    info,
    qc,
    convert,
    lut,
    compare,
    train,
    tune,
    evaluate,
    calibrate,
    reproduce,
    doctor,
):
    app.command()(command)
app.add_typer(cohort, name="cohort")
app.add_typer(phantom, name="phantom")
app.add_typer(node, name="node")


def _print_version(asked: bool) -> None:
    """Print the package's version, and stop."""
    if asked:
        console.say(__version__)
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print results only, no progress.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print each step as it is done.")] = False,
    log_json: Annotated[
        bool, typer.Option("--log-json", help="Write progress, warnings and errors as JSON, a line each, to stderr.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options of every command; they may stand anywhere."""
    console.settings.debug = debug
    console.settings.quiet = quiet
    console.settings.verbose = verbose
    console.settings.log_json = log_json


def main() -> None:
    """Run the ``ctp-torch`` command; a user's mistake ends with one message and its own exit code."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch reads it when imported: waiting threads sleep
    try:
        with raised_signals():
            try:
                app()
            finally:
                console.release()
    except CTPError as error:
        if console.settings.debug:
            raise
        console.complain(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        if console.settings.debug:
            raise
        remedy = "; nothing half-written is left: make room, or write elsewhere" if error.errno in _FULL else ""
        console.complain(f"{error.strerror or error}: {error.filename or ''}".rstrip(": ") + remedy)
        sys.exit(6)
    except Interrupted as stop:
        console.complain("interrupted")
        sys.exit(stop.exit_code)
