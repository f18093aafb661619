"""Hidden folders to work in, each held by one living process; what dead processes left is found and removed."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType

from ctp_torch.interrupts import Interrupted, undisturbed

__all__ = [
    "KEPT",
    "PREFIX",
    "HeldError",
    "Workplace",
    "beside",
    "fixed_name",
    "remove",
    "sweep",
    "sweep_below",
    "temporary_folder",
]

PREFIX = ".ctp-torch-"
"""Names of the hidden folders begin so."""
KEPT = "kept.json"
"""A workplace with this file outlives its process on purpose: the same run goes on there."""
_OWNER = ".owner"
_DRAWS = 3
_PATIENCE_S = 2.0
"""How long to wait for a workplace whose holder hasn't written its name: it is being made, or swept."""


class HeldError(Exception):
    """A workplace belongs to another process, or to one that can't be told dead; the message names it."""


class Workplace:
    """A hidden folder that this process alone works in, gone when it is closed.

    A lock of the operating system on a file in it tells whether its process lives: the kernel frees the lock at death,
    whatever the death, so that a leftover is known without a guess about process numbers, in containers too.

    Parameters
    ----------
    folder
        made if it isn't there; what a dead process left in it is removed, unless it holds ``KEPT``
    patience_s
        how long to wait while the holder is unnamed
    strict
        refuse where the file system knows no locks; otherwise nobody is kept out there

    Raises
    ------
    HeldError
        when a living process holds it, or one of another machine did, whose life can't be told
    """

    def __init__(self, folder: Path, *, patience_s: float = _PATIENCE_S, strict: bool = False) -> None:
        self.folder = folder
        self._lock: int | None = None
        try:
            with undisturbed():
                self._lock = _hold(folder, patience_s, strict)
                if not (folder / KEPT).exists():
                    _empty(folder)
                os.truncate(self._lock, 0)
                os.lseek(self._lock, 0, os.SEEK_SET)
                os.write(self._lock, json.dumps(_this_process()).encode())
        except Interrupted:
            self.close()
            raise

    def close(self, *, keep: bool = False) -> None:
        """Let go of the folder and remove it; with ``keep`` leave it to the next run of the same kind."""
        if self._lock is None:
            return
        with undisturbed():
            if not keep:
                _empty(self.folder)
                (self.folder / _OWNER).unlink(missing_ok=True)  # last, still locked: nobody else may come in before
                with suppress(OSError):  # the next process is in already
                    self.folder.rmdir()
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Workplace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A workplace of its own in the folder of ``path``, whose parents are made; its name is drawn."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _drawn(path.parent) as place:
        yield place.folder


def _drawn(home: Path) -> Workplace:
    """A workplace under a name that nobody has; somebody who sweeps may look into the first ones."""
    for _ in range(_DRAWS):
        with suppress(HeldError):
            return Workplace(home / f"{PREFIX}{secrets.token_hex(8)}")
    return Workplace(home / f"{PREFIX}{secrets.token_hex(8)}")


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder among the system's temporary ones, gone with the block; what dead processes left there goes first."""
    root = Path(tempfile.gettempdir())
    sweep(root)
    with beside(root / "files") as folder:
        (folder / "files").mkdir()
        yield folder / "files"


def sweep(place: Path, *, kept: bool = False) -> list[Path]:
    """Remove the workplaces in a folder whose processes are dead; with ``kept`` those too that wait to go on.

    Returns
    -------
    list
        what was removed
    """
    try:
        entries = [Path(entry) for entry in os.scandir(place) if entry.name.startswith(PREFIX)]
    except OSError:
        return []
    removed = []
    for folder in entries:
        try:
            information = folder.lstat()
            own = information.st_uid == _user() and folder.is_dir()
            if not own or ((folder / KEPT).exists() and not kept):
                continue
            dead = Workplace(folder, patience_s=0.0, strict=True)
        except (HeldError, OSError):
            continue
        dead.close()
        removed.append(folder)
    return removed


def sweep_below(place: Path, *, kept: bool = False) -> list[Path]:
    """The same for a folder and all below it; with ``kept`` the notes of deliveries too that nobody goes on with.

    Returns
    -------
    list
        what was removed
    """
    removed = []
    for folder, below, files in os.walk(place):
        removed += sweep(Path(folder), kept=kept)
        below[:] = [name for name in below if not name.startswith(PREFIX)]
        for name in files:
            note = Path(folder) / name
            if not (kept and name.startswith(PREFIX) and name.endswith(".json")):
                continue
            with suppress(HeldError, OSError), Workplace(note.with_suffix(""), patience_s=0.0, strict=True):
                note.unlink()
                removed.append(note)
    return removed


def fixed_name(name: str) -> str:
    """The workplace's name that all runs into a place of that name share."""
    import hashlib

    fits = len(os.fsencode(name)) <= 200
    return PREFIX + (name if fits else hashlib.sha256(os.fsencode(name)).hexdigest())


def remove(path: Path) -> None:
    """A file or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _empty(folder: Path) -> None:
    """Remove all but the lock."""
    for entry in folder.iterdir():
        if entry.name != _OWNER:
            remove(entry)


def _user() -> int:
    """Whose files this process makes; nobody's on Windows, where there are no such locks, and nothing is swept."""
    return -1 if sys.platform == "win32" else os.getuid()


def _hold(folder: Path, patience_s: float, strict: bool) -> int:
    """The open, locked file that makes a folder this process's."""
    deadline = time.monotonic() + patience_s
    while True:
        if folder.is_symlink():  # never work, let alone remove, behind somebody's link
            raise HeldError(f"{folder} is a symbolic link")
        folder.mkdir(mode=0o700, exist_ok=True)
        owner = ""
        try:
            lock = os.open(folder / _OWNER, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        except FileNotFoundError:  # its owner took the folder away just now
            lock = -1
        if lock >= 0:
            owner = os.read(lock, 4096).decode(errors="replace")
            if _locked(lock, folder / _OWNER, strict) and _of_this_machine(owner):
                return lock
            os.close(lock)
        if owner or time.monotonic() >= deadline:
            raise HeldError(_named(owner))
        time.sleep(0.02)


def _locked(lock: int, path: Path, strict: bool) -> bool:
    """Whether the lock is ours now, and still that of the file at this path."""
    try:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(lock), path.stat())
    except (BlockingIOError, FileNotFoundError):  # held by another, or gone meanwhile
        return False
    except OSError:  # the file system knows no locks
        return not strict


def _this_process() -> dict[str, object]:
    """Who holds a workplace, for messages and for machines that share a disk."""
    started = datetime.now().isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "boot": _boot(), "started": started}


def _boot() -> str:
    """What this start of the machine's kernel is called, where it tells: containers on it share it."""
    file = Path("/proc/sys/kernel/random/boot_id")
    return file.read_text(encoding="ascii").strip() if sys.platform == "linux" and file.is_file() else ""


def _of_this_machine(owner: str) -> bool:
    """Whether a lock taken from this owner means that it is dead: over a network disk it might not."""
    note = _read(owner)
    boot = _boot()
    return not note or (boot != "" and note.get("boot") == boot) or note.get("host") == socket.gethostname()


def _named(owner: str) -> str:
    """The holder in words."""
    note = _read(owner)
    if not note:
        return "another process"
    return f"process {note.get('pid')} on {note.get('host')}, started {note.get('started')}"


def _read(owner: str) -> dict[str, object]:
    """The holder's note; nothing when it isn't whole."""
    try:
        note = json.loads(owner)
    except ValueError:
        return {}
    return note if isinstance(note, dict) else {}
