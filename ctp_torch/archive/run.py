"""A node that runs: one process for each of its parts, watched over, and started again when it dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from ctp_torch.archive.check import check_disk
from ctp_torch.archive.journal import Journal, silence_libraries
from ctp_torch.archive.queue import Queue
from ctp_torch.archive.settings import NodeSettings
from ctp_torch.archive.settings_file import read_settings
from ctp_torch.archive.store import Store
from ctp_torch.errors import OptionError

__all__ = ["PARTS", "parts_of", "run_node", "run_part"]

PARTS = ("receive", "watch", "work", "send", "page")
"""What a node consists of; each is a process."""
_FIRST_S, _LONGEST_S, _LONG_LIFE_S = 0.2, 30.0, 60.0
"""Before a part that died is started again; at most; and the life after which it counts as healthy."""
_GRACE_S = 20.0
"""For a part to end by itself."""
_CLEAR_S = 600.0
"""Between two looks for what is to be deleted."""
_IDLE_S = 0.2
_UNUSABLE = 78
"""Exit code of a part whose settings can't be meant (EX_CONFIG)."""


def parts_of(settings: NodeSettings) -> tuple[str, ...]:
    """The parts that these settings need."""
    wanted = {
        "receive": settings.dicom.port, "watch": settings.watch, "work": True, "send": settings.send,
        "page": settings.page.port,
    }  # fmt: skip
    return tuple(name for name in PARTS if wanted[name])


def run_node(path: Path) -> None:
    """Run all parts until told to end (SIGTERM, SIGINT).

    Parameters
    ----------
    path
        the settings

    Raises
    ------
    OptionError
        for settings that can't be meant
    CTPError
        when the queue would lie on a network disk
    """
    settings = read_settings(path)
    check_disk(settings.folder)
    Queue(settings.folder).close()
    journal = Journal("node", log=settings.log)
    stop = _ended_by_signals()
    command = [sys.executable, "-m", "ctp_torch", "node", "run", str(path), "--part"]
    keepers = [
        threading.Thread(target=_keep_alive, args=([*command, name], name, journal, stop))
        for name in parts_of(settings)
    ]
    journal.say("started", parts=list(parts_of(settings)))
    for keeper in keepers:
        keeper.start()
    while not stop.wait(0.5):
        pass
    for keeper in keepers:
        keeper.join()
    journal.say("ended")
    if stop.why:
        raise OptionError(stop.why)


class _Stop(threading.Event):
    """Tells all to end; and why, where that is nobody's wish."""

    why = ""


