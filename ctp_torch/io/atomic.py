"""Write a file or folder beside its place and move it there when it is whole: nothing half-written is ever seen."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctp_torch.errors import OutputExistsError

__all__ = ["whole"]


@contextmanager
def whole(path: str | Path, *, force: bool = False) -> Iterator[Path]:
    """A path to write to, moved to ``path`` at the end of the block; removed if the block fails.

    Parameters
    ----------
    path
        the file or folder wanted; parents are made
    force
        replace what is there; otherwise only an empty folder may be

    Raises
    ------
    OutputExistsError
        when the place is taken or can't be written
    """
    path = Path(path)
    taken = path.exists() and not (path.is_dir() and not any(path.iterdir()))
    if taken and not force:
        raise OutputExistsError(f"{path} exists already: choose another place, or replace it with --force")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputExistsError(f"{path.parent} can't be made ({error.strerror}): choose another place") from error
    # the real name stays at the end, because writers choose the format by the suffix
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        if taken and path.is_dir():
            shutil.rmtree(path)
        partial.replace(path)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink(missing_ok=True)
