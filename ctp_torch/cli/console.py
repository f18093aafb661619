"""What every command shares: printing, progress bars, the device, and refusing to overwrite."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ctp_torch.errors import CTPError, OutputExistsError

if TYPE_CHECKING:
    import torch

__all__ = [
    "DeviceOption",
    "ForceOption",
    "claim",
    "complain",
    "delivered",
    "pick_device",
    "say",
    "scratch",
    "settings",
    "track",
    "versions",
    "warn",
]

T = TypeVar("T")

DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.", metavar="DEVICE")]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite an existing result.")]


class _Settings:
    """The two switches of the command line itself."""

    debug = False
    quiet = False


settings = _Settings()


def say(message: str = "") -> None:
    """Print a result."""
    typer.echo(message)


def warn(message: str) -> None:
    """Print a warning to the error stream."""
    typer.secho(f"warning: {message}", err=True, fg=typer.colors.YELLOW)


def complain(message: str) -> None:
    """Print an error to the error stream."""
    typer.secho(f"error: {message}", err=True, fg=typer.colors.RED)


def track(items: Iterable[T], description: str, *, total: int | None = None) -> Iterator[T]:
    """The items, with a progress bar on a terminal and none elsewhere."""
    if settings.quiet or not sys.stderr.isatty():
        yield from items
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


def pick_device(name: str) -> torch.device:
    """The device of that name: ``auto`` is CUDA where there is one, else the CPU."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()) or (kind == "cpu" and number):
        raise CTPError(f"unknown device {name!r}; give auto, cpu, cuda or cuda:N")
    if kind == "cuda" and not torch.cuda.is_available():
        raise CTPError(f"device {name!r} was asked for, but torch sees no CUDA device; use --device cpu")
    if kind == "cuda" and number and int(number) >= torch.cuda.device_count():
        raise CTPError(f"device {name!r} was asked for, but torch sees {torch.cuda.device_count()} CUDA device(s)")
    return torch.device(name)


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    import platform
    from importlib.metadata import version

    names = (
        "ctp-torch",
        "torch",
        "gpytorch",
        "pydicom",
        "SimpleITK",
        "numpy",
        "kornia",
        "pytorch-msssim",
        "safetensors",
    )
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


@contextmanager
def scratch(output: Path) -> Iterator[Path]:
    """A temporary folder beside the output, gone at the end."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=".ctp-torch-", dir=output.parent)
    except OSError as error:
        raise OutputExistsError(f"{output.parent} can't be written ({error.strerror}); give another -o") from error
    with temporary as folder:
        yield Path(folder)


@contextmanager
def delivered(output: Path) -> Iterator[Path]:
    """A temporary folder whose entries move into ``output`` when all is written; what else is there is left alone."""
    with scratch(output) as folder:
        yield folder
        output.mkdir(exist_ok=True)
        for entry in sorted(folder.iterdir()):
            if (output / entry.name).is_dir():
                shutil.rmtree(output / entry.name)
            entry.replace(output / entry.name)


def claim(path: Path, *, force: bool) -> None:
    """Refuse to write where something is already, unless ``--force`` was given; nothing is made yet."""
    taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
    if taken and not force:
        raise OutputExistsError(f"{path} exists already; give another -o, or --force to overwrite it")
