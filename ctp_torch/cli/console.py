"""What every command shares: printing, progress bars, the device, and refusing to overwrite."""

from __future__ import annotations

import atexit
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ctp_torch.errors import CTPError, OutputExistsError
from ctp_torch.interrupts import undisturbed

if TYPE_CHECKING:
    import torch

    from ctp_torch.io.delivery import Claim

__all__ = [
    "DeviceOption",
    "ForceOption",
    "claim",
    "claim_file",
    "complain",
    "delivered",
    "escaped",
    "note",
    "pick_device",
    "release",
    "say",
    "scratch",
    "settings",
    "stages",
    "tell",
    "track",
    "warn",
]

T = TypeVar("T")

_MINUTE_S = 60.0
"""Between two lines of progress where there is no terminal."""

DeviceOption = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, cuda:N, or mps (computed on the CPU).", metavar="DEVICE")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite an existing result.")]


class _Settings:
    """The switches of the command line itself."""

    debug = False
    quiet = False
    verbose = False
    log_json = False


settings = _Settings()


def escaped(text: str) -> str:
    """The text with its control characters spelt out: names of files and values of headers don't steer a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t\xa0" else c.encode("unicode_escape").decode() for c in text)


def say(message: str = "") -> None:
    """Print a result."""
    typer.echo(escaped(message))


def warn(message: str) -> None:
    """Print a warning to the error stream."""
    _log("warning", message, typer.colors.YELLOW)


def complain(message: str) -> None:
    """Print an error to the error stream."""
    _log("error", message, typer.colors.RED)


def tell(message: str) -> None:
    """Print how far the work is to the error stream."""
    if not settings.quiet:
        _log("info", message, typer.colors.BLUE)


def note(message: str) -> None:
    """Print a step that is done to the error stream, where that was asked for."""
    if settings.verbose or settings.log_json:
        _log("info", message, typer.colors.BLUE)


def _log(level: str, message: str, color: str) -> None:
    """One line for people, or for a machine."""
    if settings.log_json:
        record = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "level": level, "message": message}
        typer.echo(json.dumps(record), err=True)
    else:
        typer.secho(f"{level}: {escaped(message)}", err=True, fg=color)


def track(items: Iterable[T], description: str, *, total: int | None = None) -> Iterator[T]:
    """The items, with a progress bar on a terminal, and a line a minute elsewhere."""
    if settings.quiet:
        yield from items
        return
    if settings.log_json or not sys.stderr.isatty():
        yield from _told(items, description, total)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield from progress.track(items, total=total, description=description)


@contextmanager
def stages(first: str) -> Iterator[Callable[[str], None]]:
    """What to call when a stage of a longer step is done: on a terminal a line shows what was, elsewhere as `note`."""
    if settings.quiet or settings.verbose or settings.log_json or not sys.stderr.isatty():
        yield note
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{first} ...") as status:
        yield lambda name: status.update(f"{first}: {escaped(name)} done ...")


def _told(items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
    """The items, with a line a minute that says how far they are."""
    last = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - last >= _MINUTE_S:
            last = time.monotonic()
            _log("info", f"{description}: {done}{'' if total is None else f' of {total}'} done", typer.colors.BLUE)
        yield item


def pick_device(name: str) -> torch.device:
    """The device of that name: ``auto`` is CUDA where there is one, else the CPU."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind == "mps":
        if not torch.backends.mps.is_available():
            raise CTPError(f"device {name!r} was asked for, but torch sees no Apple GPU; use --device cpu")
        warn("most steps need float64, which Apple's GPUs lack: computing on the CPU")
        return torch.device("cpu")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()) or (kind == "cpu" and number):
        raise CTPError(f"unknown device {name!r}; give auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda" and not torch.cuda.is_available():
        raise CTPError(f"device {name!r} was asked for, but torch sees no CUDA device; use --device cpu")
    if kind == "cuda" and number and int(number) >= torch.cuda.device_count():
        raise CTPError(f"device {name!r} was asked for, but torch sees {torch.cuda.device_count()} CUDA device(s)")
    return torch.device(name)


_claims: dict[str, Claim] = {}
"""The places claimed by the command that runs, by their real paths."""


def claim(place: Path, *, force: bool, inputs: Sequence[str | Path | None] = (), apart: Sequence[str] = ()) -> None:
    """A folder claimed until the command ends, or refused; the arguments are `ctp_torch.io.claims.claim_folder`'s."""
    from ctp_torch.io.claims import claim_folder

    _keep(place, lambda: claim_folder(place, force=force, inputs=inputs, apart=apart))


def claim_file(path: Path, *others: Path, force: bool, inputs: Sequence[str | Path | None] = ()) -> None:
    """The same of a file, and of others that may come to lie beside it."""
    from ctp_torch.io.claims import claim_file

    _keep(path, lambda: claim_file(path, *others, force=force, inputs=inputs))


def _keep(place: Path, made: Callable[[], Claim]) -> None:
    """Claim and remember; an older claim of this process is let go of first."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and os.environ.get("RANK", "0") != "0":
        return  # of the processes of a torchrun the first one writes
    name = os.path.realpath(place)
    if name in _claims:
        _claims.pop(name).close()
    with undisturbed():  # what is claimed is remembered, or else it wouldn't be let go of
        _claims[name] = made()


@atexit.register
def release() -> None:
    """Let go of all places; what wasn't delivered is removed."""
    while _claims:
        _claims.popitem()[1].close()


@contextmanager
def scratch(output: Path) -> Iterator[Path]:
    """A temporary folder on the output's disk, gone at the end."""
    from ctp_torch.io.workplace import beside

    held = _claims.get(os.path.realpath(output))
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(beside(output if held is None else held.folder / "scratch"))
        except OSError as error:
            raise OutputExistsError(f"{output.parent} can't be written ({error.strerror}); give another -o") from error
        files = folder / "files"
        files.mkdir()
        yield files


@contextmanager
def delivered(output: Path) -> Iterator[Path]:
    """A folder whose files move to the claimed place when all are written: all of them or none."""
    from ctp_torch.io.claims import claim_folder

    held = _claims.pop(os.path.realpath(output), None) or claim_folder(output)
    with held, held.delivered() as folder:
        yield folder
