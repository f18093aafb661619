"""Signals that end a program, as an exception: what it has begun is cleaned up before it goes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interrupted", "raised_signals", "undisturbed"]

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class Interrupted(BaseException):
    """The user or the system asked the program to end; no error, so that no handler of errors catches it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


class _State:
    """What the main thread is in the middle of."""

    depth = 0
    waiting: int | None = None


@contextmanager
def undisturbed() -> Iterator[None]:
    """A short piece of work that a signal doesn't cut in two: it is raised at the end of the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _State.depth += 1
    try:
        yield
    finally:
        _State.depth -= 1
        if _State.depth == 0 and _State.waiting is not None:
            number, _State.waiting = _State.waiting, None
            raise Interrupted(number)


@contextmanager
def raised_signals() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP raise `Interrupted` in the block, once; one that is ignored stays so (nohup)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}

    def stop(number: int, frame: FrameType | None) -> None:
        for other in numbers:  # the clean-up is not to be interrupted
            signal.signal(other, signal.SIG_IGN)
        if _State.depth:
            _State.waiting = number
        else:
            raise Interrupted(number)

    try:
        for number in numbers:
            if before[number] is not signal.SIG_IGN:
                signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