def _keep_alive(command: list[str], name: str, journal: Journal, stop: _Stop) -> None:
    """One part, started again when it dies, more slowly each time."""
    pause = _FIRST_S
    while not stop.is_set():
        began = time.monotonic()
        with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
            while process.poll() is None and not stop.wait(0.05):
                pass
            if stop.is_set():
                _end(process)
                return
        if process.returncode == _UNUSABLE:
            stop.why = f"{name} can't run with these settings: see the log, and try ctp-torch node check"
            stop.set()
            return
        pause = _FIRST_S if time.monotonic() - began > _LONG_LIFE_S else min(_LONGEST_S, pause * 1.5)
        journal.say("part died", level="error", died=name, code=process.returncode, again_s=round(pause, 2))
        stop.wait(pause)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a part to end, and make it."""
    process.terminate()
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()


def run_part(path: Path, name: str) -> None:
    """One part, in this process, until told to end or until the node is gone.

    Raises
    ------
    OptionError
        for a name that is none
    """
    if name not in PARTS:
        raise OptionError(f"unknown part {name!r}; choose among {', '.join(PARTS)}")
    os.umask(0o077)
    settings = read_settings(path)
    silence_libraries()
    stop = _ended_by_signals()
    threading.Thread(target=_follow, args=(os.getppid(), stop), daemon=True).start()
    with _Alone(settings.folder / f".{name}.lock", stop):
        if stop.is_set():
            return
        queue = Queue(settings.folder)
        store = Store(settings, queue, name)
        journal = Journal(name, log=settings.log, audit=settings.audit)
        part: Callable[[NodeSettings, Store, Journal, threading.Event], None] = {
            "receive": _receive, "watch": _watch, "work": _work, "send": _send, "page": _page
        }[name]  # fmt: skip
        try:
            part(settings, store, journal, stop)
        except OptionError as error:  # it would be so each time
            journal.say("settings can't be used", level="error", reason=str(error))
            raise SystemExit(_UNUSABLE) from error


def _receive(settings: NodeSettings, store: Store, journal: Journal, stop: threading.Event) -> None:
    """The Storage SCP."""
    from ctp_torch.archive.receive import listen

    mended = store.mend()
    server = None
    while server is None and not stop.is_set():
        try:
            server = listen(settings.dicom, store, journal)
        except OSError as error:  # a part that is just ending still holds the port
            journal.say("port is taken", level="error", port=settings.dicom.port, reason=error.strerror)
            stop.wait(1.0)
    journal.say("listening", aet=settings.dicom.aet, port=settings.dicom.port, mended=mended)
    stop.wait()
    if server is not None:
        server.shutdown()


def _watch(settings: NodeSettings, store: Store, journal: Journal, stop: threading.Event) -> None:
    """All places that are looked at."""
    from ctp_torch.archive.watch import keep_watching

    store.mend()
    _together([(keep_watching, (source, store, journal, stop)) for source in settings.watch], stop)


def _work(settings: NodeSettings, store: Store, journal: Journal, stop: threading.Event) -> None:
    """Looking at studies, and doing cases."""
    from ctp_torch.archive.work import Desk

    desk = Desk(settings, store.queue, store, journal)
    desk.mend()

    def look() -> None:
        cleared = 0.0
        while not stop.is_set():
            if time.monotonic() - cleared > _CLEAR_S or not cleared:
                cleared = time.monotonic()
                store.clear()
            if not desk.look_at_studies():
                stop.wait(_IDLE_S)

    def do() -> None:
        while not stop.is_set():
            if not desk.do_next():
                stop.wait(_IDLE_S)

    _together([(look, ()), *[(do, ())] * settings.workers], stop)


def _send(settings: NodeSettings, store: Store, journal: Journal, stop: threading.Event) -> None:
    """All destinations."""
    from ctp_torch.archive.send import keep_sending

    _together([(keep_sending, (settings, one, store, journal, stop)) for one in settings.send], stop)


def _page(settings: NodeSettings, store: Store, journal: Journal, stop: threading.Event) -> None:
    """The status page."""
    from ctp_torch.archive.page import serve_page

    serve_page(settings, store, stop)


def _together(tasks: list[tuple[Callable[..., None], tuple[Any, ...]]], stop: threading.Event) -> None:
    """Tasks side by side; one that fails ends the part, which is started anew."""
    failed = threading.Event()

    def kept(task: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        try:
            task(*arguments)
        except BaseException:
            failed.set()
            raise

    for task, arguments in tasks:
        threading.Thread(target=kept, args=(task, arguments), daemon=True).start()
    while not stop.wait(0.2):
        if failed.is_set():
            raise SystemExit(1)


def _follow(parent: int, stop: threading.Event) -> None:
    """End when the node is gone."""
    while os.getppid() == parent:
        time.sleep(0.2)
    stop.set()
    time.sleep(2.0)
    os._exit(1)


class _Alone:
    """A block that one process at a time is in; the lock goes with its holder, whatever its death."""

    def __init__(self, path: Path, stop: threading.Event) -> None:
        self.path, self.stop = path, stop

    def __enter__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        if sys.platform == "win32":
            return
        import fcntl

        while not self.stop.is_set():
            try:
                fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                self.stop.wait(0.1)

    def __exit__(self, *_: object) -> None:
        os.close(self.handle)


def _ended_by_signals() -> _Stop:
    """An event that SIGTERM, SIGINT and SIGHUP set."""
    stop = _Stop()

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, end)
    return stop
