"""Write a file or folder beside its place and move it there when it is whole: nothing half-written is ever seen."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ctp_torch.errors import OutputExistsError
from ctp_torch.io.claims import claim_folder
from ctp_torch.io.delivery import on_its_way
from ctp_torch.io.listing import flush
from ctp_torch.io.workplace import beside

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["expect_size", "private_file", "save_tensors", "whole"]


@contextmanager
def whole(path: str | Path, *, force: bool = False) -> Iterator[Path]:
    """A path to write to, moved to ``path`` at the end of the block; removed if the block fails.

    Parameters
    ----------
    path
        the file or folder wanted; parents are made
    force
        replace a file, or a folder that holds no file of another name; otherwise only an empty folder may be there

    Raises
    ------
    OutputExistsError
        when the place is taken or can't be written
    """
    path = Path(path)
    if path.is_dir():
        with claim_folder(path, force=force, listed=False) as claim, claim.delivered() as folder:
            folder.rmdir()  # the writer makes it
            yield folder
            if not folder.is_dir():
                raise OutputExistsError(f"{path} exists already and is a folder: choose another name for the file")
        return
    if os.path.lexists(path) and not force:
        raise OutputExistsError(f"{path} exists already: choose another place, or replace it with --force")
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(beside(path))
        except OSError as error:
            raise OutputExistsError(
                f"{path.parent} can't be made or written ({error.strerror}): choose another place"
            ) from error
        partial = folder / path.name  # the real name, because writers choose the format by the suffix
        yield partial
        if not on_its_way(path):
            flush(partial)
        if not force and os.path.lexists(path):
            raise OutputExistsError(f"{path} was made by another program meanwhile; it was left alone")
        partial.replace(path)
    if not on_its_way(path):
        flush(path.parent)


@contextmanager
def private_file(path: Path) -> Iterator[TextIO]:
    """A text file that this user alone may read, whole or not at all; an older one is replaced.

    Parameters
    ----------
    path
        names of files in it may be in any encoding, and its parents are made
    """
    with whole(path, force=True) as partial:
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            yield stream


def expect_size(path: Path, size: int) -> None:
    """Refuse a file that its writer left short: some tell of no error when a disk is full.

    Raises
    ------
    OSError
        as the writer should have raised it
    """
    there = path.stat().st_size
    if there != size:
        raise OSError(errno.ENOSPC, f"only {there:,} of {size:,} bytes could be written", str(path))


def save_tensors(tensors: Mapping[str, Tensor], path: Path, *, metadata: Mapping[str, str] | None = None) -> None:
    """Tensors as a safetensors file, whole or not at all; an older file is replaced.

    Raises
    ------
    OSError
        when the disk is full or the file can't be written
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with whole(path, force=True) as partial:
        try:
            save_file(dict(tensors), partial, metadata=None if metadata is None else dict(metadata))
        except SafetensorError as error:
            match = re.search(r"os error (\d+)", str(error))
            number = int(match[1]) if match else errno.EIO
            raise OSError(number, os.strerror(number) if match else str(error), str(path)) from error
